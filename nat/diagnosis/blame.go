package diagnosis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/topology"
)

// direct names what ended the packet's ways, as far as they tell it themselves.
func (a *Answer) direct(p nat.Prediction) {
	for _, o := range p {
		s, dir, ok := last(o)
		if o.End == nat.EndAnswered || o.End == nat.EndUnknown || !ok {
			continue
		}
		r := ruleOf(s, dir)
		c := Cause{Code: "rule.drop", What: fmt.Sprintf("%s drops the %s", r, packetOf(dir)), Rule: &r}
		switch {
		case s.Rule == 0:
			c.Code = "policy.drop"
			c.What = fmt.Sprintf("the policy of %s %s drops the %s: no rule of the chain accepts it", s.Table, s.Chain, packetOf(dir))
		case strings.EqualFold(s.Target, "REJECT"):
			c.Code, c.What = "rule.reject", fmt.Sprintf("%s rejects the %s", r, packetOf(dir))
		}
		a.add(c)
	}
}

func packetOf(dir nat.Direction) string {
	if dir == nat.Reply {
		return "answer"
	}
	return "packet"
}

func (a *Answer) add(c Cause) {
	if !slices.ContainsFunc(a.Causes, func(o Cause) bool { return o.Code == c.Code && o.What == c.What }) {
		a.Causes = append(a.Causes, c)
	}
}

// works reports whether every way of the packet ends with an answer, where the node is as the case tells.
func (c Case) works() bool {
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	if err != nil {
		return false
	}
	w, _ := judge(x.Prediction)
	return w == Works
}

// helps reports whether the packet works, or ends otherwise and elsewhere than in all its ways p: what was cured is to blame for these, whatever
// comes behind it.
func (c Case) helps(p nat.Prediction) bool {
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	if err != nil {
		return false
	}
	w, _ := judge(x.Prediction)
	return w == Works || !slices.ContainsFunc(x.Prediction, func(o nat.Outcome) bool {
		return o.End == nat.EndUnknown || slices.ContainsFunc(p, func(was nat.Outcome) bool {
			return was.End != nat.EndAnswered && was.Where == o.Where && was.Why == o.Why
		})
	})
}

// blame names what the packet works without: each cure is tried alone. What stands among the causes already is more exact about a rule; a cure
// that tells why goes in front of it.
func (c Case) blame(a *Answer, p nat.Prediction) {
	if !slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.End != nat.EndAnswered && o.End != nat.EndUnknown }) {
		return // it depends on what is not known who answers, and nothing is to blame
	}
	if slices.ContainsFunc(p, func(o nat.Outcome) bool { return strings.Contains(o.Why, gateway.NotFollowed) }) {
		return // a cure has as many ways, and none of them tells that it is one
	}
	var found []Cause
	for _, cure := range []func(nat.Prediction) []Cause{
		c.entry, c.localnet, c.filter, c.forwarding, c.bridge, c.hairpin, c.listener, c.routing, c.backend, c.set,
	} {
		found = append(found, cure(p)...)
	}
	if len(found) == 0 { // it would cure much that something else is to blame for
		found = c.masquerade(p)
	}
	if len(found) > 0 {
		causes := a.Causes
		a.Causes = nil
		for _, cause := range append(found, causes...) {
			a.add(cause)
		}
	}
}

// with is the case with settings in place of its own.
func (c Case) with(settings ...topology.Sysctl) Case {
	c.Namespace.Sysctls = append(slices.Clip(c.Namespace.Sysctls), settings...)
	return c
}

// everyDevice is a setting of IPv4 for all devices.
func (c Case) everyDevice(key, value string) (out []topology.Sysctl) {
	for _, name := range []string{"all", "default"} {
		out = append(out, topology.Sysctl{Key: "net/ipv4/conf/" + name + "/" + key, Value: value})
	}
	for _, d := range c.Namespace.Devices {
		out = append(out, topology.Sysctl{Key: "net/ipv4/conf/" + d.Name + "/" + key, Value: value})
	}
	return out
}

// entry is an old connection that the packet is taken for.
func (c Case) entry(nat.Prediction) []Cause {
	for _, e := range c.Facts.Entries {
		if e.Original != c.Ask.Tuple && e.Reply != c.Ask.Tuple {
			continue
		}
		without := c
		without.Facts.Entries = nil
		if !without.works() {
			return nil
		}
		return []Cause{{Code: "conntrack.stale", What: fmt.Sprintf("the packet belongs to a connection that the node remembers, which is translated as it was when it began: %s, answered by %s; without it the packet works: conntrack -D -p %s -s %s -d %s",
			e.Original, e.Reply, e.Original.Proto(), e.Original.Src().Addr(), e.Original.Dst().Addr())}}
	}
	return nil
}

