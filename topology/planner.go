package topology

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The parts of the lab that are no member of the cluster.
const (
	memberUnderlay = "underlay"
	memberRouter   = "router"
	bridgeDevice   = "br0"
	outerDevice    = "eth0" // of the router, the clients and the pods
	// announceDevice is a bridge without ports in a node that announces an address. The route of such an address
	// leads to it, so that the kernel answers ARP for the address on the underlay (it never does for what it would
	// send out by the device the question came in) and a packet that no rule translates ends there.
	announceDevice = "lb0"
	maxDeviceName  = 15
	maxFileName    = 255
)

// takenDevices is the names a node's underlay device must not have.
func takenDevices() []string {
	return []string{"lo", "all", "default", ipipDevice, vxlanDevice, vxlanDevice6, announceDevice}
}

// planner is one NewPlan under way.
type planner struct {
	c        Cluster
	families []Family
	podsOf   map[string][]Pod // by node; only pods with a namespace of their own
	plan     Plan
}

// NewPlan works out the lab of a cluster that Load made. It fails only for a Cluster that Load did not make, or
// whose name was changed since.
func NewPlan(c Cluster) (Plan, error) {
	if len(c.Underlay.CIDRs) == 0 || len(c.Nodes) == 0 {
		return Plan{}, errors.New("plan: the cluster has no network: it was read for its rules only")
	}
	if bad := badLabel(c.Name, maxLabName); bad != "" {
		return Plan{}, fmt.Errorf("plan: the lab's name %s", bad)
	}
	b := &planner{c: c, families: c.Families(), podsOf: map[string][]Pod{}}
	b.plan = Plan{Lab: c.Name, Overlay: c.PodNetwork.Overlay, Families: c.Families()}
	for _, p := range c.Pods {
		if len(p.among(c)) > 0 {
			b.podsOf[p.Node] = append(b.podsOf[p.Node], p)
		}
	}
	b.add(b.underlay())
	b.add(b.router())
	for _, n := range c.Nodes {
		b.add(b.node(n))
	}
	for _, p := range c.Pods {
		if len(p.among(c)) > 0 {
			b.add(b.pod(p))
		}
	}
	for _, cl := range c.Clients {
		b.add(b.client(cl))
	}
	b.plan.KnowNeighbours()
	if err := b.plan.collisions(); err != nil {
		return Plan{}, err
	}
	return b.plan, nil
}

// add appends a finished namespace.
func (b *planner) add(ns Namespace) {
	slices.SortFunc(ns.Sysctls, func(x, y Sysctl) int { return strings.Compare(x.Key, y.Key) })
	b.plan.Namespaces = append(b.plan.Namespaces, ns)
}

// namespace begins a member's namespace. Without IPv6 in it nothing but the lab's traffic is on its links.
func (b *planner) namespace(kind Kind, member string) Namespace {
	ns := Namespace{Name: b.c.namespaceName(member), Member: member, Kind: kind}
	off := "0"
	if six := slices.Contains(b.families, IPv6); !six || kind == KindUnderlay {
		off = "1"
	}
	ns.set("net/ipv6/conf/all/disable_ipv6", off)
	ns.set("net/ipv6/conf/default/disable_ipv6", off)
	if kind == KindUnderlay {
		return ns
	}
	ns.Devices = []Device{{Name: "lo", Kind: Loopback}}
	for _, f := range b.families {
		ns.behave(f, kind == KindRouter || kind == KindNode)
	}
	return ns
}

