package live

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/proof"
)

// State is what has become of a flow.
type State uint8

// The states. The zero value claims nothing.
const (
	Unknown     State = iota
	Open              // a TCP connection that was made, and is not at its end
	Closed            // a TCP connection that both ends have closed
	Reset             // a TCP connection that an RST has ended
	Answered          // a datagram or ICMP query whose answer came through
	Refused           // the host that was reached has no listener: RST or ICMP error of its own
	Rejected          // a REJECT rule answered
	Unreachable       // another ICMP error answered
	Dropped           // a rule dropped a packet of it
	Unanswered        // no answer came through
)

var stateNames = [...]string{"unknown", "open", "closed", "reset", "answered", "refused", "rejected", "unreachable", "dropped", "unanswered"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText makes a state its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(b []byte) error {
	for i, name := range stateNames {
		if name == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("state %q is not known", b)
}

// End is how the first packet of the flow ended, as far as it was seen.
func (s State) End() nat.End {
	switch s {
	case Open, Closed, Reset, Answered:
		return nat.EndAnswered
	case Refused:
		return nat.EndRefused
	case Rejected:
		return nat.EndRejected
	case Unreachable:
		return nat.EndUnreachable
	case Dropped, Unanswered:
		return nat.EndLost
	case Unknown:
	}
	return nat.EndUnknown
}

// Flow is what was seen of a flow: its first packet, the answer to that, and what became of it.
type Flow struct {
	Number   int            `json:"flow"`                // from 1, in the order in which they began
	Began    time.Time      `json:"began"`               // when its first packet was read
	Took     time.Duration  `json:"took"`                // until what was seen of it last
	State    State          `json:"state"`               //
	Why      string         `json:"why,omitempty"`       // where it was seen last, or which rule dropped or rejected it
	Again    bool           `json:"again,omitempty"`     // it was told before, and is otherwise now
	Service  string         `json:"service,omitempty"`   // that has the target: "velero/minio:console"
	Client   string         `json:"client,omitempty"`    // the member that has the source
	Protocol nat.Proto      `json:"protocol"`            //
	Source   netip.AddrPort `json:"source"`              // as the client's packet has it
	Target   netip.AddrPort `json:"target"`              //
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`   // whom the target became
	Server   string         `json:"server,omitempty"`    // the member that has the endpoint
	Peer     netip.AddrPort `json:"serverPeer,omitzero"` // the client as the endpoint sees it
	Request  nat.Journey    `json:"request"`             // the first packet
	Reply    nat.Journey    `json:"reply"`               // the first answer, an RST or ICMP error included
	Conns    []nat.Conn     `json:"conntrack"`           // in the order of the nodes met
	Notes    []string       `json:"notes,omitempty"`     // what the reader should know besides
}

// Nodes are the members that the flow was seen in, in the order of its way.
func (f Flow) Nodes() []string {
	var out []string
	add := func(node string) {
		if !slices.Contains(out, node) {
			out = append(out, node)
		}
	}
	for _, j := range []nat.Journey{f.Request, f.Reply} {
		for _, h := range j.Hops {
			add(h.Node)
		}
		for _, s := range j.Steps {
			add(s.Node)
		}
	}
	return out
}

// Certificate is the flow in the form in which flows are drawn; it has no verdict.
func (f Flow) Certificate() proof.Certificate {
	end := f.State.End()
	c := proof.Certificate{
		Flow: proof.Flow{Service: f.Service, Client: f.Client, From: f.Client, Source: f.Source.Addr(), Target: f.Target, Protocol: f.Protocol},
		End:  end, Expect: end, Endpoint: f.Endpoint, Server: f.Server, Conntrack: f.Conns,
	}
	if c.Client == "" {
		c.Client = f.Source.Addr().String()
	}
	if c.Server == "" {
		c.Server = "the server"
	}
	for _, e := range f.Conns {
		if e.Status&(nat.SrcNAT|nat.DstNAT) != 0 {
			c.Node = e.Node
			break
		}
	}
	for dir, j := range [2]nat.Journey{nat.Original: f.Request, nat.Reply: f.Reply} {
		for _, h := range j.Hops {
			c.Hops = append(c.Hops, proof.Hop{Direction: nat.Direction(dir), Hop: h})
		}
		for _, s := range j.Steps {
			c.Met = append(c.Met, proof.Step{Direction: nat.Direction(dir), Step: s})
		}
	}
	return c
}
