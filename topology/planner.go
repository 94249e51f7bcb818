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
	return []string{"lo", "all", "default", ipipDevice, vxlanDevice, announceDevice}
}

// planner is one NewPlan under way.
type planner struct {
	c      Cluster
	podsOf map[string][]Pod // by node; only pods with a namespace of their own
	plan   Plan
}

// NewPlan works out the lab of a cluster that Load made. It fails only for a Cluster that Load did not make, or
// whose name was changed since.
func NewPlan(c Cluster) (Plan, error) {
	if !c.Underlay.CIDR.IsValid() || len(c.Nodes) == 0 {
		return Plan{}, errors.New("plan: the cluster has no network: it was read for its rules only")
	}
	if bad := badLabel(c.Name, maxLabName); bad != "" {
		return Plan{}, fmt.Errorf("plan: the lab's name %s", bad)
	}
	b := &planner{c: c, podsOf: map[string][]Pod{}}
	b.plan = Plan{Lab: c.Name, Overlay: c.PodNetwork.Overlay}
	for _, p := range c.Pods {
		if !p.HostNetwork && p.IPv4().IsValid() {
			b.podsOf[p.Node] = append(b.podsOf[p.Node], p)
		}
	}
	b.add(b.underlay())
	b.add(b.router())
	for _, n := range c.Nodes {
		b.add(b.node(n))
	}
	for _, p := range c.Pods {
		if !p.HostNetwork && p.IPv4().IsValid() {
			b.add(b.pod(p))
		}
	}
	for _, cl := range c.Clients {
		b.add(b.client(cl))
	}
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

// namespace begins a member's namespace. The lab has no IPv6 of its own, and without it nothing but the lab's
// traffic is on its links.
func (b *planner) namespace(kind Kind, member string) Namespace {
	ns := Namespace{Name: b.c.namespaceName(member), Member: member, Kind: kind}
	ns.set("net/ipv6/conf/all/disable_ipv6", "1")
	ns.set("net/ipv6/conf/default/disable_ipv6", "1")
	if kind == KindUnderlay {
		return ns
	}
	ns.Devices = []Device{{Name: "lo", Kind: Loopback}}
	// No packet is dropped for its source, whatever the host's setting: a wrong one is to be seen, not lost.
	ns.set("net/ipv4/conf/all/rp_filter", "0")
	ns.set("net/ipv4/conf/default/rp_filter", "0")
	// Every ICMP error is sent, also the seventh in a second.
	ns.set("net/ipv4/icmp_ratelimit", "0")
	if kind == KindRouter || kind == KindNode {
		ns.set("net/ipv4/ip_forward", "1")
		ns.set("net/ipv4/conf/all/send_redirects", "0")
		ns.set("net/ipv4/conf/default/send_redirects", "0")
	}
	return ns
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
		if b.c.Underlay.CIDR.Contains(cl.Address) {
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

// outer gives a member its device on the underlay.
func (b *planner) outer(ns *Namespace, device string, addr netip.Addr) {
	ns.Devices = append(ns.Devices, Device{
		Name: device, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: macOf(0x0a, 0x58, addr),
		Peer: Peer{Namespace: b.c.namespaceName(memberUnderlay), Device: portName(ns.Member)},
	})
	ns.Addresses = append(ns.Addresses, Address{Device: device, Prefix: netip.PrefixFrom(addr, b.c.Underlay.CIDR.Bits())})
}

// router is the nodes' default gateway. It knows the way to clients behind it, to addresses that a node announces
// outside of the underlay, and to the pods, whose answers to a host outside may come back by it.
func (b *planner) router() Namespace {
	ns := b.namespace(KindRouter, memberRouter)
	b.outer(&ns, outerDevice, b.c.Underlay.Gateway)
	ns.setOf(outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
	ns.setOf(outerDevice, "net/ipv4/conf/%s/send_redirects", "0")
	for _, cl := range b.c.Clients {
		if b.c.Underlay.CIDR.Contains(cl.Address) {
			continue
		}
		dev := portName(cl.Name)
		ns.Devices = append(ns.Devices, Device{
			Name: dev, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, dev),
			Peer: Peer{Namespace: b.c.namespaceName(cl.Name), Device: outerDevice}, Create: true,
		})
		ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(linkLocal()), Scope: ScopeLink})
		ns.Routes = append(ns.Routes, Route{Dst: host(cl.Address), Device: dev, Scope: ScopeLink})
		ns.setOf(dev, "net/ipv4/conf/%s/rp_filter", "0")
		ns.setOf(dev, "net/ipv4/conf/%s/send_redirects", "0")
	}
	for _, lb := range b.c.LoadBalancers {
		if n, ok := b.c.Node(lb.AnnouncedBy); ok && !b.c.Underlay.CIDR.Contains(lb.Address) {
			ns.Routes = append(ns.Routes, Route{Dst: host(lb.Address), Via: n.IPv4(), Device: outerDevice})
		}
	}
	for _, n := range b.c.Nodes {
		for _, dst := range b.rangesOf(n) {
			ns.Routes = append(ns.Routes, Route{Dst: dst, Via: n.IPv4(), Device: outerDevice})
		}
	}
	// The world beyond does not answer. Without the route the router would report that it knows no way, but only five
	// times at once and then once a second, whatever icmp_ratelimit is (ip_error).
	ns.Routes = append(ns.Routes, Route{Type: Blackhole, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0)})
	return ns
}

