package proof

import (
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/topology"
)

// Outcome is what a proof concludes. The zero value claims nothing.
type Outcome uint8

// The outcomes.
const (
	Inconclusive Outcome = iota // not everything was seen that has to be seen; never a pass
	Proved                      // what happened is what has to happen, in every check
	Disproved                   // it is not, and Certificate.Wrong tells where
)

var outcomeNames = [...]string{"inconclusive", "proved", "disproved"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// MarshalText makes an outcome its name in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (o *Outcome) UnmarshalText(b []byte) error {
	for i, name := range outcomeNames {
		if name == string(b) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("outcome %q: want inconclusive, proved or disproved", b)
}

// Fault is who is to blame for a difference.
type Fault uint8

// The faults.
const (
	NoFault     Fault = iota
	FaultRules        // what happened is what the node's live rules call for: the rules are wrong
	FaultModel        // it is not what they call for either: natlab's model or the kernel is wrong
	FaultServer       // the rules are right, but nothing or somebody else listens at the endpoint that they chose
	FaultNode         // the rules are right, but the node has other devices, routes or sysctls than the lab made
)

var faultNames = [...]string{"", "rules", "model or kernel", "server", "node"}

func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("fault(%d)", uint8(f))
}

// MarshalText makes a fault its name in JSON; no fault is "".
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (f *Fault) UnmarshalText(b []byte) error {
	for i, name := range faultNames {
		if name == string(b) {
			*f = Fault(i)
			return nil
		}
	}
	return fmt.Errorf("fault %q is not known", b)
}

// Certificate is the proof of one flow by way of one endpoint, or of a flow that must not get anywhere. All of it
// is what was observed, but for Expect.
type Certificate struct {
	Flow
	Expect      nat.End        `json:"expect"`              // how the flow has to end
	End         nat.End        `json:"end"`                 // how it ended, as the client saw it
	Endpoint    netip.AddrPort `json:"endpoint,omitzero"`   // the endpoint that served; invalid where none did
	Server      string         `json:"server,omitempty"`    // the member whose server answered
	ClientPeer  netip.AddrPort `json:"clientPeer,omitzero"` // where the answer came from, as the client's socket saw it
	Masqueraded bool           `json:"masqueraded"`         //
	Verdict     Outcome        `json:"verdict"`             //
	Node        string         `json:"node,omitempty"`      // the node that translated, rejected or dropped the request
	Tries       int            `json:"tries"`               // how many tries of this flow came by this endpoint
	Request     []string       `json:"request"`             // the first packet's chains in Node, as facts.md writes them, its target last
	Reply       []string       `json:"reply"`               // the first answer's chains in Node
	Checks      []Finding      `json:"checks"`              // dnat, masquerade, reply, path, ends, state, control
	Hops        []Hop          `json:"hops"`                // the request's, then the reply's, each in the order of the way
	Met         []Step         `json:"rules"`               // the rules met, likewise
	Routes      []Route        `json:"routes,omitempty"`    // by which the packets left, as far as the tables tell for certain
	Conntrack   []nat.Conn     `json:"conntrack"`           // in the order of the nodes met
	Wrong       *Wrong         `json:"wrong,omitempty"`     // for every verdict but Proved: the first thing that is wrong, or not seen
	AllowedBy   []Allowance    `json:"allowedBy,omitempty"` // the rules of others that have it otherwise than its Service calls for, and may
	Packets     []Packet       `json:"-"`                   // Seen.Packets, where packets are kept
}

// Hop is a packet at a tap, with its direction in the flow.
type Hop struct {
	Direction nat.Direction `json:"direction"`
	nat.Hop
}

// Step is a rule that was met, with the direction of the packet that met it.
type Step struct {
	Direction nat.Direction `json:"direction"`
	nat.Step
}

// Finding is the answer to one of the seven checks, with its evidence.
type Finding struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Detail  string `json:"detail"`
	Missing bool   `json:"missing,omitempty"` // not OK because evidence is missing, which makes the verdict inconclusive
}

