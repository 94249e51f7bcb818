package kubeproxy

import (
	"fmt"
	"net/netip"
	"strings"

	nft "natlab/nat/nftables"
)

// ownWords is a rule in kube-proxy's words, where those are others than nft's: marks, numbers for translations, and what stands in
// braces.
func ownWords(r *nft.Rule) string {
	parts := make([]string, 0, len(r.Statements)+1)
	for _, s := range r.Statements {
		parts = append(parts, writtenStatement(s))
	}
	if r.Comment != "" {
		parts = append(parts, fmt.Sprintf("comment %q", r.Comment))
	}
	return strings.Join(parts, " ")
}

var markWords = map[string]string{"|": "or", "^": "xor", "&": "and"}

func writtenStatement(s nft.Statement) string {
	switch s := s.(type) {
	case nft.Assign:
		if op, ok := s.Value.(nft.Operation); ok {
			return "mark set mark " + markWords[op.Op] + " " + op.Right.String()
		}
	case nft.Match:
		if op, ok := s.Left.(nft.Operation); ok {
			return "mark " + markWords[op.Op] + " " + op.Right.String() + " " + s.Op + " 0"
		}
		if s.Left == nft.Selector("meta iifname") || s.Left == nft.Selector("meta iif") {
			return strings.ReplaceAll(s.String(), "\"", "")
		}
	case nft.VMap:
		if s.Map.Name == "" {
			return s.Key.String() + " vmap { " + joinWritten(s.Map.Elements) + " }"
		}
	case nft.NAT:
		if to, ok := s.To.(nft.MapOf); ok {
			return "dnat " + string(s.Family) + " addr . port to " + to.Key.String() + " map { " + joinWritten(to.Map.Elements) + " }"
		}
	}
	return s.String()
}

func joinWritten(all []nft.Element) string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].String()
	}
	return strings.Join(out, " , ")
}

// joinPrefixes joins networks, and addresses as such.
func joinPrefixes(networks, addresses []netip.Prefix, sep string) string {
	var out []string
	for _, p := range networks {
		out = append(out, p.String())
	}
	for _, p := range addresses {
		out = append(out, p.Addr().String())
	}
	return strings.Join(out, sep)
}
