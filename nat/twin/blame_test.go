package twin

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/proof"
)

// What a proof disproved is blamed on what the dumped nodes on the way hold, where they hold it; a rule that the proof named stays named.
func TestBlame(t *testing.T) {
	t.Parallel()
	broken := func(table, rules string) *bundle.Node {
		return of(t, "hostname", "n1\n", "ip -d address", uplink+bridge+ports, "ip -4 route show table all", connect+"10.42.0.0/24 dev cni0\ndefault via 192.0.2.1 dev eth7\n", "ip -6 route show table all", "", "ip -4 rule", "0:\tfrom all lookup local\n32766:\tfrom all lookup main\n", "ip -6 rule", "",
			"sysctl", "net.ipv4.ip_forward = 1\n", "ipset save", "", "nft list ruleset", "", "iptables-legacy-save", "*"+table+"\n"+rules+"COMMIT\n")
	}
	drops := broken("filter", ":FORWARD DROP [0:0]\n")
	at := func(node string, tap nat.Tap, dir nat.Direction) proof.Hop {
		tuple := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("203.0.113.7:40000"), netip.MustParseAddrPort("10.42.0.5:80"))
		return proof.Hop{Direction: dir, Hop: nat.Hop{Node: node, Tap: tap, Dev: "eth7", Tuple: tuple}}
	}
	out := proof.Hop{Hop: nat.Hop{Node: "n1", Tap: nat.TapOutRaw, Dev: "eth7", Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("192.0.2.10:40000"), netip.MustParseAddrPort("192.0.2.20:30080"))}}
	guess := proof.Wrong{Fault: proof.FaultRules, Why: "a guess"}
	named := proof.Wrong{Fault: proof.FaultRules, LiveRule: "-A X -j DROP", Why: "the rule should not be there"}
	for _, row := range []struct {
		name    string
		verdict proof.Outcome
		wrong   proof.Wrong
		hops    []proof.Hop
		node    *bundle.Node
		want    string // of Why
		fault   proof.Fault
	}{
		{"by a policy", proof.Disproved, guess, []proof.Hop{at("n1", nat.TapPreRaw, nat.Original)}, drops, "policy.drop: the policy of filter FORWARD drops the packet: no rule of the chain accepts it", proof.FaultRules},
		{"by a setting", proof.Disproved, guess, []proof.Hop{at("n1", nat.TapPreRaw, nat.Original)}, of(t, "hostname", "n1\n", "ip -d address", uplink, "ip -4 route show table all", connect+"10.42.0.0/24 dev eth7\n", "sysctl", "net.ipv4.ip_forward = 0\n"), "forwarding.off: the node forwards no packets that come in there: net.ipv4.ip_forward is 0", proof.FaultNode},
		{"a rule is named", proof.Disproved, named, []proof.Hop{at("n1", nat.TapPreRaw, nat.Original)}, drops, "the rule should not be there; policy.drop: the policy of filter FORWARD drops the packet: no rule of the chain accepts it", proof.FaultRules},
		{"it leaves the node and comes back", proof.Disproved, guess, []proof.Hop{out, at("n1", nat.TapPreRaw, nat.Original)}, drops, "policy.drop: the policy of filter FORWARD drops the packet: no rule of the chain accepts it", proof.FaultRules},
		{"another node", proof.Disproved, guess, []proof.Hop{at("n2", nat.TapPreRaw, nat.Original)}, drops, "a guess", proof.FaultRules},
		{"the answer's way", proof.Disproved, guess, []proof.Hop{at("n1", nat.TapPreRaw, nat.Reply)}, drops, "a guess", proof.FaultRules},
		{"it works there", proof.Disproved, guess, []proof.Hop{at("n1", nat.TapPreRaw, nat.Original)}, broken("filter", ":FORWARD ACCEPT [0:0]\n"), "a guess", proof.FaultRules},
		{"a proved flow", proof.Proved, guess, []proof.Hop{at("n1", nat.TapPreRaw, nat.Original)}, drops, "a guess", proof.FaultRules},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wrong := row.wrong
			r := proof.Report{Flows: []proof.Certificate{{Verdict: row.verdict, Wrong: &wrong, Hops: row.hops}}}
			Blame(&r, map[string]*bundle.Node{"n1": row.node})
			require.Equal(t, row.want, wrong.Why)
			require.Equal(t, row.fault, wrong.Fault)
			Blame(&r, nil)
			require.Equal(t, row.want, wrong.Why, "no node is dumped")
		})
	}
}
