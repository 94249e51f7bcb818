package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/proof"
)

const (
	queueSize = 1 << 16 // packets that may wait for a verdict

	conntrackID = 12 // CTA_ID, nfnetlink_conntrack.h
	firstReply  = 3  // IP_CT_IS_REPLY: from here on enum ip_conntrack_info means the reply direction
)

// queues are the NFQUEUEs of a namespace, one a tap. Each has a reader of its own. No barrier is needed for them: a
// packet goes on when its reader has recorded it and not before, so what a client has its answer for was recorded.
type queues struct {
	taps  []*nfqueue.Nfqueue // by tap
	stop  context.CancelFunc // ends the readers
	taken chan struct{}      // has a value when a packet was decided about since the last receive from it
}

// openQueues opens the queues of all taps in the namespace of this thread; take gets each packet that comes. Packets
// come whole, since Hold can rewrite them, and with their connection where the kernel has that (GLUE_CT).
func openQueues(buffer int, take func(nat.Tap, nfqueue.Attribute)) (*queues, error) {
	ctx, stop := context.WithCancel(context.Background())
	q := &queues{stop: stop, taken: make(chan struct{}, 1)}
	flags := uint32(nfqueue.NfQaCfgFlagConntrack)
	if errors.Is(probeQueues(flags), unix.EOPNOTSUPP) { // no CONFIG_NETFILTER_NETLINK_GLUE_CT
		flags = 0
	}
	for _, tap := range nat.Taps() {
		one, err := patiently(func() (*nfqueue.Nfqueue, error) {
			return openQueue(ctx, queueNumber(tap), flags, buffer, q.reader(tap, take))
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open NFQUEUE %d: %w", queueNumber(tap), busy(err)), q.close())
		}
		q.taps = append(q.taps, one)
	}
	return q, nil
}

// patiently tries again for a while where a queue is taken: one whose socket was just closed stays taken as long as a
// process that was being started at that moment has not come to its exec.
func patiently(open func() (*nfqueue.Nfqueue, error)) (*nfqueue.Nfqueue, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		one, err := open()
		if err == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return one, err
		}
	}
}

// patience is how long a queue may be taken before another process is taken to have it.
const patience = time.Second

// reader is what a queue calls for each packet.
func (q *queues) reader(tap nat.Tap, take func(nat.Tap, nfqueue.Attribute)) nfqueue.HookFunc {
	return func(a nfqueue.Attribute) int {
		take(tap, a)
		select {
		case q.taken <- struct{}{}:
		default:
		}
		return 0
	}
}

// openQueue binds one queue. The flag for GSO is left out on purpose: with it packets would come with checksums that the
// device is to complete, and none of the packets that the taps take is large. go-nfqueue's defaults lose packets under
// load: hence the buffer, and no ENOBUFS, since losses are counted by the kernel.
func openQueue(ctx context.Context, number uint16, flags uint32, buffer int, take nfqueue.HookFunc) (*nfqueue.Nfqueue, error) {
	one, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: number, AfFamily: unix.AF_INET, Copymode: nfqueue.NfQnlCopyPacket, MaxPacketLen: 0xffff,
		MaxQueueLen: queueSize, Flags: flags,
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(one.Con.SetReadBuffer(buffer), one.SetOption(netlink.NoENOBUFS, true)); err != nil {
		return nil, errors.Join(err, one.Con.Close())
	}
	closed := func(error) int { // the only error that a read gives is that the reader is to end
		if ctx.Err() != nil {
			return 1
		}
		return 0
	}
	if err := one.RegisterWithErrorFunc(ctx, take, closed); err != nil {
		return nil, errors.Join(err, one.Con.Close())
	}
	return one, nil
}

// close ends the readers and the queues; packets that wait die with them.
func (q *queues) close() error {
	q.stop()
	var errs []error
	for _, one := range q.taps {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// packet is one packet at a tap.
type packet struct {
	tap     nat.Tap
	id      uint32
	payload []byte
	seen    proof.Observation
}

// readPacket makes an observation of what a queue gives.
func (m *member) readPacket(tap nat.Tap, a nfqueue.Attribute) packet {
	p := packet{tap: tap, seen: proof.Observation{Kind: proof.PacketSeen, Node: m.name}}
	hop := &p.seen.Hop
	hop.Node, hop.Tap = m.name, tap
	dev := a.OutDev
	if tap.Hook() == nat.PreRouting {
		dev = a.InDev
	}
	hop.Dev, hop.Mark = m.device(value(dev)), value(a.Mark)
	p.id = value(a.PacketID)
	if a.Payload != nil {
		p.payload = *a.Payload
	}
	if a.Ct != nil {
		p.seen.ConnID, p.seen.Direction = connID(*a.Ct), directionOf(value(a.CtInfo))
	}
	h := parseHeader(p.payload)
	hop.Tuple, hop.Outer = h.tuple, h.outer
	p.seen.TCPFlags, p.seen.ICMP = h.flags, h.icmp
	m.kept(&p.seen, p.payload)
	return p
}

// value is what a pointer points to, 0 for none.
func value(p *uint32) uint32 {
	if p == nil {
		return 0
	}
	return *p
}

// connID finds CTA_ID among a connection's attributes.
func connID(b []byte) uint32 {
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			return 0
		}
		if kind == conntrackID {
			return u32(value)
		}
	}
}

// directionOf reads enum ip_conntrack_info.
func directionOf(info uint32) nat.Direction {
	if info >= firstReply && info < 2*firstReply {
		return nat.Reply
	}
	return nat.Original
}

// verdict lets a queued packet go on (nat.Accept) or ends it (nat.Drop); payload, where not nil, takes its place.
func (m *member) verdict(tap nat.Tap, id uint32, v nat.Verdict, payload []byte) error {
	code := nfqueue.NfAccept
	if v == nat.Drop {
		code = nfqueue.NfDrop
	}
	var err error
	if queue := m.queues.taps[tap]; payload == nil {
		err = queue.SetVerdict(id, code)
	} else {
		err = queue.SetVerdictWithOption(id, code, nfqueue.WithAlteredPacket(payload))
	}
	if err != nil {
		return fmt.Errorf("verdict for packet %d of %s %s: %w", id, m.name, tap, err)
	}
	return nil
}

// queued is the number of packets that wait at all taps, those that are held included: the third number of each line of
// nfnetlink_queue (nfqnl's seq_show).
func (m *member) queued() (n uint64) {
	size, err := m.queueFile.ReadAt(m.buf, 0)
	if size > 0 || err == nil {
		n = queueColumns(m.buf[:size], 2, 3)
	}
	return n
}

// tapped is queued without the queues that are not the taps', such as a gateway's.
func (m *member) tapped() (n uint64) {
	size, _ := m.queueFile.ReadAt(m.buf, 0) // at its end it is io.EOF
	for line := range bytes.Lines(m.buf[:max(size, 0)]) {
		number, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if queue, err := strconv.ParseUint(string(number), 10, 16); err == nil && int(queue) < len(m.queues.taps) {
			n += queueColumns(line, 2, 3)
		}
	}
	return n
}
