package xt

import (
	"slices"
	"strings"

	"natlab/nat"
)

// TCPFlags is tcp's --tcp-flags: of the flags in Mask exactly those in Set are on. Bits are those of the header's flag byte.
type TCPFlags struct {
	Not       bool
	Mask, Set uint8
}

var tcpRow = Extension{
	Name: "tcp", Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP},
	Options: portOptions(
		Option{Name: "--tcp-flags", Values: 2, Not: true},
		Option{Name: "--syn", Not: true},
		Option{Name: "--tcp-option", Values: 1, Not: true},
	),
	Examples: []string{
		"--sport 1024:65535 ! --dport 80", "--tcp-flags FIN,SYN,RST,ACK SYN", "! --sport 7 --tcp-option 5 ! --tcp-flags SYN,URG NONE",
		"! --tcp-option 8",
	},
	Parse:  parseTCP,
	Listed: listedPorts("tcp", listedTCP),
	// struct xt_tcp { __u16 spts[2], dpts[2]; __u8 option, flg_mask, flg_cmp, invflags; }
	Layouts: layouts(layout(0, 12, decodeTCP, encodeTCP)),
}

func parseTCP(a *Args) Value {
	m := Ports{Protocol: "tcp"}
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--sport":
			m.Source = whole(g.portRange(nat.TCP, anyBase))
		case "--dport":
			m.Destination = whole(g.portRange(nat.TCP, anyBase))
		case "--tcp-option":
			m.Option = &HeaderOption{g.Not, uint8(g.Within(1, 255))}
		case "--syn", "--tcp-flags":
			if m.Flags != nil {
				g.Fail("--syn and --tcp-flags do not go together")
			}
			m.Flags = &TCPFlags{Not: g.Not, Mask: 0x17, Set: 0x02}
			if g.Name() == "--tcp-flags" {
				m.Flags.Mask, m.Flags.Set = g.tcpFlags(0), g.tcpFlags(1)
			}
		}
	}
	if m.Flags != nil && *m.Flags == (TCPFlags{}) { // --tcp-flags NONE NONE
		m.Flags = nil
	}
	return m
}

// whole is a range that asks for something: nil for all ports.
func whole(r *PortRange) *PortRange {
	if *r == anyPort {
		return nil
	}
	return r
}

// tcpFlags is value i as a list of flags, ALL and NONE.
func (g *Given) tcpFlags(i int) (flags uint8) {
	for word := range strings.SplitSeq(g.Values[i].Text, ",") {
		bit := slices.IndexFunc(tcpFlagNames, func(name string) bool { return strings.EqualFold(name, word) })
		switch {
		case bit >= 0:
			flags |= 1 << bit
		case strings.EqualFold(word, "ALL"):
			flags |= 0x3f
		case word != "" && !strings.EqualFold(word, "NONE"):
			g.bad(i, "flags of "+strings.Join(tcpFlagNames, ",")+", or ALL or NONE")
		}
	}
	return flags
}

// tcpFlagNames are the flags by their bits.
var tcpFlagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

func listedTCP(l *Listing) {
	if l.Take("option=") {
		l.Give("--tcp-option", l.Bang(), l.Word())
	}
	if l.Take("flags:") {
		not := l.Bang()
		mask, set, _ := strings.Cut(l.Word(), "/")
		l.Give("--tcp-flags", not, tcpFlagWords(mask), tcpFlagWords(set))
	}
}

// tcpFlagWords are flags by names, which -L without -n prints anyway.
func tcpFlagWords(s string) string {
	if n, ok := Number(s, 0x3f); ok {
		return tcpFlagText(uint8(n))
	}
	return s
}

func tcpFlagText(flags uint8) string {
	list := bitNames(uint32(flags), tcpFlagNames, []int{0, 1, 2, 3, 4, 5})
	if list == "" {
		return "NONE"
	}
	return list
}

// save prints the flags. iptables-save leaves out a mask of none, though it makes a rule match nothing.
func (f *TCPFlags) save(p *Printer) {
	if f != nil && (f.Mask != 0 || f.Not || p.Exact) {
		p.Option(f.Not, "--tcp-flags", tcpFlagText(f.Mask)+" "+tcpFlagText(f.Set))
	}
}

// Bits of xt_tcp.invflags; of xt_udp.invflags the first two. The last is natlab's own, for Ports.NotBoth: no kernel takes it.
const (
	tcpInvSource      = 1 << 0
	tcpInvDestination = 1 << 1
	tcpInvFlags       = 1 << 2
	tcpInvOption      = 1 << 3
	tcpNotBoth        = 1 << 7
)

func decodeTCP(d []byte, _ *Env) (Ports, bool) {
	inv := d[11]
	m := Ports{
		Protocol: "tcp", Source: asked(d, inv&tcpInvSource != 0), Destination: asked(d[4:], inv&tcpInvDestination != 0),
		NotBoth: inv&tcpNotBoth != 0,
	}
	if d[8] != 0 {
		m.Option = &HeaderOption{inv&tcpInvOption != 0, d[8]}
	}
	if f := (TCPFlags{inv&tcpInvFlags != 0, d[9], d[10]}); f != (TCPFlags{}) {
		m.Flags = &f
	}
	return m, inv&^(0xf|tcpNotBoth) == 0 && (d[9]|d[10])&^0x3f == 0 && (d[8] != 0 || inv&tcpInvOption == 0)
}

func encodeTCP(m Ports, d []byte, _ *Env) error {
	putPorts(d, m.Source)
	putPorts(d[4:], m.Destination)
	d[11] = m.Source.inverted(tcpInvSource) | m.Destination.inverted(tcpInvDestination) | bitIf[uint8](m.NotBoth, tcpNotBoth)
	if o := m.Option; o != nil {
		d[8] = o.Number
		d[11] |= bitIf[uint8](o.Not, tcpInvOption)
	}
	if f := m.Flags; f != nil {
		d[9], d[10] = f.Mask, f.Set
		d[11] |= bitIf[uint8](f.Not, tcpInvFlags)
	}
	return nil
}

// tcpOptions are the options of a TCP header; ok is false where it is shorter than it claims, or claims less than itself.
func tcpOptions(h []byte) (list []byte, ok bool) {
	const header = 20
	if end := int(h[12]>>4) * 4; end >= header && end <= len(h) {
		return h[header:end], true
	}
	return nil, false
}
