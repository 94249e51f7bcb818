package xt

import (
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/nat/rules"
)

// Policy is -m policy: what IPsec did to a packet, or will do (xt_policy.c).
type Policy struct {
	Out      bool // --dir out
	None     bool // --pol none: nothing
	Strict   bool // the elements are all that it did, in their order
	Elements []PolicyElement
}

// PolicyElement is one transformation. What is nil, or invalid, is not asked for.
type PolicyElement struct {
	ReqID, SPI  *HeaderNumber
	Proto       *HeaderNumber // AH, ESP or IPComp
	Mode        *HeaderNumber // 0 transport, 1 tunnel
	Source      PolicyEnd
	Destination PolicyEnd
}

// PolicyEnd is an end of a tunnel. Bits outside the mask are kept.
type PolicyEnd struct {
	Not bool
	AddrMask
}

const maxPolicyElements = 4 // XT_POLICY_MAX_ELEM

const ipComp nat.Proto = 108

var policyModes = []string{"transport", "tunnel"}

const policyTunnel = 1

var policyRow = Extension{
	Name: "policy",
	Options: []Option{
		{Name: "--dir", Values: 1},
		{Name: "--pol", Values: 1},
		{Name: "--strict"},
		{Name: "--reqid", Values: 1, Not: true},
		{Name: "--spi", Values: 1, Not: true},
		{Name: "--tunnel-src", Values: 1, Not: true},
		{Name: "--tunnel-dst", Values: 1, Not: true},
		{Name: "--proto", Values: 1, Not: true},
		{Name: "--mode", Values: 1, Not: true},
		{Name: "--next"},
	},
	Examples: []string{
		"--dir in --pol none", "--dir out --pol ipsec",
		"--dir in --pol ipsec --strict --reqid 1 ! --spi 0x1 --proto esp --mode tunnel --tunnel-dst 10.0.0.0/8 ! --tunnel-src 10.0.0.1 --next --reqid 2",
		"--dir in --pol ipsec ! --proto ipcomp ! --mode transport --tunnel-dst fd00::/64", "--dir in --pol ipsec --reqid 0 --proto ah",
	},
	Parse:  parsePolicy,
	Listed: listedPolicy,
	// struct xt_policy_info { struct xt_policy_elem pol[4]; __u16 flags, len; }
	Layouts: layouts(layout(0, 308, decodePolicy, encodePolicy)),
}

func parsePolicy(a *Args) Value {
	var m Policy
	var e PolicyElement
	a.Need("--dir")
	policyOnce(a)
	for g := range a.Options {
		switch g.Name() {
		case "--dir":
			m.Out = g.Choice(false, "in", "out") == 1
		case "--pol":
			m.None = g.Choice(false, "none", "ipsec") == 0
		case "--strict":
			m.Strict = true
		case "--next":
			if m.Elements, e = append(m.Elements, e), (PolicyElement{}); len(m.Elements) == maxPolicyElements {
				g.Fail("at most %d elements", maxPolicyElements)
			}
		default:
			g.policyElement(&e)
		}
	}
	m.Elements = append(m.Elements, e)
	if m.None && len(m.Elements) == 1 { // what it has is not looked at, and not printed
		m.Elements = nil
	}
	m.check(a)
	return m
}

// policyOnce notes what is given twice: of options that are about an element, within one.
func policyOnce(a *Args) {
	seen := map[string]bool{}
	whole := []string{"--dir", "--pol", "--strict"}
	for g := range a.Options {
		if g.Name() == "--next" {
			for name := range seen {
				seen[name] = seen[name] && slices.Contains(whole, name)
			}
			continue
		}
		if seen[g.Name()] {
			g.Fail("given twice")
		}
		seen[g.Name()] = true
	}
}

func (g *Given) policyElement(e *PolicyElement) {
	switch g.Name() {
	case "--reqid":
		e.ReqID = g.number()
	case "--spi":
		e.SPI = g.number()
	case "--proto":
		p, ok := nat.ParseRuleProto(g.Text())
		if !ok || p != nat.AH && p != nat.ESP && p != ipComp {
			g.bad(0, "ah, esp or ipcomp")
		}
		e.Proto = &HeaderNumber{g.Not, uint32(p)}
	case "--mode":
		e.Mode = &HeaderNumber{g.Not, uint32(g.Choice(false, policyModes...))}
	case "--tunnel-src":
		e.Source = PolicyEnd{g.Not, g.wholeAddrMask()}
	case "--tunnel-dst":
		e.Destination = PolicyEnd{g.Not, g.wholeAddrMask()}
	}
}

