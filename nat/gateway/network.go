package gateway

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/gaissmai/bart"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/nat/xt"
	"natlab/topology"
)

// Rules are the rule sets of one node, of one family, in the order in which their hooks run where both have the
// same priority: the backend whose tables were registered last comes first (nf_hook_entries_grow).
type Rules []iptables.Ruleset

// Setup is a lab as data: all that a Network is made of, read from a lab that stands or from files.
type Setup struct {
	Plan  topology.Plan
	Rules map[string]Rules // by the nodes' names; a namespace without any accepts everything and tracks nothing
	// RulesOf gives the rules of a node that Rules does not name; it is called once a packet comes there, at most once for each. nil: there are no more.
	RulesOf func(node string) (Rules, error)
	Servers []topology.Server // the sockets that answer
	// KernelIPIP: tunl0 is the kernel's device, and an skb's mark goes on to the outer packet. The userspace tunnel
	// makes a new one, without a mark.
	KernelIPIP bool
	Facts                                  // of every node
	SetsOf     map[string]ipset.Sets       // by member: the sets of one, in place of those of the Facts
	NFTOf      map[string]nftables.Ruleset // by member: the tables of nf_tables' own, in place of those of the Facts
	EntriesOf  map[string][]conntrack.Conn // by member: the connections that one remembers, of which a probe's packets may belong to some; those of the Facts do not count
	Family     nat.Family                  // of the packets; rules of another are left out
}

// Network is the namespaces of a Plan with their rules, as data: it holds no connection and can be asked from several
// goroutines.
type Network struct {
	setup   Setup
	nodes   []*Gateway // those that have rules
	members map[string]*space
	bySpace map[string]*space // by the namespace's kernel name
	servers map[serverKey]topology.Server

	later map[*Gateway]*laterRules // of the nodes

	kernelIPIP bool
}

type serverKey struct {
	member string
	proto  nat.Proto
	addr   netip.AddrPort
}

// NewNetwork wires a lab. An error names a wire without an other end, or a server of a protocol
// that is not known.
func NewNetwork(s Setup) (*Network, error) {
	n := &Network{
		setup: s, members: map[string]*space{}, bySpace: map[string]*space{}, servers: map[serverKey]topology.Server{}, kernelIPIP: s.KernelIPIP,
		later: map[*Gateway]*laterRules{},
	}
	for i := range s.Plan.Namespaces {
		ns := &s.Plan.Namespaces[i]
		here := &space{ns: ns, network: n}
		n.members[ns.Member], n.bySpace[ns.Name] = here, here
		if n.waits(ns) {
			continue
		}
		g, err := n.make(ns)
		if err != nil {
			return nil, err
		}
		here.made = g
		later := s.rulesOf(ns)
		if later != nil {
			n.later[g] = later
		}
		if later != nil || len(g.options.natives(g.options.Family)) > 0 {
			n.nodes = append(n.nodes, g)
		}
	}
	if err := n.checkWires(s.Plan.Namespaces); err != nil {
		return nil, err
	}
	for _, server := range s.Servers {
		proto, err := nat.ParseProto(server.Proto)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", server, err)
		}
		n.servers[serverKey{server.Member, proto, server.Addr}] = server
	}
	return n, nil
}

// serves reports whether a socket of a namespace takes a packet of the tuple.
func (n *Network) serves(member string, t nat.Tuple) bool {
	_, ok := n.servers[serverKey{member, t.Proto(), t.Dst()}]
	return ok
}

