package xt

import (
	"encoding/binary"
	"fmt"
	"math"

	"natlab/nat"
	"natlab/nat/rules"
)

// SPIRange is a range of security parameter indexes, both ends in it. One that ends below its beginning holds none.
type SPIRange struct {
	Not       bool
	Low, High uint32
}

// anySPI is the range that holds every index.
var anySPI = SPIRange{High: math.MaxUint32}

// meets reports whether an index is one that the condition asks for.
func (r SPIRange) meets(spi uint32) bool { return (spi >= r.Low && spi <= r.High) != r.Not }

// save prints the range, unless it is all of them; before wholeRanges an inverted one neither.
func (r SPIRange) save(p *Printer, option string) {
	if r == anySPI || r.Low == 0 && r.High == math.MaxUint32 && !p.Exact && p.Version.Before(wholeRanges) {
		return
	}
	p.Option(r.Not, option, span(r.Low, r.High, ":"))
}

// list prints the range as iptables -L does.
func (r SPIRange) list(p *Printer) {
	switch {
	case r == anySPI:
	case r.Low == r.High:
		p.Textf("spi:%s%d", bang(r.Not), r.Low)
	default:
		p.Textf("spis:%s%d:%d", bang(r.Not), r.Low, r.High)
	}
}

const digits = "0123456789"

// giveSPI gives an option for what SPIRange.list prints.
func (l *Listing) giveSPI(option string) {
	if l.Take("spis:") || l.Take("spi:") {
		l.Give(option, l.Bang(), l.Run(digits+":"))
	}
}

// spiRange is the first value as SPI, LOW:HIGH, LOW: or :HIGH. iptables 1.8.9 takes a range that holds none.
func (g *Given) spiRange() SPIRange {
	low, high, ok := boundsOf(g.Text(), ":", math.MaxUint32)
	if !ok {
		g.bad(0, "a number of 32 bits, or LOW:HIGH")
	}
	return SPIRange{g.Not, uint32(low), uint32(high)}
}

func decodeSPI(d []byte, not bool) SPIRange {
	return SPIRange{not, order.Uint32(d), order.Uint32(d[4:])}
}

func encodeSPI(r SPIRange, d []byte) {
	order.PutUint32(d, r.Low)
	order.PutUint32(d[4:], r.High)
}

// ESP is -m esp (xt_esp.c).
type ESP struct{ SPI SPIRange }

var espRow = Extension{
	Name: "esp", Needs: "-p esp", Protocols: []nat.Proto{nat.ESP},
	Options:  []Option{{Name: "--espspi", Values: 1, Not: true}},
	Examples: []string{"--espspi 0", "--espspi 0:32", "! --espspi 1:4294967295", ""},
	Parse: func(a *Args) Value {
		m := ESP{anySPI}
		a.Once()
		for g := range a.Options {
			m.SPI = g.spiRange()
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("esp")
		l.giveSPI("--espspi")
		return taken
	},
	// struct xt_esp { __u32 spis[2]; __u8 invflags; }
	Layouts: layouts(layout(0, 12,
		func(d []byte, _ *Env) (ESP, bool) { return ESP{decodeSPI(d, d[8] != 0)}, d[8] <= 1 },
		func(m ESP, d []byte, _ *Env) error {
			encodeSPI(m.SPI, d)
			d[8] = flagByte(m.SPI.Not)
			return nil
		})),
}

const espHeader = 8 // struct ip_esp_hdr

// Name is "esp".
func (ESP) Name() string { return "esp" }

// Save prints the index.
func (m ESP) Save(p *Printer) { m.SPI.save(p, "--espspi") }

// List prints the index as iptables -L does.
func (m ESP) List(p *Printer) {
	p.Text(" esp")
	if m.SPI != anySPI {
		p.Text(" ")
		m.SPI.list(p)
	}
}

// Holds compares the index.
func (m ESP) Holds(v *rules.Visit) rules.Answer {
	h, answer := headerOf(v, nat.ESP, espHeader)
	if h == nil {
		return answer
	}
	return rules.Is(m.SPI.meets(binary.BigEndian.Uint32(h)), false)
}

// Actual is the packet's index.
func (ESP) Actual(v *rules.Visit) string {
	return actualHeader(v, nat.ESP, espHeader, func(h []byte) string { return fmt.Sprintf("SPI %d", binary.BigEndian.Uint32(h)) })
}

// headerOf is the transport header of a packet of a protocol, of at least n bytes. Where it is nil, the answer tells why:
// another protocol and a later fragment do not match, a header that is cut short drops the packet.
func headerOf(v *rules.Visit, p nat.Proto, n int) ([]byte, rules.Answer) {
	switch {
	case v.Tuple.Proto() != p || v.Later:
		return nil, rules.No
	case v.Wire == nil:
		return nil, rules.Unknown
	case len(v.Wire.Transport()) < n:
		v.HotDrop = true
		return nil, rules.No
	}
	return v.Wire.Transport(), rules.Unknown
}

// actualHeader is what a packet's header of a protocol, of at least n bytes, has in the words of text.
func actualHeader(v *rules.Visit, p nat.Proto, n int, text func(h []byte) string) string {
	switch h, answer := headerOf(&rules.Visit{Packet: v.Packet}, p, n); {
	case h != nil:
		return text(h)
	case answer == rules.Unknown:
		return "the packet's bytes are not known"
	case v.Tuple.Proto() != p:
		return "protocol " + v.Tuple.Proto().String()
	case v.Later:
		return "a later fragment has no header"
	}
	return "a header that is cut short"
}
