package bundle

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/nftables"
)

// tells reports whether a bundle has what a backend's program printed of a family's rules.
func (n *Node) tells(backend string, family nat.Family) bool {
	return slices.ContainsFunc(backends, func(f struct{ section, backend string }) bool {
		if f.backend == "" {
			f.backend = backendOf(n.Dump, strings.TrimSuffix(f.section, "-save"))
		}
		s, ok := n.Dump.Section(f.section)
		return ok && s.OK() && f.backend == backend && strings.HasPrefix(f.section, "ip6") == (family == nat.IPv6)
	})
}

// UntoldRules tells why rules of iptables of a family may be on the node that the bundle does not have, "" where it has all: a program failed, or is not
// there, or nft lists what none of them printed.
func (n *Node) UntoldRules(family nat.Family) string {
	told := false
	for _, from := range backends {
		if strings.HasPrefix(from.section, "ip6") != (family == nat.IPv6) {
			continue
		}
		s, ok := n.Dump.Section(from.section)
		if ok && !s.OK() && s.Exit != 127 {
			return from.section + ": " + s.Failure()
		}
		told = told || ok && s.OK()
	}
	if !told {
		return "no program of iptables printed any"
	}
	for i := range n.Facts.NFT.Tables {
		t := &n.Facts.NFT.Tables[i]
		if t.Family == nftables.FamilyOf(family) && slices.ContainsFunc(t.Chains, func(c nftables.Chain) bool { return strings.HasPrefix(c.Name, "KUBE-") }) {
			return "nft lists table " + t.FullName() + ", which no program of iptables printed"
		}
	}
	return ""
}
