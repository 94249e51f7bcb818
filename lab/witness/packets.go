package witness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/proof"
)

// Messages, attributes and flags of linux/netfilter/nfnetlink_queue.h.
const (
	queueVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1 // NFQNL_MSG_VERDICT
	queueConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2 // NFQNL_MSG_CONFIG
	queuePacket  = unix.NFNL_SUBSYS_QUEUE << 8   // NFQNL_MSG_PACKET

	nfqaPacketHeader  = 1  // NFQA_PACKET_HDR
	nfqaVerdictHeader = 2  // NFQA_VERDICT_HDR
	nfqaMark          = 3  // NFQA_MARK
	nfqaInDev         = 5  // NFQA_IFINDEX_INDEV
	nfqaOutDev        = 6  // NFQA_IFINDEX_OUTDEV
	nfqaPayload       = 10 // NFQA_PAYLOAD
	nfqaConn          = 11 // NFQA_CT
	nfqaConnInfo      = 12 // NFQA_CT_INFO

	nfqaCfgCommand = 1 // NFQA_CFG_CMD
	nfqaCfgParams  = 2 // NFQA_CFG_PARAMS
	nfqaCfgLength  = 3 // NFQA_CFG_QUEUE_MAXLEN
	nfqaCfgMask    = 4 // NFQA_CFG_MASK
	nfqaCfgFlags   = 5 // NFQA_CFG_FLAGS

	queueBind       = 1       // NFQNL_CFG_CMD_BIND
	queueCopyPacket = 2       // NFQNL_COPY_PACKET
	queueWithConn   = 1 << 1  // NFQA_CFG_F_CONNTRACK
	queueSize       = 1 << 16 // packets that may wait for a verdict
	queueCopy       = 0xffff  // bytes of each: Hold can rewrite them

	conntrackID = 12 // CTA_ID, nfnetlink_conntrack.h
	firstReply  = 3  // IP_CT_IS_REPLY: from here on enum ip_conntrack_info means the reply direction
)

// queues are the NFQUEUEs of a namespace, one a tap, by one socket. No barrier is needed for them: a packet goes on when it was recorded
// and not before, so what a client has its answer for was recorded.
type queues struct {
	*socket
	packet []byte        // the message that is being read
	taken  chan struct{} // has a value when a packet was decided about since the last receive from it
}

// openQueues opens the queues of all taps in the namespace of this thread. Packets come with their connection where the kernel has that
// (CONFIG_NETFILTER_NETLINK_GLUE_CT).
func openQueues(buffer int) (*queues, error) {
	s, err := openSocket(buffer)
	if err != nil {
		return nil, err
	}
	flags := uint32(queueWithConn)
	for _, tap := range nat.Taps() {
		err := bindQueue(s, queueNumber(tap), flags)
		if flags != 0 && errors.Is(err, unix.EOPNOTSUPP) {
			flags = 0
			err = bindQueue(s, queueNumber(tap), flags)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open NFQUEUE %d: %w", queueNumber(tap), busy(err)), s.close())
		}
	}
	return &queues{socket: s, taken: make(chan struct{}, 1)}, nil
}

// bindQueue binds a queue, whose packets wait for this socket. The flag for GSO is left out on purpose: with it packets would come with
// checksums that the device is to complete, and none of the packets that the taps take is large.
func bindQueue(s *socket, number uint16, flags uint32) error {
	return patiently(func() error {
		m := newMessage(queueConfig, unix.NLM_F_ACK, unix.AF_UNSPEC, number).
			bytes(nfqaCfgCommand, []byte{queueBind, 0, 0, 0}).
			bytes(nfqaCfgParams, append(binary.BigEndian.AppendUint32(nil, queueCopy), queueCopyPacket)).
			u32(nfqaCfgLength, queueSize).u32(nfqaCfgMask, queueWithConn).u32(nfqaCfgFlags, flags)
		return s.request(m, nil)
	})
}

