package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/topology"
)

// beneath is that a packet leaves by a device with macvlan or ipvlan on top of it for a host of its own network: where that host is behind such a
// device, as a container may be, the frame goes out to the wire and comes to nobody (macvlan_queue_xmit and ipvlan_queue_xmit hand over what the devices on
// top send, and nothing does what the one below sends).
func (c Case) beneath(p nat.Prediction) (string, bool) {
	for _, d := range c.Namespace.Devices {
		below, sign := d.Upon, "as "+d.Name+" is"
		if d.Bears != "" {
			below, sign = d.Name, "as a macvlan with the hardware address "+d.Bears+" is, which "+d.Name+" hears besides its own (bridge fdb)"
		}
		if below == "" {
			continue
		}
		for _, o := range p {
			out := leaves(o.Request)
			if !out.Tuple.IsValid() || out.Dev != below || c.met(below, out.Tuple.Dst().Addr()) {
				continue
			}
			if r, ok := c.routeOf(out.Tuple.Dst().Addr()); ok && !r.Via.IsValid() {
				return fmt.Sprintf("whether %s is on top of %s, %s: the node reaches none of those by %s", out.Tuple.Dst().Addr(), below, sign, below), true
			}
		}
	}
	return "", false
}

// met reports whether a host told the node its hardware address on a device, which none on top of the device does.
func (c Case) met(device string, host netip.Addr) bool {
	return slices.ContainsFunc(c.Namespace.Devices, func(d topology.Device) bool { return d.Name == device && slices.Contains(d.Met, host) })
}

// astray is that a packet, or its answer, goes to a next hop of another device, as a rule of routing has it, while its destination is in the network of a
// device that leads nowhere else, as a bridge of pods does: who gets it may bring it back or drop it.
func (c Case) astray(o *nat.Outcome) (flaw, bool) {
	for _, j := range []struct {
		what string
		nat.Journey
	}{{"packet", o.Request}, {"answer", o.Reply}} {
		out := leaves(j.Journey)
		if !out.Tuple.IsValid() {
			continue
		}
		dst := out.Tuple.Dst().Addr()
		r, ok := c.routeOf(dst)
		if !ok || r.Via.IsValid() || r.Device == "" || r.Device == out.Dev || r.Dst.Bits() == 0 || c.through(r.Device) {
			continue
		}
		return flaw{
			on:     fmt.Sprintf("on whether who is behind %s brings the %s to %s, which is in the network of %s", out.Dev, j.what, dst, r.Device),
			causes: []Cause{{Code: "route.missing", What: fmt.Sprintf("a rule of routing leads the %s for %s out by %s: the table that it leads to has no route to %s, as %q is", j.what, dst, out.Dev, r.Dst, r)}},
		}, true
	}
	return flaw{}, false
}

// through reports whether a route leads by a device to a next hop.
func (c Case) through(device string) bool {
	by := func(r topology.Route) bool { return r.Device == device && r.Via.IsValid() }
	return slices.ContainsFunc(c.Namespace.Routes, by) || slices.ContainsFunc(c.Namespace.Others, by)
}

// remembered is that a packet belongs to a connection that nobody answered so far, and that leads elsewhere than the rules do now.
func (c Case) remembered(o *nat.Outcome) (flaw, bool) {
	for _, e := range c.Facts.Entries {
		if e.Original != c.Ask.Tuple || e.Status&nat.SeenReply != 0 || e.Reply.Src() != o.Endpoint {
			continue
		}
		without := c
		without.Facts.Entries = nil
		now, ok := without.endpoints()
		if !ok || now[o.Endpoint] {
			continue
		}
		return flaw{
			on:     fmt.Sprintf("on whether %s answers, which a connection leads to that the node remembers and that nobody answered so far: the rules lead elsewhere now", o.Endpoint),
			causes: []Cause{staleEntry(e.Original, e.Reply)},
		}, true
	}
	return flaw{}, false
}

// staleEntry is the connection that a packet belongs to.
func staleEntry(original, reply nat.Tuple) Cause {
	return Cause{Code: "conntrack.stale", What: fmt.Sprintf("the packet belongs to a connection that is translated as it was when it began: %s, answered by %s; to forget it: conntrack -D -p %s -s %s -d %s",
		original, reply, original.Proto(), original.Src().Addr(), original.Dst().Addr())}
}

// keptFrom is the connection, by both its tuples, that the packet belongs to, without which it would meet a rule of the nat table.
func (c Case) keptFrom(r Rule) (original, reply nat.Tuple, ok bool) {
	for _, e := range c.Facts.Entries {
		if e.Original == c.Ask.Tuple {
			original, reply, ok = e.Original, e.Reply, true
		}
	}
	if !ok {
		return original, reply, false
	}
	without := c
	without.Facts.Entries = nil
	x, err := gateway.Explain(without.Namespace, without.Rules, without.Facts, without.Ask, nil)
	return original, reply, err == nil && slices.ContainsFunc(x.Prediction, func(o nat.Outcome) bool {
		return slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return s.Table == r.Table && s.Chain == r.Chain && s.Rule == r.Rule })
	})
}

// endpoints are who answers on the case's ways; ok is false where it does not work.
func (c Case) endpoints() (map[netip.AddrPort]bool, bool) {
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	if err != nil {
		return nil, false
	}
	out := map[netip.AddrPort]bool{}
	for _, o := range x.Prediction {
		out[o.Endpoint] = true
	}
	word, _ := judge(x.Prediction)
	return out, word == Works
}

// openRule is a rule of routing that is not followed and that may be for the packet, as far as its mark tells.
func (c Case) openRule(p nat.Prediction) (string, bool) {
	for _, r := range c.Namespace.Rules {
		if r.Open == "" || r.Six != c.Ask.Tuple.Dst().Addr().Is6() {
			continue
		}
		marked := func(mark uint32) bool { return (r.Mark^mark)&r.Mask == 0 }
		for _, o := range p {
			if marked(c.Ask.Mark) || slices.ContainsFunc(o.Request.Steps, func(s nat.Step) bool { return marked(s.Mark) }) {
				return fmt.Sprintf("whether rule of routing %d is for the packet: %s is not modelled", r.Priority, r.Open), true
			}
		}
	}
	return "", false
}
