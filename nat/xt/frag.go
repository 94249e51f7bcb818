package xt

import (
	"natlab/nat/rules"
)

// Frag is -m frag: what a fragment header of IPv6 has (ip6t_frag.c). Conntrack puts fragments together before any rule sees
// them.
type Frag struct {
	ID     *HeaderRange
	Length *HeaderNumber // no kernel looks at it
	// Reserved: the reserved bits are zero. First: the fragment is the first. More, Last: there are more behind it, or not.
	Reserved, First, More, Last bool
}

var fragRow = Extension{
	Name: "frag", Families: IPv6Only,
	Options: []Option{
		{Name: "--fragid", Values: 1, Not: true},
		{Name: "--fraglen", Values: 1, Not: true},
		{Name: "--fragres"},
		{Name: "--fragfirst"},
		{Name: "--fragmore"},
		{Name: "--fraglast"},
	},
	Examples: []string{
		"--fragid 1:42", "! --fragid 1 ! --fraglen 42 --fragres --fragfirst", "--fragfirst --fragmore", "--fraglen 8 --fraglast", "",
	},
	Parse: parseFrag,
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("frag")
		l.giveRange("id", "--fragid")
		l.giveNumber("length", "--fraglen")
		l.Flag("reserved", "--fragres")
		l.Flag("first", "--fragfirst")
		l.Flag("more", "--fragmore")
		l.Flag("last", "--fraglast")
		return taken
	},
	// struct ip6t_frag { __u32 ids[2], hdrlen; __u8 flags, invflags; }
	Layouts: layouts(layout(0, 14, decodeFrag, encodeFrag)),
}

func parseFrag(a *Args) Value {
	var m Frag
	a.Exclusive("--fragmore", "--fraglast")
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--fragid":
			m.ID = g.numberRange()
		case "--fraglen":
			m.Length = g.number()
		case "--fragres":
			m.Reserved = true
		case "--fragfirst":
			m.First = true
		case "--fragmore":
			m.More = true
		case "--fraglast":
			m.Last = true
		}
	}
	return m
}

// Bits of ip6t_frag.flags (IP6T_FRAG_*); those of invflags are the first two.
const (
	fragID = 1 << iota
	fragLength
	fragReserved
	fragFirst
	fragMore
	fragLast
)

func decodeFrag(d []byte, _ *Env) (Frag, bool) {
	flags, invert := d[12], d[13]
	return Frag{
		ID:       askedRange(invert&fragID != 0, order.Uint32(d), order.Uint32(d[4:])),
		Length:   askedNumber(d[8:], flags, invert, fragLength),
		Reserved: flags&fragReserved != 0, First: flags&fragFirst != 0, More: flags&fragMore != 0, Last: flags&fragLast != 0,
	}, flags < fragLast<<1 && invert&^(fragID|fragLength) == 0
}

func encodeFrag(m Frag, d []byte, _ *Env) error {
	m.ID.put(d)
	if m.ID != nil {
		d[12], d[13] = fragID, bitIf[uint8](m.ID.Not, fragID)
	}
	m.Length.put(d[8:], &d[12], &d[13], fragLength)
	d[12] |= bitIf[uint8](m.Reserved, fragReserved) | bitIf[uint8](m.First, fragFirst) |
		bitIf[uint8](m.More, fragMore) | bitIf[uint8](m.Last, fragLast)
	return nil
}

// Name is "frag".
func (Frag) Name() string { return "frag" }

// Save prints what is asked for.
func (m Frag) Save(p *Printer) {
	m.ID.save(p, "--fragid")
	m.Length.save(p, "--fraglen")
	p.Flag(m.Reserved, "--fragres")
	p.Flag(m.First, "--fragfirst")
	p.Flag(m.More, "--fragmore")
	p.Flag(m.Last, "--fraglast")
}

// List prints what is asked for as iptables -L does.
func (m Frag) List(p *Printer) {
	p.Text(" frag ")
	m.ID.list(p, "id")
	m.Length.list(p, "length")
	p.Flag(m.Reserved, "reserved")
	p.Flag(m.First, "first")
	p.Flag(m.More, "more")
	p.Flag(m.Last, "last")
}

// Holds looks at the fragment header. A packet without one does not hold, whatever is inverted.
func (m Frag) Holds(v *rules.Visit) rules.Answer {
	h, there, known := extensionHeader(v, fragmentHeader)
	if !known {
		return rules.Unknown
	}
	if !there {
		return rules.No
	}
	const more, reserved = 1, 6
	offset := be16(h[2:])
	return rules.Is(m.ID.meets(uint32(be16(h[4:]))<<16|uint32(be16(h[6:]))) &&
		(!m.Reserved || h[1] == 0 && offset&reserved == 0) &&
		(!m.First || offset&^7 == 0) &&
		(!m.More || offset&more != 0) &&
		(!m.Last || offset&more == 0), false)
}

// Actual is the packet's extension headers.
func (Frag) Actual(v *rules.Visit) string { return headerNames(v) }
