package witness

import (
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/nat/xt"
)

// Known are the rule sets that a node holds, as dataplane.Dump reads them. The trace of the legacy tables does not tell
// what a rule does: without Legacy its observations have no Verdict but that of policies. Of nf_tables it does, and
// NFT adds the rules' texts, and tells a REJECT from a DROP; Native does so for the tables of nf_tables' own, whose maps' elements it tells.
type Known struct {
	Legacy iptables.Ruleset
	NFT    iptables.Ruleset
	Native nftables.Ruleset
}

// The backends whose rules are told apart.
const (
	legacyBackend = iota
	nftBackend
	backends
)

// index finds chains of a rule set. Of a large one few are ever met, and it remembers those.
type index struct {
	rs    iptables.Ruleset
	met   map[[2]string]*iptables.Chain
	rules map[*iptables.Rule]nat.Met
}

func indexOf(rs iptables.Ruleset) index {
	return index{rs: rs, met: map[[2]string]*iptables.Chain{}, rules: map[*iptables.Rule]nat.Met{}}
}

// of is the rule of a chain, for whoever reads a step of it.
func (x index) of(chain *iptables.Chain, rule *iptables.Rule) nat.Met {
	met, known := x.rules[rule]
	if !known {
		met = rule.Met(chain.Name)
		x.rules[rule] = met
	}
	return met
}

// chain returns nil for a chain that is not known.
func (x index) chain(table, name string) *iptables.Chain {
	key := [2]string{table, name}
	c, met := x.met[key]
	if !met {
		c = x.find(table, name)
		x.met[key] = c
	}
	return c
}

func (x index) find(table, name string) *iptables.Chain {
	for i := range x.rs.Tables {
		if x.rs.Tables[i].Name != table {
			continue
		}
		for j := range x.rs.Tables[i].Chains {
			if c := &x.rs.Tables[i].Chains[j]; c.Name == name {
				return c
			}
		}
	}
	return nil
}

func (m *member) setRules(r Known) {
	m.rules[legacyBackend], m.rules[nftBackend] = indexOf(r.Legacy), indexOf(r.NFT)
	m.prefixes = map[string]*legacyRule{}
	m.native = map[string]*nftables.Table{}
	for i := range r.Native.Tables {
		m.native[r.Native.Tables[i].FullName()] = &r.Native.Tables[i]
	}
}

// describe adds to a step what the rule set has of its rule: its text, and of a legacy table's rule what it does to the
// packet, since the log is written before that: the verdict, and the bits of the mark that it clears and then turns.
func (m *member) describe(s *nat.Step, backend int) (clears, turns uint32) {
	chain := m.rules[backend].chain(s.Table, s.Chain)
	if chain == nil || s.Rule < 1 || s.Rule > len(chain.Rules) {
		return 0, 0
	}
	rule := &chain.Rules[s.Rule-1]
	s.Met = m.rules[backend].of(chain, rule)
	if backend == legacyBackend {
		s.Verdict = verdictOf(rule.Target)
		if t, ok := rule.Target.(xt.SetMark); ok {
			clears, turns = t.Mask, t.Value
		}
	}
	// nf_tables knows REJECT only as a drop.
	if _, ok := rule.Target.(xt.Reject); ok && s.Verdict == nat.Drop {
		s.Verdict = nat.Reject
	}
	return clears, turns
}

// describeNative does so for a rule of nf_tables' own: of a map's verdict the kernel tells the chain, and the key is the packet's.
func (m *member) describeNative(s *nat.Step, target string) bool {
	table := m.native[s.Table]
	if table == nil {
		return false
	}
	met, ok := table.Seen(s.Chain, s.Rule, s.Verdict, target, s.Before)
	if !ok {
		return false
	}
	s.Met = met
	if met.Target == "reject" && s.Verdict == nat.Drop {
		s.Verdict = nat.Reject
	}
	return true
}

// verdictOf is what x_tables' loop does after a target (ipt_do_table). A NAT target that finds nothing to translate to
// drops instead, which only the packet's absence at the next tap tells.
func verdictOf(t xt.Target) nat.Verdict {
	switch t.(type) {
	case xt.Accept, xt.DNAT, xt.SNAT, xt.Masquerade, xt.Redirect, xt.NetMap:
		return nat.Accept
	case xt.Drop:
		return nat.Drop
	case xt.Reject:
		return nat.Reject
	case xt.Return:
		return nat.Return
	case xt.Jump:
		return nat.Jump
	case xt.Goto:
		return nat.Goto
	case xt.NFQueue, xt.Queue:
		return nat.Queue
	case xt.TProxy:
		return nat.Accept
	}
	return nat.Continue
}