// behave makes the settings of a family that hold for all devices.
func (n *Namespace) behave(f Family, forwards bool) {
	if f == IPv6 {
		// All addresses are the Plan's, at once; a host asks no router for more, and takes no redirect.
		n.set("net/ipv6/conf/default/addr_gen_mode", "1")
		n.set("net/ipv6/conf/default/accept_dad", "0")
		n.set("net/ipv6/conf/default/accept_ra", "0")
		n.set("net/ipv6/conf/default/accept_redirects", "0")
		n.set("net/ipv6/icmp/ratelimit", "0")
		if forwards {
			n.set("net/ipv6/conf/all/forwarding", "1")
		}
		return
	}
	// No packet is dropped for its source, whatever the host's setting: a wrong one is to be seen, not lost.
	n.set("net/ipv4/conf/all/rp_filter", "0")
	n.set("net/ipv4/conf/default/rp_filter", "0")
	// Every ICMP error is sent, also the seventh in a second.
	n.set("net/ipv4/icmp_ratelimit", "0")
	if forwards {
		n.set("net/ipv4/ip_forward", "1")
		n.set("net/ipv4/conf/all/send_redirects", "0")
		n.set("net/ipv4/conf/default/send_redirects", "0")
	}
}

// setOf4 makes a setting of a device that IPv4 alone has, where the lab has that.
func (b *planner) setOf4(n *Namespace, device, format, value string) {
	if slices.Contains(b.families, IPv4) {
		n.setOf(device, format, value)
	}
}

// namespaceName is the kernel's name of a member's namespace: LAB.MEMBER, the slash of a pod's as a dot.
func (c Cluster) namespaceName(member string) string {
	return c.Name + "." + strings.ReplaceAll(member, "/", ".")
}

func (n *Namespace) set(key, value string) {
	n.Sysctls = append(n.Sysctls, Sysctl{Key: key, Value: value})
}

func (n *Namespace) setOf(device, format, value string) {
	n.Sysctls = append(n.Sysctls, Sysctl{Device: device, Key: fmt.Sprintf(format, device), Value: value})
}

// underlay is the switch: a bridge with one port for each member that hangs on it.
func (b *planner) underlay() Namespace {
	ns := b.namespace(KindUnderlay, memberUnderlay)
	ns.Devices = append(ns.Devices, Device{Name: bridgeDevice, Kind: Bridge, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, bridgeDevice)})
	port := func(member, device string) {
		name := portName(member)
		ns.Devices = append(ns.Devices, Device{
			Name: name, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, name), Master: bridgeDevice,
			Peer: Peer{Namespace: b.c.namespaceName(member), Device: device}, Create: true,
		})
	}
	port(memberRouter, outerDevice)
	for _, n := range b.c.Nodes {
		port(n.Name, b.c.Underlay.Interface)
	}
	for _, cl := range b.c.Clients {
		if b.near(cl) {
			port(cl.Name, outerDevice)
		}
	}
	return ns
}

// portName is the bridge's port towards a member: "p-" and the member's name, or as much of it as fits and a hash.
func portName(member string) string {
	name := "p-" + member
	if len(name) > maxDeviceName {
		name = name[:8] + "-" + fmt.Sprintf("%x", sha1.Sum([]byte(member)))[:6]
	}
	return name
}

