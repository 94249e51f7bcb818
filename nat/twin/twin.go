package twin

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat/bundle"
	"natlab/topology"
)

// Twin is a lab to be: what it is made of, and what in it is not the dumps'.
type Twin struct {
	Cluster topology.Cluster // the objects', with the network that the dumps tell of
	Plan    topology.Plan
	Nodes   map[string]*bundle.Node // those that are dumped, by the cluster's name for them
	Notes   []string                // what is made up or stood in for
}

// Names of what stands in for the world around the nodes.
const (
	memberBeyond = "beyond" // the other ends of devices of which nobody tells where they lead
	router       = "router"
	underlay     = "underlay"
	podDevice    = "eth0"
)

// builder is one New under way.
type builder struct {
	Twin
	dumps    []*dumped // in the order of the cluster's nodes
	at       map[string]int
	segments []*segment
	beyond   topology.Namespace
	six      bool // the lab has IPv6, too
}

// segment is a network between nodes and routers besides the underlay.
type segment struct {
	net            netip.Prefix
	bridge, device string // of the switch, and of the router
}

// New plans the lab of a cluster that topology.Load made, with nodes as their bundles tell them. A bundle is of the node of its name, or else of the
// one that has an address of its.
func New(c topology.Cluster, nodes []*bundle.Node) (*Twin, error) {
	families := c.Families()
	if !slices.Contains(families, topology.IPv4) {
		return nil, errors.New("twin: the cluster is of IPv6 alone, and a twin is of IPv4 or of both families")
	}
	b := &builder{Twin: Twin{Cluster: c, Nodes: map[string]*bundle.Node{}}, at: map[string]int{}, six: slices.Contains(families, topology.IPv6)}
	b.Cluster.Nodes = slices.Clone(c.Nodes)
	if err := b.match(nodes); err != nil {
		return nil, err
	}
	b.narrow()
	for _, d := range b.dumps {
		b.network(d)
	}
	var err error
	if b.Plan, err = topology.NewPlan(b.Cluster); err != nil {
		return nil, err
	}
	b.Plan.ForgetNeighbours() // until the links are as they were dumped
	for i, ns := range b.Plan.Namespaces {
		b.at[ns.Member] = i
	}
	if _, taken := b.at[memberBeyond]; taken {
		return nil, fmt.Errorf("twin: a member of the cluster is called %s, as what stands in for the world is: rename it", memberBeyond)
	}
	b.beyond = b.switchNamed(memberBeyond)
	for _, d := range b.dumps {
		b.node(d)
	}
	if len(b.beyond.Devices) > 1 {
		b.Plan.Namespaces = append(b.Plan.Namespaces, b.beyond)
	}
	b.others()
	b.Plan.KnowNeighbours()
	return &b.Twin, nil
}

// narrow leaves IPv6 out where a dump does not tell of it.
func (b *builder) narrow() {
	for _, d := range b.dumps {
		node, _ := b.Cluster.Node(d.name)
		if six := node.Address(topology.IPv6); b.six && !d.addressOf(topology.IPv6).IsValid() {
			b.note("the lab is of IPv4 alone, and no flow of IPv6 is asked: no device in the bundle of node %s has its address %s", d.name, six)
			b.six = false
		}
	}
	if !b.six {
		b.Cluster = b.Cluster.Narrowed(topology.IPv4)
	}
}

// families are the lab's.
func (b *builder) families() []topology.Family {
	if b.six {
		return []topology.Family{topology.IPv4, topology.IPv6}
	}
	return []topology.Family{topology.IPv4}
}

// speaks reports whether the lab has an address's family.
func (b *builder) speaks(a netip.Addr) bool { return a.Is4() || b.six && a.Is6() }

// match finds whose dump each is.
func (b *builder) match(nodes []*bundle.Node) error {
	if len(nodes) == 0 {
		return errors.New("twin: no node is dumped")
	}
	for _, n := range nodes {
		name := n.Name
		if _, ok := b.Cluster.Node(name); !ok {
			i := slices.IndexFunc(b.Cluster.Nodes, func(o topology.Node) bool { return slices.Contains(n.Addresses, o.IPv4()) })
			if i < 0 {
				return fmt.Errorf("bundle of %q: the cluster has no node of that name, and none with an address of it: want NODE=FILE", name)
			}
			name = b.Cluster.Nodes[i].Name
		}
		if _, twice := b.Nodes[name]; twice {
			return fmt.Errorf("bundle of %q: node %s is dumped twice", n.Name, name)
		}
		b.Nodes[name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(b.Nodes)) {
		d, err := newDumped(b.Cluster, name, b.Nodes[name])
		if err != nil {
			return err
		}
		b.dumps = append(b.dumps, d)
	}
	return nil
}

// network takes over what a dump tells of the network around the node: the underlay, the tunnel between nodes and its ends, the backend.
func (b *builder) network(d *dumped) {
	u := &b.Cluster.Underlay
	if d == b.dumps[0] {
		if d.device(d.uplink).Kind == topology.Veth && d.uplink == d.address.Device {
			u.Interface = d.uplink
		}
		if mtu := d.device(d.uplink).MTU; mtu > 0 {
			u.MTU = mtu
		}
		for _, f := range b.families() {
			b.underlay(d, f)
		}
		if backend := d.backend(); backend != "" {
			b.Cluster.KubeProxy.Backend = backend
		}
		if overlay, told := d.overlay(b.Cluster, topology.IPv4); told {
			b.Cluster.PodNetwork.Overlay = overlay
		}
		if overlay, told := d.overlay(b.Cluster, topology.IPv6); told && b.six {
			b.Cluster.PodNetwork.Overlay6 = overlay
		}
	}
	for i := range b.Cluster.Nodes {
		n := &b.Cluster.Nodes[i]
		if a := d.tunnelOf(n.Name, n.IPv4()); a.IsValid() {
			n.TunnelAddresses = replaced(n.TunnelAddresses, a, netip.Addr.Is4)
		}
		if n.Name == d.name {
			n.DeviceAddrs = b.othersOf(d, *n)
		}
	}
}

// underlay is the nodes' network of a family, as a dump has it, and the next hop out of it.
func (b *builder) underlay(d *dumped, f topology.Family) {
	u := &b.Cluster.Underlay
	p := d.addressOf(f).Masked()
	if !p.IsSingleIP() && !slices.ContainsFunc(b.Cluster.Nodes, func(n topology.Node) bool { return !p.Contains(n.Address(f)) }) {
		u.CIDRs = replaced(u.CIDRs, p, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() })
	}
	for _, via := range d.gateways(d.address.Device, f) {
		if u.CIDR(f).Contains(via) && !b.taken(via) {
			u.Gateways = replaced(u.Gateways, via, func(o netip.Addr) bool { return o.Is4() == via.Is4() })
			break
		}
	}
}

