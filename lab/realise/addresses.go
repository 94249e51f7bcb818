package realise

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/topology"
)

func (b *builder) addAddress(a topology.Address) error {
	link, err := b.link(a.Device)
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: ipNet(a.Prefix), Scope: int(scope(a.Scope))}
	if a.Prefix.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD // nobody else can have it, and it can be used at once
	}
	if a.NoRoute {
		address.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	return b.nl.AddrAdd(link, address)
}

func (b *builder) addRoute(r topology.Route) error {
	route := netlink.Route{Dst: ipNet(r.Dst), Scope: scope(r.Scope), Type: unix.RTN_UNICAST}
	switch r.Type {
	case topology.Unicast:
	case topology.Blackhole:
		route.Type = unix.RTN_BLACKHOLE
	case topology.Unreachable:
		route.Type = unix.RTN_UNREACHABLE
	case topology.Prohibit:
		route.Type = unix.RTN_PROHIBIT
	case topology.Throw:
		route.Type = unix.RTN_THROW
	}
	if r.Device != "" {
		link, err := b.link(r.Device)
		if err != nil {
			return err
		}
		route.LinkIndex = link.Index
	}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	}
	if r.Src.IsValid() {
		route.Src = r.Src.AsSlice()
	}
	if r.Onlink {
		route.Flags = int(netlink.FLAG_ONLINK)
	}
	protocol, err := routeProtocol(r.Protocol)
	if err != nil {
		return err
	}
	route.Protocol = protocol
	if route.Table, err = tableID(r.Table); err != nil {
		return err
	}
	return b.nl.RouteAdd(&route)
}

func (b *builder) addNeighbour(n topology.Neighbour) error {
	link, err := b.link(n.Device)
	if err != nil {
		return err
	}
	mac, err := parseMAC(n.MAC)
	if err != nil {
		return err
	}
	entry := netlink.Neigh{LinkIndex: link.Index, HardwareAddr: mac, State: netlink.NUD_PERMANENT}
	switch {
	case n.FDB:
		entry.Family, entry.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
		entry.IP = n.Remote.AsSlice()
		return b.nl.NeighAppend(&entry)
	case n.Proxy:
		entry.Flags = netlink.NTF_PROXY
	}
	entry.IP = n.IP.AsSlice()
	return b.nl.NeighSet(&entry)
}

func scope(s topology.Scope) netlink.Scope {
	switch s {
	case topology.ScopeLink:
		return netlink.SCOPE_LINK
	case topology.ScopeHost:
		return netlink.SCOPE_HOST
	case topology.ScopeGlobal:
	}
	return netlink.SCOPE_UNIVERSE
}

// routeProtocol reads a name of /etc/iproute2/rt_protos that natlab uses, or a number.
func routeProtocol(name string) (netlink.RouteProtocol, error) {
	switch name {
	case "", "boot":
		return unix.RTPROT_BOOT, nil
	case "kernel":
		return unix.RTPROT_KERNEL, nil
	case "static":
		return unix.RTPROT_STATIC, nil
	case "bird":
		return unix.RTPROT_BIRD, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q is not known", name)
	}
	return netlink.RouteProtocol(n), nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
