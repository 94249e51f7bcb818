package userspace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"natlab/lab/nfqueue"
	"natlab/nat"
	"natlab/nat/gateway"
)

// translation is what a mark stands for between a packet's verdict and the rule behind it that carries it out.
type translation struct {
	kind kind
	addr netip.Addr
	port uint16
	mark uint32 // that the packet goes on with
}

// kind is which map of the table a translation is in.
type kind struct {
	family nat.Family
	proto  nat.Proto // TCP or UDP; 0: the packet gets its mark alone, which is one of those that stand for translations
	source bool      // it is the source that is replaced
	// partial: of IPv6, and the packet's checksum is that of its pseudo header, for a device to complete (CHECKSUM_PARTIAL).
	partial bool
}

// Marks stand for translations when these bits of them are so. A packet that has such a mark of its own keeps it, by a translation to it.
const (
	markMask  = 0xffff8000
	markBegin = 0x4e600000
	mostMarks = 1 << 14 // and a bit to tell the slot's next from its last
)

// marks are the translations that the kernel's maps have. A verdict with a mark is carried out within the call that hands it over, so that a mark is
// free for another translation as soon as the batch is done that used it last.
type marks struct {
	conn  *nftables.Conn
	users []*queue
	sets  map[kind]*nftables.Set
	ids   map[translation]uint32
	slots []slot
	hand  int   // of a clock: the slot that is looked at next where all are taken
	held  []int // slots that this batch uses; one that it uses twice is there twice
	added []change
	gone  []change
}

type slot struct {
	is    translation
	id    uint32
	users int // packets that have it and whose verdicts are not with the kernel yet
}

type change struct {
	id uint32
	is translation
}

// openMarks connects to the namespace of this thread.
func openMarks(users []*queue) (*marks, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	return &marks{conn: c, users: users, ids: map[translation]uint32{}}, nil
}

// reset forgets all: the tables are new.
func (m *marks) reset(sets map[kind]*nftables.Set) {
	m.sets, m.slots, m.held, m.hand, m.added, m.gone = sets, nil, nil, 0, nil, nil
	for _, q := range m.users {
		q.flying = nil
	}
	clear(m.ids)
}

// has reports whether a translation has its mark.
func (m *marks) has(t translation) bool { return m.ids[t] != 0 }

// mark is what stands for a translation, when the next commit is done.
func (m *marks) mark(t translation) uint32 {
	if id, ok := m.ids[t]; ok {
		m.hold(int(id & (mostMarks - 1)))
		return id
	}
	var at int
	if len(m.slots) < mostMarks {
		at = len(m.slots)
		m.slots = append(m.slots, slot{id: markBegin | uint32(at)})
	} else {
		at = m.victim()
		s := &m.slots[at]
		m.gone = append(m.gone, change{s.id, s.is})
		delete(m.ids, s.is)
		s.id ^= mostMarks
	}
	s := &m.slots[at]
	s.is = t
	m.hold(at)
	m.ids[t] = s.id
	m.added = append(m.added, change{s.id, t})
	return s.id
}

// hold keeps a slot for a packet of this batch.
func (m *marks) hold(at int) {
	m.slots[at].users++
	m.held = append(m.held, at)
}

// landed frees what a queue's verdicts had, which are with the kernel now.
func (m *marks) landed(q *queue) {
	for _, at := range q.flying {
		m.slots[at].users--
	}
	q.flying = q.flying[:0]
}

// victim is a slot that no packet of this batch has, nor one whose verdict is on its way. There is one: all queues' batches are fewer than the slots.
func (m *marks) victim() int {
	for {
		at := m.hand
		m.hand = (m.hand + 1) % len(m.slots)
		if m.slots[at].users == 0 {
			return at
		}
	}
}

// commit writes what is new, in one transaction, and begins another batch: what this one has is the queue's from now on. After an error none of it is there:
// packets that have such marks are dropped.
func (m *marks) commit(q *queue) error {
	m.held, q.flying = q.flying[:0], m.held
	if len(m.added)+len(m.gone) == 0 {
		return nil
	}
	for of, elements := range grouped(m.gone) {
		if err := m.conn.SetDeleteElements(m.sets[of], elements); err != nil {
			return err
		}
	}
	for of, elements := range grouped(m.added) {
		if err := m.conn.SetAddElements(m.sets[of], elements); err != nil {
			return err
		}
	}
	err := m.conn.Flush()
	if err != nil {
		for _, c := range m.added {
			delete(m.ids, c.is)
		}
	}
	m.added, m.gone = m.added[:0], m.gone[:0]
	return err
}

