package xt

import (
	"fmt"
	"math"

	"natlab/nat"
	"natlab/nat/rules"
)

// TCPMSS is -m tcpmss: the maximum segment size that a TCP header's options give (xt_tcpmss.c).
type TCPMSS struct {
	Not      bool
	Min, Max uint16
}

var tcpMSSRow = Extension{
	Name: "tcpmss", Needs: "-p tcp", Protocols: []nat.Proto{nat.TCP},
	Options:  []Option{{Name: "--mss", Values: 1, Not: true}},
	Examples: []string{"--mss 42", "! --mss 1400:1536", "--mss 0:65535"},
	Listed:   listedValue("tcpmss match ", "--mss"),
	Parse: func(a *Args) Value {
		var m TCPMSS
		a.Need("--mss")
		a.Once()
		for g := range a.Options {
			low, high := g.Span(":", 16)
			m = TCPMSS{g.Not, uint16(low), uint16(high)}
		}
		return m
	},
	// struct xt_tcpmss_match_info { __u16 mss_min, mss_max; __u8 invert; }
	Layouts: layouts(layout(0, spanSize,
		func(d []byte, _ *Env) (TCPMSS, bool) {
			not, low, high := span16(d)
			return TCPMSS{not, low, high}, true
		},
		func(m TCPMSS, d []byte, _ *Env) error { putSpan16(d, m.Not, m.Min, m.Max); return nil })),
}

// Name is "tcpmss".
func (TCPMSS) Name() string { return "tcpmss" }

// Save prints the range.
func (m TCPMSS) Save(p *Printer) { p.Option(m.Not, "--mss", span(m.Min, m.Max, ":")) }

// List prints the range as iptables -L does.
func (m TCPMSS) List(p *Printer) { p.Text(" tcpmss match ", bang(m.Not), span(m.Min, m.Max, ":")) }

// Holds looks for the option; without one only what is inverted holds. A header that is cut short drops the packet.
func (m TCPMSS) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	h := matchedHeader(v)
	if len(h) < tcpHeader || int(h[12]>>4)*4 < tcpHeader || len(h) < int(h[12]>>4)*4 {
		v.HotDrop = true
		return rules.No
	}
	mss, ok := firstMSS(h[:int(h[12]>>4)*4])
	return rules.Is(ok && m.Min <= mss && mss <= m.Max, m.Not)
}

// Actual is the packet's maximum segment size.
func (TCPMSS) Actual(v *rules.Visit) string {
	if h := matchedHeader(v); len(h) >= tcpHeader {
		if mss, ok := firstMSS(h[:min(len(h), int(h[12]>>4)*4)]); ok {
			return fmt.Sprintf("MSS %d", mss)
		}
	}
	return "no MSS"
}

// matchedHeader is where a match that does not look for fragments finds the transport header: in a later fragment of IPv4
// that is its data, in one of IPv6 the IP header (ipv6_find_hdr leaves the offset at 0).
func matchedHeader(v *rules.Visit) []byte {
	if v.Later && v.Wire.V6() {
		return v.Wire.Bytes()
	}
	return v.Wire.Transport()
}

// TCP options (RFC 9293, 3.1).
const (
	tcpNoOperation = 1
	tcpMSS         = 2
	tcpMSSLength   = 4
)

// firstMSS is what the first MSS option of a TCP header gives.
func firstMSS(h []byte) (mss uint16, ok bool) {
	for at := tcpHeader; at < len(h); {
		if h[at] == tcpMSS && len(h)-at >= tcpMSSLength && h[at+1] == tcpMSSLength {
			return be16(h[at+2:]), true
		}
		n := 1
		if h[at] > tcpNoOperation && at+1 < len(h) {
			n = max(1, int(h[at+1]))
		}
		at += n
	}
	return 0, false
}

// SetTCPMSS is -j TCPMSS: the maximum segment size is made as small as this, or as the path's MTU allows where Clamp is set
// (xt_TCPMSS.c). It is never made larger.
type SetTCPMSS struct {
	Clamp bool
	MSS   uint16
}

// clampMSS is XT_TCPMSS_CLAMP_PMTU.
const clampMSS = 0xffff

