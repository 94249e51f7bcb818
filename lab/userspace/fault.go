package userspace

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// Fault is what a gateway does wrong on purpose, so that who holds it to account can be held to account.
type Fault uint8

// The faults.
const (
	NoFault           Fault = iota
	ReplyUntranslated       // what answers goes on as it came
	MarkLost                // what rules make of a packet's mark is not kept
	PortTwice               // every source gets the same port, taken or not
	EntryForgets            // a connection is forgotten with its first packet
)

var faultNames = []string{NoFault: "", ReplyUntranslated: "reply-untranslated", MarkLost: "mark-lost", PortTwice: "port-twice", EntryForgets: "entry-forgets"}

func (f Fault) String() string { return faultNames[f] }

// Faults are the names that ParseFault reads.
func Faults() []string { return slices.Clone(faultNames[1:]) }

// ParseFault reads what String prints; "" is NoFault.
func ParseFault(s string) (Fault, error) {
	if i := slices.Index(faultNames, s); i >= 0 {
		return Fault(i), nil
	}
	return 0, fmt.Errorf("fault %q: want %s", s, strings.Join(Faults(), ", "))
}

// twice is the NAT that gives one port to all.
var twice = behaviour.NAT{
	Mapping: behaviour.AddressAndPortDependent, Filtering: behaviour.AddressAndPortDependent, Ports: behaviour.Overload, Low: twicePort, High: twicePort,
}

const twicePort = 40000

// spoil makes of a ruling what the fault does. came is the packet as it came to the hook. The Gateway is locked.
func (g *Gateway) spoil(one *gateway.Gateway, s *gateway.Seen, came []byte, r *gateway.Ruling) {
	switch g.options.Fault {
	case NoFault, PortTwice:
	case MarkLost:
		r.Mark = s.Mark
	case EntryForgets:
		if r.Conn != nil && r.Conn.Has(nat.Confirmed) && !r.Conn.Has(nat.SeenReply) {
			one.Conns().Delete(r.Conn)
		}
	case ReplyUntranslated:
		p, err := packet.Parse(came)
		if err == nil && r.Changed && r.Verdict == nat.Accept && r.Conn != nil && p.Tuple().Src() == r.Conn.Reply.Src() {
			r.Packet, r.Changed = came, false
		}
	}
}
