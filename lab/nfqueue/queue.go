package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch      = 32            // packets that one call of the kernel hands over at most
	largest    = 1<<16 + 1<<12 // a message: a packet of 64 KiB with its attributes
	batchShort = 256           // the same of packets of which the begin is handed over alone
	attributes = 1 << 9        // what a message has besides the packet
	full       = 1 << 18       // bytes of verdicts that are handed over at once
)

// Options are how a queue is opened.
type Options struct {
	Number uint16 // the namespace's queues are its own
	Length uint32 // packets that may wait for a verdict; 0 is 65536
	Buffer int    // bytes of the socket's receive buffer; 0 is 64 MiB
	// Begin is how many bytes of a packet are handed over; 0 is all of them. Of one that is longer the rest is not copied.
	Begin uint32
	// FailOpen lets packets pass where the queue is full; else they are dropped.
	FailOpen bool
}

// Queue is a bound NFQUEUE. One goroutine serves it; Close and Refused may be called by others.
type Queue struct {
	number  uint16
	file    *os.File // owns fd, and lets the runtime's poller wait for it
	fd      int
	size    int // of a message in memory
	memory  []byte
	lengths []header
	vectors []unix.Iovec
	packets []Packet
	out     []byte // verdicts that wait to be sent
	run     run    // likewise, not in out yet
	refused atomic.Uint64
	batches atomic.Uint64 // twice those that were served, and one more while one is
}

// run are packets one behind the other that have the same verdict: one message is for all of them (NFQNL_MSG_VERDICT_BATCH).
type run struct {
	count   int
	verdict uint32
	mark    uint32
	marked  bool // they get that mark
	last    uint32
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	length uint32
}

// Open binds a queue in the namespace of this thread. Packets come whole but for Begin, those of GSO and GRO undivided, with the owner of the socket
// that sent them. A queue that another process has is EBUSY, or EPERM.
func Open(o Options) (*Queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	q := &Queue{number: o.Number, file: os.NewFile(uintptr(fd), "nfqueue"), fd: fd}
	if err := q.prepare(o); err != nil {
		return nil, errors.Join(fmt.Errorf("NFQUEUE %d: %w", o.Number, err), q.Close())
	}
	return q, nil
}

func (q *Queue) prepare(o Options) error {
	if err := unix.Bind(q.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind nfnetlink: %w", err)
	}
	if o.Buffer == 0 {
		o.Buffer = 64 << 20
	}
	if o.Length == 0 {
		o.Length = 1 << 16
	}
	if err := errors.Join(ReceiveBuffer(q.fd, o.Buffer), sendBuffer(q.fd, 8*full)); err != nil {
		return err
	}
	// The kernel counts what found no room (nfnetlink_queue in proc).
	if err := unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return fmt.Errorf("set NETLINK_NO_ENOBUFS: %w", err)
	}
	n := batch
	if q.size = largest; o.Begin > 0 {
		n, q.size = batchShort, min(int(o.Begin)+attributes, largest)
	}
	q.memory, q.lengths = make([]byte, n*q.size), make([]header, n)
	q.vectors, q.packets = make([]unix.Iovec, n), make([]Packet, n)
	for i := range q.vectors {
		q.vectors[i].Base = &q.memory[i*q.size]
		q.vectors[i].SetLen(q.size)
		q.lengths[i].Iov = &q.vectors[i]
		q.lengths[i].SetIovlen(1)
	}
	return q.configure(o)
}

// configure binds the queue: first the bind alone, as the kernel wants it, then how packets come.
func (q *Queue) configure(o Options) error {
	flags := uint32(flagGSO | flagOwner)
	if o.FailOpen {
		flags |= flagFailOpen
	}
	bind := appendAttribute(appendHeader(nil, messageConfig, unix.NLM_F_ACK, q.number), configCommand, []byte{commandBind, 0, 0, 0})
	if err := q.request(finish(bind, 0)); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	params := binary.BigEndian.AppendUint32(nil, o.Begin) // 0 is as much as there may be
	m := appendHeader(nil, messageConfig, unix.NLM_F_ACK, q.number)
	m = appendAttribute(m, configParams, append(params, copyPacket))
	m = appendUint32(m, configLength, o.Length)
	m = appendUint32(m, configFlags, flags)
	m = appendUint32(m, configMask, flags|flagFailOpen)
	if err := q.request(finish(m, 0)); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}

