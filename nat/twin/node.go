package twin

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/topology"
)

// node puts a dumped node into the place of the planned one.
func (b *builder) node(d *dumped) {
	planned := b.space(d.name)
	ns := topology.Namespace{
		Name: planned.Name, Member: planned.Member, Kind: topology.KindNode, Node: d.name, Dumped: true,
		Devices: []topology.Device{{Name: "lo", Kind: topology.Loopback}},
	}
	for _, o := range d.Namespace.Devices {
		if kept, ok := b.keep(d, o); ok {
			ns.Devices = append(ns.Devices, kept)
		}
	}
	for _, a := range d.Namespace.Addresses {
		if one := a.Prefix.Addr(); b.speaks(one) && has(&ns, a.Device) {
			if one.Is6() && one.IsLinkLocalUnicast() {
				a.NoRoute = false // each device has that route
			}
			ns.Addresses = append(ns.Addresses, a)
		}
	}
	b.routes(d, &ns)
	for _, r := range d.Namespace.Rules {
		if !r.Six || b.six {
			ns.Rules = append(ns.Rules, r)
		}
	}
	for _, e := range d.Namespace.Neighbours {
		if has(&ns, e.Device) && (b.six || !e.IP.Is6() && !e.Remote.Is6()) && e.MAC != "00:00:00:00:00:00" {
			ns.Neighbours = append(ns.Neighbours, e)
		}
	}
	b.pods(d, &ns)
	b.links(d, &ns)
	b.announced(d, planned, &ns)
	for _, s := range planned.Sysctls {
		if s.Device == "" && (strings.HasPrefix(s.Key, "net/ipv6/") || s.Key == "net/ipv4/icmp_ratelimit") {
			ns.Sysctls = append(ns.Sysctls, s)
		}
	}
	ns.Sysctls = append(ns.Sysctls, d.sysctls(ns.Devices)...)
	*planned = ns
}

func has(ns *topology.Namespace, device string) bool { return deviceOf(ns, device) != nil }

func deviceOf(ns *topology.Namespace, name string) *topology.Device {
	for i := range ns.Devices {
		if ns.Devices[i].Name == name {
			return &ns.Devices[i]
		}
	}
	return nil
}

// keep is a device as a lab has it; ok is false for one that nothing needs: those that a kernel has in every namespace.
func (b *builder) keep(d *dumped, o topology.Device) (_ topology.Device, ok bool) {
	kept := topology.Device{Name: o.Name, Kind: o.Kind, MTU: o.MTU, MAC: o.MAC, Master: o.Master, Hairpin: o.Hairpin, Calls: o.Calls, Calls6: o.Calls6, Behind: o.Behind}
	switch {
	case o.Kind == topology.Loopback:
		return kept, false
	case d.ipip(o):
		kept.Kind, kept.MAC, kept.Local = topology.TunnelIPIP, "", d.address.Prefix.Addr()
		return kept, d.used(o.Name)
	case o.Kind == topology.TunnelVXLAN:
		kept.VNI, kept.Port, kept.Parent, kept.Local = o.VNI, o.Port, o.Parent, o.Local
		if !has(&d.Namespace, kept.Parent) {
			kept.Parent = d.uplink
		}
		if !kept.Local.IsValid() {
			kept.Local = d.address.Prefix.Addr()
		}
		return kept, d.used(o.Name)
	case o.Kind == topology.PointToPoint && d.used(o.Name):
		kept.Kind, kept.MAC = topology.Veth, ""
		b.note("%s: %s is no Ethernet device: a link whose other end answers nobody stands in for it", d.name, o.Name)
		return kept, true
	}
	return kept, o.Kind != topology.PointToPoint
}

// routes are the node's routes. Those that came with addresses are among them, so that addresses bring none.
func (b *builder) routes(d *dumped, ns *topology.Namespace) {
	for _, r := range d.Namespace.Routes {
		if !b.speaks(r.Dst.Addr()) {
			continue
		}
		if r.Type == topology.Unicast && !has(ns, r.Device) {
			b.note("%s: the route %s is left out, since it has no device", d.name, r)
			continue
		}
		if r.Type == topology.Unicast && !r.Via.IsValid() && r.Dst.Addr().Is4() {
			r.Scope = topology.ScopeLink
		}
		if one := r.Dst.Addr(); one.Is6() && one.IsLinkLocalUnicast() && !r.Via.IsValid() && slices.ContainsFunc(ns.Addresses, func(a topology.Address) bool { return a.Device == r.Device && r.Dst.Contains(a.Prefix.Addr()) }) {
			r.Protocol = "kernel" // it comes with the device's address
		}
		if r.Type == topology.Unicast && r.Via.IsValid() && d.tunnels(d.device(r.Device)) {
			r.Onlink = true // a tunnel's peers are of no network of the device
		}
		ns.Routes = append(ns.Routes, r)
	}
	for _, r := range d.Namespace.Others {
		if b.speaks(r.Dst.Addr()) {
			b.note("%s: the route %s has several next hops: the first stands in for all, %s is left out", d.name, r.Dst, r)
		}
	}
	// A next hop is looked for when its route is made: networks that are directly there come first.
	slices.SortStableFunc(ns.Routes, func(x, y topology.Route) int {
		rank := map[bool]int{false: 0, true: 1}
		return rank[x.Via.IsValid()] - rank[y.Via.IsValid()]
	})
}

