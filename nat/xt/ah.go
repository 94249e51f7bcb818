package xt

import (
	"encoding/binary"
	"fmt"

	"natlab/nat"
	"natlab/nat/rules"
)

// AH is -m ah (ipt_ah.c, ip6t_ah.c). In IPv6 it looks for the header among the extensions.
type AH struct {
	SPI       SPIRange
	V6        bool
	Length    uint32 // of the header in bytes, with NotLength for any other; 0: any. IPv6
	NotLength bool
	Reserved  bool // the reserved field is zero. IPv6
}

var ahRow = Extension{
	Name: "ah", Families: IPv4Only, Needs: "-p ah", Protocols: []nat.Proto{nat.AH},
	Options:  []Option{{Name: "--ahspi", Values: 1, Not: true}},
	Examples: []string{"--ahspi 4294967295", "! --ahspi 0:5", ""},
	Parse:    parseAH,
	Listed:   listedAH,
	// struct ipt_ah { __u32 spis[2]; __u8 invflags; }
	Layouts: layouts(layout(0, 12,
		func(d []byte, _ *Env) (AH, bool) { return AH{SPI: decodeSPI(d, d[8] != 0)}, d[8] <= 1 },
		func(m AH, d []byte, _ *Env) error {
			encodeSPI(m.SPI, d)
			d[8] = flagByte(m.SPI.Not)
			return nil
		})),
}

var ah6Row = Extension{
	Name: "ah", Families: IPv6Only,
	Options: []Option{
		{Name: "--ahspi", Values: 1, Not: true},
		{Name: "--ahlen", Values: 1, Not: true},
		{Name: "--ahres"},
	},
	Examples: []string{"--ahspi 0", "! --ahspi 1:2 --ahlen 12 --ahres", "! --ahlen 24", ""},
	Parse:    parseAH,
	Listed:   listedAH,
	// struct ip6t_ah { __u32 spis[2], hdrlen; __u8 hdrres, invflags; }
	Layouts: layouts(layout(0, 16, decodeAH6, encodeAH6)),
}

func parseAH(a *Args) Value {
	m := AH{SPI: anySPI, V6: a.Family == nat.IPv6}
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--ahspi":
			m.SPI = g.spiRange()
		case "--ahlen":
			m.Length, m.NotLength = uint32(g.Uint(32)), g.Not
		case "--ahres":
			m.Reserved = true
		}
	}
	return m
}

// Bits of ip6t_ah.invflags.
const (
	ahInvSPI    = 1
	ahInvLength = 2
)

func decodeAH6(d []byte, _ *Env) (AH, bool) {
	inv := d[13]
	return AH{
		SPI: decodeSPI(d, inv&ahInvSPI != 0), V6: true, Length: order.Uint32(d[8:]), NotLength: inv&ahInvLength != 0, Reserved: d[12] != 0,
	}, inv&^(ahInvSPI|ahInvLength) == 0
}

func encodeAH6(m AH, d []byte, _ *Env) error {
	encodeSPI(m.SPI, d)
	order.PutUint32(d[8:], m.Length)
	d[12], d[13] = flagByte(m.Reserved), bitIf[uint8](m.SPI.Not, ahInvSPI)|bitIf[uint8](m.NotLength, ahInvLength)
	return nil
}

const ahHeader = 12 // struct ip_auth_hdr

// Name is "ah".
func (AH) Name() string { return "ah" }

// Save prints the index, the length and the reserved field.
func (m AH) Save(p *Printer) {
	m.SPI.save(p, "--ahspi")
	if m.Length != 0 || m.NotLength {
		p.Not(m.NotLength)
		p.Number("--ahlen", uint64(m.Length))
	}
	p.Flag(m.Reserved, "--ahres")
}

// List prints the same as iptables -L does.
func (m AH) List(p *Printer) {
	p.Text(" ah ")
	m.SPI.list(p)
	if m.Length != 0 || m.NotLength {
		p.Textf("length:%s%d", bang(m.NotLength), m.Length)
	}
	p.Flag(m.Reserved, "reserved")
}

func listedAH(l *Listing) bool {
	if !l.TakeWord("ah") {
		return false
	}
	l.giveSPI("--ahspi")
	if l.Take("length:") {
		l.Give("--ahlen", l.Bang(), l.Run(digits))
	}
	l.Flag("reserved", "--ahres")
	return true
}

// Holds compares the header.
func (m AH) Holds(v *rules.Visit) rules.Answer {
	h, answer := m.header(v)
	if h == nil {
		return answer
	}
	length := (uint32(h[1]) + 2) * 4
	holds := m.SPI.meets(binary.BigEndian.Uint32(h[4:])) &&
		(m.Length == 0 || (m.Length == length) != m.NotLength) &&
		(!m.Reserved || binary.BigEndian.Uint16(h[2:]) == 0)
	return rules.Is(holds, false)
}

// header is the packet's AH header; where it is nil, the answer tells why.
func (m AH) header(v *rules.Visit) ([]byte, rules.Answer) {
	if !m.V6 {
		return headerOf(v, nat.AH, ahHeader)
	}
	if v.Wire == nil {
		return nil, rules.Unknown
	}
	if h, ok := v.Wire.Header(nat.AH); ok {
		return h, rules.Unknown
	}
	return nil, rules.No
}

// Actual is what the packet's header has.
func (m AH) Actual(v *rules.Visit) string {
	text := func(h []byte) string {
		return fmt.Sprintf("SPI %d, %d bytes, reserved %d", binary.BigEndian.Uint32(h[4:]), (int(h[1])+2)*4, binary.BigEndian.Uint16(h[2:]))
	}
	if !m.V6 {
		return actualHeader(v, nat.AH, ahHeader, text)
	}
	switch h, answer := m.header(v); {
	case h != nil:
		return text(h)
	case answer == rules.Unknown:
		return "the packet's bytes are not known"
	}
	return "no AH header"
}