// otherPorts looks for an old connection that a packet from another source port would belong to, and not work.
func (c Case) otherPorts(a *Answer) {
	t := c.Ask.Tuple
	for _, e := range c.Facts.Entries {
		if o := e.Original; o.Proto() != t.Proto() || o.Src().Addr() != t.Src().Addr() || o.Dst() != t.Dst() {
			continue
		}
		one := c
		one.Ask.Tuple, one.AnyPort = e.Original, false
		x, err := gateway.Explain(one.Namespace, one.Rules, one.Facts, one.Ask, nil)
		if err != nil {
			continue
		}
		if w, why := judge(x.Prediction); w == Broken {
			a.Why = fmt.Sprintf("on the source port: from %d it belongs to an old connection and is %s (%s); from others it is %s: %s", e.Original.Src().Port(), w, why, a.Verdict, a.Why)
			a.Verdict = Depends
			for _, cause := range one.entry(x.Prediction) {
				a.add(cause)
			}
			return
		}
	}
}

// filter is rp_filter.
func (c Case) filter(p nat.Prediction) []Cause {
	if !c.with(c.everyDevice("rp_filter", "0")...).helps(p) {
		return nil
	}
	for _, d := range c.Namespace.Devices {
		others := slices.DeleteFunc(c.everyDevice("rp_filter", "0"), func(s topology.Sysctl) bool {
			return s.Key == "net/ipv4/conf/"+d.Name+"/rp_filter"
		})
		if c.with(slices.DeleteFunc(others, func(s topology.Sysctl) bool { return s.Key == "net/ipv4/conf/all/rp_filter" })...).helps(p) {
			continue
		}
		return []Cause{{Code: "rpfilter.drop", What: fmt.Sprintf("rp_filter drops what comes in by %s, since the way back leads elsewhere (net.ipv4.conf.all.rp_filter and .%s.rp_filter: the larger one counts): %s",
			d.Name, d.Name, firstWhy(p))}}
	}
	return []Cause{{Code: "rpfilter.drop", What: "rp_filter drops it: " + firstWhy(p)}}
}

func firstWhy(p nat.Prediction) string {
	for _, o := range p {
		if o.End != nat.EndAnswered && o.Why != "" {
			return o.Why
		}
	}
	return ""
}

// forwarding is that the node is no router.
func (c Case) forwarding(p nat.Prediction) []Cause {
	general := "net/ipv4/ip_forward"
	if c.Ask.Tuple.Dst().Addr().Is6() {
		general = "net/ipv6/conf/all/forwarding"
	}
	if !c.with(append([]topology.Sysctl{{Key: general, Value: "1"}}, c.everyDevice("forwarding", "1")...)...).helps(p) {
		return nil
	}
	keys := []string{}
	for _, d := range c.Namespace.Devices {
		if key := "net/ipv4/conf/" + d.Name + "/forwarding"; c.with(topology.Sysctl{Key: key, Value: "1"}).helps(p) {
			keys = append(keys, key)
		}
	}
	off := slices.ContainsFunc(c.Namespace.Sysctls, func(s topology.Sysctl) bool { return s.Key == general && s.Value == "0" })
	if off || len(keys) == 0 {
		keys = []string{general}
	}
	return []Cause{{Code: "forwarding.off", What: fmt.Sprintf("the node forwards no packets that come in there: %s is 0", dotted(strings.Join(keys, " or ")))}}
}

// dotted is a key as sysctl(8) prints it.
func dotted(key string) string { return strings.NewReplacer("/", ".", ".", "/").Replace(key) }

// bridge is that what a bridge carries meets no rules.
func (c Case) bridge(nat.Prediction) []Cause {
	key := "net/bridge/bridge-nf-call-iptables"
	if c.Ask.Tuple.Dst().Addr().Is6() {
		key = "net/bridge/bridge-nf-call-ip6tables"
	}
	if !c.with(topology.Sysctl{Key: key, Value: "1"}).works() {
		return nil
	}
	return []Cause{{Code: "bridge.bypass", What: "a bridge carries the answer past the rules, so that nobody translates it back: " + dotted(key) + " is 0, or br_netfilter is not loaded"}}
}

// hairpin is that a bridge sends nothing back to the port that it came from.
func (c Case) hairpin(p nat.Prediction) []Cause {
	cured := c
	cured.Namespace.Devices = slices.Clone(c.Namespace.Devices)
	ports := []string{}
	for i := range cured.Namespace.Devices {
		if d := &cured.Namespace.Devices[i]; d.Master != "" && d.Hairpin != topology.SwitchOn {
			d.Hairpin = topology.SwitchOn
			ports = append(ports, d.Name)
		}
	}
	if len(ports) == 0 || !cured.helps(p) {
		return nil
	}
	return []Cause{{Code: "hairpin.off", What: "the packet would have to leave by the bridge's port that it came in by, and that is not in hairpin mode: one of " + strings.Join(ports, ", ")}}
}

