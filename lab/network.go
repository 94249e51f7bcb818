package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/nft"
	"natlab/lab/proxy"
	"natlab/lab/realise"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/nftables"
	"natlab/nat/rules"
	"natlab/topology"
)

// Network is a lab as it is now, as data: the emulator makes of it what the kernel makes of the lab. Its Rules are those
// of Held.
type Network struct {
	gateway.Setup
	// Held is what the nodes' kernels hold, by node and backend, in the order in which the kernel calls them: of two
	// chains with one hook and priority the one that was registered later comes first (nf_hook_entries_grow).
	Held map[string][]dataplane.Installed
	// World is what is otherwise in a member's namespace than the lab made it, one line each: topology.Differences, and
	// what the emulator does not know of.
	World map[string][]string
	// SavedSets are the sets of SetsOf, by member, as ipset save prints them.
	SavedSets map[string]string
}

// Network reads the lab: what is wired, which rules the nodes hold, which servers run, what tunl0 is, and which kernel
// this is. Rules that change meanwhile may be half old and half new.
func (l *Lab) Network(ctx context.Context) (Network, error) { return l.NetworkOf(ctx, l.Members()) }

// NetworkOf is Network where some members alone are of interest: the others are as they are planned, and nothing of them is read.
func (l *Lab) NetworkOf(ctx context.Context, members []string) (Network, error) {
	n := Network{Setup: gateway.Setup{Rules: map[string]gateway.Rules{}, KernelIPIP: l.Tunnel() == realise.KernelTunnel}}
	err := l.world(ctx, &n, members)
	if err != nil {
		return Network{}, err
	}
	if n.Held, err = l.heldRules(ctx, members); err != nil {
		return Network{}, err
	}
	for node, held := range n.Held {
		for _, in := range held {
			n.Rules[node] = append(n.Rules[node], in.Rules)
		}
	}
	if l.nftables() {
		if n.NFTOf, err = l.nativeRules(ctx, members); err != nil {
			return Network{}, err
		}
	}
	for node, dumped := range l.Dumped() {
		if n.NFTOf == nil {
			n.NFTOf = map[string]nftables.Ruleset{}
		}
		if _, read := n.NFTOf[node]; !read {
			n.NFTOf[node] = dumped.Facts.NFT
		}
	}
	if n.Servers, err = l.RunningServers(ctx); err != nil {
		return Network{}, err
	}
	if n.NAT, err = behaviour.Parse(l.Cluster().NAT); err != nil {
		return Network{}, err
	}
	n.Kernel, err = dataplane.Kernel()
	return n, err
}

// nativeRules reads the tables of nf_tables' own of those of the members that are nodes.
func (l *Lab) nativeRules(ctx context.Context, members []string) (map[string]nftables.Ruleset, error) {
	out := map[string]nftables.Ruleset{}
	for _, member := range members {
		if !slices.Contains(l.Nodes(), member) {
			continue
		}
		h, err := l.Handle(member)
		if err != nil {
			return nil, err
		}
		if out[member], err = nft.Tables(ctx, h, l.Families()...); err != nil {
			return nil, fmt.Errorf("%s: %w", member, err)
		}
	}
	return out, nil
}

