package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// AnyPort stands in a predicted tuple for a source port that chance decides (MASQUERADE --random-fully). The first
// port observed in its place binds it: later ones of the same flow must be the same.
const AnyPort uint16 = 0

// EndText is an address and port for people: "10.0.0.1:*" where chance decides the port.
func EndText(a netip.AddrPort) string {
	if a.Port() == AnyPort {
		return strings.TrimSuffix(a.String(), "0") + "*"
	}
	return a.String()
}

// Probe is what a client does: one TCP connection, or one UDP datagram, from a namespace.
type Probe struct {
	From  string `json:"from"`  // the member name of the namespace that sends
	Tuple Tuple  `json:"tuple"` // as the client's socket has it
}

// End is how a probe ends, as the client sees it.
type End uint8

// The ends. The zero value claims nothing.
const (
	EndUnknown  End = iota
	EndAnswered     // the reply came back to the client's socket
	EndRefused      // the host that was reached had no listener: RST or ICMP port unreachable of its own
	EndRejected     // a REJECT rule answered
	EndLost         // nothing came back
	// EndUnreachable: a node answered that the destination cannot be reached: an ICMP error that is neither a rule's nor
	// about a port.
	EndUnreachable
)

var endNames = [...]string{"unknown", "answered", "refused", "rejected", "lost", "unreachable"}

func (e End) String() string {
	if int(e) < len(endNames) {
		return endNames[e]
	}
	return fmt.Sprintf("end(%d)", uint8(e))
}

// MarshalText makes an end its name in JSON.
func (e End) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (e *End) UnmarshalText(b []byte) error {
	for i, name := range endNames {
		if name == string(b) {
			*e = End(i)
			return nil
		}
	}
	return fmt.Errorf("end %q is not known", b)
}

// EndOfError is how an exchange ends by an ICMP error that no rule sent: EndRefused by one of the host that was reached, which has
// no listener at the port or does not know the protocol (RFC 792, RFC 4443), EndUnreachable by any other.
func EndOfError(proto Proto, kind, code uint8) End {
	switch {
	case proto == ICMP && kind == 3 && (code == 2 || code == 3), proto == ICMPv6 && (kind == 1 && code == 4 || kind == 4 && code == 1):
		return EndRefused
	}
	return EndUnreachable
}

// Prediction is every way a probe can go, in a fixed order: more than one where chance decides (statistic), or where it
// depends on what is not known. The probabilities of the ways with the same assumptions add up to 1. Where there are more
// ways than are followed the last outcome is of EndUnknown and tells so.
type Prediction []Outcome

// Is reports whether two predictions are one, and not only equal: what is found of one need not be found of the other.
func (p Prediction) Is(o Prediction) bool {
	return len(p) > 0 && len(p) == len(o) && &p[0] == &o[0]
}

// Outcome is one way a probe can go.
type Outcome struct {
	Probability float64        `json:"probability"`         // of this way among those with the same assumptions
	End         End            `json:"end"`                 //
	Where       string         `json:"where,omitempty"`     // for every End but EndAnswered: the place that decided, "vms100 filter KUBE-SERVICES:1"
	Why         string         `json:"why,omitempty"`       // its reason, in words
	Server      string         `json:"server,omitempty"`    // the member whose socket got the request
	Endpoint    netip.AddrPort `json:"endpoint,omitzero"`   // its address and port
	ServerPeer  netip.AddrPort `json:"serverPeer,omitzero"` // the client as the server sees it; AnyPort where chance decides the port
	ClientPeer  netip.AddrPort `json:"clientPeer,omitzero"` // where the answer comes from, as the client's socket sees it
	Request     Journey        `json:"request"`             // the first packet
	Reply       Journey        `json:"reply"`               // the first packet of the answer, an RST or ICMP error included
	Conns       []Conn         `json:"conntrack,omitempty"` // entries made, in the order of the nodes met
	Assumed     []Assumption   `json:"assumed,omitempty"`   // what is not known and this way depends on
	Unknown     []string       `json:"unknown,omitempty"`   // what is not known on this way and makes no difference to it
}

// Assumption is an answer to something that is not known, on which the way of a packet depends.
type Assumption struct {
	What  string `json:"what"`  // the condition, or the target, as iptables-save prints it
	Of    string `json:"of"`    // the node and the packet that it is asked of, whose answers need not be those of others
	Holds bool   `json:"holds"` //
}

// Journey is one packet's way through the namespaces.
type Journey struct {
	Hops  []Hop `json:"hops"`  // as the taps would see it
	Steps Trace `json:"steps"` // the rules that it met and that matched
}

// Conn is a connection tracking entry in one node as ctnetlink shows it: what a prediction and the kernel are compared
// by. The connection that the emulator keeps, with its timers and windows, is conntrack.Conn.
type Conn struct {
	Node     string `json:"node"`
	ID       uint32 `json:"id,omitempty"` // the kernel's; 0 in a prediction
	Original Tuple  `json:"original"`
	Reply    Tuple  `json:"reply"`
	Status   Status `json:"status"`
	Mark     uint32 `json:"mark"`
}

// Has reports whether all of the bits are set.
func (c Conn) Has(bits Status) bool { return c.Status&bits == bits }

// Summary is an outcome in one line: how it ends and what leaves.
func (o Outcome) Summary() string {
	s := o.End.String()
	if o.End == EndAnswered {
		s += fmt.Sprintf(" by %s, %s, which sees %s", o.Endpoint, o.Server, EndText(o.ServerPeer))
	} else if o.Endpoint.IsValid() {
		s += fmt.Sprintf(" after %s, %s, saw %s", o.Endpoint, o.Server, EndText(o.ServerPeer))
	}
	return s
}

// Chance is how probable it is that a probe comes to an endpoint: where that depends on what is not known, the least that it
// may be and is not 0.
func (p Prediction) Chance(endpoint netip.AddrPort) float64 {
	by := map[string]float64{}
	for _, o := range p {
		if o.Endpoint == endpoint && o.Probability > 0 {
			by[fmt.Sprint(o.Assumed)] += o.Probability
		}
	}
	least := 0.0
	for _, chance := range by {
		if least == 0 || chance < least {
			least = chance
		}
	}
	return least
}

// Summary is all that two predictions are compared by: a line a way, sorted, with its probability and how it ends.
func (p Prediction) Summary() string {
	lines := make([]string, len(p))
	for i, o := range p {
		lines[i] = fmt.Sprintf("%.4f %s %v", o.Probability, o.Summary(), o.Assumed)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// ForgetPorts puts AnyPort for the ends that were chosen by chance, wherever they stand.
func (o *Outcome) ForgetPorts(chosen []netip.AddrPort) {
	if len(chosen) == 0 {
		return
	}
	hide := func(a *netip.AddrPort) {
		if slices.Contains(chosen, *a) {
			*a = netip.AddrPortFrom(a.Addr(), AnyPort)
		}
	}
	either := func(t *Tuple) {
		src, dst := t.Src(), t.Dst()
		hide(&src)
		hide(&dst)
		*t = TupleOf(t.Proto(), src, dst)
	}
	for _, j := range []*Journey{&o.Request, &o.Reply} {
		for k := range j.Hops {
			either(&j.Hops[k].Tuple)
			either(&j.Hops[k].Outer)
		}
		for k := range j.Steps {
			either(&j.Steps[k].Before)
			either(&j.Steps[k].After)
		}
	}
	for i := range o.Conns {
		either(&o.Conns[i].Original)
		either(&o.Conns[i].Reply)
	}
	hide(&o.Endpoint)
	hide(&o.ServerPeer)
	hide(&o.ClientPeer)
}
