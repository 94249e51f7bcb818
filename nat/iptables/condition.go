package iptables

import (
	"strconv"
	"strings"

	"natlab/nat"
)

// condition is a Match in a form that is quickly checked.
type condition struct {
	check       check
	not         bool
	low, high   uint32 // a port range, a value and its mask, a protocol, states
	value, mask address
	name        string // of a device; without the "+" for a prefix
	match       Match  // for those that have no form of their own
	place       int    // of the match in its rule, from 1
	rule        *Place
}

type check uint8

const (
	checkMatch check = iota // ask the match itself
	checkSource
	checkDestination
	checkProtocol
	checkSourcePort
	checkDestinationPort
	checkTCPFlags
	checkMark
	checkStates
	checkIn
	checkOut
	checkInPrefix
	checkOutPrefix
	checkHeader // of the protocol low: not a later fragment
)

// appendConditions appends a rule's conditions, the cheap ones of its IP header first as the kernel does
// (ip_packet_match); those that always hold are left out.
func appendConditions(to []condition, at Place, rule *Rule) []condition {
	var place *Place
	for i, m := range rule.Matches {
		switch m := m.(type) {
		case Comment, NFAcct:
		case Source:
			to = append(to, condition{check: checkSource, not: m.Not, value: halves(m.Prefix.Addr()), mask: maskOf(m.Prefix)})
		case Destination:
			to = append(to, condition{check: checkDestination, not: m.Not, value: halves(m.Prefix.Addr()), mask: maskOf(m.Prefix)})
		case InInterface:
			to = append(to, deviceCondition(checkIn, m.Not, m.Name))
		case OutInterface:
			to = append(to, deviceCondition(checkOut, m.Not, m.Name))
		case Mark:
			to = append(to, condition{check: checkMark, not: m.Not, low: m.Value, high: m.Mask})
		case Conntrack:
			to = append(to, condition{check: checkStates, not: m.Not, low: uint32(m.States)})
		case Protocol:
			if number, ok := protocolNumber(m.Name); ok {
				to = append(to, condition{check: checkProtocol, not: m.Not, low: uint32(number)})
				continue
			}
			to = append(to, condition{match: m})
		case Ports:
			to = appendPorts(to, m)
		default:
			if place == nil {
				place = &at
			}
			to = append(to, condition{match: m, place: i + 1, rule: place})
		}
	}
	return to
}

func deviceCondition(c check, not bool, name string) condition {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		return condition{check: c + (checkInPrefix - checkIn), not: not, name: prefix}
	}
	return condition{check: c, not: not, name: name}
}

// appendPorts appends what -m tcp and its like ask. Ports of another protocol than the packet's match nothing.
func appendPorts(to []condition, m Ports) []condition {
	number, ok := protocolNumber(m.Protocol)
	if !ok {
		return append(to, condition{match: m})
	}
	to = append(to, condition{check: checkHeader, low: uint32(number)})
	if s := m.Source; s != nil {
		to = append(to, condition{check: checkSourcePort, not: s.Not, low: uint32(s.Low), high: uint32(s.High)})
	}
	if d := m.Destination; d != nil {
		to = append(to, condition{check: checkDestinationPort, not: d.Not, low: uint32(d.Low), high: uint32(d.High)})
	}
	if f := m.Flags; f != nil {
		to = append(to, condition{check: checkTCPFlags, not: f.Not, low: uint32(f.Set), high: uint32(f.Mask)})
	}
	return to
}

// protocolNumber is the number of a protocol as iptables-save prints it; ok is false for "all" and unknown names.
func protocolNumber(name string) (nat.Proto, bool) {
	switch name {
	case "ipv6-icmp":
		return nat.ICMPv6, true
	case "ipencap":
		return nat.IPIP, true
	case "all":
		return 0, false
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return nat.Proto(n), n != 0
	}
	p, err := nat.ParseProto(name)
	return p, err == nil
}

func (r *compiledRun) holds(c *condition) bool {
	p := r.pkt
	switch c.check {
	case checkSource:
		return r.src.in(c.value, c.mask) != c.not
	case checkDestination:
		return r.dst.in(c.value, c.mask) != c.not
	case checkProtocol:
		return (uint32(r.proto) == c.low) != c.not
	case checkHeader:
		return uint32(r.proto) == c.low && !p.Later
	case checkSourcePort:
		return (uint32(r.sport) >= c.low && uint32(r.sport) <= c.high) != c.not
	case checkDestinationPort:
		return (uint32(r.dport) >= c.low && uint32(r.dport) <= c.high) != c.not
	case checkTCPFlags:
		return (uint32(p.TCPFlags)&c.high == c.low) != c.not
	case checkMark:
		return (p.Mark&c.high == c.low) != c.not
	case checkStates:
		return (uint32(p.State)&c.low != 0) != c.not
	case checkIn:
		return (p.In == c.name) != c.not
	case checkOut:
		return (p.Out == c.name) != c.not
	case checkInPrefix:
		return strings.HasPrefix(p.In, c.name) != c.not
	case checkOutPrefix:
		return strings.HasPrefix(p.Out, c.name) != c.not
	case checkMatch:
	}
	if c.rule != nil {
		r.place = *c.rule
		r.place.Match = c.place
	}
	return r.match(c.match)
}
