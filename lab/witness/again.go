package witness

import (
	"encoding/binary"
	"sync"

	"natlab/nat"
)

// repeats keeps TCP from sending again what is on its way still: a packet that waits at taps, or for a processor, is late for its sender, and
// the one that is sent again would be translated by itself. One that was sent again is let out where no tap has seen anything new of
// its connection since it was sent last: then it may be lost. All namespaces of a session share one; nil keeps nothing back.
type repeats struct {
	mu   sync.Mutex
	seen map[uint32]uint64 // by the client's first sequence number, how many packets that open a connection or answer that were seen
	sent map[making]uint64 // what seen was when the packet left its maker last
}

// making is a packet in the namespace that makes it.
type making struct {
	member string
	tuple  nat.Tuple
	flags  uint8
	first  uint32 // the client's first sequence number
}

func newRepeats() *repeats { return &repeats{seen: map[uint32]uint64{}, sent: map[making]uint64{}} }

// keepsBack notes a packet at a tap, and reports whether it is one that is sent again too early.
func (r *repeats) keepsBack(member string, p packet) bool {
	hop, flags := p.seen.Hop, p.seen.TCPFlags&(syn|ack|rst)
	if r == nil || hop.Tuple.Proto() != nat.TCP || flags&syn == 0 {
		return false
	}
	first, ok := clientsFirst(p.payload, hop.Outer.IsValid(), flags)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if hop.Tap == nat.TapOutRaw && !hop.Outer.IsValid() {
		of := making{member, hop.Tuple, flags, first}
		if before, again := r.sent[of]; again && r.seen[first] > before {
			r.sent[of] = r.seen[first]
			return true
		}
		r.sent[of] = r.seen[first] + 1
	}
	r.seen[first]++
	return false
}

// clientsFirst is the first sequence number of the client of a connection, of a SYN or the SYN-ACK to it: no translation changes it.
func clientsFirst(b []byte, tunnelled bool, flags uint8) (uint32, bool) {
	_, proto, payload := parseIP(b)
	if tunnelled {
		if proto == nat.UDP {
			payload = payload[min(len(payload), udpHeader+vxlanHeader+etherHeader):]
		}
		_, _, payload = parseIP(payload)
	}
	const sequenceAt, acknowledgedAt, end = 4, 8, 12
	if len(payload) < end {
		return 0, false
	}
	if flags&ack != 0 {
		return binary.BigEndian.Uint32(payload[acknowledgedAt:]) - 1, true
	}
	return binary.BigEndian.Uint32(payload[sequenceAt:]), true
}
