package twin

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/gateway"
	"natlab/topology"
)

// dumped is a node as its bundle tells it, with what the plan asks of it.
type dumped struct {
	*bundle.Node
	name          string           // the cluster's
	known         []netip.Addr     // the cluster's addresses of it
	address       topology.Address // by which the cluster knows it, with its device
	uplink        string           // the device that leads to the other nodes: the address's, or a port of it where that is a bridge
	tunnelAddress netip.Addr       // of its device between nodes; not valid: it has none
	pods          map[string]topology.Pod
}

func newDumped(c topology.Cluster, name string, n *bundle.Node) (*dumped, error) {
	node, _ := c.Node(name)
	d := &dumped{Node: n, name: name, known: node.Addresses, pods: map[string]topology.Pod{}}
	i := slices.IndexFunc(n.Namespace.Addresses, func(a topology.Address) bool { return a.Prefix.Addr() == node.IPv4() })
	if i < 0 {
		return nil, fmt.Errorf("bundle of node %s: no device of it has the node's address %s: is it another node's?", name, node.IPv4())
	}
	d.address = n.Namespace.Addresses[i]
	d.uplink = d.address.Device
	if d.device(d.uplink).Kind == topology.Bridge {
		d.uplink = d.nic(d.uplink)
	}
	for _, a := range n.Namespace.Addresses {
		if dev := d.device(a.Device); a.Prefix.Addr().Is4() && d.tunnels(dev) {
			d.tunnelAddress = a.Prefix.Addr()
		}
	}
	return d, nil
}

// device is a device by name; the zero one where there is none.
func (d *dumped) device(name string) topology.Device {
	for _, o := range d.Namespace.Devices {
		if o.Name == name {
			return o
		}
	}
	return topology.Device{}
}

// nic is the port of a bridge that leads out of the node, by its name, or else the first one; the bridge where it has none.
func (d *dumped) nic(bridge string) string {
	first := bridge
	for _, o := range d.Namespace.Devices {
		if o.Master != bridge {
			continue
		}
		for _, prefix := range []string{"eth", "en", "em", "bond", "team"} {
			if strings.HasPrefix(o.Name, prefix) {
				return o.Name
			}
		}
		if first == bridge {
			first = o.Name
		}
	}
	return first
}

// tunnels reports whether a device leads to other nodes inside other packets. A device of natlab's own tunnel is a TUN device.
func (d *dumped) tunnels(o topology.Device) bool {
	return o.Kind == topology.TunnelVXLAN || d.ipip(o)
}

func (d *dumped) ipip(o topology.Device) bool {
	return o.Kind == topology.TunnelIPIP || o.Name == "tunl0"
}

// tunnel is the device of a kind that the node has an address of, or a route by.
func (d *dumped) tunnel(kind topology.DeviceKind) (topology.Device, bool) {
	for _, o := range d.Namespace.Devices {
		if d.tunnels(o) && d.ipip(o) == (kind == topology.TunnelIPIP) && d.used(o.Name) {
			return o, true
		}
	}
	return topology.Device{}, false
}

// addressOf is the node's address of a family with its network, as the device has it by which the cluster knows the node; not valid where a family is not told of.
func (d *dumped) addressOf(f topology.Family) netip.Prefix {
	if f == topology.IPv4 {
		return d.address.Prefix
	}
	for _, a := range d.Namespace.Addresses {
		if slices.Contains(d.known, a.Prefix.Addr()) && topology.FamilyOf(a.Prefix.Addr()) == f {
			return a.Prefix
		}
	}
	return netip.Prefix{}
}

// used reports whether a device has an IPv4 address, or a route.
func (d *dumped) used(device string) bool {
	return slices.ContainsFunc(d.Namespace.Addresses, func(a topology.Address) bool { return a.Device == device && a.Prefix.Addr().Is4() }) ||
		slices.ContainsFunc(d.Namespace.Routes, func(r topology.Route) bool { return r.Device == device && r.Dst.Addr().Is4() })
}

// gateways are the next hops of the node's routes by a device, that of the default route first.
func (d *dumped) gateways(device string, f topology.Family) (out []netip.Addr) {
	for _, r := range d.Namespace.Routes {
		if r.Device != device || !r.Via.IsValid() || topology.FamilyOf(r.Via) != f || slices.Contains(out, r.Via) {
			continue
		}
		if r.Dst.Bits() == 0 {
			out = slices.Insert(out, 0, r.Via)
		} else {
			out = append(out, r.Via)
		}
	}
	return out
}

