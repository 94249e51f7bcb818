package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// filters are the built-in chains of other tables that what a Service calls for comes by: as the client asked, in front of the translation, or as
// it goes to an endpoint, behind it.
var filters = []struct {
	table, chain string
	translated   bool
}{
	{"raw", "PREROUTING", false}, {"mangle", "PREROUTING", false}, {"mangle", "FORWARD", true}, {"filter", "FORWARD", true},
}

// asked is the first packet of somebody who asks a Service, without a mark; the client may be anybody.
type asked struct {
	proto nat.Proto
	dst   netip.AddrPort
	name  string // of the Service's port
}

// drops finds rules of others that drop, or refuse, all that comes for a Service.
func (a *auditor) drops(h Held) {
	for _, f := range filters {
		table, ok := h.Rules.Table(f.table)
		if !ok {
			continue
		}
		var lost losses
		chains := table.ByName()
		for _, p := range a.askedFor(f.translated) {
			w := dropWalk{auditor: a, chains: chains, packet: p}
			if end := w.walk(f.chain, true, 0); end == dropped {
				lost.add(place{h.Backend, f.table, w.chain}.finding(Dropped, w.number, w.rule.Text(w.chain)), p.name)
			}
		}
		for _, at := range lost.found() {
			a.found(at.droppedBy(f.translated))
		}
	}
}

// droppedBy is what is told of a rule that drops.
func (f Finding) droppedBy(translated bool) Finding {
	f.Why, f.Issue = "whoever asks the Service there gets no answer, or a refusal, whatever kube-proxy's rules call for", "kubernetes#40182"
	if translated {
		f.Why = "a Service's packets that kube-proxy does not mark are lost: those of pods, and with a local policy those of clients"
	}
	f.Remedy = "let the rule, or one in front of it, accept the Service's endpoints; a network policy is the place to refuse clients"
	return f
}

// losses gathers by rule whose packets it takes.
type losses struct {
	order []Finding // What is the rule
	names map[Finding][]string
}

// add notes that a rule takes what comes for a Service's port.
func (l *losses) add(at Finding, name string) {
	if l.names == nil {
		l.names = map[Finding][]string{}
	}
	if l.names[at] == nil {
		l.order = append(l.order, at)
	}
	if !slices.Contains(l.names[at], name) {
		l.names[at] = append(l.names[at], name)
	}
}

// found are the rules, each with the Services that it takes from; "" in place of a rule is its chain's policy.
func (l *losses) found() (out []Finding) {
	for _, at := range l.order {
		names := l.names[at]
		of := strings.Join(names[:min(3, len(names))], ", ")
		if more := len(names) - 3; more > 0 {
			of += fmt.Sprintf(" and %d more", more)
		}
		if at.Rule == 0 {
			at.What = fmt.Sprintf("the policy of %s is drop, and no rule of it accepts what comes for %s", at.Chain, of)
		} else {
			at.What = fmt.Sprintf("%q takes what comes for %s", at.What, of)
		}
		out = append(out, at)
	}
	return out
}

// askedFor are the packets of those who ask the cluster's Services: with an endpoint's address behind the translation, or with the Service's own.
func (a *auditor) askedFor(translated bool) (out []asked) {
	own, known := a.addresses(), map[asked]bool{}
	for _, s := range a.services() {
		if !translated {
			out = append(out, asked{s.proto, s.address, s.name})
			continue
		}
		for _, e := range s.port.Endpoints {
			p := asked{s.proto, e.Addr, s.name}
			if e.Ready && e.Addr.Addr().Is6() == s.address.Addr().Is6() && !slices.Contains(own, e.Addr.Addr()) && !known[p] {
				out, known[p] = append(out, p), true
			}
		}
	}
	return out
}

// ending is how a walk through a chain ends.
type ending int

