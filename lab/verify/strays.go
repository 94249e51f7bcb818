package verify

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/proof"
	"natlab/topology"
)

// strayPatience is how long a packet may take that tells that no stray is on its way any more.
const strayPatience = 10 * time.Second

// strays asks what no Service's flow does: where kube-proxy drops what is INVALID (kubernetes#74839) and a node has no such rule, a pod of the node sends an INVALID packet out of it. If
// that comes through it is a flow more of the report, disproved; else nothing is added. It is asked where all flows are, of rules of iptables and IPv4, in nodes that the lab made; no
// recording has it.
func (v *verification) strays(ctx context.Context) error {
	if v.selected || v.asIs || v.outcomes || v.rules.native != nil || v.family() != nat.IPv4 || len(v.lab.Dumped()) > 0 {
		return nil
	}
	for _, node := range v.rules.differ {
		if v.driver.wired[node] {
			continue
		}
		ref, drops := dropsInvalid(node, v.rules.intent[node])
		pod, to := v.strayFrom(node)
		if !drops || v.dropsInvalid(node) || pod == nil || to.member == "" {
			continue
		}
		patience, cancel := context.WithTimeout(ctx, strayPatience)
		passes, err := traffic.StrayPasses(patience, v.driver.handles[pod.Member()], v.driver.handles[to.member], to.from, to.address)
		cancel()
		switch {
		case errors.Is(err, traffic.ErrNotReached):
			v.about.Notes = append(slices.Clone(v.about.Notes), fmt.Sprintf("%s: whether it drops what is INVALID is not known: nothing of %s comes to %s", node, pod.Member(), to.member))
		case err != nil:
			return fmt.Errorf("a packet of no connection from %s: %w", pod.Member(), err)
		case passes:
			v.escaped = append(v.escaped, v.escape(ref, *pod, to))
		}
	}
	return nil
}

// strayTarget is where a stray goes, and where from.
type strayTarget struct {
	member        string
	from, address netip.AddrPort
}

// discard is the port of a service that nothing in a lab has (RFC 863).
const discard = 9

// strayFrom is a pod of a node, and where its packets go out of the node: to a client outside of the cluster, or else to another node.
func (v *verification) strayFrom(node string) (pod *topology.Pod, to strayTarget) {
	c := v.lab.Cluster()
	at := slices.IndexFunc(c.Pods, func(p topology.Pod) bool {
		return p.Node == node && !p.HostNetwork && p.Address(topology.IPv4).IsValid()
	})
	if at < 0 {
		return nil, to
	}
	pod = &c.Pods[at]
	for _, client := range c.Clients {
		if a := firstAddress(v.about.Plan, client.Name, nat.IPv4); to.member == "" && a.IsValid() {
			to = strayTarget{member: client.Name, address: netip.AddrPortFrom(a, discard)}
		}
	}
	for _, n := range c.Nodes {
		if to.member == "" && n.Name != node && len(n.Addresses) > 0 && n.Addresses[0].Is4() {
			to = strayTarget{member: n.Name, address: netip.AddrPortFrom(n.Addresses[0], discard)}
		}
	}
	to.from = netip.AddrPortFrom(pod.Address(topology.IPv4), predictedPort)
	return pod, to
}

// dropsInvalid reports whether a node holds a rule, whoever's, that drops what is INVALID.
func (v *verification) dropsInvalid(node string) bool {
	return slices.ContainsFunc(v.rules.network.Held[node], func(in dataplane.Installed) bool {
		_, drops := dropsInvalid(node, in.Rules)
		return drops
	})
}

// dropsInvalid finds the rule of a node that drops what conntrack calls INVALID.
func dropsInvalid(node string, rs iptables.Ruleset) (proof.RuleRef, bool) {
	t, _ := rs.Table("filter")
	for _, c := range t.Chains {
		for i, rule := range c.Rules {
			if met := rule.Met(c.Name); met.Target == "DROP" && strings.Contains(met.Brief, "ctstate INVALID") {
				return proof.RuleRef{Node: node, Table: t.Name, Chain: c.Name, Rule: i + 1, Text: rule.Text(c.Name)}, true
			}
		}
	}
	return proof.RuleRef{}, false
}

// escape is the certificate of a stray that came through.
func (v *verification) escape(ref proof.RuleRef, pod topology.Pod, to strayTarget) proof.Certificate {
	tuple := nat.TupleOf(nat.TCP, to.from, to.address)
	detail := fmt.Sprintf("%s let it through, and it came to %s as it was", ref.Node, to.member)
	w := proof.Wrong{
		Check: "path", Node: ref.Node, Want: "a SYN-ACK that belongs to no connection, INVALID to conntrack, is dropped in " + ref.Node, Got: detail,
		WantRule: ref.Text, Packet: tuple.String() + " SYN,ACK", Fault: proof.FaultRules,
		Why: "an answer that conntrack does not take for one is not translated back either: the client resets a healthy connection (kubernetes#74839)",
	}
	at := proof.ChainRef{Node: ref.Node, Table: ref.Table, Chain: ref.Chain}
	wanted, _ := v.chains.Intent(at)
	if live, _ := v.chains.Live(at); len(live) >= len(wanted) && live[ref.Rule-1].Text != ref.Text { // another in its place
		w.LiveRule = live[ref.Rule-1].Text
	}
	return proof.Certificate{
		Flow: proof.Flow{
			Name: fmt.Sprintf("%s -> %s INVALID", pod.Member(), to.address), Type: proof.ByAddress, Vantage: proof.FromPodElsewhere, Client: pod.Member(), From: pod.Member(),
			Source: to.from.Addr(), Target: to.address, Protocol: nat.TCP,
		},
		Expect: nat.EndLost, End: nat.EndUnknown, Verdict: proof.Disproved, Node: ref.Node, Tries: 1,
		Checks: []proof.Finding{{Name: "path", Detail: detail}}, Wrong: &w,
	}
}
