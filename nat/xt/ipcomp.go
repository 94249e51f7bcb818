package xt

import (
	"encoding/binary"
	"fmt"

	"natlab/nat"
	"natlab/nat/rules"
)

// IPComp is -m ipcomp (xt_ipcomp.c). Without --ipcompspi it asks for index 0. The kernel does not look at the reserved
// field, whatever --compres asks for.
type IPComp struct {
	SPI      SPIRange // of the compression parameter index, which has 16 bits
	Reserved bool
}

const protoIPComp nat.Proto = 108

var ipcompRow = Extension{
	Name: "ipcomp", Needs: "-p ipcomp", Protocols: []nat.Proto{protoIPComp},
	Options:  []Option{{Name: "--ipcompspi", Values: 1, Not: true}, {Name: "--compres"}},
	Examples: []string{"--ipcompspi 18", "! --ipcompspi 18:20", "--ipcompspi 0 --compres"},
	Parse: func(a *Args) Value {
		var m IPComp
		a.Once()
		for g := range a.Options {
			if g.Name() == "--compres" {
				m.Reserved = true
			} else {
				m.SPI = g.spiRange()
			}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		if !l.TakeWord("comp") {
			return false
		}
		if l.giveSPI("--ipcompspi"); len(l.given) == 0 {
			l.Give("--ipcompspi", false, ":")
		}
		l.Flag("reserved", "--compres")
		return true
	},
	// struct xt_ipcomp { __u32 spis[2]; __u8 invflags, hdrres; }
	Layouts: layouts(layout(0, 12,
		func(d []byte, _ *Env) (IPComp, bool) {
			return IPComp{decodeSPI(d, d[8] != 0), d[9] != 0}, d[8] <= 1
		},
		func(m IPComp, d []byte, _ *Env) error {
			encodeSPI(m.SPI, d)
			d[8], d[9] = flagByte(m.SPI.Not), flagByte(m.Reserved)
			return nil
		})),
}

const ipcompHeader = 4 // struct ip_comp_hdr

// Name is "ipcomp".
func (IPComp) Name() string { return "ipcomp" }

// Save prints the index and the reserved field.
func (m IPComp) Save(p *Printer) {
	if m.SPI == anySPI && p.Exact {
		p.Option(false, "--ipcompspi", span(m.SPI.Low, m.SPI.High, ":"))
	} else {
		m.SPI.save(p, "--ipcompspi")
	}
	p.Flag(m.Reserved, "--compres")
}

// List prints the same as iptables -L does.
func (m IPComp) List(p *Printer) {
	p.Text(" comp ")
	m.SPI.list(p)
	p.Flag(m.Reserved, "reserved")
}

// Holds compares the index.
func (m IPComp) Holds(v *rules.Visit) rules.Answer {
	h, answer := headerOf(v, protoIPComp, ipcompHeader)
	if h == nil {
		return answer
	}
	return rules.Is(m.SPI.meets(uint32(binary.BigEndian.Uint16(h[2:]))), false)
}

// Actual is the packet's index.
func (IPComp) Actual(v *rules.Visit) string {
	return actualHeader(v, protoIPComp, ipcompHeader, func(h []byte) string { return fmt.Sprintf("CPI %d", binary.BigEndian.Uint16(h[2:])) })
}