// primary is the address, of those that the lab has, by which a device's MAC is made.
func (b *planner) primary(list []netip.Addr) netip.Addr {
	for _, f := range b.families {
		if a := f.first(list); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// outer gives a member its device on the underlay, with the first address of each family.
func (b *planner) outer(ns *Namespace, device string, addrs []netip.Addr) {
	mac := macOf(0x0a, 0x58, b.primary(addrs))
	ns.Devices = append(ns.Devices, Device{
		Name: device, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: mac,
		Peer: Peer{Namespace: b.c.namespaceName(memberUnderlay), Device: portName(ns.Member)},
	})
	for _, f := range b.families {
		if a := f.first(addrs); a.IsValid() {
			ns.Addresses = append(ns.Addresses, Address{Device: device, Prefix: netip.PrefixFrom(a, b.c.Underlay.CIDR(f).Bits())})
		}
	}
	b.linkLocal(ns, device, mac)
}

// linkLocal gives a device the address of IPv6 that its neighbours are asked from.
func (b *planner) linkLocal(ns *Namespace, device, mac string) {
	if slices.Contains(b.families, IPv6) {
		ns.Addresses = append(ns.Addresses, Address{Device: device, Prefix: netip.PrefixFrom(eui64(mac), 64), Scope: ScopeLink})
	}
}

// onLink is the scope of a route to a host on a device; IPv6 has none.
func onLink(a netip.Addr) Scope {
	if a.Is6() {
		return ScopeGlobal
	}
	return ScopeLink
}

// defaultRoutes lead by the router, of each family that the member has an address of.
func (b *planner) defaultRoutes(ns *Namespace, device string, addrs []netip.Addr) {
	for _, f := range b.families {
		if f.first(addrs).IsValid() {
			ns.Routes = append(ns.Routes, Route{Dst: f.any(), Via: b.c.Underlay.Gateway(f), Device: device})
		}
	}
}

// has are those of the addresses that the lab has the families of, in the families' order.
func (b *planner) has(list []netip.Addr) (out []netip.Addr) {
	for _, f := range b.families {
		out = append(out, f.all(list)...)
	}
	return out
}

// node is a node as kube-proxy and Calico leave it, without kube-proxy's rules.
func (b *planner) node(n Node) Namespace {
	ns := b.namespace(KindNode, n.Name)
	ns.Node = n.Name
	dev := b.c.Underlay.Interface
	b.outer(&ns, dev, n.Addresses)
	for _, a := range b.has(n.Addresses) {
		if a != n.Address(FamilyOf(a)) {
			ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(a)})
		}
	}
	b.defaultRoutes(&ns, dev, n.Addresses)
	for _, f := range b.families {
		b.overlayOf(&ns, n, f)
	}
	for _, p := range b.podsOf[n.Name] {
		b.podLink(&ns, p)
	}
	b.announce(&ns, n)
	if slices.Contains(b.families, IPv4) {
		local := "0"
		if b.c.KubeProxy.routesLocalnet() {
			local = "1"
		}
		ns.set("net/ipv4/conf/all/route_localnet", local)
	}
	if b.c.KubeProxy.TCPBeLiberal {
		ns.set("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
	}
	for _, d := range ns.Devices {
		if d.Kind == Loopback {
			continue
		}
		filter := "0"
		if strings.HasPrefix(d.Name, "cali") {
			filter = "1" // Calico: a pod must not send from another's address
		}
		b.setOf4(&ns, d.Name, "net/ipv4/conf/%s/rp_filter", filter)
		b.setOf4(&ns, d.Name, "net/ipv4/conf/%s/send_redirects", "0")
	}
	return ns
}

// podLink is the node's side of a pod.
func (b *planner) podLink(ns *Namespace, p Pod) {
	dev := p.HostDevice()
	ns.Devices = append(ns.Devices, Device{
		Name: dev, Kind: Veth, MTU: b.podMTU(), MAC: caliMAC,
		Peer: Peer{Namespace: b.c.namespaceName(p.Member()), Device: outerDevice}, Create: true,
	})
	b.linkLocal(ns, dev, caliMAC)
	for _, f := range b.families {
		a := p.Address(f)
		if !a.IsValid() {
			continue
		}
		ns.Routes = append(ns.Routes, Route{Dst: host(a), Device: dev, Scope: onLink(a)})
		if f == IPv4 { // of IPv6 a pod's next hop is an address that the device has
			ns.setOf(dev, "net/ipv4/conf/%s/proxy_arp", "1")
			ns.setOf(dev, "net/ipv4/neigh/%s/proxy_delay", "0")
			if len(p.HostPorts) > 0 && !b.c.KubeProxy.routesLocalnet() { // by CNI's portmap plugin, for its own (enableLocalnetRouting)
				ns.setOf(dev, "net/ipv4/conf/%s/route_localnet", "1")
			}
		}
		if b.c.Underlay.holds(a) {
			b.answersFor(ns, a)
		}
	}
}

// announce makes a node take the packets for the addresses it announces, as MetalLB's speaker does: it answers
// ARP and neighbour solicitations for those of the underlay (the router has a route to the others) and has them on no device. With ipvs.strictARP
// the kernel answers for what the device has, and for nothing that the node has on another: there it is an address of the underlay's device, as kube-vip's.
func (b *planner) announce(ns *Namespace, n Node) {
	for _, lb := range b.c.LoadBalancers {
		if lb.AnnouncedBy != n.Name || !b.c.Has(lb.Address) {
			continue
		}
		if kp := b.c.KubeProxy; kp.Mode == ModeIPVS && kp.StrictARP && lb.Address.Is4() && b.c.Underlay.holds(lb.Address) {
			ns.Addresses = append(ns.Addresses, Address{Device: b.c.Underlay.Interface, Prefix: host(lb.Address)})
			continue
		}
		if ns.device(announceDevice) == nil {
			ns.Devices = append(ns.Devices, Device{Name: announceDevice, Kind: Bridge, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, announceDevice)})
		}
		ns.Routes = append(ns.Routes, Route{Dst: host(lb.Address), Device: announceDevice, Src: n.Address(FamilyOf(lb.Address)), Scope: onLink(lb.Address)})
		if b.c.Underlay.holds(lb.Address) {
			b.answersFor(ns, lb.Address)
		}
	}
}

