package gateway

import (
	"math"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
)

// tableNAT is the table that NAT is done by.
const tableNAT = "nat"

// The priorities of what is no table (enum nf_ip_hook_priorities, nf_ip6_hook_priorities). Those of tables are
// nat.TablePriority's, NAT's that of its table, those of taps their own.
const (
	priorityDefrag    = -400
	priorityConntrack = -200
	priorityConfirm   = math.MaxInt32
)

// hooks are what netfilter calls at each hook, in this order: one list a hook, sorted by priority.
type hooks struct {
	functions [5][]function
	// nat are the base chains that the NAT function of a hook asks (nf_nat_register_fn): netfilter does not call them itself.
	nat [5][]baseChain
	// filters are all other base chains, in the order in which they are called.
	filters [5][]baseChain

	tracks, translates bool // conntrack is registered, and NAT
}

// function is what is called at a hook (struct nf_hook_ops).
type function struct {
	priority int
	name     string
	call     func(v *visit, p *passage) bool // false: the packet goes no further
}

// baseChain is a chain of rules at a hook, with the priority that it registers with: one of a table of iptables, or of one of nftables.
type baseChain struct {
	hook     nat.Hook
	kind     chainKind
	priority int
	table    *iptables.Compiled
	native   *nftables.Compiled // in place of table
	name     string             // of the chain in it
}

// chainKind is what a base chain may do to a packet (enum nft_chain_types; tables of x_tables have one each).
type chainKind uint8

const (
	filterChain chainKind = iota
	routeChain            // finds another route for what it changed (ipt_mangle_out, nft_chain_route)
	natChain              // is asked by the NAT function, for the first packet of a connection
)

// newHooks registers what a node with these rules calls. Where nothing asks for conntrack, the kernel does not track, and what
// came in pieces stays so.
func newHooks(rules Rules, native []nftables.Table, tracks bool, family nat.Family) hooks {
	h := hooks{tracks: tracks}
	for _, t := range nat.Taps() {
		h.add(t.Hook(), function{t.Priority(), t.String(), func(v *visit, p *passage) bool { v.tap(p, t); return true }})
	}
	if tracks {
		h.addTracking()
	}
	for _, rs := range slices.Backward(rules) { // what is registered last comes first
		for _, t := range rs.Tables {
			c := iptables.Compile(t)
			for _, hook := range nat.Hooks() {
				if c.Has(hook) {
					h.register(baseChain{hook: hook, kind: kindOf(t.Name, hook), priority: nat.TablePriority(t.Name, hook), table: c})
				}
			}
		}
	}
	h.registerNative(native, family)
	return h
}

// kindOf is the kind of a chain of a table of iptables.
func kindOf(table string, hook nat.Hook) chainKind {
	switch {
	case table == tableNAT:
		return natChain
	case table == "mangle" && hook == nat.Output:
		return routeChain
	}
	return filterChain
}

// addTracking registers conntrack (ipv4_conntrack_ops, ipv4_defrag_ops).
func (h *hooks) addTracking() {
	h.add(nat.PreRouting, function{priorityDefrag, "defrag", func(v *visit, p *passage) bool { return p.looped || v.defrag(p, partsIn) }})
	h.add(nat.Output, function{priorityDefrag, "defrag", func(v *visit, p *passage) bool { return v.defrag(p, partsOut) }})
	for _, hook := range []nat.Hook{nat.PreRouting, nat.Output} {
		h.add(hook, function{priorityConntrack, "conntrack", func(v *visit, p *passage) bool { return v.connect(p, hook) }})
	}
	for _, hook := range []nat.Hook{nat.Input, nat.PostRouting} {
		h.add(hook, function{priorityConfirm, "confirm", (*visit).confirm})
	}
}

// addNAT registers NAT with the first base chain that translates (nf_nat_register_fn, nf_nat_ipv4_ops): each of its functions asks the base chains of all tables that translate.
func (h *hooks) addNAT() {
	if h.translates = true; !h.tracks {
		return
	}
	h.add(nat.PreRouting, function{nat.TablePriority(tableNAT, nat.PreRouting), "nat", (*visit).translateInbound})
	for _, hook := range []nat.Hook{nat.Input, nat.PostRouting} {
		h.add(hook, function{nat.TablePriority(tableNAT, hook), "nat", func(v *visit, p *passage) bool { return v.translate(p, hook) }})
	}
	h.add(nat.Output, function{nat.TablePriority(tableNAT, nat.Output), "nat", (*visit).translateOutput})
}

// register adds a base chain to its hook, or to those that the hook's NAT function asks.
func (h *hooks) register(c baseChain) {
	if c.native != nil {
		h.addNative(c)
		return
	}
	switch name := c.table.Name(); c.kind {
	case natChain:
		h.registerNAT(c)
	case routeChain:
		h.addFilter(c)
		h.add(c.hook, function{c.priority, name, func(v *visit, p *passage) bool { return v.routed(&c, p) }})
	case filterChain:
		h.addFilter(c)
		h.add(c.hook, function{c.priority, name, func(v *visit, p *passage) bool { return v.filtered(&c, p) }})
	}
}

func (h *hooks) addFilter(c baseChain) {
	h.filters[c.hook] = insert(h.filters[c.hook], c, func(c baseChain) int { return c.priority })
}

func (h *hooks) registerNAT(c baseChain) {
	if !h.translates {
		h.addNAT()
	}
	h.nat[c.hook] = insert(h.nat[c.hook], c, func(c baseChain) int { return c.priority })
}

func (h *hooks) add(hook nat.Hook, f function) {
	h.functions[hook] = insert(h.functions[hook], f, func(f function) int { return f.priority })
}

// insert puts one into a sorted list, in front of those of its own priority (nf_hook_entries_grow).
func insert[T any](list []T, one T, priority func(T) int) []T {
	at := slices.IndexFunc(list, func(other T) bool { return priority(other) >= priority(one) })
	if at < 0 {
		at = len(list)
	}
	return slices.Insert(list, at, one)
}

// hook takes a packet through all that is called at a hook (nf_hook_slow); false: it goes no further.
func (v *visit) hook(hook nat.Hook, p *passage) bool {
	for i := range v.hooks.functions[hook] {
		if !v.hooks.functions[hook][i].call(v, p) {
			return false
		}
	}
	return true
}

// filtered takes a packet through a base chain.
func (v *visit) filtered(c *baseChain, p *passage) bool {
	_, ok := v.table(c.table, c.hook, p)
	return ok
}

// routed does as filtered for a packet of the node itself, which goes another way where the rules changed what routes ask for, or in IPv6 its
// hop limit (ipt_mangle_out, ip6t_mangle_out).
func (v *visit) routed(c *baseChain, p *passage) bool {
	before := routedBy(p)
	return v.filtered(c, p) && (routedBy(p) == before || v.reroute(p))
}

// routeKey is what a packet is routed anew for when it changes.
type routeKey struct {
	src, dst netip.Addr
	mark     uint32
	tos, ttl uint8
}

func routedBy(p *passage) routeKey {
	k := routeKey{src: p.view.Tuple.Src().Addr(), dst: p.view.Tuple.Dst().Addr(), mark: p.view.Mark, tos: p.pkt.TOS()}
	if p.pkt.V6() {
		k.ttl = p.pkt.TTL()
	}
	return k
}