// node is a node as kube-proxy and Calico leave it, without kube-proxy's rules.
func (b *planner) node(n Node) Namespace {
	ns := b.namespace(KindNode, n.Name)
	ns.Node = n.Name
	dev := b.c.Underlay.Interface
	b.outer(&ns, dev, n.IPv4())
	for _, a := range n.Addresses {
		if a.Is4() && a != n.IPv4() {
			ns.Addresses = append(ns.Addresses, Address{Device: dev, Prefix: host(a)})
		}
	}
	ns.Routes = append(ns.Routes, Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: b.c.Underlay.Gateway, Device: dev})
	b.overlayOf(&ns, n)
	for _, p := range b.podsOf[n.Name] {
		b.podLink(&ns, p)
	}
	b.announce(&ns, n)
	local := "0"
	if b.c.KubeProxy.routesLocalnet() {
		local = "1"
	}
	ns.set("net/ipv4/conf/all/route_localnet", local)
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
		ns.setOf(d.Name, "net/ipv4/conf/%s/rp_filter", filter)
		ns.setOf(d.Name, "net/ipv4/conf/%s/send_redirects", "0")
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
	ns.Routes = append(ns.Routes, Route{Dst: host(p.IPv4()), Device: dev, Scope: ScopeLink})
	ns.setOf(dev, "net/ipv4/conf/%s/proxy_arp", "1")
	ns.setOf(dev, "net/ipv4/neigh/%s/proxy_delay", "0")
	if b.flat(p) {
		b.answersFor(ns, p.IPv4())
	}
}

// announce makes a node take the packets for the addresses it announces, as MetalLB's speaker does: it answers
// ARP for those of the underlay (the router has a route to the others) and has them on no device.
func (b *planner) announce(ns *Namespace, n Node) {
	for _, lb := range b.c.LoadBalancers {
		if lb.AnnouncedBy != n.Name {
			continue
		}
		if ns.device(announceDevice) == nil {
			ns.Devices = append(ns.Devices, Device{Name: announceDevice, Kind: Bridge, MTU: b.c.Underlay.MTU, MAC: hashMAC(ns.Name, announceDevice)})
		}
		ns.Routes = append(ns.Routes, Route{Dst: host(lb.Address), Device: announceDevice, Src: n.IPv4(), Scope: ScopeLink})
		if b.c.Underlay.CIDR.Contains(lb.Address) {
			b.answersFor(ns, lb.Address)
		}
	}
}

// pod is a pod's own namespace.
func (b *planner) pod(p Pod) Namespace {
	ns := b.namespace(KindPod, p.Member())
	ns.Node = p.Node
	ns.Devices = append(ns.Devices, Device{
		Name: outerDevice, Kind: Veth, MTU: b.podMTU(), MAC: macOf(0x0a, 0x58, p.IPv4()),
		Peer: Peer{Namespace: b.c.namespaceName(p.Node), Device: p.HostDevice()},
	})
	behind(&ns, p.IPv4())
	return ns
}

// behind gives a namespace an address of its own and a way out by 169.254.1.1.
func behind(ns *Namespace, addr netip.Addr) {
	ns.Addresses = append(ns.Addresses, Address{Device: outerDevice, Prefix: host(addr)})
	ns.Routes = append(ns.Routes,
		Route{Dst: host(linkLocal()), Device: outerDevice, Scope: ScopeLink},
		Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: linkLocal(), Device: outerDevice})
	ns.setOf(outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
}

// client is a host outside of the cluster: on the underlay, or behind the router by a link of its own.
func (b *planner) client(cl Client) Namespace {
	ns := b.namespace(KindClient, cl.Name)
	if b.c.Underlay.CIDR.Contains(cl.Address) {
		b.outer(&ns, outerDevice, cl.Address)
		ns.Routes = append(ns.Routes, Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: b.c.Underlay.Gateway, Device: outerDevice})
		ns.setOf(outerDevice, "net/ipv4/conf/%s/rp_filter", "0")
		return ns
	}
	ns.Devices = append(ns.Devices, Device{
		Name: outerDevice, Kind: Veth, MTU: b.c.Underlay.MTU, MAC: macOf(0x0a, 0x58, cl.Address),
		Peer: Peer{Namespace: b.c.namespaceName(memberRouter), Device: portName(cl.Name)},
	})
	behind(&ns, cl.Address)
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

// macOf is two bytes, of which the first marks that the address is locally administered, and an IPv4 address.
func macOf(first, second byte, a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", first, second, b[0], b[1], b[2], b[3])
}

func hashMAC(namespace, device string) string {
	sum := sha1.Sum([]byte(namespace + " " + device))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}
