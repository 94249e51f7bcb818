package nftables

import (
	"fmt"
	"slices"

	"natlab/nat"
)

// Frames is a base chain outside of IP, in a device (families netdev and inet, hooks ingress and egress) or in a bridge (family bridge), that may drop
// what comes to it or make another packet of it. Nothing here follows packets through it.
type Frames struct {
	Table   string // its FullName
	Rule    string // the first that may, or the policy
	Bridge  bool
	Hook    string
	Devices []string // of ingress and egress
}

// Frames are the base chains of all tables that may do anything to packets outside of IP; of ARP's none.
func (rs Ruleset) Frames() (out []Frames) {
	for i := range rs.Tables {
		t := &rs.Tables[i]
		if slices.Contains(t.Flags, "dormant") {
			continue
		}
		for _, c := range t.Chains {
			if c.Base == nil || t.Family != Bridge && c.Base.Hook != "ingress" && c.Base.Hook != "egress" {
				continue
			}
			if rule, ok := t.decidingRule(c.Name, map[string]bool{}); ok {
				out = append(out, Frames{Table: t.FullName(), Rule: rule, Bridge: t.Family == Bridge, Hook: c.Base.Hook, Devices: c.Base.Devices})
			}
		}
	}
	return out
}

// decidingRule is the first rule of a chain, and of those that it leads to, that may drop or rewrite a packet, or the policy that does; false: there is
// none. seen are the chains that were looked at.
func (t *Table) decidingRule(name string, seen map[string]bool) (string, bool) {
	chain, ok := t.Chain(name)
	if !ok || seen[name] {
		return "", false
	}
	seen[name] = true
	for i, r := range chain.Rules {
		if slices.ContainsFunc(r.Statements, mayDecide) {
			return fmt.Sprintf("%s:%d: %s", name, i+1, r.Bare()), true
		}
		for _, to := range t.Targets(r) {
			if found, ok := t.decidingRule(to, seen); ok {
				return found, true
			}
		}
	}
	if chain.Base != nil && chain.Base.Drop {
		return "the policy of " + name + " is drop", true
	}
	return "", false
}

// mayDecide reports whether a statement may end a packet's way or change what it is.
func mayDecide(s Statement) bool {
	switch s := s.(type) {
	case *Verdict:
		return s.Kind == nat.Drop
	case VMap:
		drops := func(e Element) bool { return e.Verdict != nil && e.Verdict.Kind == nat.Drop }
		return s.Map.Name != "" || slices.ContainsFunc(s.Map.Elements, drops)
	case Assign, NAT, Reject, NoTrack, Queue, Compat, Opaque:
		return true
	case Match, Counter, Limit, Quota, Log, Update, ObjectRef:
	}
	return false
}
