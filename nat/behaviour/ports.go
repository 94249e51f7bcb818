package behaviour

import (
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// choose finds an external endpoint for a new mapping. false: there is none left.
func (t *Table) choose(c *conntrack.Conn, k key, r *conntrack.Range, at time.Time) (netip.AddrPort, bool) {
	if !r.Min.IsValid() || r.Min == r.Max {
		addr := r.Min
		if !addr.IsValid() {
			addr = k.internal.Addr()
		}
		return t.chooseOn(addr, c, k, r, at)
	}
	if h := t.hosts[k.internal.Addr()]; !t.nat.Arbitrary && h != nil && !h.address.Less(r.Min) && !r.Max.Less(h.address) {
		return t.chooseOn(h.address, c, k, r, at)
	}
	const tries = 256 // addresses
	for range tries {
		addr := t.nextAddress(r)
		if external, ok := t.chooseOn(addr, c, k, r, at); ok {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// nextAddress takes the addresses of a range one after another.
func (t *Table) nextAddress(r *conntrack.Range) netip.Addr {
	addr := r.Min
	for range t.turn {
		if addr = addr.Next(); r.Max.Less(addr) {
			addr, t.turn = r.Min, 0
			break
		}
	}
	t.turn = (t.turn + 1) & 0xffff
	return addr
}

// chooseOn finds a port of an external address.
func (t *Table) chooseOn(addr netip.Addr, c *conntrack.Conn, k key, r *conntrack.Range, at time.Time) (netip.AddrPort, bool) {
	s := search{t: t, c: c, k: k, addr: addr, at: at}
	s.low, s.high = t.rangeOf(k, r)
	if t.nat.Block == 0 {
		return s.port(s.low, s.high)
	}
	h := t.host(k.internal.Addr())
	for _, b := range h.blocks {
		if b.addr != addr {
			continue
		}
		if external, ok := s.in(b); ok {
			return external, true
		}
	}
	if t.nat.Blocks == 0 || len(h.blocks) < int(t.nat.Blocks) {
		for low := s.low; low+uint32(t.nat.Block)-1 <= s.high; low += uint32(t.nat.Block) {
			b := block{addr, uint16(low)}
			if t.blocks[b] != nil {
				continue
			}
			external, ok := s.in(b)
			if ok {
				t.blocks[b] = h
				h.blocks = append(h.blocks, b)
				return external, true
			}
		}
	}
	if h.mappings == 0 {
		delete(t.hosts, k.internal.Addr())
	}
	return netip.AddrPort{}, false
}

// rangeOf is which ports a mapping may have: the rule's, the NAT's, or of well-known ports others of these (RFC 4787, REQ-3).
func (t *Table) rangeOf(k key, r *conntrack.Range) (low, high uint32) {
	const wellKnown = 1024
	switch {
	case r.Ports:
		return uint32(min(r.MinPort, r.MaxPort)), uint32(max(r.MinPort, r.MaxPort))
	case t.nat.High != 0:
		return uint32(t.nat.Low), uint32(t.nat.High)
	case !hasPorts(k.proto): // identifiers of queries
		return 0, 65535
	case k.internal.Port() < wellKnown:
		return 1, wellKnown - 1
	}
	return wellKnown, 65535
}

// search is one for a port.
type search struct {
	t         *Table
	c         *conntrack.Conn
	k         key
	addr      netip.Addr
	low, high uint32
	at        time.Time
}

// in searches in a block.
func (s *search) in(b block) (netip.AddrPort, bool) {
	low := uint32(b.low)
	return s.port(low, low+uint32(s.t.nat.Block)-1)
}

// port searches from low to high, both included.
func (s *search) port(low, high uint32) (netip.AddrPort, bool) {
	own, step := uint32(s.k.internal.Port()), uint32(1)
	if s.t.nat.Ports == Overload {
		if own < low || own > high {
			own = low
		}
		return netip.AddrPortFrom(s.addr, uint16(own)), true
	}
	if !s.t.nat.AnyParity && hasPorts(s.k.proto) {
		step, low = 2, low+(low^own)&1
	}
	if low > high {
		return netip.AddrPort{}, false
	}
	n := (high-low)/step + 1
	kind := place{s.k.proto, netip.AddrPortFrom(s.addr, 0)}
	first := s.first(kind, low, high, step) % n
	for i := range n {
		external := netip.AddrPortFrom(s.addr, uint16(low+(first+i)%n*step))
		if s.free(external) {
			s.t.given[kind] = external.Port()
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// first is where the search begins, in steps from low.
func (s *search) first(kind place, low, high, step uint32) uint32 {
	switch s.t.nat.Ports {
	case Preserve:
		if own := uint32(s.k.internal.Port()); own >= low && own <= high {
			return (own - low) / step
		}
	case Sequential:
		if last, ok := s.t.given[kind]; ok && uint32(last) >= low {
			return (uint32(last)-low)/step + 1
		}
	case Random:
		if chance := s.t.conns.Chance; chance != nil {
			return chance.Uint32()
		}
	case Overload:
	}
	return 0
}

// free reports whether neither a mapping nor a connection of the NAT itself has an external endpoint.
func (s *search) free(external netip.AddrPort) bool {
	if m := s.t.external[place{s.k.proto, external}]; m != nil && s.t.live(m, s.at) {
		return false
	}
	now := s.c.Reply.Reply()
	if s.k.proto == nat.ICMP || s.k.proto == nat.ICMPv6 {
		now = now.WithDst(netip.AddrPortFrom(now.Dst().Addr(), external.Port()))
	}
	return !s.t.conns.Taken(s.c, now.WithSrc(external))
}
