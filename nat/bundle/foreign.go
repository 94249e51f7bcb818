package bundle

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/topology/dump"
)

// native reads nft's own tables, those that no program of iptables printed. Their base chains count as registered in the order in which nft
// lists them, behind those of iptables. What natlab does not follow of them is a doubt.
func (n *Node) native(b dump.Bundle) error {
	s, ok := b.Section("nft list ruleset")
	if !ok || !s.OK() {
		return nil
	}
	rs, err := nftables.ParseText(s.AtLine())
	if err != nil {
		n.note("section %q: %v: nft's own tables are not followed", s.Name, err)
		for _, t := range n.foreignTables(s.Text) {
			n.doubtTable(t)
		}
		return nil
	}
	n.nativeTold = true
	n.Facts.NFT = rs.Without(func(t *nftables.Table) bool {
		return t.Family != nftables.Bridge && n.printed(nftTable{string(t.Family), t.Name})
	})
	for _, unread := range n.Facts.NFT.Unread() {
		n.note("section %q: %s, and follows packets both ways", s.Name, unread)
	}
	return nil
}

func (n *Node) doubtTable(t nftTable) {
	n.doubt(t.of(), "what the rules of nft table "+t.family+" "+t.name+" do, which natlab does not read")
}

// nftTable names a table of nft.
type nftTable struct{ family, name string }

// of is the network of what its rules are for.
func (t nftTable) of() netip.Prefix {
	switch t.family {
	case "ip":
		return every(nat.IPv4)
	case "ip6":
		return every(nat.IPv6)
	}
	return netip.Prefix{}
}

// foreignTables are nft's tables with hooks that no program of iptables printed: it cannot print those that other programs wrote.
func (n *Node) foreignTables(text string) (out []nftTable) {
	var table nftTable
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 3 && words[0] == "table":
			table = nftTable{words[1], words[2]}
		case len(words) > 2 && words[0] == "type" && slices.Contains(words, "hook") && !slices.Contains(out, table) && !n.printed(table):
			out = append(out, table)
		}
	}
	return out
}

// printed reports whether a table's rules are held as iptables', or are for no packet of the network layer.
func (n *Node) printed(t nftTable) bool {
	if t.family == "bridge" || t.family == "arp" {
		return true
	}
	if t.family != "ip" && t.family != "ip6" {
		return false
	}
	return slices.ContainsFunc(n.Held, func(h Held) bool {
		return h.Backend != "iptables-legacy" && slices.ContainsFunc(h.Rulesets, func(rs iptables.Ruleset) bool {
			_, held := rs.Table(t.name)
			return held && rs.Family == familyOf(t.family == "ip6")
		})
	})
}
