package conntrack

import (
	"natlab/nat"
)

// Packet is what connection tracking reads of a packet.
type Packet struct {
	Tuple nat.Tuple
	Hook  nat.Hook // PreRouting, or Output for one that a process of the node sent
	// Length is the packet's, with its IP header, in bytes.
	Length int
	Zone   nat.Zone // that rules put it in
	Policy string   // of timeouts, which is only kept
	// Malformed: the transport header is cut short or inconsistent. BadChecksum: its checksum is wrong.
	Malformed   bool
	BadChecksum bool
	TCP         Segment // for TCP
	SCTP        SCTP    // for SCTP
	DCCP        DCCP    // for DCCP
	ICMPType    uint8   // for ICMP and ICMPv6
	ICMPCode    uint8
	Error       bool      // an ICMP error, about a packet of the tuple Inside; which is not valid where none can be read
	Inside      nat.Tuple //
	InsideType  uint8     // the ICMP type and code of the packet inside
	InsideCode  uint8
}

// Info is what a packet is to conntrack (enum ip_conntrack_info, with the direction apart).
type Info uint8

// What a packet can be. The zero value is the kernel's for a packet without a connection.
const (
	InfoInvalid     Info = iota // no part of a connection, and none that opens one
	InfoUntracked               // IP_CT_UNTRACKED: by a rule, NOTRACK
	InfoNew                     // IP_CT_NEW: no answer was seen yet
	InfoRelated                 // IP_CT_RELATED: an ICMP error about a connection, or a REJECT rule's answer
	InfoEstablished             // IP_CT_ESTABLISHED
)

var infoNames = [...]string{"INVALID", "UNTRACKED", "NEW", "RELATED", "ESTABLISHED"}

func (i Info) String() string { return infoNames[i] }

// Ref ties a packet to its connection for its time in the node (skb->_nfct). The zero Ref is that of a packet
// conntrack made nothing of.
type Ref struct {
	Conn *Conn // nil for InfoInvalid and InfoUntracked
	Dir  nat.Direction
	Info Info
}
