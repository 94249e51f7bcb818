package iptables

import "net/netip"

// Match is one condition of a rule. The concrete types are the structs of this file; a type switch over them is
// complete.
type Match interface {
	// appendText appends the match as iptables-save prints it, beginning with a space.
	appendText(b []byte) []byte
}

// Source is -s.
type Source struct {
	Not    bool
	Prefix netip.Prefix // masked; a mask that is not a prefix is kept in a Raw
}

// Destination is -d.
type Destination struct {
	Not    bool
	Prefix netip.Prefix
}

// InInterface is -i. A Name that ends in "+" stands for every device whose name begins so.
type InInterface struct {
	Not  bool
	Name string
}

// OutInterface is -o.
type OutInterface struct {
	Not  bool
	Name string
}

// Protocol is -p.
type Protocol struct {
	Not  bool
	Name string // as iptables-save prints it: "tcp", "ipv6-icmp", or a number
}

// Fragment is -f: the second and later fragments of a packet.
type Fragment struct{ Not bool }

// PortRange is a range of ports, both ends in it, in host byte order.
type PortRange struct {
	Not       bool
	Low, High uint16
}

// Ports is -m tcp, udp, sctp or dccp, with the ports and flags it asks for, if any.
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

// MultiPort is -m multiport.
type MultiPort struct {
	Not   bool
	Side  PortSide
	Ports []PortRange
}

// PortSide says which ports a MultiPort looks at.
type PortSide uint8

// The sides.
const (
	DestinationPorts PortSide = iota // --dports
	SourcePorts                      // --sports
	EitherPorts                      // --ports
)

// ICMPType is -m icmp or icmp6.
type ICMPType struct {
	Not     bool
	V6      bool
	Any     bool // --icmp-type any
	Type    uint8
	Code    uint8
	AnyCode bool
}

// Mark is -m mark: skb mark & Mask == Value.
type Mark struct {
	Not         bool
	Value, Mask uint32
}

// ConnMark is -m connmark: connection mark & Mask == Value.
type ConnMark struct {
	Not         bool
	Value, Mask uint32
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

// Conntrack is -m conntrack as far as it asks for states, and -m state. One that asks for more is a Raw.
type Conntrack struct {
	Not    bool
	States State
	Legacy bool // -m state --state
}

// AddrType is -m addrtype. An empty kind is not asked for.
type AddrType struct {
	NotSource, NotDestination bool
	Source, Destination       string // "LOCAL", "UNICAST", ..., several joined by ","
	LimitIn, LimitOut         bool
}

// Comment is -m comment.
type Comment struct{ Text string }

// Statistic is -m statistic.
type Statistic struct {
	Not         bool
	Probability uint32 // of random mode: times 2^-31, as struct xt_statistic_info keeps it
	Every       uint32 // of nth mode; 0 means random mode
	Packet      uint32
}

// Chance is the probability of a random Statistic.
func (s Statistic) Chance() float64 { return float64(s.Probability) / (1 << 31) }

// Recent is -m recent.
type Recent struct {
	Not      bool
	Action   RecentAction
	Seconds  uint32 // 0: not asked for
	HitCount uint32
	Reap     bool
	TTL      bool // --rttl
	Name     string
	Mask     netip.Addr // as printed; invalid: not printed
	ByDest   bool       // --rdest
}

// RecentAction is what a Recent does with its list.
type RecentAction uint8

// The actions.
const (
	RecentSet    RecentAction = iota // --set
	RecentCheck                      // --rcheck
	RecentUpdate                     // --update
	RecentRemove                     // --remove
)

// Limit is -m limit. Rate is as printed: "5/min".
type Limit struct {
	Rate  string
	Burst uint32
}

// Set is -m set.
type Set struct {
	Not  bool
	Name string
	Dirs string // "src,dst"
	Rest string // further options, verbatim
}

// RPFilter is -m rpfilter.
type RPFilter struct {
	Loose, ValidMark, AcceptLocal, Invert bool
}

// PhysDev is -m physdev; its options are kept as printed.
type PhysDev struct{ Options string }

// Owner is -m owner; its options are kept as printed.
type Owner struct{ Options string }

// Socket is -m socket; its options are kept as printed.
type Socket struct{ Options string }

// NFAcct is -m nfacct: it counts the packet in a named object and always matches.
type NFAcct struct{ Name string }

// Raw is an extension, or a use of one, that natlab does not model: kept as printed, without a leading space.
type Raw struct{ Text string }
