package proof

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// nativeSteps are what a trace tells of a node's nftables mode: the same base chain's rules again and again, the element by the packet's
// key, and of a DNAT by a map nothing but the rule.
func nativeSteps() nat.Trace {
	step := func(chain string, rule int, v nat.Verdict, met nat.Met) nat.Step {
		return nat.Step{Node: "vms100", Hook: nat.PreRouting, Table: "ip kube-proxy", Chain: chain, Rule: rule, Verdict: v, Met: met, Before: tuple(asks)}
	}
	post := step("nat-postrouting", 0, nat.Accept, nat.Met{})
	post.Hook = nat.PostRouting
	return nat.Trace{
		step("filter-prerouting", 1, nat.Jump, nat.Met{Text: "ct state new jump firewall-check", Brief: "ct state new", Action: "jump firewall-check", Target: "firewall-check"}),
		step("filter-prerouting", 0, nat.Accept, nat.Met{}),
		step("nat-prerouting", 1, nat.Jump, nat.Met{Text: "jump services", Action: "jump services", Target: "services"}),
		step("services", 1, nat.Goto, nat.Met{Text: "vmap @ips", Action: "vmap @ips", Target: "service-A", Element: "ips: 1 -> service-A"}),
		step("service-A", 1, nat.Accept, nat.Met{Text: "dnat to map", Action: "dnat to map", Target: "dnat"}),
		post,
	}
}

// Where a DNAT by a map led is in the node's entry.
func TestJoinAimsADNATByAMap(t *testing.T) {
	t.Parallel()
	probe := nat.Probe{From: "outside", Tuple: tuple(asks)}
	endpoint := netip.MustParseAddrPort("10.244.38.178:9090")
	conn := nat.Conn{Node: "vms100", Original: probe.Tuple, Reply: probe.Tuple.WithDst(endpoint).Reply()}
	var seen []Observation
	for _, s := range nativeSteps() {
		seen = append(seen, Observation{Kind: RuleHit, Node: s.Node, Step: s})
	}
	got := Join([]nat.Probe{probe}, append(seen, Observation{Kind: ConnSeen, Node: conn.Node, Conn: conn}))[0]
	require.Equal(t, endpoint, got.Request.Steps[4].To)
	require.False(t, got.Request.Steps[3].To.IsValid(), "no DNAT")
	conn.Node = "vms101"
	got = Join([]nat.Probe{probe}, append(seen, Observation{Kind: ConnSeen, Node: conn.Node, Conn: conn}))[0]
	require.False(t, got.Request.Steps[4].To.IsValid(), "another node's entry")
}

// Tables of nf_tables' own count where predictions know them, and elements of maps are told apart where both sides know theirs.
func TestNativeStepsAreCompared(t *testing.T) {
	t.Parallel()
	want := nat.Outcome{Request: nat.Journey{Steps: nativeSteps()}}
	compare := func(native bool, change func(nat.Trace) nat.Trace) *difference {
		c := Case{Chains: Chains{Native: native}, Seen: Seen{Request: nat.Journey{Steps: change(nativeSteps())}}}
		return matchOutcome(c, want).steps[nat.Original]
	}
	other := func(element string) func(nat.Trace) nat.Trace {
		return func(steps nat.Trace) nat.Trace { steps[3].Element = element; return steps }
	}
	less := func(steps nat.Trace) nat.Trace { return slices.Delete(steps, 4, 5) }
	require.Nil(t, compare(true, other("ips: 1 -> service-A")))
	require.Nil(t, compare(true, other("")), "the key was in no message")
	require.Equal(t, 3, compare(true, other("ips: 2 -> service-A")).at)
	require.Equal(t, 4, compare(true, less).at)
	require.Nil(t, compare(false, less))
}

// The chains of the request are those that translate, as iptables' are those of the nat table.
func TestNativeChainsOfARequest(t *testing.T) {
	t.Parallel()
	rules := Chains{Live: func(c ChainRef) ([]nat.Met, bool) {
		declared := []nat.Met{{Text: "chain nat-prerouting: type nat hook prerouting priority dstnat; policy accept;"}, {Text: "chain nat-postrouting: type nat hook postrouting priority srcnat; policy accept;"}}
		return declared, c == ChainRef{Node: "vms100", Table: "ip kube-proxy"}
	}}
	require.Equal(t, []string{"nat-prerouting", "services", "service-A", "dnat", "nat-postrouting"}, rules.requestChains(nativeSteps(), "vms100"))
	dropped := nativeSteps()[:1]
	dropped[0].Verdict = nat.Drop
	require.Equal(t, []string{"filter-prerouting", "firewall-check"}, rules.requestChains(dropped, "vms100"))
	require.Equal(t, []string{"filter-prerouting"}, replyChains(nativeSteps()[:2], "vms100")[:1])
}

