package xt

import (
	"errors"
	"net/netip"
	"strings"

	"natlab/nat/rules"
)

// SRH is -m srh: what a segment routing header of IPv6 has (ip6t_srh.c, RFC 8754). A number that several conditions are about
// is one number, that of the option that comes last.
type SRH struct {
	Asked, Not SRHFields // which conditions there are, and which of them are inverted
	NextHeader uint8
	Length     uint8 // of the header, in units of 8 bytes, without the first
	Left       uint8 // segments that are left
	Last       uint8 // the last entry
	// Tag is compared with the header's two bytes as the machine reads them: neither iptables nor the kernel turns it.
	Tag uint16
	// Segments are the segments before and behind the present one, and the last of all. Bits outside the mask are kept.
	Segments [3]AddrMask
}

// SRHFields is a set of conditions, with the bits of IP6T_SRH_*.
type SRHFields uint16

// The conditions.
const (
	srhNext SRHFields = 1 << iota
	srhLengthEqual
	srhLengthGreater
	srhLengthLess
	srhLeftEqual
	srhLeftGreater
	srhLeftLess
	srhLastEqual
	srhLastGreater
	srhLastLess
	srhTag
	srhPrevious
	srhFollowing
	srhFinal

	srhNumbers = srhTag<<1 - 1 // those of revision 0
	srhAll     = srhFinal<<1 - 1
)

// srhNames are the conditions by their bits, as options without "--srh-" and as iptables -L prints them.
var srhNames = []string{
	"next-hdr", "hdr-len-eq", "hdr-len-gt", "hdr-len-lt", "segs-left-eq", "segs-left-gt", "segs-left-lt",
	"last-entry-eq", "last-entry-gt", "last-entry-lt", "tag", "psid", "nsid", "lsid",
}

const srhFirstSegment = 11 // of srhNames

var srhRow = Extension{
	Name: "srh", Families: IPv6Only,
	Options: srhOptions(),
	Examples: []string{
		"--srh-next-hdr 17 ! --srh-hdr-len-eq 8 --srh-segs-left-gt 1 --srh-last-entry-lt 4 --srh-tag 5",
		"--srh-hdr-len-gt 8 --srh-hdr-len-lt 8 ! --srh-segs-left-eq 1 --srh-segs-left-lt 1 --srh-last-entry-eq 4 --srh-last-entry-gt 4",
		"--srh-psid a::/64 ! --srh-nsid b::1/128 --srh-lsid c::/0", "",
	},
	Parse:  parseSRH,
	Listed: listedSRH,
	Layouts: layouts(
		// struct ip6t_srh1 { __u8 next_hdr, hdr_len, segs_left, last_entry; __u16 tag; struct in6_addr psid_addr, nsid_addr,
		// lsid_addr, psid_msk, nsid_msk, lsid_msk; __u16 mt_flags, mt_invflags; }
		srhLayout(1, 108, srhAll).since(Version{1, 8, 0}),
		// struct ip6t_srh is the same without addresses
		srhLayout(0, 10, srhNumbers)),
}

func srhOptions() (out []Option) {
	for _, name := range srhNames {
		out = append(out, Option{Name: "--srh-" + name, Values: 1, Not: true})
	}
	return out
}

// number is where a condition has its number; nil for a tag and for a segment.
func (m *SRH) number(f SRHFields) *uint8 {
	switch {
	case f == srhNext:
		return &m.NextHeader
	case f <= srhLengthLess:
		return &m.Length
	case f <= srhLeftLess:
		return &m.Left
	case f <= srhLastLess:
		return &m.Last
	}
	return nil
}

func parseSRH(a *Args) Value {
	var m SRH
	a.Once()
	for g := range a.Options {
		name := strings.TrimPrefix(g.Name(), "--srh-")
		for i, known := range srhNames {
			if name != known {
				continue
			}
			f := SRHFields(1) << i
			if m.Asked |= f; g.Not {
				m.Not |= f
			}
			switch n := m.number(f); {
			case n != nil:
				*n = uint8(g.Uint(8))
			case f == srhTag:
				m.Tag = uint16(g.Uint(16))
			default:
				m.Segments[i-srhFirstSegment] = g.wholeAddrMask()
			}
		}
	}
	return m
}

// wholeAddrMask is AddrMask with the bits of the address outside the mask.
func (g *Given) wholeAddrMask() AddrMask {
	m := g.AddrMask()
	text, _, _ := strings.Cut(g.Text(), "/")
	m.Addr, _ = g.args.host(text)
	return m
}

func listedSRH(l *Listing) bool {
	taken := l.TakeWord("srh")
	for i, name := range srhNames {
		segment, value := i >= srhFirstSegment, ""
		switch {
		case segment && !l.TakeWord(name), !segment && !l.Take(name+":"):
			continue
		}
		not := l.Bang()
		if value = l.Run(digits); segment {
			value = l.Word()
		}
		l.Give("--srh-"+name, not, value)
	}
	return taken
}

