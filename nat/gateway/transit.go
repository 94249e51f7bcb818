package gateway

import (
	"encoding/binary"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
)

// fingerprint is what tells a packet from others at all hooks behind the one at which it was taken: what the kernel leaves as it is on the way
// from hook to hook, where it counts the TTL down. Packets that are alike in this are told apart by their order.
type fingerprint struct {
	tuple  nat.Tuple
	length int
	id     uint16 // IPv4's
	begin  uint64 // of the transport header: ports, sequence number or length
	more   uint64 // of what is behind it: of TCP's the acknowledgement, the flags and the window, else of what it carries
}

// fingerprintOf is a packet's fingerprint. It holds for the packet inside an ICMP error of the kernel's, too, which need not be there whole, but to the end of its
// headers.
func fingerprintOf(p *packet.Packet) fingerprint {
	b, h := p.Bytes(), p.Transport()
	out := fingerprint{tuple: p.Tuple()}
	if p.V6() {
		out.length = int(binary.BigEndian.Uint16(b[4:]))
	} else {
		out.length, out.id = int(binary.BigEndian.Uint16(b[2:])), binary.BigEndian.Uint16(b[4:])
	}
	if len(h) >= 8 {
		out.begin = binary.BigEndian.Uint64(h)
		switch h = h[8:]; p.Proto() {
		case nat.UDP: // its checksum may be the pseudo header's alone, which the kernel keeps in its own way
			out.begin &^= 0xffff
		case nat.ICMP, nat.ICMPv6: // an answer may quote what is known later
			out.begin &^= 0xffff << 32
			if _, quotes := p.Inside(); quotes {
				return out
			}
		case nat.SCTP: // which has it behind the tag
			h = h[min(len(h), 4):]
		}
		var more [8]byte
		copy(more[:], h)
		out.more = binary.BigEndian.Uint64(more[:])
	}
	return out
}

// stage is how far a packet has come in the kernel.
type stage uint8

const (
	stageAnswer stage = iota // it was given to the kernel, and will come to OUTPUT
	stagePreRouting
	stageForward
	stageOutput
	stageLooped // it left by lo, and comes in again
	stageCopied // a copy of it for the node itself is in front of it
)

func stageOf(h nat.Hook) stage {
	switch h {
	case nat.PreRouting:
		return stagePreRouting
	case nat.Forward:
		return stageForward
	case nat.Output:
		return stageOutput
	case nat.Input, nat.PostRouting:
	}
	return stageLooped
}

// leadsTo reports whether a hook can come next, of those at which packets are handed over.
func (s stage) leadsTo(h nat.Hook) bool {
	switch s {
	case stageAnswer:
		return h == nat.Output
	case stagePreRouting:
		return h == nat.Input || h == nat.Forward || h == nat.PostRouting
	case stageForward, stageOutput, stageCopied:
		return h == nat.PostRouting
	case stageLooped:
		return h == nat.PreRouting
	}
	return false
}

// transit are the packets that are in the kernel, between two hooks. The zero transit is empty.
type transit struct {
	waiting      map[fingerprint]*traveller
	oldest, last *traveller
	count        int
	spare        *traveller
	delivered    delivered
	id           uint16 // of the IPv4 packet that was sent last
	serial       uint32 // of the packet that came last
}

// traveller is one of them.
type traveller struct {
	passage
	print  fingerprint
	serial uint32
	twin   bool // a copy of it was in front of it
	stage  stage
	since  int64
	next   *traveller // of the same print, the younger; or the next spare one
	end    *traveller // of the first of a print: the youngest
	older  *traveller // of all
	young  *traveller
}

// What the kernel takes off between two hooks is not told: after this time, or when so many are on their way, the oldest are taken for
// lost, and a connection that one of them was to begin is dropped.
const (
	transitTime = int64(30 * time.Second)
	transitMost = 1 << 16
)

// traveller is a new one.
func (t *transit) traveller() *traveller {
	one := t.spare
	if one == nil {
		one = &traveller{}
	} else {
		t.spare = one.next
	}
	one.next, one.twin = nil, false
	one.reset()
	t.serial = max(t.serial+1, 1)
	one.serial = t.serial
	return one
}

// free takes one back that goes no further.
func (t *transit) free(one *traveller) {
	one.next, t.spare = t.spare, one
}

