package xt

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// IPv6Header is -m ipv6header: which extension headers a packet has (ip6t_ipv6header.c).
type IPv6Header struct {
	Not     bool
	Headers uint8 // a bit for each
	Soft    bool  // there may be others
}

type ipv6Header struct {
	number nat.Proto
	names  []string
}

// ipv6Headers are the headers by their bits, the first the highest (MASK_*), and as iptables names them, besides by the names
// of /etc/protocols. The last stands for the protocol behind them.
var ipv6Headers = [8]ipv6Header{
	{hopByHopHeader, []string{"hop-by-hop", "hop", "0"}},
	{destinationHeader, []string{"dst", "60"}},
	{routingHeader, []string{"route", "43"}},
	{fragmentHeader, []string{"frag", "44"}},
	{nat.AH, []string{"auth", "51"}},
	{nat.ESP, []string{"esp", "50"}},
	{noNextHeader, []string{"none", "59"}},
	{255, []string{"protocol", "prot", "255"}},
}

// ipv6HeaderBit is the bit of header i.
func ipv6HeaderBit(i int) uint8 { return 1 << (7 - i) }

var ipv6HeaderRow = Extension{
	Name: "ipv6header", Families: IPv6Only,
	Options:  []Option{{Name: "--header", Values: 1, Not: true}, {Name: "--soft"}},
	Examples: []string{"--header hop-by-hop", "--header ipv6-frag,ah --soft", "! --header ipv6-nonxt", "--header ipv6-opts,ipv6-route,esp,protocol"},
	Parse: func(a *Args) Value {
		var m IPv6Header
		a.Need("--header")
		a.Once()
		for g := range a.Options {
			if g.Name() == "--soft" {
				m.Soft = true
				continue
			}
			m.Not = g.Not
			m.Headers = g.ipv6Headers()
		}
		return m
	},
	// struct ip6t_ipv6header_info { __u8 matchflags, invflags, modeflag; }
	Layouts: layouts(layout(0, 3,
		func(d []byte, _ *Env) (IPv6Header, bool) {
			whole := func(b byte) bool { return b == 0 || b == 0xff }
			return IPv6Header{d[1] != 0, d[0], d[2] != 0}, d[0] != 0 && whole(d[1]) && whole(d[2])
		},
		func(m IPv6Header, d []byte, _ *Env) error {
			d[0], d[1], d[2] = m.Headers, flagByte(m.Not)*0xff, flagByte(m.Soft)*0xff
			return nil
		})),
	Listed: func(l *Listing) bool {
		taken := l.Take("ipv6header flags:")
		not, word := l.Bang(), l.Word()
		n, ok := Number(strings.Replace(word, "0X", "0x", 1), 255)
		if taken && ok {
			l.Give("--header", not, IPv6Header{Headers: uint8(n)}.names())
			l.Flag("soft", "--soft")
		}
		return taken && ok
	},
}

// ipv6Headers is the first value as names of headers, with commas between them.
func (g *Given) ipv6Headers() (headers uint8) {
	for word := range strings.SplitSeq(g.Text(), ",") {
		bit, ok := ipv6HeaderNamed(word)
		if !ok && word != "" {
			g.bad(0, "some of hop-by-hop, ipv6-opts, ipv6-route, ipv6-frag, ah, esp, ipv6-nonxt and protocol, with commas between them")
			return 0
		}
		headers |= bit
	}
	if headers == 0 {
		g.bad(0, "the name of a header")
	}
	return headers
}

// ipv6HeaderNamed is the bit of a header by one of its names, or by that of its number in /etc/protocols.
func ipv6HeaderNamed(word string) (bit uint8, ok bool) {
	number, named := nat.ParseRuleProto(word)
	named = named && word != "all" && !strings.ContainsAny(word[:1], digits)
	for i, h := range ipv6Headers {
		if slices.Contains(h.names, word) || named && h.number == number {
			return ipv6HeaderBit(i), true
		}
	}
	return 0, false
}

// names are the headers as iptables-save prints them.
func (m IPv6Header) names() string {
	var out []string
	for i, h := range ipv6Headers {
		if m.Headers&ipv6HeaderBit(i) == 0 {
			continue
		}
		if name := h.names[0]; h.number == hopByHopHeader || h.number == 255 {
			out = append(out, name)
		} else {
			out = append(out, h.number.RuleName())
		}
	}
	return strings.Join(out, ",")
}

// Name is "ipv6header".
func (IPv6Header) Name() string { return "ipv6header" }

// Save prints the headers.
func (m IPv6Header) Save(p *Printer) {
	p.Option(m.Not, "--header", m.names())
	p.Flag(m.Soft, "--soft")
}

// List prints the headers' bits as iptables -L -n does.
func (m IPv6Header) List(p *Printer) {
	p.Textf(" ipv6header flags:%s0x%02X", bang(m.Not), m.Headers)
	p.Flag(m.Soft, "soft")
}

// Holds compares the packet's headers: with those asked for and no other, or softly with those asked for, each of which has
// to be there, or absent where that is inverted.
func (m IPv6Header) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	have, ok := ipv6HeadersOf(v.Wire.Bytes())
	switch {
	case !ok:
		return rules.No
	case m.Soft && m.Not:
		return rules.Is(have&m.Headers == 0, false)
	case m.Soft:
		return rules.Is(have&m.Headers == m.Headers, false)
	}
	return rules.Is(have == m.Headers, m.Not)
}

// ipv6HeadersOf are the headers of a packet, walked as the match walks them: it looks for more of them behind a fragment
// header even in a later fragment. ok is false where it gives up.
func ipv6HeadersOf(b []byte) (have uint8, ok bool) {
	const header = 40
	next, rest := nat.Proto(b[6]), b[header:]
	for {
		i := slices.IndexFunc(ipv6Headers[:7], func(h ipv6Header) bool { return h.number == next })
		if i < 0 {
			return have | ipv6HeaderBit(7), true
		}
		if next != noNextHeader && len(rest) < 2 {
			return have, false
		}
		have |= ipv6HeaderBit(i)
		size := 8
		switch next {
		case noNextHeader, nat.ESP:
			return have, true
		case fragmentHeader:
		case nat.AH:
			size = (int(rest[1]) + 2) * 4
		default:
			size = (int(rest[1]) + 1) * 8
		}
		if next = nat.Proto(rest[0]); size > len(rest) {
			if next != noNextHeader && next != nat.ESP {
				have |= ipv6HeaderBit(7)
			}
			return have, true
		}
		rest = rest[size:]
	}
}

// Actual is the packet's headers.
func (IPv6Header) Actual(v *rules.Visit) string {
	have, _ := ipv6HeadersOf(v.Wire.Bytes())
	return "headers " + IPv6Header{Headers: have}.names()
}
