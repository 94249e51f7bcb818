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
	batch   = 32            // packets that one call of the kernel hands over at most
	largest = 1<<16 + 1<<12 // a message: a packet of 64 KiB with its attributes
	full    = 1 << 18       // bytes of verdicts that are handed over at once
)

// Options are how a queue is opened.
type Options struct {
	Number uint16 // the namespace's queues are its own
	Length uint32 // packets that may wait for a verdict; 0 is 65536
	Buffer int    // bytes of the socket's receive buffer; 0 is 64 MiB
	// FailOpen lets packets pass where the queue is full; else they are dropped.
	FailOpen bool
}

// Queue is a bound NFQUEUE. One goroutine serves it; Close and Refused may be called by others.
type Queue struct {
	number  uint16
	file    *os.File // owns fd, and lets the runtime's poller wait for it
	fd      int
	memory  []byte
	lengths []header
	vectors []unix.Iovec
	packets []Packet
	out     []byte // verdicts that wait to be sent
	refused atomic.Uint64
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	length uint32
}

// Open binds a queue in the namespace of this thread. Packets come whole, those of GSO and GRO undivided, with the owner of the socket
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
	q.memory, q.lengths = make([]byte, batch*largest), make([]header, batch)
	q.vectors, q.packets = make([]unix.Iovec, batch), make([]Packet, batch)
	for i := range q.vectors {
		q.vectors[i].Base = &q.memory[i*largest]
		q.vectors[i].SetLen(largest)
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
	params := binary.BigEndian.AppendUint32(nil, 0) // as much as there may be
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

// Close gives the queue up: what waits is dropped, and so is what comes while a rule feeds it. A Serve ends. A second Close does nothing.
func (q *Queue) Close() error {
	if err := q.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Refused is how many verdicts the kernel did not take: of packets that were gone, or changed in a way that it does not allow.
func (q *Queue) Refused() uint64 { return q.refused.Load() }

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
	packets := q.packets[:0]
	for i := range n {
		rest := q.memory[i*largest:][:q.lengths[i].length]
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
	return q.flush()
}

// receive reads up to a batch of messages; 0: there is none now.
func (q *Queue) receive() (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(q.fd), uintptr(unsafe.Pointer(&q.lengths[0])), batch, unix.MSG_DONTWAIT, 0, 0)
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

// Verdicts of linux/netfilter.h.
const (
	verdictDrop   = 0
	verdictAccept = 1
)

// Accept lets a packet go on as it is, with a mark.
func (q *Queue) Accept(p *Packet, mark uint32) error { return q.decide(p, verdictAccept, mark, nil) }

// Rewrite lets a packet go on as payload, with a mark. Its checksums have to be complete: the kernel takes them as they are (nfqnl_mangle
// makes the packet CHECKSUM_NONE).
func (q *Queue) Rewrite(p *Packet, mark uint32, payload []byte) error {
	return q.decide(p, verdictAccept, mark, payload)
}

// Drop ends a packet here.
func (q *Queue) Drop(p *Packet) error { return q.decide(p, verdictDrop, p.Mark, nil) }

func (q *Queue) decide(p *Packet, verdict, mark uint32, payload []byte) error {
	at := len(q.out)
	q.out = appendHeader(q.out, messageVerdict, 0, q.number)
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], verdict)
	binary.BigEndian.PutUint32(head[4:], p.ID)
	q.out = appendAttribute(q.out, attrVerdictHeader, head[:])
	if mark != p.Mark {
		q.out = appendUint32(q.out, attrMark, mark)
	}
	if payload != nil {
		q.out = appendAttribute(q.out, attrPayload, payload)
	}
	q.out = finish(q.out, at)
	if len(q.out) >= full {
		return q.flush()
	}
	return nil
}

// flush hands the verdicts that wait to the kernel, which carries each out at once.
func (q *Queue) flush() error {
	if len(q.out) == 0 {
		return nil
	}
	for {
		_, err := unix.Write(q.fd, q.out)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil, errors.Is(err, unix.ENOENT):
			q.out = q.out[:0]
			return nil
		default:
			return fmt.Errorf("verdicts of NFQUEUE %d: %w", q.number, err)
		}
	}
}