// check notes what does not go together (policy_check).
func (m *Policy) check(a *Args) {
	switch {
	case m.None && m.Strict:
		a.Fail("--strict does not go with --pol none")
	case m.None && len(m.Elements) > 1:
		a.Fail("--next does not go with --pol none")
	case !m.Strict && len(m.Elements) > 1:
		a.Fail("--next needs --strict")
	}
	for i, e := range m.Elements {
		transport := e.Mode == nil || (e.Mode.Value == policyTunnel) == e.Mode.Not
		switch {
		case m.Strict && e == PolicyElement{}:
			a.Fail("element %d is empty: --strict needs --reqid, --spi, --proto, --mode, --tunnel-src or --tunnel-dst in each", i+1)
		case (e.Source.Addr.IsValid() || e.Destination.Addr.IsValid()) && transport:
			a.Fail("--tunnel-src and --tunnel-dst need --mode tunnel")
		}
	}
}

// Bits of xt_policy_info.flags (XT_POLICY_MATCH_*).
const (
	policyIn     = 1 << 0
	policyOut    = 1 << 1
	policyNone   = 1 << 2
	policyStrict = 1 << 3
)

// Bits of struct xt_policy_spec.
const (
	policySource = 1 << iota
	policyDestination
	policyProto
	policyMode
	policySPI
	policyReqID
)

// Where things are in struct xt_policy_elem { union nf_inet_addr saddr, smask, daddr, dmask; __be32 spi; __u32 reqid; __u8 proto,
// mode; struct xt_policy_spec match, invert; }, and its size.
const (
	policySPIAt     = 64
	policyReqIDAt   = 68
	policyProtoAt   = 72
	policyModeAt    = 73
	policyMatchAt   = 74
	policyInvertAt  = 75
	policySize      = 76
	policyAddr      = 16
	policyFlagsAt   = maxPolicyElements * policySize
	policyCounterAt = policyFlagsAt + 2
)

func decodePolicy(d []byte, e *Env) (Policy, bool) {
	flags, count := order.Uint16(d[policyFlagsAt:]), int(order.Uint16(d[policyCounterAt:]))
	m := Policy{Out: flags&policyOut != 0, None: flags&policyNone != 0, Strict: flags&policyStrict != 0}
	if count > maxPolicyElements {
		return m, false
	}
	for i := range count {
		m.Elements = append(m.Elements, decodePolicyElement(d[i*policySize:], e.Family))
	}
	return m, flags < policyStrict<<1 && (flags&policyIn != 0) != m.Out
}

func decodePolicyElement(d []byte, f nat.Family) (e PolicyElement) {
	match, invert := d[policyMatchAt], d[policyInvertAt]
	one := func(bit uint8, value uint32) *HeaderNumber {
		if match&bit == 0 {
			return nil
		}
		return &HeaderNumber{invert&bit != 0, value}
	}
	end := func(bit uint8, at int) PolicyEnd {
		if match&bit == 0 {
			return PolicyEnd{}
		}
		return PolicyEnd{invert&bit != 0, AddrMask{inetAddr(f, d[at:]), inetAddr(f, d[at+policyAddr:])}}
	}
	return PolicyElement{
		ReqID: one(policyReqID, order.Uint32(d[policyReqIDAt:])), SPI: one(policySPI, order.Uint32(d[policySPIAt:])),
		Proto: one(policyProto, uint32(d[policyProtoAt])), Mode: one(policyMode, uint32(d[policyModeAt])),
		Source: end(policySource, 0), Destination: end(policyDestination, 2*policyAddr),
	}
}

func encodePolicy(m Policy, d []byte, _ *Env) error {
	flags := bitIf[uint16](m.Out, policyOut) | bitIf[uint16](!m.Out, policyIn) | bitIf[uint16](m.None, policyNone) |
		bitIf[uint16](m.Strict, policyStrict)
	order.PutUint16(d[policyFlagsAt:], flags)
	order.PutUint16(d[policyCounterAt:], uint16(len(m.Elements)))
	for i, e := range m.Elements {
		e.encode(d[i*policySize:])
	}
	return nil
}

