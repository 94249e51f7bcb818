package xt

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// PortRange is a range of ports, both ends in it, in host byte order.
type PortRange struct {
	Not       bool
	Low, High uint16
}

// Contains reports whether a port is in the range; Not does not count.
func (r PortRange) Contains(port uint16) bool { return port >= r.Low && port <= r.High }

// String is "80" or "80:90".
func (r PortRange) String() string { return span(r.Low, r.High, ":") }

// Ports is -m tcp, udp, sctp or dccp, with the ports and flags it asks for, if any (xt_tcpudp.c, xt_sctp.c, xt_dccp.c).
type Ports struct {
	Protocol    string // the match's name
	Source      *PortRange
	Destination *PortRange
	Flags       *TCPFlags
}

// TCPFlags is tcp's --tcp-flags: of the flags in Mask exactly those in Set are on. Bits are those of the header's flag byte.
type TCPFlags struct {
	Not       bool
	Mask, Set uint8
}

// tcpFlagNames are the flags by their bits.
var tcpFlagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

func tcpFlagText(flags uint8) string {
	if flags == 0 {
		return "NONE"
	}
	list, _ := bitNames(uint32(flags), tcpFlagNames, []int{0, 1, 2, 3, 4, 5})
	return list
}

// Name is the protocol's.
func (m Ports) Name() string { return m.Protocol }

// Save prints the ports and the flags.
func (m Ports) Save(p *Printer) {
	if m.Source != nil {
		p.Option(m.Source.Not, "--sport", m.Source.String())
	}
	if m.Destination != nil {
		p.Option(m.Destination.Not, "--dport", m.Destination.String())
	}
	if m.Flags != nil {
		p.Option(m.Flags.Not, "--tcp-flags", tcpFlagText(m.Flags.Mask)+" "+tcpFlagText(m.Flags.Set))
	}
}

// Number is the protocol's number.
func (m Ports) Number() nat.Proto {
	p, _ := nat.ParseRuleProto(m.Protocol)
	return p
}

// Holds compares ports and flags. A later fragment has none, so it matches nothing.
func (m Ports) Holds(v *rules.Visit) rules.Answer {
	if m.Number() != v.Tuple.Proto() || v.Later {
		return rules.No
	}
	if s := m.Source; s != nil && s.Contains(v.Tuple.Src().Port()) == s.Not {
		return rules.No
	}
	if d := m.Destination; d != nil && d.Contains(v.Tuple.Dst().Port()) == d.Not {
		return rules.No
	}
	return rules.Is(m.Flags == nil || (v.TCPFlags&m.Flags.Mask == m.Flags.Set) != m.Flags.Not, false)
}

// Actual is the port or the flags that are other ones.
func (m Ports) Actual(v *rules.Visit) string {
	switch {
	case v.Later:
		return "a later fragment has no ports"
	case m.Number() != v.Tuple.Proto():
		return "protocol " + v.Tuple.Proto().String()
	case m.Source != nil && m.Source.Contains(v.Tuple.Src().Port()) == m.Source.Not:
		return fmt.Sprintf("source port %d", v.Tuple.Src().Port())
	case m.Destination != nil && m.Destination.Contains(v.Tuple.Dst().Port()) == m.Destination.Not:
		return fmt.Sprintf("destination port %d", v.Tuple.Dst().Port())
	}
	return "flags " + tcpFlagText(v.TCPFlags)
}

// MultiPort is -m multiport (xt_multiport.c).
type MultiPort struct {
	Not   bool
	Side  PortSide
	Ports []PortRange
}

// PortSide tells which ports a MultiPort looks at.
type PortSide uint8

// The sides.
const (
	DestinationPorts PortSide = iota // --dports
	SourcePorts                      // --sports
	EitherPorts                      // --ports
)

var portSideNames = [...]string{DestinationPorts: "dports", SourcePorts: "sports", EitherPorts: "ports"}

// hasPorts reports whether multiport takes a protocol (multiport_mt_check).
func hasPorts(p nat.Proto) bool {
	return p == nat.TCP || p == nat.UDP || p == nat.UDPLite || p == nat.SCTP || p == nat.DCCP
}

// Name is "multiport".
func (MultiPort) Name() string { return "multiport" }

// Save prints the ports.
func (m MultiPort) Save(p *Printer) { p.Option(m.Not, "--"+portSideNames[m.Side], m.list()) }

func (m MultiPort) list() string {
	words := make([]string, len(m.Ports))
	for i, r := range m.Ports {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}

// Holds looks for the packet's ports. A later fragment and a protocol without ports match nothing.
func (m MultiPort) Holds(v *rules.Visit) rules.Answer {
	if v.Later || !hasPorts(v.Tuple.Proto()) {
		return rules.No
	}
	found := false
	for _, ports := range m.Ports {
		src, dst := ports.Contains(v.Tuple.Src().Port()), ports.Contains(v.Tuple.Dst().Port())
		switch m.Side {
		case SourcePorts:
			found = found || src
		case DestinationPorts:
			found = found || dst
		case EitherPorts:
			found = found || src || dst
		}
	}
	return rules.Is(found, m.Not)
}

// Actual is the packet's ports.
func (MultiPort) Actual(v *rules.Visit) string {
	switch proto := v.Tuple.Proto(); {
	case v.Later:
		return "a later fragment has no ports"
	case !hasPorts(proto):
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("source port %d, destination port %d", v.Tuple.Src().Port(), v.Tuple.Dst().Port())
}
