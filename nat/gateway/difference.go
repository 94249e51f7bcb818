package gateway

import (
	"cmp"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

// Difference is a packet of which a node makes one thing with the rule sets A and another with B.
type Difference struct {
	Packet Ask            `json:"packet"`
	A      nat.Prediction `json:"a"`
	B      nat.Prediction `json:"b"`
	// PartA and PartB are the first rules that the packet meets in one and not in the other; nil for the end of the way.
	PartA *nat.Step `json:"partA,omitempty"`
	PartB *nat.Step `json:"partB,omitempty"`
	Alike int       `json:"alike"` // packets tried that part at the same rules, this one with them
}

// Differences follows packets through a node under two rule sets and returns where their outcomes differ: how a packet
// ends, what it leaves as, and with which probability; one packet for each pair of rules at which they part. The packets
// are made of what the rules of both ask for: each rule's own addresses, ports and protocols, from every kind of source.
// tried is how many there were.
func Differences(ns topology.Namespace, a, b Rules, f Facts) (out []Difference, tried int, err error) {
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		if len(a.of(family))+len(b.of(family)) == 0 {
			continue
		}
		found, n, err := familyDifferences(ns, a.of(family), b.of(family), NodeOptions{Trace: true, Facts: f, Family: family})
		if err != nil {
			return nil, 0, err
		}
		out, tried = append(out, found...), tried+n
	}
	return out, tried, nil
}

func familyDifferences(ns topology.Namespace, a, b Rules, o NodeOptions) (out []Difference, tried int, err error) {
	ga, err := NewGateway(ns, a, o)
	if err != nil {
		return nil, 0, err
	}
	gb, err := NewGateway(ns, b, o)
	if err != nil {
		return nil, 0, err
	}
	place := map[string]int{}
	for _, ask := range newTrials(ns, o.Family, a, b).asks() {
		tried++
		wa, _ := ga.ways(ask, nil)
		wb, _ := gb.ways(ask, nil)
		if wa.Summary() == wb.Summary() {
			continue
		}
		d := Difference{Packet: ask, A: wa, B: wb, Alike: 1}
		d.PartA, d.PartB = parting(wa, wb)
		key := ruleText(d.PartA) + "\n" + ruleText(d.PartB)
		if i, ok := place[key]; ok {
			out[i].Alike++
			continue
		}
		place[key] = len(out)
		out = append(out, d)
	}
	return out, tried, nil
}

// parting finds the rules at which the ways of two predictions part.
func parting(a, b nat.Prediction) (x, y *nat.Step) {
	for i := range min(len(a), len(b)) {
		for _, pair := range [][2]nat.Trace{{a[i].Request.Steps, b[i].Request.Steps}, {a[i].Reply.Steps, b[i].Reply.Steps}} {
			for k := range max(len(pair[0]), len(pair[1])) {
				x, y = stepAt(pair[0], k), stepAt(pair[1], k)
				if ruleText(x) != ruleText(y) {
					return x, y
				}
			}
		}
	}
	return nil, nil
}

func stepAt(t nat.Trace, i int) *nat.Step {
	if i >= len(t) {
		return nil
	}
	return &t[i]
}

// ruleText is a rule apart from its number, which another rule before it changes.
func ruleText(s *nat.Step) string {
	if s == nil {
		return "the end"
	}
	return s.Table + " " + s.Chain + " " + cmp.Or(s.Text, s.Why)
}

// trials are what packets are made of.
type trials struct {
	ns      topology.Namespace
	family  nat.Family
	sources []netip.Addr
	targets []netip.Addr
	ports   []protoPort
	rules   []constraint
}

type protoPort struct {
	proto nat.Proto
	port  uint16
}

// constraint is what one rule asks for; empty where it does not ask.
type constraint struct {
	dst   []netip.Addr
	ports []protoPort
	src   []netip.Addr
}

// Bounds of what is tried for a rule that leaves much open, and for a small rule set.
const (
	fewPorts   = 6
	fewTargets = 24
)

