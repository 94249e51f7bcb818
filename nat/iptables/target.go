package iptables

import "net/netip"

// Target is what a rule does to a packet that matched. The concrete types are the structs of this file; a type
// switch over them is complete.
type Target interface {
	// appendText appends the target as iptables-save prints it, beginning with a space.
	appendText(b []byte) []byte
	// Name is the word after -j or -g.
	Name() string
}

// Accept, Drop and Return are the standard verdicts.
type (
	// Accept is -j ACCEPT.
	Accept struct{}
	// Drop is -j DROP.
	Drop struct{}
	// Return is -j RETURN: back to the calling chain, or to the policy of a built-in one.
	Return struct{}
)

// Jump is -j CHAIN.
type Jump struct{ Chain string }

// Goto is -g CHAIN.
type Goto struct{ Chain string }

// Reject is -j REJECT.
type Reject struct{ With string } // "icmp-port-unreachable", "tcp-reset", ...

// SetMark is -j MARK --set-xmark: mark = mark &^ Mask ^ Value.
type SetMark struct{ Value, Mask uint32 }

// SetConnMark is -j CONNMARK.
type SetConnMark struct {
	Action         ConnMarkAction
	Value, Mask    uint32 // of --set-xmark
	NFMask, CTMask uint32 // of --save-mark and --restore-mark
}

// ConnMarkAction is what a SetConnMark does.
type ConnMarkAction uint8

// The actions.
const (
	ConnMarkSet     ConnMarkAction = iota // --set-xmark
	ConnMarkSave                          // --save-mark: packet to connection
	ConnMarkRestore                       // --restore-mark: connection to packet
)

// NATRange is the range a NAT target chooses from (struct nf_nat_range2).
type NATRange struct {
	MinAddr, MaxAddr netip.Addr // invalid: the address stays
	MinPort, MaxPort uint16     // 0: the port is chosen as conntrack likes
	BasePort         uint16     // of a shifted range
	Random           bool       // --random
	FullyRandom      bool       // --random-fully
	Persistent       bool       // --persistent
}

// DNAT is -j DNAT.
type DNAT struct{ Range NATRange }

// SNAT is -j SNAT.
type SNAT struct{ Range NATRange }

// Masquerade is -j MASQUERADE: SNAT to the out device's address.
type Masquerade struct{ Range NATRange }

// Redirect is -j REDIRECT: DNAT to the in device's address, or to loopback in OUTPUT.
type Redirect struct{ Range NATRange }

// NetMap is -j NETMAP.
type NetMap struct{ To netip.Prefix }

// NoTrack is -j CT --notrack, or -j NOTRACK.
type NoTrack struct{ Legacy bool }

// Passive is a target that lets the packet go on as it is: LOG, NFLOG, TRACE, AUDIT, CHECKSUM and their like.
type Passive struct {
	Target  string
	Options string // as printed
}

// QueueTo is -j NFQUEUE.
type QueueTo struct{ Options string }

// TProxy is -j TPROXY.
type TProxy struct{ Options string }

// RawTarget is a target that natlab does not model: kept as printed.
type RawTarget struct {
	Target  string
	Options string
}

// Name is "ACCEPT".
func (Accept) Name() string { return "ACCEPT" }

// Name is "DROP".
func (Drop) Name() string { return "DROP" }

// Name is "RETURN".
func (Return) Name() string { return "RETURN" }

// Name is the chain's.
func (t Jump) Name() string { return t.Chain }

// Name is the chain's.
func (t Goto) Name() string { return t.Chain }

// Name is "REJECT".
func (Reject) Name() string { return "REJECT" }

// Name is "MARK".
func (SetMark) Name() string { return "MARK" }

// Name is "CONNMARK".
func (SetConnMark) Name() string { return "CONNMARK" }

// Name is "DNAT".
func (DNAT) Name() string { return "DNAT" }

// Name is "SNAT".
func (SNAT) Name() string { return "SNAT" }

// Name is "MASQUERADE".
func (Masquerade) Name() string { return "MASQUERADE" }

// Name is "REDIRECT".
func (Redirect) Name() string { return "REDIRECT" }

// Name is "NETMAP".
func (NetMap) Name() string { return "NETMAP" }

// Name is "CT", or "NOTRACK" for the old target.
func (t NoTrack) Name() string {
	if t.Legacy {
		return "NOTRACK"
	}
	return "CT"
}

// Name is the target's.
func (t Passive) Name() string { return t.Target }

// Name is "NFQUEUE".
func (QueueTo) Name() string { return "NFQUEUE" }

// Name is "TPROXY".
func (TProxy) Name() string { return "TPROXY" }

// Name is the target's.
func (t RawTarget) Name() string { return t.Target }
