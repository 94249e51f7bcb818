package audit

import (
	"fmt"
	"strings"
)

// Kind is what sort of fault a Finding is.
type Kind string

// The kinds.
const (
	Missing      Kind = "missing"       // a rule or chain of kube-proxy's is not there
	Extra        Kind = "extra"         // a rule or chain in kube-proxy's name that it would not write
	Changed      Kind = "changed"       // a rule is there, and is another
	OutOfOrder   Kind = "out-of-order"  // the rules are there, in an order that means something else
	Duplicate    Kind = "duplicate"     // a rule is there more than once
	BothBackends Kind = "both-backends" // iptables-legacy and iptables-nft both hold rules
	Revision     Kind = "revision"      // a version of iptables in use misreads or refuses what the kernel holds
	Hint         Kind = "hint"          // a hint chain sends programs to the wrong backend
	Canary       Kind = "canary"        // a canary is gone: someone flushed a table
	EarlyVerdict Kind = "early-verdict" // a rule of someone else ends the walk before kube-proxy's chain
	MarkTaken    Kind = "mark-taken"    // someone else sets or clears kube-proxy's bit of the mark
	StaleReject  Kind = "stale-reject"  // a REJECT or DROP of a service that has endpoints
	StaleConn    Kind = "stale-conn"    // a connection is translated to what no rule would choose today
	MirrorConn   Kind = "mirror-conn"   // a connection to a service address is not translated at all
	StaleDNAT    Kind = "stale-dnat"    // a rule of someone else translates to a pod that is not there
	ShadowedDNAT Kind = "shadowed-dnat" // a rule of someone else is for packets that one in front of it takes
	Setting      Kind = "setting"       // a sysctl that Services need is off
	Unreadable   Kind = "unreadable"    // something in a table is not iptables', so that it cannot be compared
)

// Of ports and policies.
const (
	LoopbackPublished Kind = "loopback-published" // a port that is published on 127.0.0.1 is translated for neighbours, too
	ForwardPolicy     Kind = "forward-policy"     // a policy, such as that of FORWARD, drops what goes to pods
	Dropped           Kind = "dropped"            // a rule of someone else drops or refuses what comes for a Service
)

// Finding is one fault.
type Finding struct {
	Node    string `json:"node"`
	Family  string `json:"family"` // "ipv4" or "ipv6"
	Kind    Kind   `json:"kind"`
	Backend string `json:"backend,omitempty"` // "iptables-legacy", "iptables-nft", or "nftables" for tables of nf_tables' own
	Table   string `json:"table,omitempty"`
	Chain   string `json:"chain,omitempty"`
	Set     string `json:"set,omitempty"`  // of nftables mode: the set or map
	Rule    int    `json:"rule,omitempty"` // from 1, in the kernel's chain; for a missing rule in kube-proxy's own
	What    string `json:"what"`
	Why     string `json:"why"`    // what it does to packets
	Issue   string `json:"issue"`  // "kubernetes#20391"; "" where none is known
	Remedy  string `json:"remedy"` //
}

// String is the finding on four lines.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s\n", f.Node, f.Kind, f.What)
	if at := f.place(); at != "" {
		fmt.Fprintf(&b, "    where:  %s\n", at)
	}
	why := f.Why
	if f.Issue != "" {
		why += " (" + f.Issue + ")"
	}
	fmt.Fprintf(&b, "    why:    %s\n    remedy: %s\n", why, f.Remedy)
	return b.String()
}

// place is "iptables-legacy ipv4 nat KUBE-SERVICES rule 3", as far as the finding has one.
func (f Finding) place() string {
	if f.Backend == "" && f.Table == "" {
		return ""
	}
	words := []string{f.Backend, f.Family, f.Table, f.Chain, f.Set}
	if f.Rule != 0 {
		words = append(words, fmt.Sprintf("rule %d", f.Rule))
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}
