package nftnl

import (
	"slices"

	"natlab/nat/nftables"
)

var opNames = []string{"==", "!=", "<", "<=", ">", ">="}

func (r *ruleReader) cmp(a *fields) error {
	c, op := r.held(a.u32(1)), a.u32(2)
	b, err := dataOf(a[3])
	if err != nil {
		return err
	}
	if op >= uint32(len(opNames)) || len(b) == 0 || c.x == nil || c.bytes == 0 {
		r.unread()
		return nil
	}
	switch _, other := c.x.(nftables.Other); {
	case other:
		r.say(nftables.Match{Left: c.x, Op: opNames[op], Right: nftables.Constant{Type: nftables.Untold, Raw: raw(b)}})
	case c.mask != nil:
		r.masked(c, op, b)
	case c.present:
		word := "missing"
		if b[0] != 0 {
			word = "exists"
		}
		r.sayMatch(c.x, op, nftables.ReadConstant(c.kind, word))
	case c.kind == nftables.RawBits && r.joined(c, op, b):
	case len(b) < c.bytes, c.header != "" && c.bytes < fieldBytes(c.x):
		r.sayMatch(c.x, op, r.begins(c, b))
	case op == cmpLte && r.rangeAt == len(r.out)-1 && r.rangeAt >= 0 && sameLeft(r.out[r.rangeAt], c.x):
		low := r.out[r.rangeAt].(nftables.Match).Right.(nftables.Constant)
		high := r.constant(c.kind, b, b, c.host)
		r.out[r.rangeAt] = nftables.Match{Left: c.x, Right: nftables.Range(low, high)}
		r.rangeAt = -1
	default:
		right := r.constant(c.kind, b, b, c.host)
		if _, is := c.x.(nftables.Fib); is && c.kind == nftables.IfIndex && zero(b) {
			right = nftables.ReadConstant(c.kind, "0")
		}
		r.sayMatch(c.x, op, right)
		r.note(c.x, op, b)
	}
	return nil
}

// note notes which protocol the rule is about from here on.
func (r *ruleReader) note(x nftables.Expr, op uint32, b []byte) {
	switch {
	case op == cmpGte:
		r.rangeAt = len(r.out) - 1
	case op != cmpEq:
	case x == nftables.Selector("meta nfproto"):
		r.network, r.networkAt = b[0], len(r.out)-1
	case x == nftables.Selector("meta l4proto"):
		r.transport, r.transportAt = b[0], len(r.out)-1
	case x == nftables.Selector("ip protocol"), x == nftables.Selector("ip6 nexthdr"):
		r.transport = b[0]
	}
}

func sameLeft(s nftables.Statement, x nftables.Expr) bool {
	m, is := s.(nftables.Match)
	return is && m.Op == ">=" && m.Left.String() == x.String()
}

// sayMatch is a comparison as nft prints it: "==" only where it has to.
func (r *ruleReader) sayMatch(left nftables.Expr, op uint32, right nftables.Constant) {
	m := nftables.Match{Left: left, Op: opNames[op], Right: right}
	_, operation := left.(nftables.Operation)
	if op == cmpEq && !operation && !right.Type.Flags() {
		m.Op = ""
	}
	r.say(m)
}

// fieldBytes is how long the field is that a selector names.
func fieldBytes(x nftables.Expr) int {
	if s, is := x.(nftables.Selector); is {
		_, _, bits, _ := s.Field()
		return (bits + 7) / 8
	}
	return 0
}

// begins are the values that begin with some bytes: a network, or names with a "*" behind.
func (r *ruleReader) begins(c cell, b []byte) nftables.Constant {
	if c.kind == nftables.IfName {
		return nftables.Name(c.kind, textOf(b)+"*")
	}
	size := max(fieldBytes(c.x), c.bytes, len(b))
	low := append(slices.Clone(b), make([]byte, size-len(b))...)
	high := append(slices.Clone(b), slices.Repeat([]byte{0xff}, size-len(b))...)
	return r.constant(c.kind, low, high, c.host)
}