func grouped(all []change) map[kind][]nftables.SetElement {
	out := map[kind][]nftables.SetElement{}
	for _, c := range all {
		out[c.is.kind] = append(out[c.is.kind], nftables.SetElement{Key: binary.NativeEndian.AppendUint32(nil, c.id), Val: c.is.value()})
	}
	return out
}

// value is a translation as its map has it: address, port, padding, mark.
func (t *translation) value() []byte {
	var b []byte
	if t.kind.proto != 0 {
		b = append(t.addr.AsSlice(), byte(t.port>>8), byte(t.port), 0, 0)
	}
	return binary.NativeEndian.AppendUint32(b, t.mark)
}

func (m *marks) close() error { return m.conn.CloseLasting() }

// replaces reports which end of a packet is translated at a hook by mark; ok is false where none is: FORWARD has no NAT, and at OUTPUT a verdict with another
// mark would have the kernel route the packet anew, with its mark of the moment (nf_reroute).
func replaces(h nat.Hook) (source, ok bool) {
	switch h {
	case nat.PreRouting:
		return false, true
	case nat.Input, nat.PostRouting:
		return true, true
	case nat.Forward, nat.Output:
	}
	return false, false
}

// keeping is the translation to a mark alone.
func keeping(f nat.Family, mark uint32) translation {
	return translation{kind: kind{family: f}, mark: mark}
}

// translationOf is what makes a packet another that begins with to, checksums aside; false where it is more than one end of it.
func translationOf(p *nfqueue.Packet, to []byte, mark uint32) (t translation, ok bool) {
	from := p.Payload
	n, plain := gateway.PlainHeader(from)
	source, ok := replaces(nat.Hook(p.Hook))
	if !plain || !ok || len(from) != len(to) {
		return t, false
	}
	const src4, src6, ipSum, protocol4, protocol6, tcpSum, udpSum = 12, 8, 10, 9, 6, 16, 6
	t.kind, t.mark = kind{family: nat.IPv4, proto: nat.Proto(from[protocol4]), source: source}, mark
	at, size := src4, net4
	if n == header6 {
		t.kind = kind{nat.IPv6, nat.Proto(from[protocol6]), source, p.Unsummed}
		at, size = src6, net6
	}
	port := n
	if !source {
		at, port = at+size, port+2
	}
	sum := tcpSum
	if t.kind.proto == nat.UDP {
		sum = udpSum
	}
	var room [gateway.BeginLength]byte
	other := append(room[:0], from...)
	copy(other[at:at+size], to[at:])
	copy(other[port:port+2], to[port:])
	copy(other[n+sum:n+sum+2], to[n+sum:])
	if t.kind.family == nat.IPv4 {
		copy(other[ipSum:ipSum+2], to[ipSum:])
	}
	if !bytes.Equal(other, to) {
		return t, false
	}
	t.addr, _ = netip.AddrFromSlice(to[at : at+size])
	t.port = binary.BigEndian.Uint16(to[port:])
	return t, true
}

const net4, net6, header6 = 4, 16, 40

// kindsAt are those of the translations of a family at a hook, in the order of their rules.
func kindsAt(f nat.Family, h nat.Hook) []kind {
	source, ok := replaces(h)
	if !ok {
		return nil
	}
	out := []kind{{family: f, proto: nat.TCP, source: source}, {family: f, proto: nat.UDP, source: source}}
	if f == nat.IPv6 {
		out = append(out, kind{f, nat.TCP, source, true}, kind{f, nat.UDP, source, true})
	}
	return append(out, kind{family: f})
}

// kinds are all of a family's.
func kinds(f nat.Family) []kind {
	in := kindsAt(f, nat.PreRouting)
	return slices.Concat(in[:len(in)-1], kindsAt(f, nat.PostRouting))
}
