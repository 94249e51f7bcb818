package xt

import (
	"fmt"
	"slices"
	"strings"

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

// Holds asks whether there was IPsec, or will be. Where that is not known, one that wants a kind is asked for as it is, and the
// others in words that do not depend on an inversion: two rules do not contradict each other.
func (m Policy) Holds(v *rules.Visit) rules.Answer {
	answer := m.ipsec(v)
	if answer == rules.Unknown && v.Decider != nil {
		answer = m.assumed(v)
	}
	switch {
	case m.None:
		return answer.Not(true)
	case len(m.Elements) == 0: // no text, but bytes can have none
		return rules.No
	case answer == rules.Yes && !m.anyKind():
		return rules.Unknown // of which states it was
	}
	return answer
}

// assumed is whether there is IPsec by what has been assumed of the packet, or is now: not for a match that wants a kind, whose
// own question comes next.
func (m Policy) assumed(v *rules.Visit) rules.Answer {
	question := "-m policy " + Options(Policy{Out: m.Out}, nat.IPv4)
	for _, a := range v.Assumed() {
		switch {
		case a.What == question:
			return rules.Is(a.Holds, false)
		case a.Holds && strings.HasPrefix(a.What, question+" "): // of some kind
			return rules.Yes
		}
	}
	if !m.None && !m.anyKind() {
		return rules.Unknown
	}
	return rules.Is(v.Unknown(question), false)
}

// ipsec tells whether IPsec is there at all, in the match's direction.
func (m Policy) ipsec(v *rules.Visit) rules.Answer {
	if w, ok := v.World.(rules.IPsecHolder); ok {
		return w.IPsec(v.Packet, m.Out)
	}
	return rules.Unknown
}

// anyKind reports whether any transformation will do.
func (m Policy) anyKind() bool {
	return !m.Strict && !slices.ContainsFunc(m.Elements, func(e PolicyElement) bool { return e != PolicyElement{} })
}

// Actual tells whether there is IPsec, as far as it is known.
func (m Policy) Actual(v *rules.Visit) string {
	switch m.ipsec(v) {
	case rules.No:
		return "no IPsec"
	case rules.Yes:
		return "IPsec transforms the packet"
	case rules.Unknown:
	}
	return "whether the node has IPsec is not known"
}
