package xt

import (
	"fmt"
	"math"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// The numbers of IPv6 extension headers.
const (
	hopByHopHeader    nat.Proto = 0
	routingHeader     nat.Proto = 43
	fragmentHeader    nat.Proto = 44
	noNextHeader      nat.Proto = 59
	destinationHeader nat.Proto = 60
)

// HeaderNumber is a number that a header has to have, or must not have. A nil one is not asked for.
type HeaderNumber struct {
	Not   bool
	Value uint32
}

func (n *HeaderNumber) meets(got uint32) bool { return n == nil || (got == n.Value) != n.Not }

// save prints the option.
func (n *HeaderNumber) save(p *Printer, option string) {
	if n != nil {
		p.Not(n.Not)
		p.Number(option, uint64(n.Value))
	}
}

// list prints " name:!42".
func (n *HeaderNumber) list(p *Printer, name string) {
	if n != nil {
		p.Textf(" %s:%s%d", name, bang(n.Not), n.Value)
	}
}

// giveNumber gives an option for what HeaderNumber.list prints.
func (l *Listing) giveNumber(name, option string) {
	if l.Take(name + ":") {
		l.Give(option, l.Bang(), l.Run(digits))
	}
}

// number is the first value as a number of 32 bits.
func (g *Given) number() *HeaderNumber { return &HeaderNumber{g.Not, uint32(g.Uint(32))} }

// HeaderRange is numbers of which a header has to have one, or must not. Ends in the wrong order hold none. A nil one is not
// asked for.
type HeaderRange struct {
	Not       bool
	Low, High uint32
}

func (r *HeaderRange) meets(got uint32) bool {
	return r == nil || (r.Low <= got && got <= r.High) != r.Not
}

// whole reports whether the range is all numbers.
func (r *HeaderRange) whole() bool { return r.Low == 0 && r.High == math.MaxUint32 }

// save prints the option; one of all numbers before wholeRanges not, though it is inverted.
func (r *HeaderRange) save(p *Printer, option string) {
	if r != nil && (p.Exact || !r.whole() || !p.Version.Before(wholeRanges)) {
		p.Option(r.Not, option, span(r.Low, r.High, ":"))
	}
}

// list prints "name:!5" or "names:!5:9".
func (r *HeaderRange) list(p *Printer, name string) {
	switch {
	case r == nil:
	case r.Low == r.High:
		p.Textf("%s:%s%d", name, bang(r.Not), r.Low)
	default:
		p.Textf("%ss:%s%d:%d", name, bang(r.Not), r.Low, r.High)
	}
}

// giveRange gives an option for what HeaderRange.list prints.
func (l *Listing) giveRange(name, option string) {
	if l.Take(name+"s:") || l.Take(name+":") {
		l.Give(option, l.Bang(), l.Run(digits+":"))
	}
}

// numberRange is the first value as a range; nil for one that leaves nothing out.
func (g *Given) numberRange() *HeaderRange {
	low, high := g.Range(":", 32)
	return askedRange(g.Not, uint32(low), uint32(high))
}

func askedRange(not bool, low, high uint32) *HeaderRange {
	r := &HeaderRange{not, low, high}
	if r.whole() && !not {
		return nil
	}
	return r
}

// putRange writes a range as { __u32 low, high; }.
func (r *HeaderRange) put(d []byte) {
	if r == nil {
		order.PutUint32(d[4:], math.MaxUint32)
		return
	}
	order.PutUint32(d, r.Low)
	order.PutUint32(d[4:], r.High)
}

// askedNumber reads a number at the beginning of d, where a bit of flags tells that it is asked for and one of invflags that
// it is inverted.
func askedNumber(d []byte, flags, invflags, bit uint8) *HeaderNumber {
	if flags&bit == 0 {
		return nil
	}
	return &HeaderNumber{invflags&bit != 0, order.Uint32(d)}
}

// put writes a number, with its bits.
func (n *HeaderNumber) put(d []byte, flags, invflags *uint8, bit uint8) {
	if n != nil {
		order.PutUint32(d, n.Value)
		*flags |= bit
		*invflags |= bitIf(n.Not, bit)
	}
}

// extensionHeader is a packet's extension header; known is false where the packet's bytes are not there.
func extensionHeader(v *rules.Visit, kind nat.Proto) (h []byte, there, known bool) {
	if v.Wire == nil {
		return nil, false, false
	}
	h, there = v.Wire.Header(kind)
	return h, there, true
}

// headerNames are the packet's extension headers in words: "no extension header", "header 44 of 8 bytes".
func headerNames(v *rules.Visit) string {
	var names []string
	for h := range v.Wire.Headers {
		names = append(names, fmt.Sprintf("header %d of %d bytes", h.Type, len(h.Bytes)))
	}
	if names == nil {
		return "no extension header"
	}
	return strings.Join(names, ", ")
}
