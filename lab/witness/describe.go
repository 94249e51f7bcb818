package witness

import (
	"natlab/nat"
	"natlab/nat/iptables"
)

// Rules are the rule sets that a node holds, as dataplane.Dump reads them. The trace of the legacy tables does not say
// what a rule does: without Legacy its observations have no Verdict but that of policies. Of nf_tables it says so, and
// NFT adds the rules' texts, and tells a REJECT from a DROP.
type Rules struct {
	Legacy iptables.Ruleset
	NFT    iptables.Ruleset
}

// The backends whose rules are told apart.
const (
	legacyBackend = iota
	nftBackend
	backends
)

// index finds a chain of a rule set.
type index map[[2]string]*iptables.Chain

func indexOf(rs iptables.Ruleset) index {
	x := index{}
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for j := range t.Chains {
			x[[2]string{t.Name, t.Chains[j].Name}] = &t.Chains[j]
		}
	}
	return x
}

// chain returns nil for a chain that is not known.
func (x index) chain(table, name string) *iptables.Chain { return x[[2]string{table, name}] }

func (m *member) setRules(r Rules) {
	m.rules[legacyBackend], m.rules[nftBackend] = indexOf(r.Legacy), indexOf(r.NFT)
}

// describe adds to a step what the rule set says of its rule: its text, and of a legacy table's rule what it does to the
// packet, since the log is written before that.
func (m *member) describe(s *nat.Step, backend int) {
	chain := m.rules[backend].chain(s.Table, s.Chain)
	if chain == nil || s.Rule < 1 || s.Rule > len(chain.Rules) {
		return
	}
	rule := chain.Rules[s.Rule-1]
	s.Text = rule.Text(s.Chain)
	if backend == legacyBackend {
		s.Verdict = verdictOf(rule.Target)
		if t, ok := rule.Target.(iptables.SetMark); ok {
			s.Mark = s.Mark&^t.Mask ^ t.Value
		}
	}
	// nf_tables knows REJECT only as a drop.
	if _, ok := rule.Target.(iptables.Reject); ok && s.Verdict == nat.Drop {
		s.Verdict = nat.Reject
	}
}

// verdictOf is what x_tables' loop does after a target (ipt_do_table). A NAT target that finds nothing to translate to
// drops instead, which only the packet's absence at the next tap tells.
func verdictOf(t iptables.Target) nat.Verdict {
	switch t.(type) {
	case iptables.Accept, iptables.DNAT, iptables.SNAT, iptables.Masquerade, iptables.Redirect, iptables.NetMap:
		return nat.Accept
	case iptables.Drop:
		return nat.Drop
	case iptables.Reject:
		return nat.Reject
	case iptables.Return:
		return nat.Return
	case iptables.Jump:
		return nat.Jump
	case iptables.Goto:
		return nat.Goto
	case iptables.QueueTo:
		return nat.Queue
	case iptables.TProxy:
		return nat.Accept
	}
	return nat.Continue
}
