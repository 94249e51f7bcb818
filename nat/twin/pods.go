package twin

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/topology"
)

// gateway4 is the next hop of a pod whose node's end of the link has no address (Calico, Amazon's VPC CNI).
var gateway4 = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// pods finds the device that leads to each pod of the node, and makes the pod's side fit it.
func (b *builder) pods(d *dumped, ns *topology.Namespace) {
	var lost []topology.Pod
	var all []topology.Pod
	for _, p := range b.Cluster.Pods {
		if _, own := b.at[p.Member()]; own && p.Node == d.name && !p.HostNetwork {
			all = append(all, p)
		}
	}
	for _, find := range []func(*dumped, *topology.Namespace, topology.Pod) string{byRoute, byLearning, byName} {
		lost = nil
		for _, p := range all {
			device := find(d, ns, p)
			if _, taken := d.pods[device]; device == "" || taken {
				lost = append(lost, p)
				continue
			}
			d.pods[device] = p
		}
		all = lost
	}
	for _, p := range lost {
		b.guess(d, ns, p)
	}
	for i := range ns.Devices {
		if p, ok := d.pods[ns.Devices[i].Name]; ok {
			b.pod(d, ns, &ns.Devices[i], p)
		}
	}
}

// byRoute is the device of the route to a pod alone.
func byRoute(d *dumped, ns *topology.Namespace, p topology.Pod) string {
	for _, r := range d.Namespace.Routes {
		if o := deviceOf(ns, r.Device); o != nil && o.Kind == topology.Veth && r.Dst == host(p.IPv4()) && !r.Via.IsValid() {
			return r.Device
		}
	}
	return ""
}

// byLearning is the port of a bridge behind which the node has learnt a pod to be.
func byLearning(_ *dumped, ns *topology.Namespace, p topology.Pod) string {
	for _, o := range ns.Devices {
		if o.Master != "" && slices.Contains(o.Behind, p.IPv4()) {
			return o.Name
		}
	}
	return ""
}

// byName is the device that Calico's naming gives a pod.
func byName(_ *dumped, ns *topology.Namespace, p topology.Pod) string {
	if has(ns, p.HostDevice()) {
		return p.HostDevice()
	}
	return ""
}

// guess takes some device for a pod's of which nothing tells, or makes one: a port of the bridge whose network it is in, or one without an address
// that looks like a pod's.
func (b *builder) guess(d *dumped, ns *topology.Namespace, p topology.Pod) {
	master := ""
	for _, a := range ns.Addresses {
		if o := deviceOf(ns, a.Device); o != nil && o.Kind == topology.Bridge && a.Device != d.address.Device && a.Prefix.Masked().Contains(p.IPv4()) {
			master = a.Device
		}
	}
	for _, o := range ns.Devices {
		_, taken := d.pods[o.Name]
		if taken || o.Kind != topology.Veth || o.Name == d.uplink || o.Master != master || master == "" && !podLike(o.Name) || len(o.Behind) > 0 {
			continue
		}
		if master == "" && d.used(o.Name) {
			continue
		}
		d.pods[o.Name] = p
		b.note("%s: which device leads to pod %s is not told: taken for %s", d.name, p.Member(), o.Name)
		return
	}
	o := topology.Device{Name: p.HostDevice(), Kind: topology.Veth, MTU: d.device(d.uplink).MTU, MAC: hashMAC(d.name, p.HostDevice()), Master: master}
	if master != "" {
		o.Hairpin = hairpinOf(ns, master)
	}
	ns.Devices = append(ns.Devices, o)
	d.pods[o.Name] = p
	b.note("%s: it has no device for pod %s: %s is made, without a route", d.name, p.Member(), o.Name)
}