func srhLayout(revision uint8, size int, known SRHFields) Layout {
	const segments, masks, length = 8, 8 + 3*16, 16 // an address is of 32-bit words
	return layout(revision, size,
		func(d []byte, _ *Env) (SRH, bool) {
			m := SRH{
				NextHeader: d[0], Length: d[1], Left: d[2], Last: d[3], Tag: order.Uint16(d[4:]),
				Asked: SRHFields(order.Uint16(d[size-4:])), Not: SRHFields(order.Uint16(d[size-2:])),
			}
			for i := range m.Segments {
				if m.Asked&(srhPrevious<<i) != 0 && size > masks {
					m.Segments[i] = AddrMask{netip.AddrFrom16([length]byte(d[segments+length*i:])), netip.AddrFrom16([length]byte(d[masks+length*i:]))}
				}
			}
			return m, m.Asked&^known == 0 && m.Not&^m.Asked == 0
		},
		func(m SRH, d []byte, _ *Env) error {
			if m.Asked&^known != 0 {
				return errors.New("revision 0 of srh has no --srh-psid, --srh-nsid and --srh-lsid")
			}
			d[0], d[1], d[2], d[3] = m.NextHeader, m.Length, m.Left, m.Last
			order.PutUint16(d[4:], m.Tag)
			order.PutUint16(d[size-4:], uint16(m.Asked))
			order.PutUint16(d[size-2:], uint16(m.Not))
			for i, s := range m.Segments {
				if s.Addr.IsValid() {
					copy(d[segments+length*i:], s.Addr.AsSlice())
					copy(d[masks+length*i:], s.Mask.AsSlice())
				}
			}
			return nil
		})
}

// Name is "srh".
func (SRH) Name() string { return "srh" }

// Save prints the conditions.
func (m SRH) Save(p *Printer) {
	m.each(func(i int, not bool, value string) { p.Option(not, "--srh-"+srhNames[i], value) })
}

// List prints the conditions as iptables -L does.
func (m SRH) List(p *Printer) {
	p.Text(" srh")
	m.each(func(i int, not bool, value string) {
		if i >= srhFirstSegment {
			p.Text(" ", srhNames[i], " ", bang(not), " ", value)
			return
		}
		p.Text(" ", srhNames[i], ":", bang(not), value)
	})
}

// each gives the conditions that there are, in their order, with their values.
func (m *SRH) each(f func(i int, not bool, value string)) {
	for i := range srhNames {
		field := SRHFields(1) << i
		if m.Asked&field == 0 {
			continue
		}
		p := NewPrinter(nil, 0)
		switch n := m.number(field); {
		case n != nil:
			p.Textf("%d", *n)
		case field == srhTag:
			p.Textf("%d", m.Tag)
		default:
			s := m.Segments[i-srhFirstSegment]
			p.Addr(s.Addr)
			length := int64(-1) // of a mask with a hole
			if n, ok := MaskBits(s.Mask); ok {
				length = int64(n)
			}
			p.Textf("/%d", uint32(length))
		}
		f(i, m.Not&field != 0, p.String())
	}
}

// Holds looks at the first routing header, which has to be of type 4 and not to have more segments left than it has. A
// packet without one does not hold, whatever is inverted.
func (m SRH) Holds(v *rules.Visit) rules.Answer {
	h, there, known := extensionHeader(v, routingHeader)
	if !known {
		return rules.Unknown
	}
	const segmentRouting = 4
	if !there || h[2] != segmentRouting || h[3] > h[4] {
		return rules.No
	}
	next, length, left, last := h[0], h[1], h[3], h[4]
	for i, met := range []bool{
		next == m.NextHeader, length == m.Length, length > m.Length, length < m.Length,
		left == m.Left, left > m.Left, left < m.Left, last == m.Last, last > m.Last, last < m.Last,
		order.Uint16(h[6:]) == m.Tag,
	} {
		if f := SRHFields(1) << i; m.Asked&f != 0 && met == (m.Not&f != 0) {
			return rules.No
		}
	}
	for i, at := range []int{int(left) + 1, int(left) - 1, 0} {
		f := srhPrevious << i
		if m.Asked&f != 0 && !m.segment(h, i, at, m.Not&f != 0, left == last && f == srhPrevious) {
			return rules.No
		}
	}
	return rules.Yes
}

// segment tells whether condition i holds for the header's segment at a place; of none it does not hold.
func (m *SRH) segment(h []byte, i, at int, not, none bool) bool {
	const before, size = 8, 16
	end := before + (at+1)*size
	if none || at < 0 || end > len(h) {
		return false
	}
	mask := m.Segments[i].Mask
	got, _ := netip.AddrFromSlice(h[end-size : end])
	return (maskedBy(got, mask) == maskedBy(m.Segments[i].Addr, mask)) != not
}

// Actual is the packet's extension headers.
func (SRH) Actual(v *rules.Visit) string { return headerNames(v) }