// world reads the members' namespaces as they are now. Where one has IPsec, or more than the lab gave it, it is named in n.World.
func (l *Lab) world(ctx context.Context, n *Network, members []string) error {
	n.Plan = l.plan
	n.Plan.Namespaces = slices.Clone(l.plan.Namespaces)
	n.World, n.SetsOf, n.IPsec = map[string][]string{}, map[string]ipset.Sets{}, rules.No
	n.SavedSets = map[string]string{}
	var mu sync.Mutex // for n
	at := map[string]int{}
	for i, ns := range l.plan.Namespaces {
		at[ns.Member] = i
	}
	return each(ctx, members, func(member string) error {
		i := at[member]
		h, err := l.Handle(member)
		if err != nil {
			return err
		}
		is, other, err := realise.Read(h, l.plan.Namespaces[i])
		if err != nil {
			return err
		}
		if l.record.KubeProxy != "" {
			other = slices.DeleteFunc(other, proxy.Sets)
		}
		ipsec, err := realise.IPsec(h)
		if err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		sets, saved, err := setsIn(h)
		if err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		filters, err := l.filtersOf(ctx, h, l.plan.Namespaces[i].Kind)
		if l.nftables() && l.plan.Namespaces[i].Kind == topology.KindNode {
			filters = slices.DeleteFunc(filters, func(line string) bool { return nft.Known(line, l.Families()...) })
		}
		if err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		if l.Tunnel() == realise.UserspaceTunnel {
			keepHops(&is, l.plan.Namespaces[i])
		}
		differences := topology.Differences(l.plan.Namespaces[i], is)
		if l.Cluster().KubeProxy.Mode == topology.ModeIPVS {
			differences = slices.DeleteFunc(differences, proxy.Binds)
		}
		mu.Lock()
		defer mu.Unlock()
		n.Plan.Namespaces[i], n.SetsOf[member] = is, sets
		n.SavedSets[member] = saved
		if len(ipsec) > 0 {
			n.IPsec = rules.Yes
		}
		if differs := slices.Concat(differences, other, ipsec, filters); len(differs) > 0 {
			n.World[member] = differs
		}
		return nil
	})
}

// filtersOf names what filters or translates packets in a member and is none of the rules that a node holds in its iptables: tables of
// nf_tables, and rules of iptables where there should be none.
func (l *Lab) filtersOf(ctx context.Context, h netns.Handle, kind topology.Kind) ([]string, error) {
	out, err := dataplane.Foreign(h)
	if err != nil || kind == topology.KindNode {
		return out, err
	}
	var all []dataplane.Installed
	for _, family := range l.Families() {
		of, failed := dataplane.DumpAll(ctx, h, family)
		all, err = append(all, of...), errors.Join(err, failed)
	}
	for _, in := range all {
		for _, t := range in.Rules.Tables {
			for _, c := range t.Chains {
				if c.Policy == "DROP" {
					out = append(out, fmt.Sprintf("%s: the table %s: -P %s DROP", in.Backend, t.Name, c.Name))
				}
				for _, r := range c.Rules {
					out = append(out, fmt.Sprintf("%s: the table %s: %s", in.Backend, t.Name, r.Text(c.Name)))
				}
			}
		}
	}
	return out, err
}

// setsIn are a namespace's ipsets, and as ipset save prints them.
func setsIn(h netns.Handle) (sets ipset.Sets, saved string, err error) {
	if saved, err = dataplane.DumpSets(h); err != nil {
		return nil, "", err
	}
	sets, err = ipset.Parse(saved)
	return sets, saved, err
}

// Of is the network as the packets of a family meet it: with the rules of that family alone.
func (n Network) Of(f nat.Family) Network {
	all, native := n.Held, n.NFTOf
	n.NFTOf = nil
	for node, rs := range native {
		if n.NFTOf == nil {
			n.NFTOf = map[string]nftables.Ruleset{}
		}
		n.NFTOf[node] = rs.Without(func(t *nftables.Table) bool { return !t.Family.Has(f) })
	}
	n.Family, n.Held, n.Rules = f, map[string][]dataplane.Installed{}, map[string]gateway.Rules{}
	for node, held := range all {
		for _, in := range held {
			if in.Rules.Family == f {
				n.Held[node] = append(n.Held[node], in)
				n.Rules[node] = append(n.Rules[node], in.Rules)
			}
		}
	}
	return n
}

// keepHops puts the Plan's next hops into the routes of a user-space tunnel, which knows no others.
func keepHops(now *topology.Namespace, plan topology.Namespace) {
	for i, r := range now.Routes {
		for _, p := range plan.Routes {
			d := slices.IndexFunc(plan.Devices, func(d topology.Device) bool { return d.Name == p.Device })
			if p.Dst == r.Dst && p.Device == r.Device && d >= 0 && plan.Devices[d].Kind == topology.TunnelIPIP {
				now.Routes[i].Via = p.Via
			}
		}
	}
}

