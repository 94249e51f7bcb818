// Package rules is what the Gateway sees of a rule language, and what a rule sees of a packet and of the node it is in.
// It holds no language: those are built upon it, iptables' tables by nat/iptables out of the extensions of nat/xt.
package rules

import (
	"bytes"
	"strings"

	"natlab/nat"
	"natlab/nat/packet"
)

// Packet is what rules can see of a packet, and what they change of it.
type Packet struct {
	Tuple    nat.Tuple
	TCPFlags uint8 // the header's flag byte
	ICMPType uint8 //
	ICMPCode uint8 //
	TTL      uint8 // or the hop limit
	Later    bool  // a second or later fragment
	// Drift is by how much, in one's complement, what rules wrote has changed the sum of an IPv6 header since conntrack summed the packet: nothing
	// in the header makes up for it, as IPv4's checksum does, and the kernel keeps the sum as it was. 0 and 0xffff: it is right.
	Drift    uint16
	In, Out  string // devices; "" where the hook has none
	Came     string // at POSTROUTING, where In is "": the device that it came in by; see Input
	Mark     uint32 // skb mark
	State    State  // of the connection: one of Invalid to Untracked, with SNATed and DNATed
	ConnMark uint32
	Labels   Labels // of the connection
	// Attached tells that the node sends the packet because of an untracked one: no rule can NOTRACK it any more
	// (nf_conntrack_attach marks it RELATED, without a connection).
	Attached bool
	// Template is what conntrack is to take into account when the packet comes to it (CT).
	Template Template
	Sender   Sender // at OUTPUT and POSTROUTING
	// Sets is what rules on the packet's way have made of the node's sets: the World's own. nil: nothing.
	Sets any
	// Pulled is how many bytes from the transport header on something wanted in one place, Pull. Of a packet that came in pieces the first one is as long then.
	Pulled int
	// Wire is the packet's bytes; nil where no more is known than the fields above. A target that rewrites the packet
	// rewrites them and keeps its checksums right.
	Wire *packet.Packet
}

// Labels are a connection's labels (struct nf_conn_labels).
type Labels [2]uint64

// Has reports whether there is a label; numbers go up to 127.
func (l *Labels) Has(label uint16) bool { return l[label>>6&1]>>(label&63)&1 != 0 }

// Set adds a label.
func (l *Labels) Set(label uint16) { l[label>>6&1] |= 1 << (label & 63) }

// Template is what a rule in front of conntrack asks of the connection that the packet belongs to or begins. The zero
// Template asks nothing.
type Template struct {
	Zone   nat.Zone // that the connection is looked for in
	Policy string   // of timeouts, by name; what it has in it is not known
}

// Tracked reports whether the packet has a connection.
func (p *Packet) Tracked() bool { return p.State&(New|Related|Established) != 0 }

// Input is the device that the hook is told of as the one that the packet came in by: since Linux 5.7 that of a forwarded packet at POSTROUTING,
// too (ip_output, ip6_output).
func (p *Packet) Input() string {
	if p.In != "" {
		return p.In
	}
	return p.Came
}

// Clone is a copy that shares no bytes with p.
func (p *Packet) Clone() Packet {
	out := *p
	if p.Wire != nil {
		if wire, err := packet.Parse(bytes.Clone(p.Wire.Bytes())); err == nil { // it was parsed before
			out.Wire = &wire
		}
	}
	return out
}

// State is a set of conntrack states and NAT states, as --ctstate names them.
type State uint8

// The states, in the order in which iptables-save prints them.
const (
	Invalid State = 1 << iota
	New
	Related
	Established
	Untracked
	SNATed // the reply's destination is not the original source
	DNATed // the reply's source is not the original destination
)

var stateNames = [...]string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"}

// StateNames are the names of the states by their bits, as iptables-save prints them.
func StateNames() []string { return stateNames[:] }

// String is the states' names, joined by commas: "RELATED,ESTABLISHED".
func (s State) String() string {
	var out []string
	for i, name := range stateNames {
		if s&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

// Place names a match in a table, or with Match 0 a rule.
type Place struct {
	Table, Chain string
	Rule, Match  int // from 1
}

// Visit is a packet at a rule, and the node's world around it.
type Visit struct {
	*Packet
	World   World
	Decider Decider // decides in place of the World; nil: the World does
	Hook    nat.Hook
	At      Place
	// HotDrop is set by a condition that wants to see a header which the packet does not have in full: it answers No, and
	// the packet is dropped (xt_action_param.hotdrop).
	HotDrop bool
}

// Take decides a question of chance that answers yes with probability p.
func (v *Visit) Take(p float64) bool {
	if v.Decider != nil {
		return v.Decider.Take(p)
	}
	return v.World.Take(p)
}

// Unknown decides what is not known or not modelled; what names it.
func (v *Visit) Unknown(what string) bool {
	if v.Decider != nil {
		return v.Decider.Unknown(what)
	}
	return v.World.Unknown(what)
}

// Assumed is what has been assumed on the packet's way, as far as the Decider tells.
func (v *Visit) Assumed() []nat.Assumption {
	if d, ok := v.Decider.(interface{ Assumed() []nat.Assumption }); ok {
		return d.Assumed()
	}
	return nil
}

// Answer is what a condition answers for a packet. The zero Answer is Unknown.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota // what is known of packet and node does not decide it
	No
	Yes
)

// Is is the answer of a fact, inverted where not is set.
func Is(fact, not bool) Answer {
	if fact != not {
		return Yes
	}
	return No
}

// Not inverts an answer if on; what is unknown stays so.
func (a Answer) Not(on bool) Answer {
	switch {
	case !on || a == Unknown:
		return a
	case a == Yes:
		return No
	}
	return Yes
}

var answerNames = [...]string{"unknown", "no", "yes"}

// String is "unknown", "no" or "yes".
func (a Answer) String() string { return answerNames[a] }
