package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// ECN is -m ecn: explicit congestion notification in the TCP and IP headers (xt_ecn.c).
type ECN struct {
	ECE, CWR, ECT          bool // which are asked for
	NotECE, NotCWR, NotECT bool
	CodePoint              uint8 // of the IP header, 0 to 3
}

// SetECN is -j ECN (ipt_ECN.c).
type SetECN struct {
	ECE, CWR, ECT bool  // which are written
	Echo, Reduced uint8 // ECE and CWR, 0 or 1
	CodePoint     uint8
}

// Bits of the structs' operation and invert (XT_ECN_OP_*, IPT_ECN_OP_*).
const (
	ecnIP  = 0x01
	ecnECE = 0x10
	ecnCWR = 0x20
)

// Bits of TCP's flag byte.
const (
	flagECE = 0x40
	flagCWR = 0x80
)

const ecnMask = 3 // of the type of service

const tcpHeader = 20 // bytes, without options

var ecnRow = Extension{
	Name:   "ecn",
	Needs:  "-p tcp",
	Listed: listedECN,
	Options: []Option{
		{Name: "--ecn-tcp-cwr", Not: true}, {Name: "--ecn-tcp-ece", Not: true}, {Name: "--ecn-ip-ect", Values: 1, Not: true},
	},
	Examples: []string{
		"--ecn-tcp-cwr", "--ecn-tcp-ece --ecn-tcp-cwr --ecn-ip-ect 2", "! --ecn-tcp-ece ! --ecn-tcp-cwr ! --ecn-ip-ect 0", "--ecn-ip-ect 3",
	},
	Parse: parseECN,
	// struct xt_ecn_info { __u8 operation, invert, ip_ect; union { struct { __u8 ect; } tcp; } proto; }
	Layouts: layouts(layout(0, 4,
		func(d []byte, _ *Env) (ECN, bool) {
			m := ECN{
				ECE: d[0]&ecnECE != 0, CWR: d[0]&ecnCWR != 0, ECT: d[0]&ecnIP != 0,
				NotECE: d[1]&ecnECE != 0, NotCWR: d[1]&ecnCWR != 0, NotECT: d[1]&ecnIP != 0, CodePoint: d[2],
			}
			return m, (d[0]|d[1])&^(ecnIP|ecnECE|ecnCWR) == 0 && d[1]&^d[0] == 0
		},
		func(m ECN, d []byte, _ *Env) error {
			d[0] = ecnBits(m.ECT, m.ECE, m.CWR)
			d[1], d[2] = ecnBits(m.NotECT, m.NotECE, m.NotCWR), m.CodePoint
			return nil
		})),
}

func ecnBits(ip, ece, cwr bool) byte {
	return flagByte(ip)*ecnIP | flagByte(ece)*ecnECE | flagByte(cwr)*ecnCWR
}

func parseECN(a *Args) Value {
	var m ECN
	a.Need("--ecn-tcp-cwr", "--ecn-tcp-ece", "--ecn-ip-ect")
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--ecn-tcp-cwr":
			m.CWR, m.NotCWR = true, g.Not
		case "--ecn-tcp-ece":
			m.ECE, m.NotECE = true, g.Not
		case "--ecn-ip-ect":
			m.ECT, m.NotECT, m.CodePoint = true, g.Not, uint8(g.Uint(2))
		}
	}
	if m.CWR || m.ECE {
		a.NeedProtocol(nat.TCP)
	}
	return m
}

var setECNRow = Extension{
	Name: "ECN", Kind: TargetKind, Families: IPv4Only, Tables: []string{"mangle"}, Needs: "-p tcp",
	Listed: listedSetECN,
	Options: []Option{
		{Name: "--ecn-tcp-remove"}, {Name: "--ecn-tcp-cwr", Values: 1}, {Name: "--ecn-tcp-ece", Values: 1}, {Name: "--ecn-ip-ect", Values: 1},
	},
	Examples: []string{"--ecn-tcp-remove", "--ecn-tcp-ece 1 --ecn-tcp-cwr 0 --ecn-ip-ect 2", "--ecn-ip-ect 0"},
	Parse:    parseSetECN,
	// struct ipt_ECN_info { __u8 operation, ip_ect; union { struct { __u8 ece:1, cwr:1; } tcp; } proto; }
	Layouts: layouts(layout(0, 3,
		func(d []byte, _ *Env) (SetECN, bool) {
			return SetECN{
				ECE: d[0]&ecnECE != 0, CWR: d[0]&ecnCWR != 0, ECT: d[0]&ecnIP != 0,
				Echo: d[2] & 1, Reduced: d[2] >> 1 & 1, CodePoint: d[1],
			}, d[0]&^(ecnIP|ecnECE|ecnCWR) == 0 && d[2] < 4
		},
		func(t SetECN, d []byte, _ *Env) error {
			d[0], d[1], d[2] = ecnBits(t.ECT, t.ECE, t.CWR), t.CodePoint, t.Echo|t.Reduced<<1
			return nil
		})),
}

func parseSetECN(a *Args) Value {
	var t SetECN
	a.Need("--ecn-tcp-remove", "--ecn-tcp-cwr", "--ecn-tcp-ece", "--ecn-ip-ect")
	a.Exclusive("--ecn-tcp-remove", "--ecn-tcp-cwr")
	a.Exclusive("--ecn-tcp-remove", "--ecn-tcp-ece")
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--ecn-tcp-remove": // what was given of the IP header before is forgotten
			t.ECE, t.CWR, t.ECT = true, true, false
		case "--ecn-tcp-cwr":
			t.CWR, t.Reduced = true, uint8(g.Uint(1))
		case "--ecn-tcp-ece":
			t.ECE, t.Echo = true, uint8(g.Uint(1))
		case "--ecn-ip-ect":
			t.ECT, t.CodePoint = true, uint8(g.Uint(2))
		}
	}
	if t.CWR || t.ECE {
		a.NeedProtocol(nat.TCP)
	}
	return t
}