// masked compares what a mask leaves.
func (r *ruleReader) masked(c cell, op uint32, b []byte) {
	plain := zero(c.xor) && op <= cmpNeq && len(b) == len(c.mask)
	flags := plain && zero(b) && c.kind.Flags()
	switch {
	case flags && op == cmpNeq:
		r.say(nftables.Match{Left: c.x, Right: r.constant(c.kind, c.mask, c.mask, c.host)})
		return
	case flags:
		r.say(nftables.Match{Left: c.x, Op: "!", Right: r.constant(c.kind, c.mask, c.mask, c.host)})
		return
	case plain && (c.kind == nftables.IPv4Addr || c.kind == nftables.IPv6Addr):
		high := slices.Clone(b)
		for i := range high {
			high[i] |= ^c.mask[i]
		}
		network := r.constant(c.kind, b, high, false)
		if _, is := network.Wild(); is && prefixMask(c.mask) {
			r.sayMatch(c.x, op, network)
			return
		}
	case plain && c.header != "":
		if s, value, is := c.part(b); is {
			r.depends(c.header)
			r.sayMatch(s, op, nftables.Value(nftables.TypesOf(s)[0], value))
			return
		}
	}
	right := r.constant(c.kind, b, b, c.host)
	r.say(nftables.Match{Left: c.expr(r.decoder), Op: opNames[op], Right: right})
}

// prefixMask reports whether a mask is ones in front of zeros.
func prefixMask(mask []byte) bool {
	ones := true
	for _, c := range mask {
		for bit := 7; bit >= 0; bit-- {
			one := c>>bit&1 == 1
			if one && !ones {
				return false
			}
			ones = one
		}
	}
	return true
}

// part is the field of less than whole bytes that a mask takes out of a header's, with the value that it is compared with.
func (c cell) part(b []byte) (s nftables.Selector, value uint64, ok bool) {
	if len(c.mask) > 8 {
		return "", 0, false
	}
	mask, number := numberOf(c.mask, false).Low, numberOf(b, false).Low
	if mask == 0 {
		return "", 0, false
	}
	low := 0
	for mask>>low&1 == 0 {
		low++
	}
	width := 0
	for mask>>(low+width)&1 == 1 {
		width++
	}
	s, ok = nftables.FieldAt(c.header, c.at*8+len(c.mask)*8-low-width, width)
	if !ok || mask>>(low+width) != 0 {
		return "", 0, false
	}
	_, _, bits, _ := s.Field()
	return s, number >> low, bits == width && bits%8 != 0
}

// joined takes a comparison of several fields at once to pieces, as nft joins those that lie side by side; false where they are not.
func (r *ruleReader) joined(c cell, op uint32, b []byte) bool {
	if op > cmpNeq || len(b) != c.bytes {
		return false
	}
	type part struct {
		s nftables.Selector
		b []byte
	}
	var parts []part
	for at := 0; at < len(b); {
		s, is := nftables.FieldAt(c.header, (c.at+at)*8, 8)
		size := fieldBytes(s)
		if _, _, bits, _ := s.Field(); !is || bits%8 != 0 || at+size > len(b) {
			return false
		}
		parts = append(parts, part{s, b[at : at+size]})
		at += size
	}
	r.depends(c.header)
	for _, p := range parts {
		kind := nftables.TypesOf(p.s)[0]
		r.sayMatch(p.s, op, r.constant(kind, p.b, p.b, false))
	}
	return true
}

// between is a comparison with a range.
func (r *ruleReader) between(a *fields) error {
	c := r.held(a.u32(1))
	low, err := dataOf(a[3])
	if err != nil {
		return err
	}
	high, err := dataOf(a[4])
	if err != nil {
		return err
	}
	if c.mask != nil || c.x == nil || len(low) != len(high) || a.u32(2) > cmpNeq {
		r.unread()
		return nil
	}
	r.sayMatch(c.x, a.u32(2), r.constant(c.kind, low, high, c.host))
	return nil
}