// podLike reports whether a device's name is one that network plugins give the ends of pods' links.
func podLike(name string) bool {
	return slices.ContainsFunc([]string{"cali", "veth", "eni", "azv", "gke", "lxc", "tap"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// hairpinOf is the mode that all ports of a bridge have, where they have one.
func hairpinOf(ns *topology.Namespace, bridge string) topology.Switch {
	mode := topology.SwitchOpen
	for _, o := range ns.Devices {
		switch {
		case o.Master != bridge:
		case mode == topology.SwitchOpen:
			mode = o.Hairpin
		case mode != o.Hairpin:
			return topology.SwitchOpen
		}
	}
	return mode
}

// pod makes a pod's side of its link: on a bridge it is in the bridge's network, else it has its address alone and all the world behind the
// node.
func (b *builder) pod(d *dumped, ns *topology.Namespace, o *topology.Device, p topology.Pod) {
	pod := b.space(p.Member())
	if o.MAC == "" {
		o.MAC = hashMAC(d.name, o.Name)
	}
	o.Peer, o.Create = topology.Peer{Namespace: pod.Name, Device: podDevice}, true
	o.Behind = []netip.Addr{p.IPv4()}
	inside := deviceOf(pod, podDevice)
	inside.MTU, inside.Peer = o.MTU, topology.Peer{Namespace: ns.Name, Device: o.Name}
	six := pod.Addresses
	pod.Addresses, pod.Routes, pod.Neighbours = nil, nil, nil
	via, network := gateway4, host(p.IPv4())
	for _, a := range ns.Addresses {
		switch {
		case a.Device == o.Name && a.Prefix.Addr().Is4():
			via = a.Prefix.Addr()
		case o.Master != "" && a.Device == o.Master && a.Prefix.Contains(p.IPv4()):
			via, network = a.Prefix.Addr(), netip.PrefixFrom(p.IPv4(), a.Prefix.Bits())
		}
	}
	if o.Master != "" && o.Master == d.address.Device { // pods of the nodes' own network
		via = b.Cluster.Underlay.Gateway(topology.IPv4)
	}
	pod.Addresses = []topology.Address{{Device: podDevice, Prefix: network}}
	if network.IsSingleIP() {
		pod.Routes = append(pod.Routes, topology.Route{Dst: host(via), Device: podDevice, Scope: topology.ScopeLink})
	}
	pod.Routes = append(pod.Routes, topology.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via, Device: podDevice})
	if via == gateway4 && !d.answersProxy(o.Name) {
		pod.Neighbours = []topology.Neighbour{{Device: podDevice, IP: via, MAC: o.MAC}}
	}
	if a := p.Address(topology.IPv6); b.six && a.IsValid() {
		o.Behind = append(o.Behind, a)
		b.pod6(d, ns, o, pod, six, a)
	}
}

// pod6 is a pod's side in IPv6: its address, the link's own as planned, and the world behind the node's end, by an address that this has.
func (b *builder) pod6(d *dumped, ns *topology.Namespace, o *topology.Device, pod *topology.Namespace, planned []topology.Address, own netip.Addr) {
	for _, a := range planned {
		if a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() {
			pod.Addresses = append(pod.Addresses, a)
		}
	}
	network, via := host(own), netip.Addr{}
	for _, a := range ns.Addresses {
		one := a.Prefix.Addr()
		switch {
		case !one.Is6() || a.Device != o.Name && (o.Master == "" || a.Device != o.Master):
		case a.Device == o.Master && a.Prefix.Contains(own):
			network, via = netip.PrefixFrom(own, a.Prefix.Bits()), one
		case one.IsLinkLocalUnicast() && !via.IsValid():
			via = one
		}
	}
	if o.Master != "" && o.Master == d.address.Device { // pods of the nodes' own network
		via = b.Cluster.Underlay.Gateway(topology.IPv6)
	}
	pod.Addresses = append(pod.Addresses, topology.Address{Device: podDevice, Prefix: network})
	if via.IsValid() {
		pod.Routes = append(pod.Routes, topology.Route{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: via, Device: podDevice})
		return
	}
	b.note("%s: no address of IPv6 of %s is told: pod %s has no way out by it", ns.Member, o.Name, pod.Member)
}

// answersProxy reports whether the node answers ARP on a device for what it would forward (proxy_arp).
func (d *dumped) answersProxy(device string) bool {
	on := false
	for _, s := range d.Namespace.Sysctls {
		if s.Key == "net/ipv4/conf/all/proxy_arp" || s.Key == "net/ipv4/conf/"+device+"/proxy_arp" {
			on = on || s.Value != "0"
		}
	}
	return on
}