// patiently tries again for a while where a queue is taken: one whose socket was just closed stays taken as long as a process that was being
// started at that moment has not come to its exec.
func patiently(bind func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := bind()
		if err == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// patience is how long a queue may be taken before another process is taken to have it.
const patience = time.Second

// takePackets takes what waits at the taps.
func (m *member) takePackets() {
	for m.takeNext() {
	}
}

// takeNext takes the next message of the queues, and reports whether there was one. A packet has been told of by every rule that it met when
// it reaches a tap, so the rules are read before it is recorded.
func (m *member) takeNext() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	n, ok, err := m.queues.read(m.buf)
	if err != nil || !ok {
		m.err = errors.Join(m.err, err)
		return false
	}
	clear(m.devices)
	m.queues.packet = append(m.queues.packet[:0], m.buf[:n]...) // what reads the rules uses the buffer
	m.err = errors.Join(m.err, m.readRules(), m.each(m.queues.packet, m.takePacket))
	m.wake()
	return true
}

// takePacket records a packet that waits at a tap and lets it go on, but for one that was sent again too early: nobody ever saw that.
func (m *member) takePacket(f frame) error {
	p, ok := m.readPacket(f)
	if !ok {
		return nil
	}
	verdict := nat.Accept
	if m.again.keepsBack(m.name, p) {
		verdict = nat.Drop
	} else if m.record(&p.seen); m.hold(p) {
		return nil
	}
	err := m.verdict(p.tap, p.id, verdict, nil)
	select {
	case m.queues.taken <- struct{}{}:
	default:
	}
	return err
}

// packet is one packet at a tap.
type packet struct {
	tap     nat.Tap
	id      uint32
	payload []byte
	seen    proof.Observation
}

// readPacket makes an observation of what a queue gives; ok is false for what is no packet of a tap.
func (m *member) readPacket(f frame) (p packet, ok bool) {
	tap := nat.Tap(f.resource())
	if f.kind != queuePacket || int(tap) >= len(nat.Taps()) {
		return p, false
	}
	p = packet{tap: tap, seen: proof.Observation{Kind: proof.PacketSeen, Node: m.name}}
	hop := &p.seen.Hop
	hop.Node, hop.Tap = m.name, tap
	var in, out, info uint32
	a := f.attributes()
	for kind, value, more := a.next(); more; kind, value, more = a.next() {
		switch kind {
		case nfqaPacketHeader:
			p.id, ok = u32(value), true
		case nfqaMark:
			hop.Mark = u32(value)
		case nfqaInDev:
			in = u32(value)
		case nfqaOutDev:
			out = u32(value)
		case nfqaPayload:
			p.payload = value
		case nfqaConn:
			p.seen.ConnID = connID(value)
		case nfqaConnInfo:
			info = u32(value)
		}
	}
	if p.seen.ConnID != 0 {
		p.seen.Direction = directionOf(info)
	}
	dev := out
	if tap.Hook() == nat.PreRouting {
		dev = in
	}
	hop.Dev = m.device(dev)
	h := parseHeader(p.payload)
	hop.Tuple, hop.Outer = h.tuple, h.outer
	p.seen.TCPFlags, p.seen.ICMP = h.flags, h.icmp
	m.kept(&p.seen, p.payload)
	return p, ok
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

// verdict lets a queued packet go on (nat.Accept) or ends it (nat.Drop); payload, where not nil, takes its place. Of a packet that is gone the
// kernel's refusal is read with the packets, and means nothing.
func (m *member) verdict(tap nat.Tap, id uint32, v nat.Verdict, payload []byte) error {
	code := uint32(nfAccept)
	if v == nat.Drop {
		code = nfDrop
	}
	msg := newMessage(queueVerdict, 0, unix.AF_UNSPEC, queueNumber(tap)).
		bytes(nfqaVerdictHeader, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, code), id))
	if payload != nil {
		msg = msg.bytes(nfqaPayload, payload)
	}
	if err := m.queues.send(msg.finish(0)); err != nil {
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
		if queue, err := strconv.ParseUint(string(number), 10, 16); err == nil && int(queue) < len(nat.Taps()) {
			n += queueColumns(line, 2, 3)
		}
	}
	return n
}
