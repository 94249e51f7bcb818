package nftables

import (
	"slices"
	"strings"

	"natlab/nat"
)

// Tracks reports whether the table makes the kernel track connections of a family: a rule of it asks for them, or translates, whether or not
// packets come to it (nf_ct_netns_get). A base chain of type nat alone does not, and sees no packet then.
func (t *Table) Tracks(f nat.Family) bool {
	if !t.Family.Has(f) {
		return false
	}
	for _, o := range t.Objects { // nft_ct_timeout_obj_init, nft_ct_expect_obj_init
		if o.Kind == "ct timeout" || o.Kind == "ct expectation" {
			return true
		}
	}
	asks := func(s Statement) bool { return tracks(s, f) }
	for i := range t.Chains {
		for _, r := range t.Chains[i].Rules {
			if slices.ContainsFunc(r.Statements, asks) {
				return true
			}
		}
	}
	for i := range t.Sets {
		if slices.ContainsFunc(t.Sets[i].Statements, asks) {
			return true
		}
	}
	return false
}

// trackedCompat are the matches and targets of x_tables that do.
var trackedCompat = []string{
	"conntrack", "state", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster",
	"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "CONNMARK", "CONNSECMARK", "CT",
}

func tracks(s Statement, f nat.Family) bool {
	switch s := s.(type) {
	case NAT: // with a family in a table of inet, of that one alone (nft_nat_init)
		return s.Family == "" || s.Family.Has(f)
	case Compat:
		return slices.Contains(trackedCompat, s.Name)
	case Opaque:
		return strings.Contains(s.Text, "ct ") || strings.HasPrefix(s.Text, "synproxy") || strings.HasPrefix(s.Text, "flow add")
	case Update:
		if slices.ContainsFunc(s.Statements, func(s Statement) bool { return tracks(s, f) }) {
			return true
		}
	case Match, VMap, Assign, *Verdict, Reject, Counter, Limit, Quota, Log, ObjectRef, NoTrack, Queue:
	}
	return asks(s, func(e Expr) bool {
		switch e := e.(type) {
		case Selector:
			return strings.HasPrefix(string(e), "ct ")
		case Other:
			return strings.Contains(e.Text, "ct ")
		case Operation, Concat, MapOf, Hash, Constant, *In, Fib, NumGen, Raw:
		}
		return false
	})
}
