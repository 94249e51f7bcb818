package xt

import (
	"net/netip"
	"strings"

	"natlab/nat/rules"
)

// RT is -m rt: what a routing header of IPv6 has (ip6t_rt.c).
type RT struct {
	Type      *HeaderNumber
	Segments  *HeaderRange  // that are left
	Length    *HeaderNumber // of the header, in bytes
	Reserved  bool          // of type 0: the reserved field is zero
	Addrs     []netip.Addr  // of type 0
	AddrsIn   bool          // the header has to have them: all in their order and no other, or with NotStrict others between them
	NotStrict bool
}

var rtRow = Extension{
	Name: "rt", Families: IPv6Only,
	Options: []Option{
		{Name: "--rt-type", Values: 1, Not: true},
		{Name: "--rt-segsleft", Values: 1, Not: true},
		{Name: "--rt-len", Values: 1, Not: true},
		{Name: "--rt-0-res"},
		{Name: "--rt-0-addrs", Values: 1},
		{Name: "--rt-0-not-strict"},
	},
	Examples: []string{
		"--rt-type 0 --rt-segsleft 1:23 --rt-len 42 --rt-0-res", "! --rt-type 1 ! --rt-segsleft 12:23 ! --rt-len 42",
		"--rt-type 0 --rt-0-addrs fd00::1,fd00::2 --rt-0-not-strict", "--rt-type 0 --rt-0-addrs ::1", "",
	},
	Parse: parseRT,
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("rt")
		l.giveNumber("type", "--rt-type")
		l.giveRange("segsleft", "--rt-segsleft")
		l.giveNumber("length", "--rt-len")
		l.Flag("reserved", "--rt-0-res")
		if l.TakeWord("0-addrs") {
			l.Give("--rt-0-addrs", false, l.Word())
		}
		l.Flag("0-not-strict", "--rt-0-not-strict")
		return taken
	},
	// struct ip6t_rt { __u32 rt_type, segsleft[2], hdrlen; __u8 flags, invflags; struct in6_addr addrs[16]; __u8 addrnr; }
	Layouts: layouts(layout(0, 280, decodeRT, encodeRT)),
}

const rtMaxAddrs = 16 // IP6T_RT_HOPS

func parseRT(a *Args) Value {
	var m RT
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--rt-type":
			m.Type = g.number()
		case "--rt-segsleft":
			m.Segments = g.numberRange()
		case "--rt-len":
			m.Length = g.number()
		case "--rt-0-not-strict":
			if m.NotStrict = true; !m.AddrsIn {
				g.Fail("needs --rt-0-addrs in front of it")
			}
		case "--rt-0-res", "--rt-0-addrs":
			if m.Type == nil || *m.Type != (HeaderNumber{}) {
				g.Fail("needs --rt-type 0 in front of it")
			}
			if m.Reserved = m.Reserved || g.Name() == "--rt-0-res"; g.Name() == "--rt-0-addrs" {
				m.AddrsIn, m.Addrs = true, g.addrs(rtMaxAddrs)
			}
		}
	}
	return m
}

// addrs is the first value as addresses, joined by commas, at most so many.
func (g *Given) addrs(most int) (list []netip.Addr) {
	for word := range strings.SplitSeq(g.Text(), ",") {
		ip, ok := g.args.addr(word)
		if !ok || len(list) == most {
			g.bad(0, "addresses of "+g.args.Family.String()+" with commas between them, at most 16")
			return nil
		}
		list = append(list, ip)
	}
	return list
}

// Bits of ip6t_rt.flags (IP6T_RT_*); those of invflags are the first three.
const (
	rtType = 1 << iota
	rtSegments
	rtLength
	rtReserved
	rtAddrs
	rtNotStrict
)