// Wrong is the first place where what happened is not what has to happen.
type Wrong struct {
	Check     string        `json:"check"`               // the first check that failed
	Direction nat.Direction `json:"direction"`           // whether the request or the reply went wrong
	Node      string        `json:"node,omitempty"`      // where
	Want      string        `json:"want"`                // what has to happen there, in words
	Got       string        `json:"got"`                 // what happened instead
	WantStep  *nat.Step     `json:"wantStep,omitempty"`  // the first rule of the intent that the packet did not meet
	GotStep   *nat.Step     `json:"gotStep,omitempty"`   // the rule that it met instead
	WantRule  string        `json:"wantRule,omitempty"`  // the rule that should be there, as iptables-save prints it; "" where there should be none
	LiveRule  string        `json:"liveRule,omitempty"`  // the rule that is there instead; "" where there is none
	Packet    string        `json:"packet,omitempty"`    // what the packet looked like then: its tuple and mark
	Why       string        `json:"why,omitempty"`       // why the rule that should have matched did not
	Fault     Fault         `json:"fault"`               // who is to blame
	Model     string        `json:"model,omitempty"`     // for FaultModel: what the live rules call for first that did not happen
	Unmodeled []string      `json:"unmodeled,omitempty"` // live rules on the way with an extension natlab does not model
}

// Allowance is a rule of another agent that does with a flow what the objects of its Service do not call for, and what the agent is there for.
type Allowance struct {
	RuleRef
	Owner string `json:"owner"` // "Calico"
	What  string `json:"what"`  // what for: "NetworkPolicy"
}

func (a Allowance) String() string {
	return fmt.Sprintf("%s (%s) in %s: %s", a.Owner, a.What, a.Node, a.Text)
}

// RuleRef names one rule of one node.
type RuleRef struct {
	Node   string          `json:"node"`
	Family topology.Family `json:"family,omitzero"` // "ipv6"; "ipv4" is left out
	Table  string          `json:"table"`
	Chain  string          `json:"chain"`
	Rule   int             `json:"rule"` // 1 for the chain's first
	Text   string          `json:"text"` // as iptables-save or nft prints it
	// Element is of a verdict map of nf_tables that the rule asks: it counts as a rule of its own (nat.Met.Element).
	Element string `json:"element,omitempty"`
}

// In names the rule's table, with the family where that is not IPv4.
func (r RuleRef) In() string {
	if r.Family == topology.IPv6 {
		return "ip6 " + r.Table
	}
	return r.Table
}

// Coverage is how much of the rules the flows met.
type Coverage struct {
	Rules int       `json:"rules"` // rules in all nodes
	Met   int       `json:"met"`   // of them, those that at least one packet met and matched
	Unmet []RuleRef `json:"unmet"` // the others, in the order of the nodes and of iptables-save
}

// Report is the proof of a lab.
type Report struct {
	Lab      string        `json:"lab"`
	Backend  string        `json:"backend,omitempty"`  // "iptables-legacy", "iptables-nft", or "nftables" where kube-proxy runs in that mode
	Overlay  string        `json:"overlay,omitempty"`  // "ipip", "vxlan" or "none"
	Flows    []Certificate `json:"flows"`              // sorted as Flows sorts them, then by endpoint
	Coverage Coverage      `json:"coverage"`           //
	Lost     uint64        `json:"lost"`               // events that the kernel could not deliver to a witness
	NotAsked []NotAsked    `json:"notAsked,omitempty"` // addresses of Services that no flow asks
	Notes    []string      `json:"notes,omitempty"`    // what the reader should know besides
	Ended    string        `json:"ended,omitempty"`    // why the proof ended before all was asked: "interrupted"
}

// Outcome is the whole report's: Disproved if one flow is, else Inconclusive if one flow is, if there is none, or if the proof
// ended before all was asked, else Proved.
func (r Report) Outcome() Outcome {
	if len(r.Flows) == 0 {
		return Inconclusive
	}
	worst := Proved
	if r.Ended != "" {
		worst = Inconclusive
	}
	for _, c := range r.Flows {
		switch c.Verdict {
		case Disproved:
			return Disproved
		case Inconclusive:
			worst = Inconclusive
		case Proved:
		}
	}
	return worst
}

// Count returns how many flows of the report have the outcome o.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, c := range r.Flows {
		if c.Verdict == o {
			n++
		}
	}
	return n
}