// links gives the devices that lead out of the node, and lead to no pod, their other ends: on the underlay, on a network of their own with a router,
// or where nobody answers.
func (b *builder) links(d *dumped, ns *topology.Namespace) {
	var nowhere []string
	for i := range ns.Devices {
		o := &ns.Devices[i]
		if o.Kind != topology.Veth {
			continue
		}
		if _, pods := d.pods[o.Name]; pods {
			continue
		}
		switch net, outside := d.outside(o); {
		case o.Name == d.uplink:
			b.plug(o, ns, bridgeOf(b.space(underlay)))
			b.routed(d, d.address.Device, router, "eth0")
		case outside:
			s := b.segment(net)
			b.plug(o, ns, s.bridge)
			b.routed(d, o.Name, router, s.device)
		default:
			nowhere = append(nowhere, o.Name)
			far := hashed("x", d.name, o.Name)
			b.beyond.Devices = append(b.beyond.Devices, topology.Device{
				Name: far, Kind: topology.Veth, MTU: o.MTU, MAC: hashMAC(memberBeyond, far),
				Peer: topology.Peer{Namespace: ns.Name, Device: o.Name},
			})
			o.Peer, o.Create = topology.Peer{Namespace: b.beyond.Name, Device: far}, true
		}
	}
	if len(nowhere) > 0 {
		b.note("%s: nobody tells where %s lead: a link whose other end answers nobody stands in for each", d.name, some(nowhere))
	}
}

// bridgeOf is the switch of the underlay.
func bridgeOf(ns *topology.Namespace) string {
	for _, o := range ns.Devices {
		if o.Kind == topology.Bridge {
			return o.Name
		}
	}
	return ""
}

// outside is the network that a device which is no port leads to: that of its first address, or of the next hop of a route by it.
func (d *dumped) outside(o *topology.Device) (netip.Prefix, bool) {
	if o.Master != "" || d.device(o.Name).Kind == topology.PointToPoint {
		return netip.Prefix{}, false
	}
	for _, a := range d.Namespace.Addresses {
		if a.Device == o.Name && a.Prefix.Addr().Is4() && !a.Prefix.IsSingleIP() {
			return a.Prefix.Masked(), true
		}
	}
	if via := d.gateways(o.Name, topology.IPv4); len(via) > 0 {
		return netip.PrefixFrom(via[0], 24).Masked(), true
	}
	return netip.Prefix{}, false
}

// plug gives a device of a node its port of a switch.
func (b *builder) plug(o *topology.Device, ns *topology.Namespace, bridge string) {
	u := b.space(underlay)
	u.Devices = slices.DeleteFunc(u.Devices, func(p topology.Device) bool {
		return bridge == bridgeOf(u) && p.Peer.Namespace == ns.Name
	})
	port := hashed("p", ns.Member, o.Name)
	u.Devices = append(u.Devices, topology.Device{
		Name: port, Kind: topology.Veth, MTU: o.MTU, MAC: hashMAC(underlay, port), Master: bridge,
		Peer: topology.Peer{Namespace: ns.Name, Device: o.Name},
	})
	o.Peer, o.Create = topology.Peer{Namespace: u.Name, Device: port}, true // the node makes all its devices itself, in their order
	if o.MAC == "" {
		o.MAC = hashMAC(ns.Member, o.Name)
	}
}