func decodeRT(d []byte, _ *Env) (RT, bool) {
	flags, invert, count := d[16], d[17], int(d[276])
	m := RT{
		Type:     askedNumber(d, flags, invert, rtType),
		Segments: askedRange(invert&rtSegments != 0, order.Uint32(d[4:]), order.Uint32(d[8:])),
		Length:   askedNumber(d[12:], flags, invert, rtLength),
		Reserved: flags&rtReserved != 0, AddrsIn: flags&rtAddrs != 0, NotStrict: flags&rtNotStrict != 0,
	}
	if count > rtMaxAddrs {
		return m, false
	}
	for i := range count {
		m.Addrs = append(m.Addrs, netip.AddrFrom16([16]byte(d[20+16*i:])))
	}
	return m, flags < rtNotStrict<<1 && invert&^(rtType|rtSegments|rtLength) == 0 && m.AddrsIn == (count > 0)
}

func encodeRT(m RT, d []byte, _ *Env) error {
	m.Type.put(d, &d[16], &d[17], rtType)
	m.Segments.put(d[4:])
	if m.Segments != nil {
		d[16], d[17] = d[16]|rtSegments, d[17]|bitIf[uint8](m.Segments.Not, rtSegments)
	}
	m.Length.put(d[12:], &d[16], &d[17], rtLength)
	d[16] |= bitIf[uint8](m.Reserved, rtReserved) | bitIf[uint8](m.AddrsIn, rtAddrs) | bitIf[uint8](m.NotStrict, rtNotStrict)
	for i, a := range m.Addrs {
		copy(d[20+16*i:], a.AsSlice())
	}
	d[276] = uint8(len(m.Addrs))
	return nil
}

// Name is "rt".
func (RT) Name() string { return "rt" }

// Save prints what is asked for.
func (m RT) Save(p *Printer) {
	m.Type.save(p, "--rt-type")
	m.Segments.save(p, "--rt-segsleft")
	m.Length.save(p, "--rt-len")
	p.Flag(m.Reserved, "--rt-0-res")
	p.Flag(m.AddrsIn, "--rt-0-addrs")
	m.addrs(p)
	p.Flag(m.NotStrict, "--rt-0-not-strict")
}

// List prints what is asked for as iptables -L does.
func (m RT) List(p *Printer) {
	p.Text(" rt")
	m.Type.list(p, "type")
	if m.Segments != nil {
		p.Text(" ")
	}
	m.Segments.list(p, "segsleft")
	m.Length.list(p, "length")
	p.Flag(m.Reserved, "reserved")
	p.Flag(m.AddrsIn, "0-addrs")
	m.addrs(p)
	p.Flag(m.NotStrict, "0-not-strict")
}

func (m RT) addrs(p *Printer) {
	for i, a := range m.Addrs {
		p.Text([]string{" ", ","}[min(i, 1)])
		p.Addr(a)
	}
}

// Holds looks at the first routing header. A packet without one does not hold, whatever is inverted.
func (m RT) Holds(v *rules.Visit) rules.Answer {
	h, there, known := extensionHeader(v, routingHeader)
	if !known {
		return rules.Unknown
	}
	if !there || !m.Segments.meets(uint32(h[3])) || !m.Length.meets(uint32(len(h))) || !m.Type.meets(uint32(h[2])) {
		return rules.No
	}
	if m.Reserved && (h[4]|h[5]|h[6]|h[7]) != 0 {
		return rules.No
	}
	return rules.Is(!m.AddrsIn || m.has(h[8:]), false)
}

// has reports whether the addresses of a header of type 0 are those.
func (m RT) has(list []byte) bool {
	const size = 16
	found := 0
	for at := 0; at+size <= len(list); at += size {
		same := found < len(m.Addrs) && netip.AddrFrom16([size]byte(list[at:])) == m.Addrs[found]
		if !same && !m.NotStrict {
			return false
		}
		if same {
			found++
		}
	}
	return found == len(m.Addrs)
}

// Actual is the packet's extension headers.
func (RT) Actual(v *rules.Visit) string { return headerNames(v) }
