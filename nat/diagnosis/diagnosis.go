package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/topology"
)

// Case is a packet and the node that it comes to.
type Case struct {
	Namespace topology.Namespace
	Rules     gateway.Rules
	Facts     gateway.Facts
	Ask       gateway.Ask
	AnyPort   bool     // the packet's source port stands for any
	Backends  []string // of Rules, one each, where it is known who wrote them
	Doubts    []Doubt
	// RoutesOpen tells that the node may have more routes than were told.
	RoutesOpen bool
	// RulesOpen tells that the rules are what somebody kept of them, which may be one table of several.
	RulesOpen bool
	// VirtualTold tells that the virtual servers of IPVS are among the doubts, so that there are no others.
	VirtualTold bool
}

// Doubt is something that decides where packets go and that natlab does not follow.
type Doubt struct {
	What  string
	Of    netip.Prefix // it counts for what goes to an address in it; not valid for one that counts for every packet
	Route bool         // it counts for what takes the route to Of alone
	Pods  bool         // it counts for who is asked, where that is none of the node's own addresses
	Proto nat.Proto    // with Port: it counts for packets to this port alone; 0 for any
	Port  uint16
}

// Answer is what is told of a packet in front of its ways.
type Answer struct {
	Verdict Word    `json:"verdict"`
	Why     string  `json:"why"`
	Causes  []Cause `json:"causes,omitempty"`  // what is to blame, the surest first; of a packet that works what a reader should know
	Decides []Rule  `json:"decides,omitempty"` // the rules that translate, mark, reject or drop it
}

// Cause is one thing that is to blame.
type Cause struct {
	Code string `json:"code"`           // of Codes
	What string `json:"what"`           // with the names and numbers of this case
	Rule *Rule  `json:"rule,omitempty"` // where it is a rule
}

// Rule is a rule, or a policy, with whose it is.
type Rule struct {
	Direction nat.Direction `json:"direction"`
	Table     string        `json:"table"`
	Chain     string        `json:"chain"`
	Rule      int           `json:"rule"` // from 1; 0 for a policy
	Line      int           `json:"line,omitempty"`
	Text      string        `json:"text,omitempty"`
	Owner     string        `json:"owner,omitempty"`
}

// String is the rule in a line: "filter DOCKER-USER:1 (Docker), line 12: -A DOCKER-USER -j DROP".
func (r Rule) String() string {
	s := fmt.Sprintf("%s %s:%d", r.Table, r.Chain, r.Rule)
	if r.Rule == 0 {
		s = fmt.Sprintf("%s %s policy", r.Table, r.Chain)
	}
	if r.Owner != "" {
		s += " (" + r.Owner + ")"
	}
	if r.Line > 0 {
		s += fmt.Sprintf(", line %d", r.Line)
	}
	if r.Text != "" {
		s += ": " + r.Text
	}
	return s
}

// Of is the answer for a packet of which no more is known than its ways: one of a whole network.
func Of(p nat.Prediction) Answer {
	a := Answer{Decides: deciding(p)}
	a.Verdict, a.Why = judge(p)
	a.direct(p)
	return a
}

// Diagnose is the answer for a packet and its ways through the node: what is to blame is what the packet works without.
func (c Case) Diagnose(p nat.Prediction) Answer {
	a := Of(p)
	switch a.Verdict {
	case Works:
		c.unsure(&a, p)
		if a.Verdict == Works {
			c.untold(&a, p)
			who(&a, p)
		}
	case Broken, Depends:
		c.blame(&a, p)
	case Unknown:
	}
	if c.AnyPort && a.Verdict == Works {
		c.otherPorts(&a)
	}
	if what, ok := c.doubted(p); ok && a.Verdict != Unknown && a.Verdict != Depends {
		a.Why = fmt.Sprintf("on %s; without that it is %s: %s", what, a.Verdict, a.Why)
		a.Verdict = Depends
	}
	return a
}

// doubted is what natlab does not follow of the node that may decide the packet's way.
func (c Case) doubted(p nat.Prediction) (string, bool) {
	if to, ok := c.unrouted(p); ok && c.RoutesOpen {
		return fmt.Sprintf("whether the node has a route to %s: none was told", to), true
	}
	for _, o := range p {
		if strings.Contains(o.Why, gateway.Unjoined) {
			return "whether a process of the node has joined " + c.Ask.Tuple.Dst().Addr().String() + ": none was told", true
		}
	}
	if what, ok := c.besides(); ok {
		return what, true
	}
	if what, ok := c.virtual(p); ok {
		return what, true
	}
	if what, ok := c.openRule(p); ok {
		return what, true
	}
	if what, ok := c.beneath(p); ok {
		return what, true
	}
	if what, ok := c.framed(p); ok {
		return what, true
	}
	if bridge, ok := c.filtered(p); ok {
		return fmt.Sprintf("which VLANs the ports of %s are in (bridge vlan show): its vlan_filtering is 1", bridge), true
	}
	for _, d := range c.Doubts {
		if !d.Of.IsValid() {
			return d.What, true
		}
		for _, o := range p {
			for _, h := range append(append([]nat.Hop(nil), o.Request.Hops...), o.Reply.Hops...) {
				if c.concerns(d, h.Tuple) {
					return d.What, true
				}
			}
		}
	}
	return "", false
}

