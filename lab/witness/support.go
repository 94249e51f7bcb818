package witness

import (
	"context"
	"errors"
	"fmt"

	gonfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"

	"natlab/lab/nfqueue"
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
		s.Queue = unsupported(probeQueues(0))
		s.QueueConn = unsupported(probeQueues(gonfqueue.NfQaCfgFlagConntrack))
		s.Trace = unsupported(try(func() (*socket, error) { return openTrace(probeBuffer, openQuiet) }))
		s.Log = unsupported(probeLog())
		s.Conns = unsupported(try(func() (*socket, error) { return openConns(probeBuffer, openQuiet) }))
		native, err := nfqueue.Native()
		s.NativeQueue = err
		if err == nil && !native {
			s.NativeQueue = fmt.Errorf("%w: no CONFIG_NFT_QUEUE", ErrUnsupported)
		}
		if s.Queue == nil && err == nil {
			s.Queue = unsupported(probeTable(native))
		}
		return nil
	})
	if err != nil {
		return Support{Queue: err, NativeQueue: err, QueueConn: err, Trace: err, Log: err, Conns: err}
	}
	return s
}

const probeBuffer = 1 << 16

// unsupported marks the errors by which a kernel reports that it does not have something.
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

// probeNumber is the queue that probes bind: one that no tap has.
const probeNumber = 0xffff

// probeQueues binds a queue with flags, by go-nfqueue: it is enough where no packet is to come, and it asks in its own words for what the
// taps ask the kernel for in ours. The kernel refuses what it does not have at bind time.
func probeQueues(flags uint32) error {
	return patiently(func() error {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		one, err := gonfqueue.Open(&gonfqueue.Config{NfQueue: probeNumber, AfFamily: unix.AF_INET, Copymode: gonfqueue.NfQnlCopyPacket, MaxPacketLen: queueCopy, Flags: flags})
		if err != nil {
			return err
		}
		ended := func(error) int {
			if ctx.Err() != nil {
				return 1
			}
			return 0
		}
		err = one.RegisterWithErrorFunc(ctx, func(gonfqueue.Attribute) int { return 0 }, ended)
		stop()
		if err != nil { // nothing reads: it may be closed at once
			return errors.Join(err, one.Con.Close())
		}
		return one.Close()
	})
}

// probeTable makes natlab's table and takes it away.
func probeTable(native bool) error {
	table, err := transactionsOf(nat.IPv4, queueing(native))
	if err != nil {
		return err
	}
	s, err := openQuiet(probeBuffer)
	if err != nil {
		return err
	}
	return errors.Join(s.transact(table.make), s.transact(table.remove), s.close())
}

func probeLog() error {
	before, err := useLogger(nat.IPv4, ourLogger)
	if err != nil {
		return err
	}
	_, undo := useLogger(nat.IPv4, before)
	return errors.Join(undo, try(func() (*socket, error) { return openLog(probeBuffer, []uint16{traceGroup}) }))
}