// host is one namespace.
type host struct {
	network  *Network // nil: a node alone
	member   string
	kind     topology.Kind
	family   nat.Family
	kernel   nat.Kernel
	devices  []*device                      // in the order in which they were made, which is that of their indexes
	routes   []route                        // of the table main, the longest prefix first
	main     *bart.Table[*route]            // the same, by prefix
	tables   map[string]*bart.Table[*route] // the others
	others   []route                        // those of several next hops by each but the first: routes, main and tables have that one
	rules    []topology.RoutingRule         // of routing, by priority; nil: the kernel's own
	local    map[netip.Addr]string
	proxies  []topology.Neighbour
	static   []topology.Neighbour
	settings settings

	owned      map[netip.Addr]ownAddress       // the table "local" of them all, of IPv6
	owned4     map[uint32]ownAddress           // of IPv4: each packet is looked up in it more than once
	preferred  map[netip.Addr]netip.Addr       // of the node's addresses: itself, of an IPv4 network's further ones the first
	broadcasts map[netip.Addr]topology.Address // what is for all on a network, with the address that the network is of
	anycasts   map[netip.Addr]string           // of IPv6: what is for any router of a network that the node is one of, with its device

	tracks bool // a rule refers to conntrack, so the kernel tracks here
}

type device struct {
	topology.Device
	host    *host
	addrs   []netip.Prefix
	old     []netip.Addr // of these, the deprecated ones
	once    sync.Once    // for segment
	segment []*device    // what hears it, once it was asked

	settings deviceSettings
}

// birth sorts loopback and the kernel's own tunl0 before the devices that were made.
func (d *device) birth() int {
	switch d.Kind {
	case topology.Loopback:
		return 0
	case topology.TunnelIPIP:
		return 1
	case topology.Veth, topology.Bridge, topology.TunnelVXLAN, topology.PointToPoint:
	}
	return 2
}

func newHost(ns *topology.Namespace, rules Rules, family nat.Family, kernel nat.Kernel) (*host, error) {
	h := &host{kernel: kernel, member: ns.Member, family: family, kind: ns.Kind, local: map[netip.Addr]string{}, preferred: map[netip.Addr]netip.Addr{}, broadcasts: map[netip.Addr]topology.Address{}, anycasts: map[netip.Addr]string{}}
	for _, d := range ns.Devices {
		h.devices = append(h.devices, &device{Device: d, host: h})
	}
	if h.device("lo") == nil {
		h.devices = append([]*device{{Device: topology.Device{Name: "lo"}, host: h}}, h.devices...)
	}
	h.settle(ns.Sysctls)
	h.address(ns)
	h.makeOwn()
	for _, r := range ns.Routes {
		if nat.FamilyOf(r.Dst.Addr()) == family && r.Table == "" {
			h.routes = append(h.routes, route{r, h.device(r.Device)})
		}
	}
	h.policies(ns)
	slices.SortStableFunc(h.routes, func(a, b route) int { return b.Dst.Bits() - a.Dst.Bits() })
	h.main = h.longest(h.routes)
	for _, nb := range ns.Neighbours {
		if nb.Proxy {
			h.proxies = append(h.proxies, nb)
		} else {
			h.static = append(h.static, nb)
		}
	}
	for _, rs := range rules {
		if rs.Family != family {
			return nil, fmt.Errorf("%s: rules of %s for packets of %s", h.member, rs.Family, family)
		}
	}
	h.tracks = rules.any(xt.Tracks) // an empty nat table does not, nor does NOTRACK
	return h, nil
}