// request sends a message and reads its acknowledgement, which nfnetlink has queued before sendmsg returns.
func (q *Queue) request(m []byte) error {
	if _, err := unix.Write(q.fd, m); err != nil {
		return err
	}
	for {
		n, err := unix.Read(q.fd, q.memory)
		if err != nil {
			return fmt.Errorf("read the kernel's answer: %w", err)
		}
		kind, body, _, err := next(q.memory[:n])
		if err != nil {
			return err
		}
		if kind == unix.NLMSG_ERROR {
			return refusal(body)
		}
	}
}

// Close gives the queue up: what waits is dropped, and so is what comes while a rule feeds it. A Serve ends. A second Close does nothing. The queue is free for
// another reader then: it is unbound, and not left to the end of the socket, which a process that is just being forked may hold for a moment.
func (q *Queue) Close() error {
	if raw, err := q.file.SyscallConn(); err == nil {
		unbind := appendAttribute(appendHeader(nil, messageConfig, 0, q.number), configCommand, []byte{commandUnbind, 0, 0, 0})
		_ = raw.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), finish(unbind, 0)) }) // what is left to do the end of the socket does
	}
	if err := q.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Refused is how many verdicts the kernel did not take: of packets that were gone, or changed in a way that it does not allow.
func (q *Queue) Refused() uint64 { return q.refused.Load() }

// Idle calls check, and reports whether no packet was served meanwhile by these queues, from its receipt to its verdict. Where check finds that none waits in the
// kernel either, none is on its way.
func Idle(queues []*Queue, check func() bool) bool {
	var before []uint64
	for _, q := range queues {
		n := q.batches.Load()
		if n&1 != 0 {
			return false
		}
		before = append(before, n)
	}
	if !check() {
		return false
	}
	for i, q := range queues {
		if q.batches.Load() != before[i] {
			return false
		}
	}
	return true
}

// Serve calls judge with the packets that there are, some at a time, until the queue is closed or judge gives an error. judge decides
// about each of them by Accept, Rewrite or Drop; the verdicts are with the kernel when all of the batch are decided.
func (q *Queue) Serve(judge func([]Packet) error) error {
	raw, err := q.file.SyscallConn()
	if err != nil {
		return nil //nolint:nilerr // it was closed
	}
	var inner error
	_ = raw.Read(func(uintptr) bool { // its error is that of a file that was closed
		for {
			n, err := q.receive()
			if err != nil || n == 0 {
				inner = err
				return err != nil
			}
			if inner = q.serve(n, judge); inner != nil {
				return true
			}
		}
	})
	return inner
}

// serve has a batch of n messages judged.
func (q *Queue) serve(n int, judge func([]Packet) error) error {
	q.batches.Add(1)
	defer q.batches.Add(1)
	packets := q.packets[:0]
	for i := range n {
		rest := q.memory[i*q.size:][:q.lengths[i].length]
		for len(rest) > 0 {
			kind, body, more, err := next(rest)
			if err != nil {
				return err
			}
			rest = more
			switch kind {
			case messagePacket:
				packets = append(packets, Packet{})
				if !packets[len(packets)-1].parse(body) {
					packets = packets[:len(packets)-1]
				}
			case unix.NLMSG_ERROR:
				if refusal(body) != nil {
					q.refused.Add(1)
				}
			}
		}
	}
	q.packets = packets[:0]
	if err := judge(packets); err != nil {
		return err
	}
	return q.Flush()
}

// receive reads up to a batch of messages; 0: there is none now.
func (q *Queue) receive() (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.lengths[0])), uintptr(len(q.lengths)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno == unix.EAGAIN {
			return 0, nil
		}
		if errno != unix.EINTR && errno != unix.ENOBUFS {
			return 0, fmt.Errorf("read NFQUEUE %d: %w", q.number, errno)
		}
	}
}