func newTrials(ns topology.Namespace, family nat.Family, sets ...Rules) *trials {
	t := &trials{ns: ns, family: family}
	for _, a := range ns.Addresses {
		if nat.FamilyOf(a.Prefix.Addr()) == family {
			t.targets = add(t.targets, a.Prefix.Addr())
			if next := a.Prefix.Addr().Next(); a.Prefix.Bits() < a.Prefix.Addr().BitLen()-1 && a.Prefix.Contains(next) {
				t.sources = add(t.sources, next)
			}
		}
	}
	for _, rules := range sets {
		for _, rs := range rules {
			for _, table := range rs.Tables {
				for _, chain := range table.Chains {
					for _, rule := range chain.Rules {
						t.learn(rule)
					}
				}
			}
		}
	}
	for _, far := range strangers[family] {
		t.sources, t.targets = add(t.sources, netip.MustParseAddr(far)), add(t.targets, netip.MustParseAddr(far))
	}
	for _, a := range ns.Addresses {
		if nat.FamilyOf(a.Prefix.Addr()) == family { // the node's own packets come last: a neighbour's tell more
			t.sources = add(t.sources, a.Prefix.Addr())
		}
	}
	t.ports = add(add(add(t.ports, protoPort{nat.TCP, 1}), protoPort{nat.UDP, 1}), protoPort{icmpOf[family].proto, 1})
	return t
}

// strangers are addresses that hardly any rule names (RFC 5737, RFC 3849).
var strangers = [...][]string{
	nat.IPv4: {"203.0.113.7", "198.51.100.7"},
	nat.IPv6: {"2001:db8:7::7", "2001:db8:8::7"},
}

func add[T comparable](list []T, x T) []T {
	if slices.Contains(list, x) {
		return list
	}
	return append(list, x)
}

// learn takes over what a rule asks for.
func (t *trials) learn(rule iptables.Rule) {
	var c constraint
	protos := []nat.Proto{nat.TCP, nat.UDP}
	var numbers []uint16
	for _, m := range rule.Matches {
		switch m := m.(type) {
		case iptables.Source:
			c.src = samples(m.Prefix)
		case iptables.Destination:
			c.dst = samples(m.Prefix)
		case iptables.Protocol:
			if p, ok := m.Number(); ok {
				protos = []nat.Proto{p}
			}
		case xt.Ports:
			if m.Destination != nil {
				numbers = append(numbers, m.Destination.Low, m.Destination.High)
			}
			if p, ok := nat.ParseRuleProto(m.Protocol); ok {
				protos = []nat.Proto{p}
			}
		case xt.MultiPort:
			for _, r := range m.Ports {
				numbers = append(numbers, r.Low, r.High)
			}
		}
	}
	for _, p := range protos {
		for _, n := range numbers {
			c.ports = add(c.ports, protoPort{p, n})
		}
		if len(numbers) == 0 && len(protos) == 1 {
			c.ports = add(c.ports, protoPort{p, 1})
		}
	}
	for _, a := range c.src {
		if len(t.sources) < fewTargets {
			t.sources = add(t.sources, a)
		}
	}
	for _, a := range c.dst {
		if len(t.targets) < fewTargets {
			t.targets = add(t.targets, a)
		}
	}
	for _, p := range c.ports {
		if len(t.ports) < fewTargets {
			t.ports = add(t.ports, p)
		}
	}
	t.rules = append(t.rules, c)
}

// samples are addresses inside a prefix, and one behind it.
func samples(p netip.Prefix) []netip.Addr {
	a := p.Addr()
	if p.IsSingleIP() {
		return []netip.Addr{a}
	}
	inside := a.Next().Next().Next().Next().Next() // .5: hardly a network's or a gateway's
	if !p.Contains(inside) {
		inside = a.Next()
	}
	return []netip.Addr{inside}
}

// asks makes the packets, each once.
func (t *trials) asks() []Ask {
	seen := map[Ask]bool{}
	var out []Ask
	try := func(src, dst netip.Addr, p protoPort) {
		a := Ask{Tuple: nat.TupleOf(p.proto, netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(dst, p.port))}
		if p.proto == icmpOf[t.family].proto {
			a.Tuple, a.Type = nat.TupleOf(p.proto, netip.AddrPortFrom(src, 1), netip.AddrPortFrom(dst, 1)), icmpOf[t.family].echo
		}
		dev, ok := Arrives(t.ns, src)
		if !ok {
			return
		}
		if a.In = dev; !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	for _, src := range t.sources {
		for _, dst := range t.targets {
			for _, p := range t.ports[:min(len(t.ports), fewPorts)] {
				try(src, dst, p)
			}
		}
	}
	for _, c := range t.rules {
		sources, targets, ports := t.sources, c.dst, c.ports
		if len(c.src) > 0 {
			sources = append(slices.Clone(c.src), t.sources...)
		}
		if len(targets) == 0 {
			targets = t.targets
		}
		if len(ports) == 0 {
			ports = t.ports[:min(len(t.ports), fewPorts)]
		}
		for _, src := range sources {
			for _, dst := range targets {
				for _, p := range ports {
					try(src, dst, p)
				}
			}
		}
	}
	return out
}