// replaced is a list with one in the place of the first like it, or behind all.
func replaced[T any](list []T, one T, like func(T) bool) []T {
	list = slices.Clone(list)
	i := slices.IndexFunc(list, like)
	if i < 0 {
		return append(list, one)
	}
	list[i] = one
	return list
}

// taken reports whether somebody of the cluster has an address.
func (b *builder) taken(a netip.Addr) bool {
	c := &b.Cluster
	return slices.ContainsFunc(c.Nodes, func(n topology.Node) bool { return slices.Contains(n.Addresses, a) }) ||
		slices.ContainsFunc(c.Pods, func(p topology.Pod) bool { return slices.Contains(p.IPs, a) }) ||
		slices.ContainsFunc(c.Clients, func(o topology.Client) bool { return slices.Contains(o.Addresses, a) }) ||
		slices.ContainsFunc(c.LoadBalancers, func(l topology.LoadBalancer) bool { return l.Address == a })
}

// note tells what is not the dumps'.
func (b *builder) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(b.Notes, text) {
		b.Notes = append(b.Notes, text)
	}
}

// space is a member's namespace in the plan.
func (b *builder) space(member string) *topology.Namespace { return &b.Plan.Namespaces[b.at[member]] }

// name is the kernel's name of a member's namespace, as a Plan has them.
func (b *builder) name(member string) string {
	return b.Cluster.Name + "." + strings.ReplaceAll(member, "/", ".")
}

// switchNamed is a namespace of devices without addresses, like the underlay.
func (b *builder) switchNamed(member string) topology.Namespace {
	return topology.Namespace{
		Name: b.name(member), Member: member, Kind: topology.KindUnderlay, Devices: []topology.Device{{Name: "lo", Kind: topology.Loopback}},
		Sysctls: slices.Clone(b.space(underlay).Sysctls),
	}
}

// others finishes the nodes that are made up: the ends of tunnels that dumps name.
func (b *builder) others() {
	var made []string
	for _, n := range b.Cluster.Nodes {
		if _, dumped := b.Nodes[n.Name]; dumped {
			continue
		}
		made = append(made, n.Name)
		for _, d := range b.dumps {
			b.tunnelEnds(d, n)
		}
	}
	if len(made) > 0 {
		b.note("made up from the objects, since they are not dumped: %s", some(made))
	}
}

// tunnelEnds makes a dumped node's VXLAN device and that of a node that is made up know each other.
func (b *builder) tunnelEnds(d *dumped, n topology.Node) {
	ns := b.space(n.Name)
	i := slices.IndexFunc(ns.Devices, func(o topology.Device) bool { return o.Kind == topology.TunnelVXLAN })
	own, told := d.tunnel(topology.TunnelVXLAN)
	if i < 0 || !told {
		return
	}
	v := &ns.Devices[i]
	v.VNI, v.Port = own.VNI, own.Port
	if mac := d.macBehind(own.Name, n.IPv4()); mac != "" {
		for k := range b.Plan.Namespaces { // whoever else is made up knows it by the plan's
			for j := range b.Plan.Namespaces[k].Neighbours {
				if e := &b.Plan.Namespaces[k].Neighbours[j]; e.MAC == v.MAC && !d.has(k, b) {
					e.MAC = mac
				}
			}
		}
		v.MAC = mac
	}
	for j := range ns.Neighbours {
		e := &ns.Neighbours[j]
		if e.Device == v.Name && own.MAC != "" && (e.FDB && e.Remote == d.address.Prefix.Addr() || !e.FDB && e.IP == d.tunnelAddress) {
			e.MAC = own.MAC
		}
	}
}

// has reports whether a namespace of the plan is the dumped node's own.
func (d *dumped) has(i int, b *builder) bool { return b.Plan.Namespaces[i].Member == d.name }

// some are the first of many names.
func some(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// hashed is a device's name made of others, as long as one may be.
func hashed(prefix string, parts ...string) string {
	return fmt.Sprintf("%s%x", prefix, sha1.Sum([]byte(strings.Join(parts, " "))))[:11]
}

// hashMAC is a hardware address made of names.
func hashMAC(parts ...string) string {
	sum := sha1.Sum([]byte(strings.Join(parts, " ")))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
