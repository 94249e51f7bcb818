package proof

import (
	"time"

	"natlab/nat"
)

// ObservationKind is which witness an Observation comes from.
type ObservationKind uint8

// The witnesses.
const (
	PacketSeen ObservationKind = iota + 1 // NFQUEUE: Hop, TCPFlags, ICMP
	RuleHit                               // trace: Step, TraceID
	ConnSeen                              // ctnetlink: Conn, Gone
)

// Observation is one thing a witness saw in one namespace. Only the fields its kind names are set.
type Observation struct {
	Kind ObservationKind
	Seq  uint64 // the order in which natlab received it; within a namespace packets are in kernel order, and one packet's hops in that of its way
	Node string // the member name of the namespace

	Hop      nat.Hop // PacketSeen
	TCPFlags uint8   // PacketSeen, and RuleHit where the kernel shows them, TCP: the flag byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16); of the inner packet. SCTP: what its first chunk is in these words, an INIT SYN, an INIT ACK SYN and ACK, an ABORT RST, else ACK
	ICMP     ICMP    // PacketSeen, ICMP errors: what they report and about whom

	Step    nat.Step // RuleHit: Hook, Table, Chain, Rule (0 for a policy), Verdict, Mark, Before; After is not known to the kernel's trace
	TraceID uint32   // RuleHit: equal for all hits of one packet in one namespace where the kernel gives one (nf_tables), else 0
	InDev   string   // RuleHit
	OutDev  string   // RuleHit

	Conn nat.Conn // ConnSeen
	Gone bool     // ConnSeen: a DESTROY event
	// State is of ConnSeen where the event tells it: how far a TCP connection is, by the kernel's name (nat.TCPStates).
	State string

	ConnID    uint32        // PacketSeen and RuleHit: the conntrack id where the kernel gives it, else 0
	Direction nat.Direction // with ConnID

	Packet []byte    // PacketSeen, where packets are kept: from the IP header on, as it was at the tap; a copy may be cut short
	At     time.Time // with Packet: when natlab received it
}

// ICMP is an ICMP error's type, code and the tuple of the packet inside it.
type ICMP struct {
	Type, Code uint8
	Inside     nat.Tuple
}

// tooLong reports whether a router complains that a packet is longer than a link's MTU and must not be split (RFC 1191, RFC 8201).
func (i ICMP) tooLong() bool {
	if i.Inside.Src().Addr().Is6() {
		return i.Type == 2
	}
	return i.Type == 3 && i.Code == 4
}

// nobodyListens reports whether a host complains that none of its sockets has the port that a packet is for (RFC 792, RFC 4443).
func (i ICMP) nobodyListens() bool {
	if i.Inside.Src().Addr().Is6() {
		return i.Type == 1 && i.Code == 4
	}
	return i.Type == 3 && i.Code == 3
}

// Ends reports whether the error ends the flow that it is about: it is none that only tells of a better way, or of the length that a
// packet may have (RFC 1122 3.2.2).
func (i ICMP) Ends() bool {
	const quench, redirect = 4, 5
	if i.Inside.Src().Addr().Is6() { // ICMPv6 redirects by a message that has no packet's end in it (RFC 4861)
		return !i.tooLong()
	}
	return i.Inside.IsValid() && i.Type != quench && i.Type != redirect && !i.tooLong()
}