// Name is "ecn".
func (ECN) Name() string { return "ecn" }

// Save prints what is asked for.
func (m ECN) Save(p *Printer) {
	for _, bit := range []struct {
		asked, not bool
		option     string
	}{{m.ECE, m.NotECE, "--ecn-tcp-ece"}, {m.CWR, m.NotCWR, "--ecn-tcp-cwr"}} {
		p.Not(bit.asked && bit.not)
		p.Flag(bit.asked, bit.option)
	}
	if m.ECT {
		p.Not(m.NotECT)
		p.Number("--ecn-ip-ect", uint64(m.CodePoint))
	}
}

// List prints what is asked for as iptables -L does.
func (m ECN) List(p *Printer) {
	p.Text(" ECN match")
	p.Flag(m.ECE, bang(m.NotECE)+"ECE")
	p.Flag(m.CWR, bang(m.NotCWR)+"CWR")
	p.Flag(m.ECT, fmt.Sprintf("%sECT=%d", bang(m.NotECT), m.CodePoint))
}

// Holds compares the packet's bits; without a TCP header those of TCP do not hold, inverted or not.
func (m ECN) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	if m.ECT && (v.Wire.TOS()&ecnMask == m.CodePoint) == m.NotECT {
		return rules.No
	}
	if !m.ECE && !m.CWR {
		return rules.Yes
	}
	h := matchedHeader(v)
	if len(h) < tcpHeader {
		return rules.No
	}
	flags := h[13]
	return rules.Is((!m.ECE || (flags&flagECE != 0) != m.NotECE) && (!m.CWR || (flags&flagCWR != 0) != m.NotCWR), false)
}

// Actual is the packet's bits.
func (ECN) Actual(v *rules.Visit) string {
	return fmt.Sprintf("ECT %d, TCP flags %s", v.Wire.TOS()&ecnMask, packet.FlagNames(v.TCPFlags))
}

// Name is "ECN".
func (SetECN) Name() string { return "ECN" }

// removes reports whether the target takes ECN out of the TCP header and does nothing else, which has an option of its own.
func (t SetECN) removes() bool { return t.ECE && t.CWR && !t.ECT && t.Echo == 0 && t.Reduced == 0 }

// Save prints what is written.
func (t SetECN) Save(p *Printer) {
	t.print(p, " --ecn-tcp-remove", " --ecn-tcp-ece %d", " --ecn-tcp-cwr %d", " --ecn-ip-ect %d")
}

// List prints what is written as iptables -L does.
func (t SetECN) List(p *Printer) {
	p.Text(" ECN")
	t.print(p, " TCP remove", " ECE=%d", " CWR=%d", " ECT codepoint=%d")
}

func (t SetECN) print(p *Printer, remove, echo, reduced, codePoint string) {
	if t.removes() {
		p.Text(remove)
		return
	}
	for _, bit := range []struct {
		on     bool
		format string
		value  uint8
	}{{t.ECE, echo, t.Echo}, {t.CWR, reduced, t.Reduced}, {t.ECT, codePoint, t.CodePoint}} {
		if bit.on {
			p.Text(strings.Replace(bit.format, "%d", string('0'+bit.value), 1))
		}
	}
}

func listedECN(l *Listing) bool {
	if !l.Take("ECN match") {
		return false
	}
	for _, bit := range [][2]string{{"ECE", "--ecn-tcp-ece"}, {"CWR", "--ecn-tcp-cwr"}} {
		if l.TakeWord("!" + bit[0]) {
			l.Give(bit[1], true)
		}
		l.Flag(bit[0], bit[1])
	}
	if not := l.Take("!ECT="); not || l.Take("ECT=") {
		l.Give("--ecn-ip-ect", not, l.Word())
	}
	return true
}

func listedSetECN(l *Listing) bool {
	if !l.TakeWord("ECN") {
		return false
	}
	if l.Take("TCP remove") {
		l.Give("--ecn-tcp-remove", false)
	}
	for _, part := range [][2]string{{"ECE=", "--ecn-tcp-ece"}, {"CWR=", "--ecn-tcp-cwr"}, {"ECT codepoint=", "--ecn-ip-ect"}} {
		if l.Take(part[0]) {
			l.Give(part[1], false, l.Word())
		}
	}
	return true
}

// Act writes the bits. A TCP packet without a whole TCP header is dropped.
func (t SetECN) Act(v *rules.Visit) rules.Action {
	if v.Wire == nil {
		return rules.Continue()
	}
	if t.ECT {
		v.SetTOS(v.Wire.TOS()&^ecnMask | t.CodePoint)
	}
	if !t.ECE && !t.CWR || v.Tuple.Proto() != nat.TCP {
		return rules.Continue()
	}
	if len(v.Wire.Transport()) < tcpHeader {
		return rules.Action{Verdict: nat.Drop}
	}
	flags := v.Wire.Transport()[13]
	if t.ECE {
		flags = flags&^flagECE | t.Echo*flagECE
	}
	if t.CWR {
		flags = flags&^flagCWR | t.Reduced*flagCWR
	}
	v.Wire.SetTCPFlags(flags)
	v.TCPFlags = v.Wire.TCPFlags()
	return rules.Continue()
}
