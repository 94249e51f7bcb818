package iptables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// match reports whether one condition holds. Matches that ask for what a Packet does not say are the world's to
// decide: both outcomes are possible.
func (r *run) match(m Match) bool {
	p := r.pkt
	switch m := m.(type) {
	case Comment, NFAcct:
		return true
	case Source:
		return m.Prefix.Contains(p.Tuple.Src().Addr()) != m.Not
	case Destination:
		return m.Prefix.Contains(p.Tuple.Dst().Addr()) != m.Not
	case InInterface:
		return deviceMatches(m.Name, p.In) != m.Not
	case OutInterface:
		return deviceMatches(m.Name, p.Out) != m.Not
	case Protocol:
		return protocolMatches(m.Name, p.Tuple.Proto()) != m.Not
	case Fragment:
		return p.Later != m.Not
	case Ports:
		return r.ports(m)
	case MultiPort:
		return r.multiPort(m)
	case ICMPType:
		return r.icmp(m)
	case Mark:
		return (p.Mark&m.Mask == m.Value) != m.Not
	case ConnMark: // without a connection there is no mark to ask for (connmark_mt)
		return p.tracked() && (p.ConnMark&m.Mask == m.Value) != m.Not
	case Conntrack:
		return (p.State&m.States != 0) != m.Not
	case AddrType:
		return r.addrType(m)
	}
	if d, ok := r.world.(Decider); ok {
		if holds, known := d.Decide(r.place, m, p); known {
			return holds
		}
	}
	switch m := m.(type) {
	case Statistic:
		return r.chance(m)
	case Recent:
		return m.Action == RecentSet && !m.Not || r.world.Take(0.5)
	case Limit:
		return r.world.Unknown(text(m))
	}
	return r.world.Unknown(text(m)) // Set, RPFilter, PhysDev, Owner, Socket, Raw
}

// tracked reports whether the packet has a connection.
func (p *Packet) tracked() bool { return p.State&(New|Related|Established) != 0 }

func text(m Match) string { return strings.TrimPrefix(string(m.appendText(nil)), " ") }

// deviceMatches compares a device with a name that may end in "+" (ifname_compare).
func deviceMatches(name, device string) bool {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return strings.HasPrefix(device, prefix)
	}
	return name == device
}

// protocolMatches compares numbers, as the kernel does; 0 is every protocol.
func protocolMatches(name string, proto nat.Proto) bool {
	p, ok := nat.ParseRuleProto(name)
	return ok && (p == 0 || p == proto)
}

func (r PortRange) contains(port uint16) bool { return port >= r.Low && port <= r.High }

// ports is xt_tcpudp.c and xt_sctp.c. A second fragment has no ports, so it matches nothing.
func (r *run) ports(m Ports) bool {
	p := r.pkt
	if !protocolMatches(m.Protocol, p.Tuple.Proto()) || p.Later {
		return false
	}
	if s := m.Source; s != nil && s.contains(p.Tuple.Src().Port()) == s.Not {
		return false
	}
	if d := m.Destination; d != nil && d.contains(p.Tuple.Dst().Port()) == d.Not {
		return false
	}
	return m.Flags == nil || (p.TCPFlags&m.Flags.Mask == m.Flags.Set) != m.Flags.Not
}

// hasPorts reports whether multiport takes a protocol (xt_multiport.c's check).
func hasPorts(p nat.Proto) bool {
	return p == nat.TCP || p == nat.UDP || p == nat.UDPLite || p == nat.SCTP || p == nat.DCCP
}

func (r *run) multiPort(m MultiPort) bool {
	p := r.pkt
	if p.Later || !hasPorts(p.Tuple.Proto()) {
		return false
	}
	found := false
	for _, ports := range m.Ports {
		src, dst := ports.contains(p.Tuple.Src().Port()), ports.contains(p.Tuple.Dst().Port())
		switch m.Side {
		case SourcePorts:
			found = found || src
		case DestinationPorts:
			found = found || dst
		case EitherPorts:
			found = found || src || dst
		}
	}
	return found != m.Not
}

func (r *run) icmp(m ICMPType) bool {
	p := r.pkt
	want := nat.ICMP
	if m.V6 {
		want = nat.ICMPv6
	}
	if p.Tuple.Proto() != want || p.Later {
		return false
	}
	return (m.Any || p.ICMPType == m.Type && (m.AnyCode || p.ICMPCode == m.Code)) != m.Not
}

// limit is the device that addrtype's question is limited to, "" for none.
func (r *run) limit(m AddrType) string {
	switch {
	case m.LimitIn:
		return r.pkt.In
	case m.LimitOut:
		return r.pkt.Out
	}
	return ""
}

func (r *run) addrType(m AddrType) bool {
	dev := r.limit(m)
	is := func(kinds string, a netip.Addr) bool {
		kind := r.world.AddrType(a, dev)
		if a.Is6() {
			return isType6(kinds, kind, a)
		}
		for one := range strings.SplitSeq(kinds, ",") {
			if one == kind {
				return true
			}
		}
		return false
	}
	if m.Source != "" && is(m.Source, r.pkt.Tuple.Src().Addr()) == m.NotSource {
		return false
	}
	return m.Destination == "" || is(m.Destination, r.pkt.Tuple.Dst().Addr()) != m.NotDestination
}

// isType6 is xt_addrtype.c's match_type6: what is asked for must all hold, and an address of the node is UNICAST too.
func isType6(kinds, kind string, a netip.Addr) bool {
	routed, asked := false, false
	for one := range strings.SplitSeq(kinds, ",") {
		switch one {
		case "MULTICAST":
			if !a.IsMulticast() {
				return false
			}
		case "UNICAST":
			if a.IsMulticast() || a.IsUnspecified() {
				return false
			}
		case "UNSPEC":
			if !a.IsUnspecified() {
				return false
			}
		case "LOCAL", "ANYCAST", "UNREACHABLE":
			asked = true
			routed = routed || one == kind
		}
	}
	return routed || !asked
}

// chance is xt_statistic.c. Which packet of every n comes is not known from one packet, so that mode is chance too.
func (r *run) chance(m Statistic) bool {
	p := m.Chance()
	if m.Every != 0 {
		p = 1 / float64(m.Every)
	}
	return r.world.Take(p) != m.Not
}