// A rule that was met by one element of its map leaves the other elements unmet.
func TestElementsAreCovered(t *testing.T) {
	t.Parallel()
	m := Meter{}
	for _, s := range nativeSteps() {
		m.Add(&s)
	}
	ref := func(element string) RuleRef {
		return RuleRef{Node: "vms100", Table: "ip kube-proxy", Chain: "services", Rule: 1, Element: element}
	}
	got := m.Of([]RuleRef{ref(""), ref("ips: 1 -> service-A"), ref("ips: 2 -> service-B")})
	require.Equal(t, 2, got.Met)
	require.Equal(t, []RuleRef{ref("ips: 2 -> service-B")}, got.Unmet)
}

// What session affinity's sets answer is known of a first contact and of a second, and is no assumption there.
func TestContactsAssumeNothingOfMemory(t *testing.T) {
	t.Parallel()
	way := func(holds bool) nat.Outcome {
		o := nat.Outcome{Probability: 1, Assumed: []nat.Assumption{{What: "ip saddr @affinity", Holds: holds}, {What: "ip dscp 1"}}}
		if holds {
			o.Request.Steps = nat.Trace{{Met: nat.Met{Brief: "ip saddr @affinity", Remembers: true}}}
		}
		return o
	}
	first := FirstContact(nat.Prediction{way(true), way(false)})
	require.Len(t, first, 1)
	require.Equal(t, []nat.Assumption{{What: "ip dscp 1"}}, first[0].Assumed)
	second := SecondContact(nat.Prediction{way(true), way(false)}, netip.AddrPort{})
	require.Equal(t, []nat.Assumption{{What: "ip dscp 1"}}, second[0].Assumed)
}

// Where all rules are as they should be, what a set lacks that the rule asks is named, or a base chain that is called otherwise.
func TestNameWhatATableDeclares(t *testing.T) {
	t.Parallel()
	const early, late, ips, other = "chain nat-prerouting: type nat hook prerouting priority -100;", "chain nat-prerouting: type nat hook prerouting priority 0;", "set ips: 10.0.0.1", "set other: 10.0.0.1"
	step := nat.Step{Node: "vms100", Table: "ip kube-proxy", Met: nat.Met{Text: "ip daddr @ips drop"}}
	iptables := step
	iptables.Table = "nat"
	for _, row := range []struct {
		name               string
		want               *nat.Step
		intent, live       []string
		wantRule, liveRule string
	}{
		{"an element", &step, []string{early, ips}, []string{early}, ips, ""},
		{"one more", &step, []string{early}, []string{early, ips}, "", ips},
		{"a set that the rule does not ask", &step, []string{early, other}, []string{early}, "", ""},
		{"a priority", &step, []string{early, ips}, []string{late, ips}, early, late},
		{"no hook", &step, []string{early}, nil, early, ""},
		{"between two rules", nil, []string{early}, []string{late}, early, late},
		{"the same", &step, []string{early, ips}, []string{early, ips}, "", ""},
		{"a table of iptables", &iptables, []string{early}, nil, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			list := func(all []string) func(ChainRef) ([]nat.Met, bool) {
				return func(c ChainRef) (out []nat.Met, ok bool) {
					for _, text := range all {
						out = append(out, nat.Met{Text: text, Brief: text})
					}
					return out, c == ChainRef{Node: "vms100", Table: "ip kube-proxy"}
				}
			}
			w := &Wrong{Node: "vms100", WantStep: row.want}
			nameDeclared(Chains{Intent: list(row.intent), Live: list(row.live)}, w, nat.Trace{step})
			require.Equal(t, []string{row.wantRule, row.liveRule}, []string{w.WantRule, w.LiveRule})
			require.Equal(t, row.wantRule+row.liveRule != "", w.Why != "")
		})
	}
}
