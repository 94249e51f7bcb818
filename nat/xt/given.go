package xt

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
)

// Range is the first value as "a", "a<sep>b", "a<sep>" or "<sep>b", of numbers of so many bits. Its ends may stand in
// either order, as those of XTTYPE_UINT32RC and XTTYPE_PORTRC: nothing is between them where the first is the greater.
func (g *Given) Range(sep string, bits int) (low, high uint64) {
	top := ^uint64(0) >> (64 - bits)
	first, second, two := strings.Cut(g.Text(), sep)
	end := func(s string, empty uint64) (uint64, bool) {
		if s == "" && two {
			return empty, true
		}
		return Number(s, top)
	}
	low, ok := end(first, 0)
	high, ok2 := low, true
	if two {
		high, ok2 = end(second, top)
	}
	if !ok || !ok2 {
		g.bad(0, "a number, or LOW"+sep+"HIGH")
	}
	return low, high
}

// Shortened is value 0 as a list of names, joined by commas. Case does not count, and the beginning of a name will do
// (strncasecmp with the length of what is given).
func (g *Given) Shortened(names []string) (bits uint32) {
	for w := range strings.SplitSeq(g.Text(), ",") {
		i := slices.IndexFunc(names, func(name string) bool {
			return w != "" && len(w) <= len(name) && strings.EqualFold(w, name[:len(w)])
		})
		if i < 0 {
			g.bad(0, "some of "+strings.Join(names, ","))
			return 0
		}
		bits |= 1 << i
	}
	return bits
}

// Exact is the first value as a list of names, joined by commas, spelt as they are.
func (g *Given) Exact(names []string) (bits uint32) {
	for w := range strings.SplitSeq(g.Text(), ",") {
		i := slices.Index(names, w)
		if i < 0 {
			g.bad(0, "some of "+strings.Join(names, ","))
			return 0
		}
		bits |= 1 << i
	}
	return bits
}

// Cut is the first value, as much of it as n bytes have room for (XTTYPE_STRING, which cuts in silence).
func (g *Given) Cut(n int) string {
	s := g.Text()
	if strings.ContainsRune(s, 0) {
		g.bad(0, "no zero byte")
	}
	return s[:min(n, len(s))]
}

// HostMask is the first value as ADDRESS, ADDRESS/LENGTH or ADDRESS/MASK, the address as it stands there
// (XTTYPE_HOSTMASK).
func (g *Given) HostMask() AddrMask {
	text, m, has := strings.Cut(g.Text(), "/")
	f := g.args.Family
	a, ok := g.args.host(text)
	if !ok {
		g.bad(0, "ADDRESS[/MASK] of "+f.String())
		return AddrMask{}
	}
	bits := widthOf(f)
	if has {
		bits = g.maskLength(m)
	}
	return AddrMask{a, maskOfBits(bits, f)}
}

// prefixLength is the first value as maskLength has it, without a hole (XTTYPE_PLEN).
func (g *Given) prefixLength() int {
	if mask, ok := g.args.mask(g.Text()); ok {
		if _, whole := MaskBits(mask); !whole {
			g.bad(0, "a mask without a hole")
		}
	}
	return g.maskLength(g.Text())
}

// maskLength is a mask's length, written as such or as an address. One with a hole becomes a full one (XTTYPE_PLENMASK,
// which keeps its length of -1 in eight bits).
func (g *Given) maskLength(text string) int {
	width := widthOf(g.args.Family)
	if n, ok := Number(text, uint64(width)); ok {
		return int(n)
	}
	mask, ok := g.args.mask(text)
	if !ok {
		g.bad(0, "a mask as a length or an address")
		return 0
	}
	if n, whole := MaskBits(mask); whole {
		return n
	}
	return width
}

// Proto is the first value as a protocol's number or name; 0 is "all".
func (g *Given) Proto() nat.Proto {
	p, ok := nat.ParseRuleProto(g.Text())
	if !ok {
		g.bad(0, "a protocol's name, or a number from 0 to 255")
	}
	return p
}

// equalIn reports whether two addresses are the same within a mask.
func equalIn(a, b, mask netip.Addr) bool { return maskedBy(a, mask) == maskedBy(b, mask) }