func (e *PolicyElement) encode(d []byte) {
	put := func(asked, not bool, bit uint8) {
		d[policyMatchAt] |= bitIf(asked, bit)
		d[policyInvertAt] |= bitIf(asked && not, bit)
	}
	for _, n := range []struct {
		*HeaderNumber
		bit uint8
		put func(v uint32)
	}{
		{e.ReqID, policyReqID, func(v uint32) { order.PutUint32(d[policyReqIDAt:], v) }},
		{e.SPI, policySPI, func(v uint32) { order.PutUint32(d[policySPIAt:], v) }},
		{e.Proto, policyProto, func(v uint32) { d[policyProtoAt] = uint8(v) }},
		{e.Mode, policyMode, func(v uint32) { d[policyModeAt] = uint8(v) }},
	} {
		if n.HeaderNumber != nil {
			put(true, n.Not, n.bit)
			n.put(n.Value)
		}
	}
	for i, end := range []PolicyEnd{e.Source, e.Destination} {
		put(end.Addr.IsValid(), end.Not, policySource<<i)
		if mask := d[(2*i+1)*policyAddr:][:policyAddr]; end.Addr.IsValid() {
			copy(d[2*i*policyAddr:], end.Addr.AsSlice())
			if n, _ := maskBits(end.Mask); n == end.Addr.BitLen() { // iptables fills the union
				putMask(mask, 8*policyAddr)
			}
			copy(mask, end.Mask.AsSlice())
		}
	}
}

// Hooks are those where it is known what IPsec did to the packet, or what it will do (policy_mt_check).
func (m Policy) Hooks() Hooks {
	if m.Out {
		return leaves
	}
	return cameIn
}

// Name is "policy".
func (Policy) Name() string { return "policy" }

// Save prints the policy and its elements.
func (m Policy) Save(p *Printer) {
	m.print(p, "--")
	for i, e := range m.Elements {
		p.Flag(i > 0, "--next")
		e.print(p, "--", nat.Proto.RuleName)
	}
}

// List prints the policy and its elements as iptables -L -n does.
func (m Policy) List(p *Printer) {
	p.Text(" policy match")
	m.print(p, "")
	for i, e := range m.Elements {
		p.Flag(len(m.Elements) > 1, fmt.Sprintf("[%d]", i))
		e.print(p, "", func(n nat.Proto) string { return fmt.Sprintf("%d", uint8(n)) })
	}
}

func (m Policy) print(p *Printer, dashes string) {
	p.Option(false, dashes+"dir", map[bool]string{false: "in", true: "out"}[m.Out])
	p.Option(false, dashes+"pol", map[bool]string{false: "ipsec", true: "none"}[m.None])
	p.Flag(m.Strict, dashes+"strict")
}

func (e *PolicyElement) print(p *Printer, dashes string, proto func(nat.Proto) string) {
	for _, n := range []struct {
		*HeaderNumber
		name string
		text func(v uint32) string
	}{
		{e.ReqID, "reqid", func(v uint32) string { return fmt.Sprint(v) }},
		{e.SPI, "spi", func(v uint32) string { return fmt.Sprintf("0x%x", v) }},
		{e.Proto, "proto", func(v uint32) string { return proto(nat.Proto(v)) }},
		{e.Mode, "mode", func(v uint32) string { return append(policyModes, "???")[min(v, policyTunnel+1)] }},
	} {
		if n.HeaderNumber != nil {
			p.Option(n.Not, dashes+n.name, n.text(n.Value))
		}
	}
	for _, end := range []struct {
		PolicyEnd
		name string
	}{{e.Destination, "tunnel-dst"}, {e.Source, "tunnel-src"}} {
		if end.Addr.IsValid() {
			p.Not(end.Not)
			p.Text(" ", dashes, end.name, " ")
			p.AddrMask(end.AddrMask)
		}
	}
}

func listedPolicy(l *Listing) bool {
	if !l.Take("policy match dir ") {
		return false
	}
	l.Give("--dir", false, l.Word())
	if !l.TakeWord("pol") {
		return false
	}
	l.Give("--pol", false, l.Word())
	l.Flag("strict", "--strict")
	for {
		was := *l
		if l.Take("[") {
			n, ok := l.Through("]")
			if ok && n != "0" {
				l.Give("--next", false)
			}
			continue
		}
		not, word := l.TakeWord("!"), l.Word()
		if !slices.Contains([]string{"reqid", "spi", "proto", "mode", "tunnel-dst", "tunnel-src"}, word) {
			*l = was
			return true
		}
		l.Give("--"+word, not, l.Word())
	}
}

// Holds tells that no IPsec has done anything: the node has none here.
func (m Policy) Holds(*rules.Visit) rules.Answer { return rules.Is(m.None, false) }

// Actual tells that there is no IPsec.
func (Policy) Actual(*rules.Visit) string { return "no IPsec" }