// address adds the addresses with the local and connected routes that the kernel makes for them, and loopback's.
func (h *host) address(ns *topology.Namespace) {
	loopback := netip.PrefixFrom(h.loopback(), 8)
	if h.family == nat.IPv6 {
		loopback = netip.PrefixFrom(h.loopback(), 128)
	}
	all := append([]topology.Address{{Device: "lo", Prefix: loopback, Scope: topology.ScopeHost}}, ns.Addresses...)
	for _, a := range all {
		d := h.device(a.Device)
		if d == nil || nat.FamilyOf(a.Prefix.Addr()) != h.family {
			continue
		}
		h.local[a.Prefix.Addr()], h.preferred[a.Prefix.Addr()] = a.Device, h.primaryOf(d, a.Prefix)
		if a.Scope == topology.ScopeGlobal {
			d.addrs = append(d.addrs, a.Prefix)
		}
		if a.Deprecated {
			d.old = append(d.old, a.Prefix.Addr())
		}
		if !a.Prefix.IsSingleIP() && a.Device != "lo" && !a.NoRoute {
			r := topology.Route{Dst: a.Prefix.Masked(), Device: a.Device, Scope: topology.ScopeLink, Protocol: "kernel"}
			if h.family == nat.IPv4 { // in IPv6 the source is chosen for each destination
				r.Src = a.Prefix.Addr()
			}
			h.routes = append(h.routes, route{r, h.device(r.Device)})
		}
		if h.family == nat.IPv4 && a.Prefix.Bits() < 31 {
			h.broadcast(a)
		}
		if net := a.Prefix.Masked().Addr(); h.family == nat.IPv6 && h.forwards6() && a.Prefix.Bits() < 127 && !net.IsUnspecified() { // addrconf_join_anycast
			h.anycasts[net] = a.Device
		}
	}
}

// makeOwn makes the table "local" of the addresses. What a node has itself goes before what is for many.
func (h *host) makeOwn() {
	h.owned, h.owned4 = map[netip.Addr]ownAddress{}, map[uint32]ownAddress{}
	add := func(a netip.Addr, own ownAddress) {
		if a.Is4() {
			h.owned4[number4(a)] = own
		} else {
			h.owned[a] = own
		}
	}
	for a, dev := range h.anycasts {
		add(a, ownAddress{routeAnycast, dev})
	}
	for a, of := range h.broadcasts {
		add(a, ownAddress{routeBroadcast, of.Device})
	}
	for a, dev := range h.local {
		add(a, ownAddress{routeLocal, dev})
	}
}

// own looks an address up in the table "local".
func (h *host) own(a netip.Addr) (own ownAddress, ok bool) {
	if a.Is4() {
		own, ok = h.owned4[number4(a)]
	} else {
		own, ok = h.owned[a]
	}
	return own, ok
}

// number4 is an IPv4 address as a number.
func number4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// ownAddress is an entry of the table "local".
type ownAddress struct {
	kind routeKind
	dev  string
}

// primaryOf is the first address of the same network that a device has (IFA_F_SECONDARY), which IPv6 does not tell apart.
func (h *host) primaryOf(d *device, p netip.Prefix) netip.Addr {
	for _, first := range d.addrs {
		if h.family == nat.IPv4 && first.Masked() == p.Masked() {
			return first.Addr()
		}
	}
	return p.Addr()
}

// broadcast adds what is for all on the network of an IPv4 address (fib_add_ifaddr). Another address of the same network adds
// nothing: it is secondary.
func (h *host) broadcast(a topology.Address) {
	all := []netip.Addr{lastOf(a.Prefix)}
	if !h.kernel.Has(nat.LowestIsUnicast) {
		all = append(all, a.Prefix.Masked().Addr())
	}
	for _, b := range all {
		if _, there := h.broadcasts[b]; !there {
			h.broadcasts[b] = a
		}
	}
}

// counts reports whether a match makes the kernel count what connections carry.
func counts(v xt.Value, f nat.Family) bool {
	x, ok := xt.Find(v.Name(), xt.MatchKind, f)
	return ok && x.Counts
}

// any reports whether a match or a target of the rules is such a one.
func (r Rules) any(is func(v xt.Value, f nat.Family) bool) bool {
	for _, rs := range r {
		for _, t := range rs.Tables {
			for _, c := range t.Chains {
				for _, rule := range c.Rules {
					if rule.Target != nil && is(rule.Target, rs.Family) || slices.ContainsFunc(rule.Matches, func(m xt.Match) bool { return is(m, rs.Family) }) {
						return true
					}
				}
			}
		}
	}
	return false
}

func (h *host) device(name string) *device {
	for _, d := range h.devices {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// loopback is the address that a packet of the node to itself gets where REDIRECT chooses.
func (h *host) loopback() netip.Addr {
	if h.family == nat.IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
