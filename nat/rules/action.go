package rules

import (
	"net/netip"

	"natlab/nat"
)

// Action is what a rule's target makes of a packet that matched.
type Action struct {
	Verdict nat.Verdict
	Effect  Effect // what the verdict has to be carried out with: a Translation, a Rejection; nil for none
	// Open is not empty where it cannot be told whether Verdict or Else is what happens; it names what is missing.
	Open string
	Else nat.Verdict
}

// Continue is the action of a target that lets the packet go on to the next rule.
func Continue() Action { return Action{Verdict: nat.Continue} }

// Effect is what a verdict is carried out with: *Translation, *Rejection, *Queued or *Open.
type Effect interface{ effect() }

// TranslationKind tells which of the NAT targets a Translation is of.
type TranslationKind uint8

// The kinds.
const (
	DNAT       TranslationKind = iota // to the range's addresses and ports
	SNAT                              // from the range's addresses and ports
	Masquerade                        // SNAT to the out device's address
	Redirect                          // DNAT to the in device's address, in OUTPUT to loopback
	NetMap                            // the network part is replaced, of the destination or of the source by the hook
)

// Translation is a NAT target for conntrack to carry out (nf_nat_setup_info).
type Translation struct {
	Kind  TranslationKind
	Range NATRange
}

func (*Translation) effect() {}

// NATRange is the range a NAT target chooses from (struct nf_nat_range2).
type NATRange struct {
	MinAddr, MaxAddr netip.Addr // invalid: the address stays
	MinPort, MaxPort uint16     // 0: the port is chosen as conntrack likes
	BasePort         uint16     // of a shifted range
	Random           bool       // --random
	FullyRandom      bool       // --random-fully
	Persistent       bool       // --persistent
	PortZero         bool       // MaxPort of 0 is meant: the port is to be 0
}

// HasPorts reports whether the range is one of ports (NF_NAT_RANGE_PROTO_SPECIFIED).
func (r *NATRange) HasPorts() bool { return r.MinPort != 0 || r.MaxPort != 0 || r.PortZero }

// Open is what a target does of which too little is known: the packet cannot be followed any further.
type Open struct{ Why string }

func (*Open) effect() {}

// Queued is of a packet that NFQUEUE lets go on, by its program's verdict or for want of one: behind the function of the hook in which the
// rule stands (nf_reinject, nf_queue), so that one of NAT does no more.
type Queued struct{}

func (*Queued) effect() {}

// Rejection is the answer that REJECT sends.
type Rejection struct {
	With string // "icmp-port-unreachable", "tcp-reset", ...
	// Unrouted tells that the packet is rejected before it has a route, at PREROUTING, as nf_tables' own rules may.
	Unrouted bool
}

func (*Rejection) effect() {}
