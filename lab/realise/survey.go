package realise

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/topology"
)

// Surveyed is a namespace that no Plan tells of.
type Surveyed struct {
	Namespace topology.Namespace
	Names     map[uint32]string // of its devices, by index
	// Other names what is there and a Namespace has no place for, one line each: rules of routing, routes in other tables.
	Other []string
}

// Survey reads any namespace: its devices in the order of their indexes, its addresses of both families, the main tables, and those sysctls
// that the patterns name ("net/ipv4/conf/*/rp_filter"). What the kernel makes by itself is left out, as in a Plan.
func Survey(h netns.Handle, patterns []string) (Surveyed, error) {
	s, err := SurveyOf(h, patterns)
	if err != nil {
		return Surveyed{}, fmt.Errorf("read network namespace %q: %w", h.Name(), err)
	}
	s.Namespace.Name, s.Namespace.Member = h.Name(), h.Name()
	return s, nil
}

// SurveyOf is Survey of a namespace that need not have a name.
func SurveyOf(ns interface{ Do(f func() error) error }, patterns []string) (s Surveyed, err error) {
	err = ns.Do(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		defer nl.Close()
		v := surveyor{reader: reader{nl: nl}}
		defer v.settings.close()
		s, err = v.survey(patterns)
		return err
	})
	return s, err
}

// surveyor is a reader without a Plan.
type surveyor struct{ reader }

func (v *surveyor) survey(patterns []string) (s Surveyed, err error) {
	links, err := v.nl.LinkList()
	if err != nil {
		return s, fmt.Errorf("list devices: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return cmp.Compare(a.Attrs().Index, b.Attrs().Index) })
	v.names, s.Names = map[int]string{}, map[uint32]string{}
	for _, l := range links {
		v.names[l.Attrs().Index], s.Names[uint32(l.Attrs().Index)] = l.Attrs().Name, l.Attrs().Name
	}
	for _, l := range links {
		s.Namespace.Devices = append(s.Namespace.Devices, v.device(l))
	}
	if s.Namespace.Addresses, err = v.addressesOfBoth(); err != nil {
		return s, err
	}
	if s.Namespace.Routes, err = v.routesOfBoth(s.Namespace.Addresses); err != nil {
		return s, err
	}
	if err := v.rules(); err != nil {
		return s, err
	}
	s.Other = v.other
	s.Namespace.Sysctls, err = sysctlsOf(patterns)
	return s, err
}

func (v *surveyor) device(l netlink.Link) topology.Device {
	a := l.Attrs()
	d := topology.Device{Name: a.Name, MTU: a.MTU, MAC: a.HardwareAddr.String(), Down: a.RawFlags&unix.IFF_UP == 0, Master: v.names[a.MasterIndex], Kind: topology.Veth}
	switch link := l.(type) {
	case *netlink.Bridge:
		d.Kind = topology.Bridge
	case *netlink.Vxlan:
		d.Kind, d.VNI, d.Port = topology.TunnelVXLAN, link.VxlanId, uint16(link.Port)
		d.Local, _ = netip.AddrFromSlice(link.SrcAddr)
	case *netlink.Iptun:
		d.Kind = topology.TunnelIPIP
		d.Local, _ = netip.AddrFromSlice(link.Local)
	default:
		switch {
		case a.Flags&net.FlagLoopback != 0:
			d.Kind = topology.Loopback
		case a.EncapType != "ether":
			d.Kind = topology.PointToPoint
		}
	}
	return d
}

func (v *surveyor) addressesOfBoth() (out []topology.Address, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := v.nl.AddrList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		oldestFirst(all, family)
		for _, a := range all {
			p, ok := prefixOf(a.IPNet)
			dev := v.names[a.LinkIndex]
			if !ok || dev == "lo" && (p.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || p.Addr() == netip.IPv6Loopback()) {
				continue
			}
			out = append(out, topology.Address{Device: dev, Prefix: p, Scope: scopeOf(netlink.Scope(a.Scope))})
		}
	}
	return out, nil
}

func (v *surveyor) routesOfBoth(addresses []topology.Address) (out []topology.Route, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := v.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, x := range all {
			if x.Table == unix.RT_TABLE_LOCAL {
				continue
			}
			route := v.anyRoute(family, x)
			switch {
			case x.Table != unix.RT_TABLE_MAIN:
				v.other = append(v.other, fmt.Sprintf("route %s in table %d", route, x.Table))
			case route.Protocol == "kernel" && ofAddress(route, addresses), route.Dst.Addr().IsMulticast():
			default:
				out = append(out, route)
			}
		}
	}
	return out, nil
}

// anyRoute is a route of either family and of any type.
func (v *surveyor) anyRoute(family int, x netlink.Route) topology.Route {
	out := v.route(family, x)
	switch x.Type {
	case unix.RTN_UNREACHABLE:
		out.Type = topology.Unreachable
	case unix.RTN_PROHIBIT:
		out.Type = topology.Prohibit
	case unix.RTN_THROW:
		out.Type = topology.Throw
	}
	if len(x.MultiPath) > 0 { // of several next hops the first one
		out.Device = v.names[x.MultiPath[0].LinkIndex]
		if via, ok := netip.AddrFromSlice(x.MultiPath[0].Gw); ok {
			out.Via = via.Unmap()
		}
		v.other = append(v.other, fmt.Sprintf("route %s has %d next hops", out.Dst, len(x.MultiPath)))
	}
	return out
}

// ofAddress reports whether the kernel made a route for an address; one of IPv6 prefers no source.
func ofAddress(route topology.Route, addresses []topology.Address) bool {
	return slices.ContainsFunc(addresses, func(a topology.Address) bool {
		return a.Device == route.Device && a.Prefix.Masked() == route.Dst && (a.Prefix.Addr() == route.Src || !route.Src.IsValid())
	})
}

// sysctlsOf are the settings that patterns name and that there are, with the values of this thread's namespace.
func sysctlsOf(patterns []string) (out []topology.Sysctl, err error) {
	const root = "/proc/sys/"
	for _, pattern := range patterns {
		files, err := filepath.Glob(root + pattern)
		if err != nil {
			return nil, fmt.Errorf("sysctl %s: %w", pattern, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil { // some can only be written
				continue
			}
			out = append(out, topology.Sysctl{Key: strings.TrimPrefix(file, root), Value: strings.Join(strings.Fields(string(b)), " ")})
		}
	}
	slices.SortFunc(out, func(a, b topology.Sysctl) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}
