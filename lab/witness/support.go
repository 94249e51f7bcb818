package witness

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Support is what a kernel offers of what the witnesses use: nil for what is there, ErrUnsupported for what is not, any
// other error where it could not be found out.
type Support struct {
	Queue       error // NFQUEUE, by either way
	NativeQueue error // nf_tables' own queue expression
	QueueConn   error // connection tracking ids with queued packets
	Trace       error // of nf_tables
	Log         error // nf_log by nfnetlink, for the trace of the legacy tables
	Conns       error // ctnetlink events
}

// Probe tries everything in a namespace, which should be one that nobody uses.
func Probe(ns Namespace) Support {
	var s Support
	err := ns.Do(func() error {
		s.Queue = unsupported(try(func() (*socket, error) { return openQueues(probeBuffer) }))
		s.QueueConn = unsupported(probeQueueConn())
		s.Trace = unsupported(try(func() (*socket, error) { return openTrace(probeBuffer) }))
		s.Log = unsupported(probeLog())
		s.Conns = unsupported(try(func() (*socket, error) { return openConns(probeBuffer) }))
		native, err := probeQueue()
		s.NativeQueue = err
		if err == nil && !native {
			s.NativeQueue = fmt.Errorf("%w: no CONFIG_NFT_QUEUE", ErrUnsupported)
		}
		if s.Queue == nil && err == nil {
			s.Queue = unsupported(errors.Join(makeTable(native), removeTable()))
		}
		return nil
	})
	if err != nil {
		return Support{Queue: err, NativeQueue: err, QueueConn: err, Trace: err, Log: err, Conns: err}
	}
	return s
}

const probeBuffer = 1 << 16

// unsupported marks the errors by which a kernel says that it does not have something.
func unsupported(err error) error {
	for _, e := range []error{unix.EOPNOTSUPP, unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}

func try(open func() (*socket, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	return s.close()
}

func probeQueueConn() error {
	return try(func() (*socket, error) {
		s, err := openSocket(probeBuffer)
		if err != nil {
			return nil, err
		}
		// The flag is refused at bind time where there is no glue, whatever the queue.
		number := uint16(len(nat.Taps()))
		params := append(binary.BigEndian.AppendUint32(nil, 0xffff), queueCopyPacket)
		err = s.request(newMessage(nil, queueConfig, unix.NLM_F_ACK, unix.AF_UNSPEC, number).
			bytes(nfqaCfgCommand, []byte{queueBind, 0, 0, unix.AF_INET}).
			bytes(nfqaCfgParams, params).
			u32(nfqaCfgFlags, queueWithConn).u32(nfqaCfgMask, queueWithConn), nil)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	})
}

func probeLog() error {
	before, err := useLogger(ourLogger)
	if err != nil {
		return err
	}
	_, undo := useLogger(before)
	return errors.Join(undo, try(func() (*socket, error) { return openLog(probeBuffer, []uint16{traceGroup}) }))
}