// filtered is a bridge with VLAN filtering that carries the packet, or its answer, from port to port.
func (c Case) filtered(p nat.Prediction) (string, bool) {
	for _, d := range c.Namespace.Devices {
		if !d.Filters {
			continue
		}
		for _, o := range p {
			for _, j := range []nat.Journey{o.Request, o.Reply} {
				in := slices.ContainsFunc(j.Hops, func(h nat.Hop) bool { return h.Dev == d.Name && h.Tap == nat.TapPreRaw })
				if in && (leaves(j).Dev == d.Name || strings.Contains(o.Why, d.Name)) {
					return d.Name, true
				}
			}
			if in := c.Ask.In == d.Name; in && strings.Contains(o.Server, "behind "+d.Name) {
				return d.Name, true
			}
		}
	}
	return "", false
}

// DoubtOn is what natlab does not follow of the node that may decide about packets on their ways through a network, as far as they come to the node.
func (c Case) DoubtOn(p nat.Prediction) (string, bool) {
	if what, ok := c.framed(p); ok {
		return what, true
	}
	for _, o := range p {
		for _, h := range append(append([]nat.Hop(nil), o.Request.Hops...), o.Reply.Hops...) {
			for _, d := range c.Doubts {
				if h.Node == c.Namespace.Member && (!d.Of.IsValid() || c.concerns(d, h.Tuple)) {
					return d.What, true
				}
			}
		}
	}
	return "", false
}

// besides is who decides about packets beside the rules, where a chain or a device tells that it is there.
func (c Case) besides() (string, bool) {
	for _, d := range c.Namespace.Devices {
		for _, of := range besideDevices {
			if strings.HasPrefix(d.Name, of.prefix) {
				return besideRules[of.owner], true
			}
		}
	}
	for _, rs := range c.Rules {
		for _, t := range rs.Tables {
			for _, chain := range t.Chains {
				if what, ok := besideRules[Owner(chain.Name)]; ok {
					return what, true
				}
			}
		}
	}
	return "", false
}

// unrouted is where the packet or its answer goes on a way on which the node has no route there.
func (c Case) unrouted(p nat.Prediction) (netip.Addr, bool) {
	for _, o := range p {
		if o.Why != gateway.NoRoute || len(o.Request.Hops) == 0 {
			continue
		}
		to := o.Request.Hops[len(o.Request.Hops)-1].Tuple.Dst().Addr()
		if _, there := gateway.Arrives(c.Namespace, to); there {
			to = c.Ask.Tuple.Src().Addr()
		}
		return to, true
	}
	return netip.Addr{}, false
}

// concerns reports whether a doubt that is not about every packet is about one.
func (c Case) concerns(d Doubt, t nat.Tuple) bool {
	to := t.Dst().Addr()
	if d.Port != 0 && (t.Proto() != d.Proto || t.Dst().Port() != d.Port) {
		return false
	}
	if d.Pods {
		return d.Of.Contains(to) && !c.own(to) && to != c.Ask.Tuple.Src().Addr()
	}
	if !d.Route {
		return d.Of.Contains(to)
	}
	r, ok := c.routeOf(to)
	return ok && r.Dst == d.Of
}

// routeOf is the route of the longest prefix to an address; ok is false for the node's own addresses, and where there is none.
func (c Case) routeOf(a netip.Addr) (best topology.Route, ok bool) {
	for _, own := range c.Namespace.Addresses {
		if own.Prefix.Addr() == a {
			return topology.Route{}, false
		}
	}
	take := func(r topology.Route) {
		closer := !ok || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && best.Table != "" && r.Table == ""
		if r.Dst.Contains(a) && closer {
			best, ok = r, true
		}
	}
	for _, r := range c.Namespace.Routes {
		take(r)
	}
	for _, own := range c.Namespace.Addresses {
		if !own.NoRoute && !own.Prefix.IsSingleIP() {
			take(topology.Route{Dst: own.Prefix.Masked(), Device: own.Device})
		}
	}
	return best, ok
}

// String is the answer in lines, the word first.
func (a Answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", a.Verdict, a.Why)
	for _, c := range a.Causes {
		fmt.Fprintf(&b, "  %s: %s\n", c.Code, c.What)
	}
	for _, r := range a.Decides {
		fmt.Fprintf(&b, "  decides: %s\n", r)
	}
	return b.String()
}