var setTCPMSSRow = Extension{
	Name: "TCPMSS", Kind: TargetKind, Needs: "-p tcp -m tcp --tcp-flags SYN,RST SYN", Protocols: []nat.Proto{nat.TCP},
	Options:  []Option{{Name: "--set-mss", Values: 1}, {Name: "--clamp-mss-to-pmtu"}},
	Examples: []string{"--set-mss 1400", "--clamp-mss-to-pmtu"},
	Listed: func(l *Listing) bool {
		switch {
		case l.Take("TCPMSS clamp to PMTU"):
			l.Give("--clamp-mss-to-pmtu", false)
		case l.Take("TCPMSS set "):
			l.Give("--set-mss", false, l.Word())
		}
		return len(l.given) > 0
	},
	Parse: func(a *Args) Value {
		var t SetTCPMSS
		a.Need("--set-mss", "--clamp-mss-to-pmtu")
		a.Once()
		for g := range a.Options {
			if g.Name() == "--set-mss" { // what comes last counts
				t = SetTCPMSS{MSS: uint16(g.Within(0, uint64(math.MaxUint16-ipHeaderOf(a.Family))))}
			} else {
				t = SetTCPMSS{Clamp: true}
			}
		}
		return t
	},
	// struct xt_tcpmss_info { __u16 mss; }
	Layouts: layouts(layout(0, 2,
		func(d []byte, _ *Env) (SetTCPMSS, bool) {
			if mss := order.Uint16(d); mss != clampMSS {
				return SetTCPMSS{MSS: mss}, true
			}
			return SetTCPMSS{Clamp: true}, true
		},
		func(t SetTCPMSS, d []byte, _ *Env) error {
			if t.Clamp {
				t.MSS = clampMSS
			}
			order.PutUint16(d, t.MSS)
			return nil
		})),
}

// ipHeaderOf is the length of the family's IP header without options.
func ipHeaderOf(f nat.Family) int {
	if f == nat.IPv6 {
		return 40
	}
	return 20
}

// Hooks are those where the path is known whose MTU counts (tcpmss_tg4_check).
func (t SetTCPMSS) Hooks() (h Hooks) {
	if t.Clamp {
		return leaves
	}
	return h
}

// Name is "TCPMSS".
func (SetTCPMSS) Name() string { return "TCPMSS" }

// Save prints what the size becomes.
func (t SetTCPMSS) Save(p *Printer) {
	p.Flag(t.Clamp, "--clamp-mss-to-pmtu")
	if !t.Clamp {
		p.Number("--set-mss", uint64(t.MSS))
	}
}

// List prints what the size becomes as iptables -L does.
func (t SetTCPMSS) List(p *Printer) {
	if t.Clamp {
		p.Text(" TCPMSS clamp to PMTU")
		return
	}
	p.Textf(" TCPMSS set %d", t.MSS)
}

// Act writes the option. A header that is cut short drops the packet, and so does a path whose MTU has no room for data;
// where the path is not known the packet stays as it is.
func (t SetTCPMSS) Act(v *rules.Visit) rules.Action {
	if v.Wire == nil || v.Wire.Later() {
		return rules.Continue()
	}
	h := v.Wire.Transport()
	v.Pull(len(h)) // tcpmss_mangle_packet
	if len(h) < tcpHeader || int(h[12]>>4)*4 < tcpHeader || len(h) < int(h[12]>>4)*4 {
		return rules.Action{Verdict: nat.Drop}
	}
	mss := int(t.MSS)
	if t.Clamp {
		w, ok := v.World.(rules.Measurer)
		if !ok {
			return rules.Continue()
		}
		mtu, ok := w.PathMTU(v.Packet)
		if !ok {
			return rules.Continue()
		}
		if mss = mtu - ipHeaderOf(nat.FamilyOf(v.Tuple.Src().Addr())) - tcpHeader; mss <= 0 {
			return rules.Action{Verdict: nat.Drop}
		}
	}
	clampTo(v, uint16(min(mss, math.MaxUint16)))
	return rules.Continue()
}

// clampTo makes the packet's maximum segment size no larger than mss; of an option at an odd place the checksum is wrong then,
// as the kernel has it. A header without the option gets one, of the
// protocol's default or less, if nothing follows it and there is room (RFC 9293, 3.7.1).
func clampTo(v *rules.Visit, mss uint16) {
	for at, option := range v.Wire.TCPOptions {
		if option[0] != tcpMSS || len(option) != tcpMSSLength {
			continue
		}
		if be16(option[2:]) > mss {
			v.Wire.ReplaceTCPWord(at+2, mss)
		}
		return
	}
	const longest = 15 * 4
	h := v.Wire.Transport()
	if header := int(h[12]>>4) * 4; len(h) > header || header == longest {
		return
	}
	usual := uint16(536)
	if v.Wire.V6() {
		usual = 1220
	}
	mss = min(mss, usual)
	v.Wire.InsertTCPOption([4]byte{tcpMSS, tcpMSSLength, byte(mss >> 8), byte(mss)})
}