// put notes that a packet is in the kernel from now on.
func (t *transit) put(one *traveller, s stage, at time.Time) {
	if t.waiting == nil {
		t.waiting = map[fingerprint]*traveller{}
	}
	one.print, one.stage, one.since, one.next = fingerprintOf(&one.pkt), s, at.UnixNano(), nil
	one.pkt, one.view.Wire = packet.Packet{}, nil // its bytes are the kernel's again
	if first := t.waiting[one.print]; first == nil {
		t.waiting[one.print], one.end = one, one
	} else {
		first.end.next = one
		first.end = one
	}
	if one.older, one.young = t.last, nil; t.last != nil {
		t.last.young = one
	} else {
		t.oldest = one
	}
	t.last = one
	t.count++
}

// forwarded reports whether a packet came in by a device, which at POSTROUTING the node's own did not.
func (s stage) forwarded() bool { return s == stagePreRouting || s == stageForward }

// claim is the packet of that print that can come to a hook now by the device that the kernel tells, which leaves the list; of several the one that was put there first:
// another like it may have been lost behind PREROUTING. At POSTROUTING one that has come as the kernel tells goes before others. nil: there is none.
func (t *transit) claim(p fingerprint, h nat.Hook, in *device, forwarded bool) *traveller {
	var found *traveller
	for one := t.waiting[p]; one != nil; one = one.next {
		if !one.stage.leadsTo(h) || h != nat.PreRouting && in != nil && one.in != nil && one.in.Name != in.Name { // it may be told of anew meanwhile (Move)
			continue
		}
		same := h != nat.PostRouting || one.stage.forwarded() == forwarded
		if found == nil || same {
			found = one
		}
		if same {
			break
		}
	}
	if found != nil {
		t.remove(found)
	}
	return found
}

// mistaken reports whether a packet that nobody asks for any more would be taken at its next hook for one that is waiting, which may be lost.
func (t *transit) mistaken(one *traveller, s stage) bool {
	if len(t.waiting) == 0 {
		return false
	}
	for other := t.waiting[fingerprintOf(&one.pkt)]; other != nil; other = other.next {
		if other.stage != s {
			return true
		}
	}
	return false
}

// find is the packet of that print, wherever it is; nil: there is none.
func (t *transit) find(p fingerprint) *traveller { return t.waiting[p] }

// delivered are the packets that came to the node itself last, of protocols that perhaps nobody there takes: an error about one comes at once. So few are kept
// that a tunnel's many cost nothing.
type delivered struct {
	all  []arrived // nil: none came yet
	next int
}

// arrived is one of them.
type arrived struct {
	print fingerprint
	ref   conntrack.Ref
}

// mostDelivered is how many are kept.
const mostDelivered = 256

func (d *delivered) note(p *passage) {
	if d.all == nil {
		d.all = make([]arrived, mostDelivered)
	}
	d.all[d.next] = arrived{fingerprintOf(&p.pkt), p.ref}
	d.next = (d.next + 1) % mostDelivered
}

// take is the connection of the last one of that print, which is asked for once; false: there is none.
func (d *delivered) take(p fingerprint) (ref conntrack.Ref, ok bool) {
	for i := range d.all {
		one := &d.all[(d.next+2*mostDelivered-1-i)%mostDelivered]
		if one.ref.Conn != nil && one.print == p {
			ref, one.ref = one.ref, conntrack.Ref{}
			return ref, true
		}
	}
	return ref, false
}

func (t *transit) remove(one *traveller) {
	if first := t.waiting[one.print]; first != one {
		before := first
		for before.next != one {
			before = before.next
		}
		if before.next = one.next; first.end == one {
			first.end = before
		}
	} else if one.next != nil {
		t.waiting[one.print], one.next.end = one.next, one.end
	} else {
		delete(t.waiting, one.print)
	}
	if one.older != nil {
		one.older.young = one.young
	} else {
		t.oldest = one.young
	}
	if one.young != nil {
		one.young.older = one.older
	} else {
		t.last = one.older
	}
	one.next, one.end, one.older, one.young = nil, nil, nil, nil
	t.count--
}

// expire takes those for lost that have been on their way for too long.
func (t *transit) expire(conns *conntrack.Table, at time.Time) {
	for t.oldest != nil && (at.UnixNano()-t.oldest.since > transitTime || t.count > transitMost) {
		one := t.oldest
		t.remove(one)
		if one.ref.Conn != nil {
			conns.Drop(one.ref.Conn)
		}
		t.free(one)
	}
}
