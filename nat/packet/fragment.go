package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"natlab/nat"
)

// Fragment flags and offset of the IPv4 header's third word (RFC 791).
const (
	dontFragment  = 0x4000
	moreFragments = 0x2000
	offsetMask    = 0x1fff
)

// Fragment reports whether the packet is a fragment of another one.
func (p *Packet) Fragment() bool { return p.later || p.first }

// fragmentKey is what fragments of one packet have in common.
type fragmentKey struct {
	src, dst netip.Addr
	proto    nat.Proto
	id       uint16
}

// Bounds of what Fragments keep: bytes (ipfrag_high_thresh) and nanoseconds (ipfrag_time).
const (
	fragmentBytes = 4 << 20
	fragmentTime  = int64(30e9)
)

// Fragments puts fragments of IPv4 packets together (ip_fragment.c). The zero Fragments is ready.
type Fragments struct {
	waiting map[fragmentKey]*assembly
	bytes   int
	oldest  int64 // none of them waits since earlier
}

// assembly is a packet of which fragments are missing.
type assembly struct {
	parts      []part // by offset
	end        int    // of all; known once the last fragment is there
	last       bool
	size       int
	max, maxDF int // the longest fragment, and the longest that must not be split, with their headers
	since      int64
}

type part struct {
	offset int
	packet []byte
	header int // of its bytes
}

func (a part) end() int { return a.offset + len(a.packet) - a.header }

// Whole is a packet that was put together: as IP leaves it, and how it came in pieces.
type Whole struct {
	Packet []byte
	Sizes  []int // of each fragment's data, in order
	Max    int   // the longest fragment, with its header
}

// Add takes in a fragment, at a time in nanoseconds. The packet comes back with the fragment that makes it whole. One
// that contradicts those before it throws them away; so do 30 seconds. What is no fragment of IPv4 is not taken.
func (f *Fragments) Add(p *Packet, now int64) (w Whole, ok bool) {
	if p.V6() || !p.Fragment() {
		return w, false
	}
	f.expire(now)
	key := fragmentKey{p.tuple.Src().Addr(), p.tuple.Dst().Addr(), p.proto, binary.BigEndian.Uint16(p.b[4:])}
	a := f.waiting[key]
	if a == nil {
		if f.bytes+len(p.b) > fragmentBytes {
			return w, false
		}
		if f.waiting == nil {
			f.waiting = map[fragmentKey]*assembly{}
		}
		a = &assembly{since: now}
		if len(f.waiting) == 0 {
			f.oldest = now
		}
		f.waiting[key] = a
	}
	was := a.size
	good := a.add(p)
	f.bytes += a.size - was
	complete := a.last && a.size == a.end+a.headers()
	if good && !complete {
		return w, false
	}
	delete(f.waiting, key)
	f.bytes -= a.size
	if good {
		w = a.whole()
	}
	return w, good
}

// expire looks at those that wait only when one of them may have waited too long: a flood costs no more than a glance.
func (f *Fragments) expire(now int64) {
	if now-f.oldest < fragmentTime {
		return
	}
	f.oldest = now
	for k, a := range f.waiting {
		if now-a.since >= fragmentTime {
			f.bytes -= a.size
			delete(f.waiting, k)
			continue
		}
		f.oldest = min(f.oldest, a.since)
	}
}

func (a *assembly) headers() (n int) {
	for _, p := range a.parts {
		n += p.header
	}
	return n
}

// add is ip_frag_queue; false: the fragment does not fit to the others.
func (a *assembly) add(p *Packet) bool {
	word := int(binary.BigEndian.Uint16(p.b[6:]))
	one := part{offset: (word & offsetMask) * 8, packet: slices.Clone(p.b), header: p.at}
	if word&moreFragments != 0 { // what is more than whole words is cut off
		one.packet = one.packet[:len(one.packet)-(len(one.packet)-one.header)%8]
	}
	switch end := one.end(); {
	case end == one.offset || end+one.header > 65535:
		return false
	case word&moreFragments == 0:
		if end < a.end || a.last && end != a.end {
			return false
		}
		a.last, a.end = true, end
	case end > a.end:
		if a.last {
			return false
		}
		a.end = end
	}
	at, _ := slices.BinarySearchFunc(a.parts, one.offset, func(p part, offset int) int { return p.offset - offset })
	for _, there := range a.parts {
		switch {
		case there.offset <= one.offset && one.end() <= there.end():
			return true // it is there already
		case there.offset < one.end() && one.offset < there.end():
			return false
		}
	}
	a.parts = slices.Insert(a.parts, at, one)
	a.size += len(one.packet)
	a.max = max(a.max, len(one.packet))
	if word&dontFragment != 0 {
		a.maxDF = max(a.maxDF, len(one.packet))
	}
	return true
}

// whole is ip_frag_reasm: the first fragment's header before all data; don't-fragment stays where the longest one has
// it.
func (a *assembly) whole() Whole {
	w := Whole{Max: a.max}
	for i, p := range a.parts {
		data := p.packet[p.header:]
		if i == 0 {
			data = p.packet
		}
		w.Packet = append(w.Packet, data...)
		w.Sizes = append(w.Sizes, p.end()-p.offset)
	}
	word := uint16(0)
	if a.max == a.maxDF {
		word = dontFragment
	}
	binary.BigEndian.PutUint16(w.Packet[2:], uint16(len(w.Packet)))
	binary.BigEndian.PutUint16(w.Packet[6:], word)
	sealHeader(w.Packet)
	return w
}

// Split cuts an IPv4 packet into fragments that are not longer than limit, a number of bytes with the header; of those
// sizes of their data where they fit, add up and begin at multiples of 8 bytes, without don't-fragment then (ip_do_fragment).
func (p *Packet) Split(limit int, sizes []int) [][]byte {
	header := p.b[:int(p.b[0]&15)*4]
	room, left := limit-len(header), len(p.b)-len(header)
	sum, even := 0, true
	for _, n := range sizes {
		even = even && sum%8 == 0 // where one begins
		sum += n
	}
	if len(sizes) > 0 && even && sum == left && slices.Max(sizes) <= room {
		return p.cut(header, sizes, 0)
	}
	if sizes = p.Pieces(limit); sizes == nil {
		return [][]byte{p.b}
	}
	const reserved = 0x8000 // it is lost
	return p.cut(header, sizes, binary.BigEndian.Uint16(header[6:])&^reserved)
}

// Pieces are the sizes of the data of fragments that are not longer than limit; nil where that leaves no room for any.
func (p *Packet) Pieces(limit int) (sizes []int) {
	header := int(p.b[0]&15) * 4
	for left := len(p.b) - header; left > 0; left -= sizes[len(sizes)-1] {
		n := left
		if n > limit-header {
			n = (limit - header) &^ 7
		}
		if n <= 0 {
			return nil
		}
		sizes = append(sizes, n)
	}
	return sizes
}

func (p *Packet) cut(header []byte, sizes []int, word uint16) (out [][]byte) {
	offset := 0
	for i, n := range sizes {
		b := append(slices.Clone(header), p.b[len(header)+offset:][:n]...)
		flags := word + uint16(offset/8)
		if i < len(sizes)-1 {
			flags |= moreFragments
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[6:], flags)
		sealHeader(b)
		out = append(out, b)
		offset += n
	}
	return out
}

// sealHeader computes an IPv4 header's checksum.
func sealHeader(b []byte) {
	header := b[:int(b[0]&15)*4]
	binary.BigEndian.PutUint16(header[10:], 0)
	binary.BigEndian.PutUint16(header[10:], ^fold(sum(0, header)))
}
