package conntrack

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"natlab/nat"
)

// address is a tuple with the end's address chosen from the range (find_best_ips_proto): the same source gets the same
// one for the same destination, by a hash that has no secret.
func (r *Range) address(t nat.Tuple, m Manip) nat.Tuple {
	if !r.Min.IsValid() {
		return t
	}
	a := r.Min
	if r.Min != r.Max {
		a = r.spread(t, m)
	}
	if m == ManipSource {
		return t.WithSrc(netip.AddrPortFrom(a, t.Src().Port()))
	}
	return t.WithDst(netip.AddrPortFrom(a, t.Dst().Port()))
}

// words are an address's 32-bit words as the kernel keeps them, in network byte order read as host order of a little
// endian machine; an IPv4 address has one.
func words(a netip.Addr) (w [4]uint32, n int) {
	if a.Is4() {
		b := a.As4()
		return [4]uint32{binary.LittleEndian.Uint32(b[:])}, 1
	}
	b := a.As16()
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w, 4
}

func (r *Range) spread(t nat.Tuple, m Manip) netip.Addr {
	src, _ := words(t.Src().Addr())
	dst, n := words(t.Dst().Addr())
	low, _ := words(r.Min)
	high, _ := words(r.Max)
	seed := uint32(0)
	if !r.Persistent {
		seed = dst[n-1]
	}
	j := nat.JHash(src[:], seed)
	var out [4]uint32
	full := false
	for i := range n {
		least, dist := uint32(0), ^uint32(0)
		if !full {
			least = bits.ReverseBytes32(low[i])
			dist = bits.ReverseBytes32(high[i]) - least + 1
		}
		out[i] = bits.ReverseBytes32(least + uint32(uint64(j)*uint64(dist)>>32))
		if out[i] != high[i] {
			full = true
		}
		if m == ManipDestination { // the tuple's destination is what was just written
			dst[i] = out[i]
		}
		if !r.Persistent {
			j ^= dst[i]
		}
	}
	return addressOf(out, n)
}

func addressOf(w [4]uint32, n int) netip.Addr {
	var b [16]byte
	for i := range n {
		binary.LittleEndian.PutUint32(b[4*i:], w[i])
	}
	if n == 1 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}
