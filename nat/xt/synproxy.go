package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// SYNProxy is -j SYNPROXY: the node answers a SYN by itself, with a cookie, and asks the server once the client has come back
// with it (ipt_SYNPROXY.c, nf_synproxy_core.c).
type SYNProxy struct {
	SACK, Timestamp, ECN bool
	WindowScale          *uint8  // nil where the option is not there
	MSS                  *uint16 //
}

var synProxyRow = Extension{
	Name: "SYNPROXY", Kind: TargetKind, Hooks: HooksOf(nat.Input, nat.Forward), Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP}, Tracks: true,
	Options: []Option{
		{Name: "--sack-perm"}, {Name: "--timestamp"}, {Name: "--wscale", Values: 1}, {Name: "--mss", Values: 1}, {Name: "--ecn"},
	},
	Examples: []string{"--sack-perm --timestamp --wscale 9 --mss 1460", "--ecn", ""},
	Parse:    parseSYNProxy,
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("SYNPROXY")
		l.Options("")
		return taken
	},
	// struct xt_synproxy_info { __u8 options, wscale; __u16 mss; }
	Layouts:   layouts(layout(0, 4, decodeSYNProxy, encodeSYNProxy)),
	Undecided: "the node speaks for the server until the client has come back with its cookie",
}

func parseSYNProxy(a *Args) Value {
	var t SYNProxy
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--sack-perm":
			t.SACK = true
		case "--timestamp":
			t.Timestamp = true
		case "--wscale": // what does not fit is cut
			t.WindowScale = new(uint8(g.Uint(32)))
		case "--mss":
			t.MSS = new(uint16(g.Uint(32)))
		case "--ecn":
			t.ECN = true
		}
	}
	return t
}

// Bits of xt_synproxy_info.options (XT_SYNPROXY_OPT_*).
const (
	synProxyMSS = 1 << iota
	synProxyWindowScale
	synProxySACK
	synProxyTimestamp
	synProxyECN
)

func decodeSYNProxy(d []byte, _ *Env) (SYNProxy, bool) {
	t := SYNProxy{SACK: d[0]&synProxySACK != 0, Timestamp: d[0]&synProxyTimestamp != 0, ECN: d[0]&synProxyECN != 0}
	if d[0]&synProxyWindowScale != 0 {
		t.WindowScale = new(d[1])
	}
	if d[0]&synProxyMSS != 0 {
		t.MSS = new(order.Uint16(d[2:]))
	}
	return t, d[0] < synProxyECN<<1
}

func encodeSYNProxy(t SYNProxy, d []byte, _ *Env) error {
	d[0] = flagByte(t.SACK)*synProxySACK | flagByte(t.Timestamp)*synProxyTimestamp | flagByte(t.ECN)*synProxyECN
	if t.WindowScale != nil {
		d[0] |= synProxyWindowScale
		d[1] = *t.WindowScale
	}
	if t.MSS != nil {
		d[0] |= synProxyMSS
		order.PutUint16(d[2:], *t.MSS)
	}
	return nil
}

// Name is "SYNPROXY".
func (SYNProxy) Name() string { return "SYNPROXY" }

// Save prints the options.
func (t SYNProxy) Save(p *Printer) { t.print(p, " --", "") }

// List prints the options as iptables -L does, each with a blank behind it.
func (t SYNProxy) List(p *Printer) {
	p.Text(" SYNPROXY ")
	t.print(p, "", " ")
}

func (t SYNProxy) print(p *Printer, before, behind string) {
	flag := func(on bool, name string) {
		if on {
			p.Text(before, name, behind)
		}
	}
	flag(t.SACK, "sack-perm")
	flag(t.Timestamp, "timestamp")
	if t.WindowScale != nil {
		p.Textf("%swscale %d%s", before, *t.WindowScale, behind)
	}
	if t.MSS != nil {
		p.Textf("%smss %d%s", before, *t.MSS, behind)
	}
	flag(t.ECN, "ecn")
}

// Act takes a SYN, and an ACK that may bring the cookie back, and is open: the server is asked in the end, or never.
// Segments of other kinds go on.
func (t SYNProxy) Act(v *rules.Visit) rules.Action {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch v.TCPFlags & (fin | syn | rst | ack) {
	case syn, ack:
		return rules.Action{Verdict: nat.Stolen, Else: nat.Continue, Open: "-j SYNPROXY" + optionsOf(t, v)}
	}
	return rules.Continue()
}

// optionsOf is a target's options, each with a blank in front.
func optionsOf(t Target, v *rules.Visit) string {
	p := NewPrinter(nil, nat.FamilyOf(v.Tuple.Src().Addr()))
	t.Save(p)
	return p.String()
}