// listener is that nobody takes the packet.
func (c Case) listener(p nat.Prediction) []Cause {
	cured := c
	cured.Facts.Sockets = nil
	if c.Facts.Sockets == nil || !cured.helps(p) {
		return nil
	}
	for _, o := range p {
		if o.End == nat.EndRefused {
			return []Cause{{Code: "listener.missing", What: o.Why + " (ss -lntup)"}}
		}
	}
	return nil
}

// route is that no route, or one that ends packets, leads to where the packet or its answer goes; the DNAT rule is named that sent it there.
func (c Case) route(p nat.Prediction) (out []Cause) {
	for _, o := range p {
		if o.End == nat.EndAnswered || o.End == nat.EndUnknown {
			continue
		}
		if _, _, ruled := last(o); ruled {
			continue
		}
		for dir, j := range [...]nat.Journey{nat.Original: o.Request, nat.Reply: o.Reply} {
			if len(j.Hops) == 0 {
				continue
			}
			out = append(out, c.routeTo(j, nat.Direction(dir))...)
		}
	}
	return out
}

func (c Case) routeTo(j nat.Journey, dir nat.Direction) []Cause {
	to := j.Hops[len(j.Hops)-1].Tuple.Dst().Addr()
	if _, there := gateway.Arrives(c.Namespace, to); there {
		return nil
	}
	cause := Cause{Code: "route.missing", What: fmt.Sprintf("the node has no route to %s, where the %s goes", to, packetOf(dir))}
	if r, ok := c.routeOf(to); ok && r.Type != topology.Unicast {
		cause = Cause{Code: "route.closed", What: fmt.Sprintf("the route %q ends the %s to %s", r, packetOf(dir), to)}
	}
	for _, s := range j.Steps {
		if s.Target == "DNAT" && s.After.Dst().Addr() == to {
			r := ruleOf(s, dir)
			cause.Code, cause.Rule = "dnat.stale", &r
			cause.What = fmt.Sprintf("%s translates to %s, and no host is there: %s", r, to, cause.What)
		}
	}
	return []Cause{cause}
}

// backend is that the rules of one backend of two end, or spoil, what works without them.
func (c Case) backend(p nat.Prediction) (out []Cause) {
	if len(c.Rules) != 2 {
		return nil
	}
	for i, rs := range c.Rules {
		if slices.ContainsFunc(p, func(o nat.Outcome) bool { s, _, ruled := last(o); return ruled && !has(rs, s) }) {
			continue // what ended the packet is the other's
		}
		one := c
		one.Rules, one.Facts.OrderOpen = gateway.Rules{c.Rules[1-i]}, false
		if one.works() {
			out = append(out, Cause{Code: "backend.shadowed", What: fmt.Sprintf("two backends of iptables hold rules, and without those of %s the packet works: iptables -S shows one of the two alone", c.backendName(i))})
		}
	}
	return out
}

// has reports whether a rule set has the rule, or the policy, that a packet met.
func has(rs iptables.Ruleset, s nat.Step) bool {
	t, _ := rs.Table(s.Table)
	c, ok := t.Chain(s.Chain)
	switch {
	case !ok || s.Rule > len(c.Rules):
		return false
	case s.Rule == 0:
		return c.Policy == "DROP"
	}
	return c.Rules[s.Rule-1].Text(c.Name) == s.Text && c.Rules[s.Rule-1].Line == s.Line
}

func (c Case) backendName(i int) string {
	if i < len(c.Backends) {
		return c.Backends[i]
	}
	return "one of them"
}

// set is that a set has no member for the packet, or has one.
func (c Case) set(nat.Prediction) (out []Cause) {
	for _, name := range slices.Sorted(maps.Keys(c.Facts.Sets)) {
		open := c
		open.Facts.Sets = maps.Clone(c.Facts.Sets)
		delete(open.Facts.Sets, name)
		x, err := gateway.Explain(open.Namespace, open.Rules, open.Facts, open.Ask, nil)
		if err != nil {
			continue
		}
		for _, o := range x.Prediction {
			i := slices.IndexFunc(o.Assumed, func(a nat.Assumption) bool { return strings.Contains(a.What, "--match-set "+name+" ") })
			if o.End != nat.EndAnswered || i < 0 {
				continue
			}
			is := "has no member for it"
			if !o.Assumed[i].Holds {
				is = "has a member for it"
			}
			out = append(out, Cause{Code: "set.member", What: fmt.Sprintf("the set %s %s, and were it otherwise, the packet would work: %s", name, is, o.Assumed[i].What)})
			break
		}
	}
	return out
}