const (
	goesOn  ending = iota // the chain ends, or returns
	settled               // it may be accepted, or nobody can tell
	dropped               // it is dropped or refused, whoever sent it
	taken                 // it is translated, whoever sent it
)

// dropWalk follows one packet through the chains of a table, as far as it is certain.
type dropWalk struct {
	*auditor

	chains map[string]*iptables.Chain
	packet asked

	chain  string // of the rule that drops
	number int
	rule   iptables.Rule
}

func (w *dropWalk) walk(name string, certain bool, depth int) ending {
	c := w.chains[name]
	if c == nil || depth > maxDepth {
		return settled
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		holds := w.holds(r)
		if holds == rules.No {
			continue
		}
		sure := certain && holds == rules.Yes
		switch t := r.Target.(type) {
		case nil, xt.SetMark, xt.SetConnMark:
		case xt.Drop, xt.Reject:
			if sure {
				w.chain, w.number, w.rule = name, i+1, *r
				return dropped
			}
		case xt.Return:
			if holds == rules.Yes {
				return goesOn
			}
			certain = false
		case xt.Jump:
			if end := w.walk(t.Chain, sure, depth+1); end != goesOn {
				return end
			}
		case xt.Goto:
			if end := w.walk(t.Chain, sure, depth+1); end != goesOn || holds == rules.Yes {
				return end
			}
			certain = false
		case xt.Accept:
			if w.letsIn(*r) {
				return settled
			}
		default:
			return settled
		}
	}
	return goesOn
}

// holds tells whether a rule's conditions hold for the packet, from whoever it is.
func (w *dropWalk) holds(r *iptables.Rule) rules.Answer {
	out := rules.Yes
	for _, m := range r.Matches {
		switch w.condition(m) {
		case rules.No:
			return rules.No
		case rules.Unknown:
			out = rules.Unknown
		case rules.Yes:
		}
	}
	return out
}

func (w *dropWalk) condition(m xt.Match) rules.Answer {
	switch m := m.(type) {
	case xt.Comment:
		return rules.Yes
	case iptables.Destination:
		return yesNo(m.Prefix.Contains(w.packet.dst.Addr()) != m.Not)
	case iptables.Protocol:
		number, ok := m.Number()
		return yesNo((m.Protocol == "all" || ok && number == w.packet.proto) != m.Not)
	case xt.Ports:
		if m.Source != nil || m.Flags != nil || m.Chunks != nil || m.Types != nil || m.Option != nil || m.NotBoth {
			return rules.Unknown
		}
		if d := m.Destination; d != nil {
			return yesNo(d.Contains(w.packet.dst.Port()) != d.Not)
		}
		return rules.Yes
	case xt.MultiPort:
		if m.Side != xt.DestinationPorts {
			return rules.Unknown
		}
		return yesNo(slices.ContainsFunc(m.Ports, func(r xt.PortRange) bool { return r.Contains(w.packet.dst.Port()) }) != m.Not)
	case iptables.InInterface:
		return ofHosts(m.Device, m.Not)
	case iptables.OutInterface:
		return ofHosts(m.Device, m.Not)
	case xt.Mark:
		if m.Mask&^w.mark != 0 {
			return rules.Unknown // another agent's, by what it found of the packet
		}
		return yesNo((m.Value == 0) != m.Not)
	case xt.Conntrack:
		if m.Conn != nil || m.States&(rules.Untracked|rules.SNATed|rules.DNATed) != 0 {
			return rules.Unknown
		}
		return yesNo((m.States&rules.New != 0) != m.Not)
	}
	return rules.Unknown
}

// ofHosts answers for a device of hosts that are no pods of the cluster, a bridge of containers and machines beside it or loopback. Nothing is known of
// others.
func ofHosts(device string, not bool) rules.Answer {
	if besidePods.MatchString(device) {
		return yesNo(not)
	}
	return rules.Unknown
}

func yesNo(is bool) rules.Answer {
	if is {
		return rules.Yes
	}
	return rules.No
}