// pod is a pod's own namespace.
func (b *planner) pod(p Pod) Namespace {
	ns := b.namespace(KindPod, p.Member())
	ns.Node = p.Node
	mac := macOf(0x0a, 0x58, b.primary(p.IPs))
	ns.Devices = append(ns.Devices, Device{
		Name: outerDevice, Kind: Veth, MTU: b.podMTU(), MAC: mac,
		Peer: Peer{Namespace: b.c.namespaceName(p.Node), Device: p.HostDevice()},
	})
	b.behind(&ns, mac, p.IPs, caliMAC)
	return ns
}

func (n *Namespace) device(name string) *Device {
	for i := range n.Devices {
		if n.Devices[i].Name == name {
			return &n.Devices[i]
		}
	}
	return nil
}

// collisions finds which two members would have one namespace, or which two devices of one namespace one name.
func (p Plan) collisions() error {
	owner := map[string]string{}
	for _, ns := range p.Namespaces {
		if len(ns.Name) > maxFileName {
			return fmt.Errorf("plan: the namespace name of %s is longer than %d characters", ns.Member, maxFileName)
		}
		if other, taken := owner[ns.Name]; taken {
			return fmt.Errorf("plan: %s and %s would both be the namespace %s: rename one", other, ns.Member, ns.Name)
		}
		owner[ns.Name] = ns.Member
	}
	for _, ns := range p.Namespaces {
		devices := map[string]bool{}
		for _, d := range ns.Devices {
			if devices[d.Name] {
				return fmt.Errorf("plan: %s would have two devices %s", ns.Member, d.Name)
			}
			devices[d.Name] = true
		}
	}
	return nil
}

// Namespace finds a namespace by its member's name.
func (p Plan) Namespace(member string) (Namespace, bool) {
	for _, ns := range p.Namespaces {
		if ns.Member == member {
			return ns, true
		}
	}
	return Namespace{}, false
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// macOf is two bytes, of which the first marks that the address is locally administered, and an IPv4 address, or four bytes of the hash
// of an IPv6 one.
func macOf(first, second byte, a netip.Addr) string {
	var b [4]byte
	if a.Is4() {
		b = a.As4()
	} else {
		sum := sha1.Sum([]byte(a.String()))
		b = [4]byte(sum[:])
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", first, second, b[0], b[1], b[2], b[3])
}

func hashMAC(namespace, device string) string {
	sum := sha1.Sum([]byte(namespace + " " + device))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}