// othersOf are the addresses of a node's devices that its object does not tell of.
func (b *builder) othersOf(d *dumped, n topology.Node) (out []netip.Addr) {
	for _, a := range d.Namespace.Addresses {
		if one := a.Prefix.Addr(); b.speaks(one) && !one.IsLoopback() && (one.Is4() || !one.IsLinkLocalUnicast()) && !slices.Contains(n.Addresses, one) && !slices.Contains(n.TunnelAddresses, one) {
			out = append(out, one)
		}
	}
	return out
}

// backend is the one that holds kube-proxy's rules, "" where none does.
func (d *dumped) backend() string {
	for _, h := range d.Held {
		for _, rs := range h.Rulesets {
			t, _ := rs.Table("nat")
			if c, ok := t.Chain("KUBE-SERVICES"); ok && rs.Family == nat.IPv4 && len(c.Rules) > 0 && strings.HasPrefix(h.Backend, "iptables-") {
				return h.Backend
			}
		}
	}
	return ""
}

// overlay is how the node's routes lead to pods of other nodes; told is false where none does.
func (d *dumped) overlay(c topology.Cluster, f topology.Family) (o topology.Overlay, told bool) {
	for _, r := range d.Namespace.Routes {
		if r.Type != topology.Unicast || !r.Via.IsValid() || topology.FamilyOf(r.Via) != f || !d.otherPods(c, r.Dst) {
			continue
		}
		switch dev := d.device(r.Device); {
		case d.ipip(dev):
			return topology.IPIP, true
		case dev.Kind == topology.TunnelVXLAN:
			return topology.VXLAN, true
		default:
			o, told = topology.None, true
		}
	}
	return o, told
}

// otherPods reports whether a destination is pods' of another node.
func (d *dumped) otherPods(c topology.Cluster, dst netip.Prefix) bool {
	return slices.ContainsFunc(c.Nodes, func(n topology.Node) bool {
		return n.Name != d.name && slices.ContainsFunc(n.PodBlocks, dst.Overlaps)
	}) || slices.ContainsFunc(c.Pods, func(p topology.Pod) bool {
		return p.Node != d.name && !p.HostNetwork && dst.Bits() > 0 && slices.ContainsFunc(p.IPs, dst.Contains)
	})
}

// tunnelOf is the address of a node's end of the tunnel between nodes, as this one knows it.
func (d *dumped) tunnelOf(node string, at netip.Addr) netip.Addr {
	if node == d.name {
		return d.tunnelAddress
	}
	own, _ := d.tunnel(topology.TunnelVXLAN)
	mac := d.macBehind(own.Name, at)
	for _, e := range d.Namespace.Neighbours {
		if mac != "" && e.Device == own.Name && !e.FDB && e.MAC == mac {
			return e.IP
		}
	}
	return netip.Addr{}
}

// macBehind is the hardware address that a VXLAN device of the node sends to at another node; "" where none is told.
func (d *dumped) macBehind(device string, node netip.Addr) string {
	for _, e := range d.Namespace.Neighbours {
		if e.FDB && e.Device == device && e.Remote == node && e.MAC != "00:00:00:00:00:00" {
			return e.MAC
		}
	}
	return ""
}

// decisive are further settings than those of gateway.Sysctls that decide where packets go; * is a device, all or default.
var decisive = []string{
	"net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/arp_filter", "net/ipv4/conf/*/proxy_arp_pvlan",
	"net/ipv4/conf/*/ignore_routes_with_linkdown", "net/ipv4/neigh/*/proxy_delay", "net/ipv4/fib_multipath_hash_policy",
	"net/ipv4/ip_nonlocal_bind", "net/ipv6/conf/*/forwarding", "net/ipv6/conf/*/proxy_ndp", "net/ipv6/ip_nonlocal_bind", "net/ipv6/fib_multipath_hash_policy", "net/bridge/bridge-nf-call-*", "net/bridge/bridge-nf-filter-*", "net/bridge/bridge-nf-pass-*",
	"net/netfilter/nf_conntrack_tcp_be_liberal", "net/netfilter/nf_conntrack_tcp_loose",
}

// sysctls are the settings of a dump that decide where packets go, in its order, each with its device.
func (d *dumped) sysctls(devices []topology.Device) (out []topology.Sysctl) {
	patterns := slices.Concat(gateway.Sysctls(nat.IPv4), gateway.Sysctls(nat.IPv6), decisive)
	for _, s := range d.Namespace.Sysctls {
		// A device's name may have dots, but no slash.
		if !slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, s.Key); return ok }) {
			continue
		}
		s.Device = ""
		if parts := strings.Split(s.Key, "/"); len(parts) == 5 && parts[3] != "all" && parts[3] != "default" {
			if !slices.ContainsFunc(devices, func(o topology.Device) bool { return o.Name == parts[3] }) {
				continue
			}
			s.Device = parts[3]
		}
		out = append(out, s)
	}
	return out
}
