package iptables

import (
	"fmt"
	"net/netip"

	"natlab/nat"
)

// Miss is the first condition of a rule that a packet did not meet.
type Miss struct {
	Wanted string // the condition as iptables-save prints it
	Actual string // what the packet has instead: "in device eth1"
	Open   bool   // chance, or what is not known of the node, decides: the condition may hold or not
}

// String is the miss in one line: "wants -p tcp: protocol udp".
func (m Miss) String() string { return "wants " + m.Wanted + ": " + m.Actual }

// Miss tells which of a rule's conditions failed first; false: none did. One that surely fails goes before one that
// may. Of the world only AddrType is asked.
func (r Rule) Miss(pkt Packet, w World) (Miss, bool) {
	var open Miss
	for _, m := range r.Matches {
		asker := &asker{World: w}
		evaluation := run{pkt: &pkt, world: asker}
		held := evaluation.match(m)
		switch {
		case asker.asked != "" && !open.Open:
			open = Miss{Wanted: text(m), Actual: asker.asked, Open: true}
		case asker.asked == "" && !held:
			return Miss{Wanted: text(m), Actual: evaluation.actual(m)}, true
		}
	}
	return open, open.Open
}

// asker notes that a condition cannot be decided by the packet alone.
type asker struct {
	World
	asked string
}

func (a *asker) Take(p float64) bool {
	switch {
	case p <= 0:
		return false
	case p >= 1:
		return true
	}
	a.asked = fmt.Sprintf("chance decides, it holds or not (probability %.5g)", p)
	return true
}

func (a *asker) Unknown(string) bool {
	a.asked = "natlab cannot tell"
	return true
}

// actual says in words what a packet has where a condition failed.
func (r *run) actual(m Match) string {
	p := r.pkt
	switch m := m.(type) {
	case Source:
		return "source " + p.Tuple.Src().Addr().String()
	case Destination:
		return "destination " + p.Tuple.Dst().Addr().String()
	case InInterface:
		return device("in", p.In)
	case OutInterface:
		return device("out", p.Out)
	case Protocol:
		return "protocol " + p.Tuple.Proto().String()
	case Fragment:
		if p.Later {
			return "a later fragment"
		}
		return "not a later fragment"
	case Ports:
		return r.actualPorts(m)
	case MultiPort:
		return bothPorts(p)
	case ICMPType:
		return actualICMP(p)
	case Mark:
		return fmt.Sprintf("mark %#x", p.Mark)
	case ConnMark:
		return fmt.Sprintf("connection mark %#x", p.ConnMark)
	case Conntrack:
		return "state " + p.State.String()
	case AddrType:
		return r.actualAddrType(m)
	case Statistic:
		return "its probability is 0"
	case Comment, NFAcct, Recent, Limit, Set, RPFilter, PhysDev, Owner, Socket, Raw:
	}
	return "it does not hold"
}

func device(side, name string) string {
	if name == "" {
		return "no " + side + " device at this hook"
	}
	return side + " device " + name
}

func (r *run) actualPorts(m Ports) string {
	p := r.pkt
	switch {
	case p.Later:
		return "a later fragment has no ports"
	case !protocolMatches(m.Protocol, p.Tuple.Proto()):
		return "protocol " + p.Tuple.Proto().String()
	case m.Source != nil && m.Source.contains(p.Tuple.Src().Port()) == m.Source.Not:
		return fmt.Sprintf("source port %d", p.Tuple.Src().Port())
	case m.Destination != nil && m.Destination.contains(p.Tuple.Dst().Port()) == m.Destination.Not:
		return fmt.Sprintf("destination port %d", p.Tuple.Dst().Port())
	}
	return "flags " + string(appendTCPFlags(nil, p.TCPFlags))
}

func bothPorts(p *Packet) string {
	switch proto := p.Tuple.Proto(); {
	case p.Later:
		return "a later fragment has no ports"
	case !hasPorts(proto):
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("source port %d, destination port %d", p.Tuple.Src().Port(), p.Tuple.Dst().Port())
}

func actualICMP(p *Packet) string {
	if proto := p.Tuple.Proto(); p.Later || proto != nat.ICMP && proto != nat.ICMPv6 {
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("ICMP type %d code %d", p.ICMPType, p.ICMPCode)
}

func (r *run) actualAddrType(m AddrType) string {
	is := func(side string, a netip.Addr) string {
		return side + " " + a.String() + " is " + r.world.AddrType(a, r.limit(m))
	}
	src := m
	src.Destination = ""
	if m.Source != "" && !r.addrType(src) {
		return is("source", r.pkt.Tuple.Src().Addr())
	}
	return is("destination", r.pkt.Tuple.Dst().Addr())
}
