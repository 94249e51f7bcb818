package nat

import (
	"fmt"
	"net/netip"
)

// Step is one rule, or one chain's policy, that a packet met and that matched it: what the kernel's TRACE
// reports, for one packet in one node.
type Step struct {
	Node  string `json:"node"`  // the network namespace's member name: a node, NAMESPACE/POD, a client
	Hook  Hook   `json:"hook"`  //
	Table string `json:"table"` // "raw", "mangle", "nat", "filter", "security"
	Chain string `json:"chain"` //
	Rule  int    `json:"rule"`  // 1 for the chain's first rule; 0 for the policy or the end of a user chain
	Met
	Line    int     `json:"line,omitempty"`  // of the text that the rule was parsed from, in a prediction from such a text
	Before  Tuple   `json:"before"`          // as the packet came to the rule
	After   Tuple   `json:"after"`           // as it left it
	Mark    uint32  `json:"mark"`            // skb mark after the rule, host byte order
	Verdict Verdict `json:"verdict"`         //
	Why     string  `json:"why,omitempty"`   // never empty for a verdict that ends the walk
	Maybe   bool    `json:"maybe,omitempty"` // of a prediction: whether it is met is not known, and makes no difference
}

// Met is the rule of a Step, as far as whoever reads a trace needs it: no package above has to read a rule's text. It is zero
// for a policy, and for a rule that is not known.
type Met struct {
	Text      string         `json:"text,omitempty"`      // the rule as iptables-save prints it, for people
	Brief     string         `json:"brief,omitempty"`     // its conditions alone, without comments and the -m words
	Target    string         `json:"target,omitempty"`    // the word behind -j or -g; "" for a rule without
	Action    string         `json:"action,omitempty"`    // the target with its options
	To        netip.AddrPort `json:"to,omitzero"`         // where a DNAT to a single address leads; port 0 keeps the packet's
	Element   string         `json:"element,omitempty"`   // of a verdict map of nf_tables, the one that the packet had: "service-ips: 10.96.0.10 . tcp . 53 -> service-ULMVA6XW-..."
	Untracks  bool           `json:"untracks,omitempty"`  // it keeps conntrack from the packet (NOTRACK, CT --notrack)
	Remembers bool           `json:"remembers,omitempty"` // it asks whom an earlier packet came from (recent --rcheck, --update)
}

// Same reports whether two rules ask and do the same; no packet meets a comment. Of a map, the elements are the same as far as both are
// known.
func (m Met) Same(o Met) bool {
	return m.Brief == o.Brief && m.Action == o.Action && (m.Element == o.Element || m.Element == "" || o.Element == "")
}

// Trace is the steps of one packet in the order in which it met them, across nodes.
type Trace []Step

// In returns the steps of one node and one table, in order; an empty name means all of them.
func (t Trace) In(node, table string) Trace {
	of := func(s *Step) bool { return (node == "" || s.Node == node) && (table == "" || s.Table == table) }
	n := 0
	for i := range t {
		if of(&t[i]) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make(Trace, 0, n)
	for i := range t {
		if of(&t[i]) {
			out = append(out, t[i])
		}
	}
	return out
}

// String is "vms100 nat KUBE-SERVICES:3 jump".
func (s Step) String() string {
	return s.Place() + " " + s.Verdict.String()
}

// Place is where the rule stands: "vms100 nat KUBE-SERVICES:3".
func (s Step) Place() string { return fmt.Sprintf("%s %s %s:%d", s.Node, s.Table, s.Chain, s.Rule) }

// Hop is a packet as it is at one of the points where natlab watches a namespace: the points around the NAT
// hooks of design section 2, where an Observation of the kernel and a prediction of nat/gateway are compared
// one for one.
type Hop struct {
	Node  string `json:"node"`           // the namespace's member name
	Tap   Tap    `json:"tap"`            //
	Dev   string `json:"dev,omitempty"`  // in device at PreRouting, out device at Output and PostRouting
	Tuple Tuple  `json:"tuple"`          // of the innermost IP packet
	Mark  uint32 `json:"mark"`           // skb mark, host byte order
	Outer Tuple  `json:"outer,omitzero"` // the outer header of a tunnelled packet; zero where there is none
}

// Tap is a point of observation: a hook and where in it.
type Tap uint8

// The taps, in the order in which a forwarded and then a locally made packet meets them.
const (
	TapPreRaw Tap = iota // prerouting, priority -310: as it came in, before conntrack
	TapPreNAT            // prerouting, priority -90: after DNAT; for a reply after its SNAT was undone
	TapOutRaw            // output, priority -310: as the process sent it
	TapOutNAT            // output, priority -90: after DNAT in OUTPUT
	TapPost              // postrouting, priority +310: as it goes out, after SNAT; for a reply after its DNAT was undone
)

var taps = [...]struct {
	name     string
	hook     Hook
	priority int
}{
	{"prerouting-raw", PreRouting, -310},
	{"prerouting-nat", PreRouting, -90},
	{"output-raw", Output, -310},
	{"output-nat", Output, -90},
	{"postrouting", PostRouting, 310},
}

// Taps lists every tap.
func Taps() []Tap { return []Tap{TapPreRaw, TapPreNAT, TapOutRaw, TapOutNAT, TapPost} }

func (t Tap) String() string { return taps[t].name }

// Hook is the hook a tap hangs in.
func (t Tap) Hook() Hook { return taps[t].hook }

// Priority is the priority of a tap's base chain in its hook (enum nf_ip_hook_priorities: conntrack -200, DNAT -100, SNAT 100).
func (t Tap) Priority() int { return taps[t].priority }

// MarshalText makes a tap its name in JSON.
func (t Tap) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *Tap) UnmarshalText(b []byte) error {
	for i := range taps {
		if taps[i].name == string(b) {
			*t = Tap(i)
			return nil
		}
	}
	return fmt.Errorf("tap %q is not known", b)
}

// String is "vms100 postrouting tunl0 tcp 10.0.0.1:1 > 10.0.0.2:2 mark 0x0".
func (h Hop) String() string {
	s := fmt.Sprintf("%s %s %s %s mark %#x", h.Node, h.Tap, h.Dev, h.Tuple, h.Mark)
	if h.Outer.IsValid() {
		s += " in " + h.Outer.String()
	}
	return s
}
