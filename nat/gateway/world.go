package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/rules"
	"natlab/topology"
)

// World is all that rules may ask of a node.
type World interface {
	rules.World
	rules.Rememberer
	rules.Router
	rules.SetHolder
	rules.ConnHolder
	rules.Measurer
	rules.Linked
	rules.QueueHolder
	rules.IPsecHolder
	rules.Bridger
	rules.Clock
	rules.Versioned
	rules.Sharer
	rules.Duplicator
}

// World answers rules of the node as they stand with the packet that was handed in last.
func (g *Gateway) World() World { return &g.visit }

// AddrType answers addrtype's question for the rules.
func (v *visit) AddrType(a netip.Addr, dev string) string {
	return v.host.routingType(a, dev)
}

// Take decides a question of chance.
func (v *visit) Take(p float64) bool {
	if v.prediction.choices != nil {
		return v.prediction.choices.Take(p)
	}
	if p >= 1 || v.options.Chance == nil {
		return p > 0
	}
	return float64(v.options.Chance.Uint32())/(1<<32) < p
}

// Unknown decides for a rule that is not modelled.
func (v *visit) Unknown(rule string) bool {
	if v.prediction.choices != nil {
		return v.prediction.choices.Unknown(rule, v.host.member)
	}
	return v.options.Unknown != nil && v.options.Unknown(rule)
}

// Memory is what the node's matches remember, nil in a prediction: it is of one packet.
func (v *visit) Memory() *rules.Memory {
	if v.prediction.forgets {
		return nil
	}
	return &v.memory
}

// Now is the time of the packet that is handled.
func (v *visit) Now() time.Time { return v.at }

// Clock is the time of the packet that is handled. A prediction is of no time.
func (v *visit) Clock() (time.Time, bool) { return v.at, v.prediction.choices == nil && !v.at.IsZero() }

// Kernel is the node's, for what differs between kernels.
func (v *visit) Kernel() nat.Kernel { return v.options.Kernel }

// PathMTU is the MTU of the device that the packet's route leads to, which is not the hook's where it was routed anew, or of the device that the source is reached by
// where that is less.
func (v *visit) PathMTU(p *rules.Packet) (mtu int, ok bool) {
	const longest4, longest6 = 65535, 65535 + 40 // IP_MAX_MTU, IP6_MAX_MTU
	out := v.devices[p.Out]
	if out == nil {
		return 0, false
	}
	if v.ruled != nil && v.ruled.toward != nil {
		out = v.ruled.toward
	}
	longest := longest4
	if v.options.Family == nat.IPv6 {
		longest = longest6
	}
	mtu = min(mtuOf(out), longest)
	if back, why := v.host.lookup(p.Tuple.Src().Addr()); why == "" {
		mtu = min(mtu, mtuOf(back.dev))
	}
	return mtu, true
}

// Shares reports whether the packet at the rules is a clone of one that leaves.
func (v *visit) Shares(*rules.Packet) bool { return v.ruled != nil && v.ruled.shared }

// Raw reports whether the packet at the rules, or what it is a copy of, was given to Send.
func (v *visit) Raw(*rules.Packet) bool { return v.ruled != nil && v.ruled.raw }

// Ethernet tells whether a device's frames are Ethernet's.
func (v *visit) Ethernet(dev string) rules.Answer {
	d := v.devices[dev]
	if d == nil {
		return rules.Unknown
	}
	return rules.Is(d.Kind == topology.Loopback || d.Kind == topology.TunnelIPIP || d.Kind == topology.PointToPoint, true)
}

// Echoed reports whether the packet at the rules came back to the node by another device than lo.
func (v *visit) Echoed() bool {
	return v.ruled != nil && v.ruled.sent.IsValid() && v.ruled.in != nil && v.ruled.in.Name != "lo"
}

// Sender is the hardware address that the packet that is handled came from, "" where it is not known.
func (v *visit) Sender() string {
	switch {
	case len(v.mac) == 6:
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", v.mac[0], v.mac[1], v.mac[2], v.mac[3], v.mac[4], v.mac[5])
	case v.prediction.sender == "" && v.ruled != nil && v.ruled.in != nil:
		return v.options.Senders[v.ruled.in.Name]
	}
	return v.prediction.sender
}

// Conn is the connection of the packet that is at the rules.
func (v *visit) Conn() (rules.Conn, bool) {
	if v.ruled == nil || v.ruled.ref.Conn == nil {
		return rules.Conn{}, false
	}
	c := v.seen(v.ruled.ref.Conn)
	c.Dir = v.ruled.ref.Dir
	return c, true
}

// Find is a connection of the node, by one of its tuples as conntrack keeps them.
func (v *visit) Find(key nat.Tuple, z nat.Zone) (rules.Conn, bool) {
	c, dir := v.conns.Find(key, z)
	if c == nil {
		return rules.Conn{}, false
	}
	out := v.seen(c)
	out.Dir = dir
	return out, true
}

// seen is a connection as rules see it.
func (v *visit) seen(c *conntrack.Conn) rules.Conn {
	out := rules.Conn{
		Original: c.Key(nat.Original), Reply: c.Key(nat.Reply), Status: c.Status, Mark: c.Mark, Zone: c.Zone,
		Closed: c.Closed(), Policy: c.Policy(),
	}
	out.Packets, out.Bytes, out.Counted = c.Counters()
	if c.Has(nat.Confirmed) {
		out.Expires = c.Expires().Sub(v.at)
	}
	return out
}

// Back is xt_rpfilter: whether the way back to the source leaves by the device that the packet came in by (ipt_rpfilter.c,
// ip6t_rpfilter.c): each link has the way to a link's addresses.
func (v *visit) Back(p *rules.Packet, o rules.BackOptions) rules.Answer {
	d := v.devices[p.In]
	if d == nil || d.Kind == topology.Loopback || d.Name == "lo" || v.ruled != nil && v.ruled.sent.IsValid() {
		return rules.Yes
	}
	src, dst := p.Tuple.Src().Addr(), p.Tuple.Dst().Addr()
	if src.IsUnspecified() && (src.Is6() || dst == limitedBroadcast || localGroup(dst)) {
		return rules.Yes
	}
	back, why := v.host.lookup(src)
	if src.Is6() && src.IsLinkLocalUnicast() && !back.local() {
		back, why = v.host.lookupBy(d, src)
	}
	switch {
	case why != "":
		return rules.No
	case back.kind == routeAnycast: // RTF_ANYCAST
		return rules.No
	case back.local() && src.Is6():
		return rules.Is(o.AcceptLocal, false)
	case back.local():
		return rules.Is(o.AcceptLocal && (o.Loose || v.host.local[src] == d.Name), false)
	}
	return rules.Is(back.kind == routeUnicast && (o.Loose || back.dev == d || v.host.leadsBy(d, src, routingKey{})), false)
}
