package witness

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/proof"
)

// Attributes and flags of linux/netfilter/nfnetlink_queue.h.
const (
	nfqaPacketHeader = 1  // NFQA_PACKET_HDR
	nfqaVerdict      = 2  // NFQA_VERDICT_HDR
	nfqaMark         = 3  // NFQA_MARK
	nfqaInDev        = 5  // NFQA_IFINDEX_INDEV
	nfqaOutDev       = 6  // NFQA_IFINDEX_OUTDEV
	nfqaPayload      = 10 // NFQA_PAYLOAD
	nfqaConn         = 11 // NFQA_CT
	nfqaConnInfo     = 12 // NFQA_CT_INFO

	nfqaCfgCommand   = 1 // NFQA_CFG_CMD
	nfqaCfgParams    = 2 // NFQA_CFG_PARAMS
	nfqaCfgQueueSize = 3 // NFQA_CFG_QUEUE_MAXLEN
	nfqaCfgMask      = 4 // NFQA_CFG_MASK
	nfqaCfgFlags     = 5 // NFQA_CFG_FLAGS

	queueBind       = 1      // NFQNL_CFG_CMD_BIND
	queueCopyPacket = 2      // NFQNL_COPY_PACKET
	queueWithConn   = 1 << 1 // NFQA_CFG_F_CONNTRACK

	queueSize = 1 << 16 // packets that may wait for a verdict

	conntrackID = 12 // CTA_ID, nfnetlink_conntrack.h
	firstReply  = 3  // IP_CT_IS_REPLY: from here on enum ip_conntrack_info means the reply direction
)

// openQueues opens one socket for the queues of all taps. Packets come whole, since Hold can rewrite them.
func openQueues(buffer int) (*socket, error) {
	s, err := openSocket(buffer)
	if err != nil {
		return nil, err
	}
	for _, tap := range nat.Taps() {
		if err := bindQueue(s, queueNumber(tap)); err != nil {
			return nil, errors.Join(fmt.Errorf("open NFQUEUE %d: %w", queueNumber(tap), busy(err)), s.close())
		}
	}
	return s, nil
}

func bindQueue(s *socket, number uint16) error {
	params := binary.BigEndian.AppendUint32(nil, 0xffff)
	bind := newMessage(nil, queueConfig, unix.NLM_F_ACK, unix.AF_UNSPEC, number).
		bytes(nfqaCfgCommand, []byte{queueBind, 0, 0, unix.AF_INET}).
		bytes(nfqaCfgParams, append(params, queueCopyPacket)).
		u32(nfqaCfgQueueSize, queueSize)
	if err := s.request(bind, nil); err != nil {
		return err
	}
	// NFQA_CFG_F_GSO is left out on purpose: with it packets would come with checksums that the device is to complete,
	// and none of the packets that the taps take is large.
	err := s.request(newMessage(nil, queueConfig, unix.NLM_F_ACK, unix.AF_UNSPEC, number).
		u32(nfqaCfgFlags, queueWithConn).u32(nfqaCfgMask, queueWithConn), nil)
	if errors.Is(err, unix.EOPNOTSUPP) { // no CONFIG_NETFILTER_NETLINK_GLUE_CT
		return nil
	}
	return err
}

// packet is one message of an NFQUEUE.
type packet struct {
	queue   uint16
	id      uint32
	payload []byte // a view into the read buffer
	seen    proof.Observation
}

// readPacket decodes an NFQNL_MSG_PACKET; ok is false for one without a packet header.
func (m *member) readPacket(f frame) (p packet, ok bool) {
	p.queue = f.resource()
	p.seen = proof.Observation{Kind: proof.PacketSeen, Node: m.name}
	if int(p.queue) >= len(nat.Taps()) {
		return packet{}, false
	}
	hop := &p.seen.Hop
	hop.Node, hop.Tap = m.name, nat.Tap(p.queue)
	dev := uint16(nfqaOutDev)
	if hop.Tap.Hook() == nat.PreRouting {
		dev = nfqaInDev
	}
	a := f.attributes()
	for {
		kind, value, more := a.next()
		if !more {
			break
		}
		switch kind {
		case nfqaPacketHeader:
			p.id, ok = u32(value), true
		case nfqaMark:
			hop.Mark = u32(value)
		case dev:
			hop.Dev = m.device(u32(value))
		case nfqaPayload:
			p.payload = value
		case nfqaConn:
			p.seen.ConnID = connID(value)
		case nfqaConnInfo:
			p.seen.Direction = directionOf(u32(value))
		}
	}
	h := parseHeader(p.payload)
	hop.Tuple, hop.Outer = h.tuple, h.outer
	p.seen.TCPFlags, p.seen.ICMP = h.flags, h.icmp
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

// verdict lets a queued packet go on (nat.Accept) or ends it (nat.Drop); payload, where not nil, takes its place.
func (m *member) verdict(queue uint16, id uint32, v nat.Verdict, payload []byte) error {
	code := uint32(nfAccept)
	if v == nat.Drop {
		code = nfDrop
	}
	head := binary.BigEndian.AppendUint32(m.head[:0], code)
	head = binary.BigEndian.AppendUint32(head, id)
	msg := newMessage(m.out, queueVerdict, 0, unix.AF_UNSPEC, queue).bytes(nfqaVerdict, head)
	if payload != nil {
		msg.bytes(nfqaPayload, payload)
	}
	m.queues.seq++
	m.out = msg.finish(m.queues.seq)
	if err := m.queues.send(m.out); err != nil {
		return fmt.Errorf("verdict for packet %d of %s %s: %w", id, m.name, nat.Tap(queue), err)
	}
	return nil
}