// heldRules reads the rules of the nodes among the members, of the lab's families.
func (l *Lab) heldRules(ctx context.Context, members []string) (map[string][]dataplane.Installed, error) {
	var mu sync.Mutex
	held := map[string][]dataplane.Installed{} // under mu
	var reader dataplane.Reader
	nodes := slices.DeleteFunc(l.Nodes(), func(node string) bool { return !slices.Contains(members, node) })
	err := each(ctx, nodes, func(node string) error {
		h, err := l.Handle(node)
		if err != nil {
			return err
		}
		var all []dataplane.Installed
		for _, family := range l.Families() {
			of, err := reader.DumpAll(ctx, h, family)
			if err != nil {
				return fmt.Errorf("the rules of %s that node %s holds: %w", family, node, err)
			}
			all = append(all, of...)
			if l.wired() { // its gateway's come behind the kernel's, which are somebody else's
				rs, err := (&wirePlane{l}).Dump(ctx, h, family)
				if err != nil {
					return err
				}
				all = append(all, dataplane.Installed{Backend: dataplane.Userspace, Rules: rs})
			}
		}
		mu.Lock()
		defer mu.Unlock()
		held[node] = inKernelOrder(all, l.Backend())
		return nil
	})
	return held, err
}

// inKernelOrder sorts a node's rule sets as the kernel calls them. The lab's own were there before any other.
func inKernelOrder(all []dataplane.Installed, own dataplane.Backend) (out []dataplane.Installed) {
	for _, in := range all {
		if in.Backend == own {
			out = append(out, in)
		} else {
			out = slices.Insert(out, 0, in)
		}
	}
	return out
}

// Conns lists the connection tracking entries of a member's namespace.
func (l *Lab) Conns(member string) ([]nat.Conn, error) {
	all, err := l.Entries(member)
	return connsOf(all), err
}

// Entries lists the connection tracking entries of a member's namespace as conntrack -L does, whoever tracks there.
func (l *Lab) Entries(member string) ([]nat.Entry, error) {
	if l.gatewayOf(member) != "" {
		answer, err := l.call(context.Background(), request{Do: doConns, Node: l.gatewayOf(member)})
		return answer.Entries, err
	}
	h, err := l.Handle(member)
	if err != nil {
		return nil, err
	}
	return witness.Entries(h, member)
}

// Counters are the sums of a member's connection tracking statistics, as conntrack -S prints them, whoever tracks there.
func (l *Lab) Counters(member string) (witness.Counters, error) {
	if open := l.Plane(member); open != nil {
		p, err := open()
		if err != nil {
			return witness.Counters{}, err
		}
		seen, err := p.Read()
		return seen.Counters, errors.Join(err, p.Close())
	}
	h, err := l.Handle(member)
	if err != nil {
		return witness.Counters{}, err
	}
	return witness.CountersOf(h)
}

// ForgetConns deletes the connection tracking entries that match agrees to, as `conntrack -D` does, and returns how many
// there were.
func (l *Lab) ForgetConns(member string, match func(nat.Conn) bool) (n int, err error) {
	if l.gatewayOf(member) != "" {
		return l.forgetWired(member, match)
	}
	h, err := l.Handle(member)
	if err != nil {
		return 0, err
	}
	return witness.ForgetConns(h, member, match)
}

// recentLists are where a namespace's kernel shows the lists of the recent match (xt_recent.c) that kube-proxy has.
const recentLists = "/proc/thread-self/net/xt_recent/KUBE-SEP-*"

// ForgetServed empties a node's lists of who was served by whom, by which Services with session affinity choose.
func (l *Lab) ForgetServed(node string) error {
	if l.gatewayOf(node) != "" {
		_, err := l.call(context.Background(), request{Do: doRecent, Node: node})
		return err
	}
	h, err := l.Handle(node)
	if err != nil {
		return err
	}
	if l.nftables() {
		return nft.Forget(h, l.Families()...)
	}
	return h.Do(func() error {
		lists, err := filepath.Glob(recentLists)
		for _, list := range lists {
			if err := os.WriteFile(list, []byte("/"), 0); err != nil {
				return err
			}
		}
		return err
	})
}