// segment is a network besides the underlay, with a switch and a device of the router.
func (b *builder) segment(net netip.Prefix) *segment {
	for _, s := range b.segments {
		if s.net == net {
			return s
		}
	}
	n := len(b.segments) + 1
	digit := string(rune('0' + n%10))
	s := &segment{net: net, bridge: hashed("b", net.String()), device: "net" + digit}
	if n > 9 {
		s.device = hashed("n", net.String())
	}
	b.segments = append(b.segments, s)
	u, r := b.space(underlay), b.space(router)
	u.Devices = append(u.Devices, topology.Device{Name: s.bridge, Kind: topology.Bridge, MTU: b.Cluster.Underlay.MTU, MAC: hashMAC(underlay, s.bridge)})
	port := hashed("p", router, s.device)
	u.Devices = append(u.Devices, topology.Device{
		Name: port, Kind: topology.Veth, MTU: b.Cluster.Underlay.MTU, MAC: hashMAC(underlay, port), Master: s.bridge,
		Peer: topology.Peer{Namespace: r.Name, Device: s.device}, Create: true,
	})
	r.Devices = append(r.Devices, topology.Device{
		Name: s.device, Kind: topology.Veth, MTU: b.Cluster.Underlay.MTU, MAC: hashMAC(router, s.device), Peer: topology.Peer{Namespace: u.Name, Device: port},
	})
	return s
}

// routed makes the router of the lab the next hops of a node's routes by a device, where no node is one.
func (b *builder) routed(d *dumped, device, member, end string) {
	ns := b.space(member)
	network := d.address.Prefix
	if device != d.address.Device {
		if p, ok := d.outside(&topology.Device{Name: device}); ok {
			network = p
		}
	}
	for _, via := range d.gateways(device, topology.IPv4) {
		b.standIn(ns, topology.Address{Device: end, Prefix: netip.PrefixFrom(via, network.Bits())}, d.name, device)
	}
	for _, via := range d.gateways(device, topology.IPv6) {
		one := topology.Address{Device: end, Prefix: netip.PrefixFrom(via, 64)}
		if via.IsLinkLocalUnicast() {
			one.Scope = topology.ScopeLink
		}
		b.standIn(ns, one, d.name, device)
	}
}

// standIn gives the router an address that is a node's next hop, where nobody has it.
func (b *builder) standIn(ns *topology.Namespace, a topology.Address, node, device string) {
	via := a.Prefix.Addr()
	if !b.speaks(via) || b.taken(via) || slices.ContainsFunc(ns.Addresses, func(o topology.Address) bool { return o.Prefix.Addr() == via }) {
		return
	}
	ns.Addresses = append(ns.Addresses, a)
	b.note("the lab's router stands in for %s, the next hop of %s by %s", via, node, device)
}

// announced gives a node what it answers for on the underlay and has on no device: addresses of load balancers that the objects have it announce, and
// its pods in the nodes' own network. Who does so in the cluster, a speaker of BGP or ARP or the cloud, is in no dump.
func (b *builder) announced(d *dumped, planned, ns *topology.Namespace) {
	local := func(a netip.Addr) bool {
		return slices.ContainsFunc(ns.Addresses, func(o topology.Address) bool { return o.Prefix.Addr() == a })
	}
	const announcing = "lb0" // of a Plan
	var answered []string
	var six []topology.Sysctl
	for _, e := range planned.Neighbours {
		if !e.Proxy || local(e.IP) || slices.ContainsFunc(ns.Neighbours, func(o topology.Neighbour) bool { return o.Proxy && o.IP == e.IP }) {
			continue
		}
		e.Device = d.address.Device
		if ns.Neighbours = append(ns.Neighbours, e); e.IP.Is6() {
			six = []topology.Sysctl{{Device: e.Device, Key: "net/ipv6/conf/" + e.Device + "/proxy_ndp", Value: "1"}}
		}
		answered = append(answered, e.IP.String())
	}
	if len(answered) > 0 {
		ns.Sysctls = append(ns.Sysctls, topology.Sysctl{Device: d.address.Device, Key: "net/ipv4/neigh/" + d.address.Device + "/proxy_delay", Value: "0"})
		ns.Sysctls = append(ns.Sysctls, six...)
	}
	for _, o := range planned.Devices {
		if o.Name == announcing && !has(ns, announcing) {
			ns.Devices = append(ns.Devices, o)
		}
	}
	for _, r := range planned.Routes {
		if r.Device == announcing && !local(r.Dst.Addr()) && !slices.ContainsFunc(ns.Routes, func(o topology.Route) bool { return o.Dst == r.Dst }) {
			ns.Routes = append(ns.Routes, r)
			answered = append(answered, r.Dst.Addr().String())
		}
	}
	if slices.Sort(answered); len(answered) > 0 {
		b.note("%s: it answers for %s on the nodes' network, in place of a load balancer's speaker or of the cloud's network", d.name, some(slices.Compact(answered)))
	}
}
