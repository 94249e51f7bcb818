package migrate

import (
	"cmp"
	"slices"

	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

// findings sums the differences up by their classes.
func (m *move) findings(all []Difference) []Finding {
	out := []Finding{}
	for _, d := range all {
		at := slices.IndexFunc(out, func(f Finding) bool { return f.Class == d.Class })
		if at < 0 {
			at = len(out)
			out = append(out, m.finding(d.Class))
		}
		f := &out[at]
		f.Flows++
		if d.Breaks {
			f.Breaks++
		}
		f.Services, f.Clients = insert(f.Services, d.Service), insert(f.Clients, d.Client)
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(a.rank(), b.rank()) })
	return out
}

// rank is the order of the page: what is not documented, what breaks something, the rest.
func (f Finding) rank() int {
	switch {
	case f.Class == "":
		return 0
	case f.Breaks > 0:
		return 1
	}
	return 2
}

// finding is a class in the words of the way that is gone.
func (m *move) finding(name string) Finding {
	f := Finding{Class: name, Number: numberOf(name), Services: []string{}, Clients: []string{}}
	if f.Number == 0 {
		f.Changes = "these flows end otherwise, and no documentation of kube-proxy's tells of it"
		f.Whom = "the clients of the flows"
		f.Do = "do not move before it is understood: natlab explain and natlab ask draw the way of each flow; a rule that somebody changed, or a fault of kube-proxy's or natlab's"
		return f
	}
	c := classes[f.Number-1]
	f.Changes, f.Whom, f.Do = c.changes, c.whom, c.do
	if m.from.mode == topology.ModeNFTables {
		f.Changes, f.Do = "as it was in nftables mode, and will not be: "+c.changes, c.back
	}
	return f
}

// insert keeps a sorted list without doubles; "" is left out.
func insert(list []string, s string) []string {
	at, there := slices.BinarySearch(list, s)
	if s == "" || there {
		return list
	}
	return slices.Insert(list, at, s)
}

// advice is what is true of this move and no flow shows.
func (m *move) advice(beside Beside) (out []string) {
	if m.from.mode == m.to.mode {
		return nil
	}
	if m.to.mode == topology.ModeNFTables {
		out = append(out, "until the node is booted anew, some rules and chains of iptables mode stay in its kernel, and route_localnet stays 1; they do nothing to Services",
			"kube-proxy wants Linux 5.13 and nft 1.0.1 on every node, and an nft that can read what others on the node wrote: nft 1.0.6 dies on sets that nft 1.1.3 and later made (kubernetes#136786)")
	} else {
		out = append(out, "kube-proxy takes its nftables table away when it starts in iptables mode")
	}
	for _, all := range beside {
		if slices.ContainsFunc(all, translates) {
			out = append(out, "another agent has a rule in POSTROUTING that translates: in nftables mode what was registered last comes first, so that whether it comes before kube-proxy's depends on which of both started later; with kube-proxy later, as predicted here, its own comes first")
			break
		}
	}
	return out
}

// translates reports whether a rule that is not kube-proxy's gives packets another source in POSTROUTING.
func translates(rs iptables.Ruleset) bool {
	t, _ := withoutProxy(rs).Table("nat")
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			switch r.Target.(type) {
			case xt.Masquerade, xt.SNAT:
				return true
			}
		}
	}
	return false
}
