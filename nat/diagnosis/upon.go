package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/gateway"
)

// beneath is that a packet leaves by a device with macvlan or ipvlan on top of it for a host of its own network: where that host is behind such a
// device, as a container may be, the frame goes out to the wire and comes to nobody (macvlan_queue_xmit and ipvlan_queue_xmit hand over what the devices on
// top send, and nothing does what the one below sends).
func (c Case) beneath(p nat.Prediction) (string, bool) {
	for _, d := range c.Namespace.Devices {
		if d.Upon == "" {
			continue
		}
		for _, o := range p {
			out := leaves(o.Request)
			if !out.Tuple.IsValid() || out.Dev != d.Upon {
				continue
			}
			if r, ok := c.routeOf(out.Tuple.Dst().Addr()); ok && !r.Via.IsValid() {
				return fmt.Sprintf("whether %s is on top of %s, as %s is: the node reaches none of those by %s", out.Tuple.Dst().Addr(), d.Upon, d.Name, d.Upon), true
			}
		}
	}
	return "", false
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
			on: fmt.Sprintf("on whether %s answers, which a connection leads to that the node remembers and that nobody answered so far: the rules lead elsewhere now", o.Endpoint),
			causes: []Cause{{Code: "conntrack.stale", What: fmt.Sprintf("the packet belongs to a connection that is translated as it was when it began: %s, answered by %s; to forget it: conntrack -D -p %s -s %s -d %s",
				e.Original, e.Reply, e.Original.Proto(), e.Original.Src().Addr(), e.Original.Dst().Addr())}},
		}, true
	}
	return flaw{}, false
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
