package realise

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/topology"
)

// Read is a namespace of a Plan as it is now: the devices that are there and up, their addresses, the main table, static
// and proxy neighbours, the sysctls of the Plan. What the kernel makes by itself is left out, as in a Plan. other names
// what is there and a Plan has no place for, one line each: rules of routing, other tables, queueing disciplines.
func Read(h netns.Handle, plan topology.Namespace) (now topology.Namespace, other []string, err error) {
	err = h.Do(func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("rtnetlink: %w", err)
		}
		defer nl.Close()
		r := reader{nl: nl, plan: plan}
		defer r.settings.close()
		now, other, err = r.read()
		return err
	})
	if err != nil {
		return topology.Namespace{}, nil, fmt.Errorf("read %s: %w", plan.Title(), err)
	}
	return now, other, nil
}

// reader reads one namespace, on a thread in it.
type reader struct {
	nl    *netlink.Handle
	plan  topology.Namespace
	names map[int]string // of devices, by index
	other []string

	settings tree
}

func (r *reader) read() (topology.Namespace, []string, error) {
	now := r.plan
	links, err := r.nl.LinkList()
	if err != nil {
		return now, nil, fmt.Errorf("list devices: %w", err)
	}
	now.Devices = r.devices(links)
	if err := r.hairpins(now.Devices, links); err != nil {
		return now, nil, err
	}
	if now.Addresses, err = r.addresses(); err != nil {
		return now, nil, err
	}
	if now.Routes, err = r.routes(now.Addresses); err != nil {
		return now, nil, err
	}
	if now.Neighbours, err = r.neighbours(); err != nil {
		return now, nil, err
	}
	if now.Sysctls, err = r.sysctls(); err != nil {
		return now, nil, err
	}
	r.tracking()
	if err := r.disciplines(links); err != nil {
		return now, nil, err
	}
	if len(r.plan.Rules) > 0 {
		now.Rules, err = r.heldRules()
	} else {
		err = r.rules()
	}
	return now, r.other, err
}

// devices are those of the Plan that are there, in the Plan's order, with their MTU and whether they are up.
func (r *reader) devices(links []netlink.Link) (out []topology.Device) {
	r.names = map[int]string{}
	byName := map[string]netlink.Link{}
	for _, l := range links {
		r.names[l.Attrs().Index] = l.Attrs().Name
		byName[l.Attrs().Name] = l
	}
	for _, d := range r.plan.Devices {
		l, ok := byName[d.Name]
		if !ok {
			if d.Kind != topology.Loopback {
				r.other = append(r.other, "device "+d.Name+" is gone")
			}
			d.Down = true
			out = append(out, d)
			continue
		}
		a := l.Attrs()
		if d.MTU != a.MTU && (d.MTU != 0 || a.MTU != defaultMTU(d.Kind)) {
			d.MTU = a.MTU
		}
		d.Down = a.RawFlags&unix.IFF_UP == 0
		out = append(out, d)
	}
	return out
}

// defaultMTU is what the kernel gives a device of a kind.
func defaultMTU(k topology.DeviceKind) int {
	if k == topology.Loopback {
		return 65536
	}
	return 1500
}

func (r *reader) addresses() (out []topology.Address, err error) {
	for _, family := range r.families() {
		all, err := r.nl.AddrList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		oldestFirst(all, family)
		for _, a := range all {
			p, ok := prefixOf(a.IPNet)
			dev := r.names[a.LinkIndex]
			if !ok || dev == "lo" && (p.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || p.Addr() == netip.IPv6Loopback()) {
				continue
			}
			out = append(out, topology.Address{
				Device: dev, Prefix: p, Scope: scopeOf(netlink.Scope(a.Scope)), NoRoute: r.plan.Dumped && a.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
				Deprecated: r.plan.Dumped && a.Flags&unix.IFA_F_DEPRECATED != 0,
			})
		}
	}
	return out, nil
}

// oldestFirst sorts the addresses of each device by age, as a Plan has them. Of IPv6 the kernel lists the youngest of a scope first (ipv6_link_dev_addr), and
// chooses the youngest where nothing else decides.
func oldestFirst(all []netlink.Addr, family int) {
	if family == unix.AF_INET6 {
		slices.Reverse(all)
	}
	slices.SortStableFunc(all, func(a, b netlink.Addr) int { return a.LinkIndex - b.LinkIndex })
}

// families are those that the kernel has in the namespace: IPv6 is off where the Plan has no address of it.
func (r *reader) families() []int {
	if slices.ContainsFunc(r.plan.Addresses, func(a topology.Address) bool { return a.Prefix.Addr().Is6() }) {
		return []int{unix.AF_INET, unix.AF_INET6}
	}
	return []int{unix.AF_INET}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

func scopeOf(s netlink.Scope) topology.Scope {
	switch s {
	case netlink.SCOPE_LINK:
		return topology.ScopeLink
	case netlink.SCOPE_HOST:
		return topology.ScopeHost
	case netlink.SCOPE_UNIVERSE, netlink.SCOPE_SITE, netlink.SCOPE_NOWHERE:
	}
	return topology.ScopeGlobal
}

// routes is the main table, without the connected routes that the kernel makes of addresses; what is in others is noted.
func (r *reader) routes(addresses []topology.Address) (out []topology.Route, err error) {
	for _, family := range r.families() {
		all, err := r.nl.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		out = append(out, r.routesOf(family, all, addresses)...)
	}
	return out, nil
}

func (r *reader) routesOf(family int, all []netlink.Route, addresses []topology.Address) (out []topology.Route) {
	for _, x := range all {
		if x.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		route := r.route(family, x)
		switch {
		case r.plan.Dumped:
			out = append(out, typed(route, x))
		case x.Type == unix.RTN_UNREACHABLE || x.Type == unix.RTN_PROHIBIT:
			r.other = append(r.other, "a route refuses "+route.Dst.String())
		case x.Table != unix.RT_TABLE_MAIN:
			r.other = append(r.other, fmt.Sprintf("route %s in table %d", route, x.Table))
		case route.Protocol == "kernel" && ofAddress(route, addresses):
		default:
			out = append(out, route)
		}
	}
	return out
}

// typed is a route with the types and the table that a Plan's own routes have not.
func typed(route topology.Route, x netlink.Route) topology.Route {
	route.Table = tableName(x.Table)
	switch x.Type {
	case unix.RTN_UNREACHABLE:
		route.Type = topology.Unreachable
	case unix.RTN_PROHIBIT:
		route.Type = topology.Prohibit
	case unix.RTN_THROW:
		route.Type = topology.Throw
	}
	return route
}

func (r *reader) route(family int, x netlink.Route) topology.Route {
	out := topology.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Device: r.names[x.LinkIndex], Scope: scopeOf(x.Scope)}
	if family == unix.AF_INET6 {
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if p, ok := prefixOf(x.Dst); ok && x.Dst.IP != nil {
		out.Dst = p
	}
	if x.Type == unix.RTN_BLACKHOLE {
		out.Type = topology.Blackhole
		out.Device = "" // of IPv6 it is lo
	}
	if via, ok := netip.AddrFromSlice(x.Gw); ok {
		out.Via = via.Unmap()
	}
	if src, ok := netip.AddrFromSlice(x.Src); ok {
		out.Src = src.Unmap()
	}
	out.Onlink = x.Flags&int(netlink.FLAG_ONLINK) != 0
	switch x.Protocol {
	case unix.RTPROT_BOOT:
	case unix.RTPROT_KERNEL:
		out.Protocol = "kernel"
	case unix.RTPROT_STATIC:
		out.Protocol = "static"
	case unix.RTPROT_BIRD:
		out.Protocol = "bird"
	default:
		out.Protocol = strconv.Itoa(int(x.Protocol))
	}
	return out
}

func (r *reader) neighbours() (out []topology.Neighbour, err error) {
	for _, family := range append(r.families(), unix.AF_BRIDGE) {
		all, err := r.nl.NeighList(0, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range all {
			if n.State&netlink.NUD_PERMANENT == 0 {
				continue
			}
			e := topology.Neighbour{Device: r.names[n.LinkIndex], MAC: n.HardwareAddr.String()}
			ip, _ := netip.AddrFromSlice(n.IP)
			if family == unix.AF_BRIDGE {
				if n.Flags&netlink.NTF_SELF == 0 || !ip.IsValid() {
					continue
				}
				e.FDB, e.Remote = true, ip.Unmap()
			} else {
				e.IP = ip.Unmap()
			}
			if !e.IP.IsMulticast() && !strings.HasPrefix(e.MAC, "01:00:5e") && e.IP != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && (e.FDB || e.Device != "lo" && e.MAC != "") {
				out = append(out, e)
			}
		}
	}
	for _, family := range r.families() {
		proxies, err := r.nl.NeighProxyList(0, family)
		if err != nil {
			return nil, fmt.Errorf("list proxy neighbours: %w", err)
		}
		for _, n := range proxies {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, topology.Neighbour{Device: r.names[n.LinkIndex], IP: ip.Unmap(), Proxy: true})
			}
		}
	}
	return out, nil
}

// tracked are the settings of connection tracking that each namespace has of its own, with what a new one has (tcp_timeouts,
// udp_timeouts, nf_conntrack_tcp_init_net).
var tracked = []topology.Sysctl{
	{Key: "checksum", Value: "1"},
	{Key: "tcp_be_liberal", Value: "0"},
	{Key: "tcp_loose", Value: "1"},
	{Key: "tcp_max_retrans", Value: "3"},
	{Key: "tcp_timeout_syn_sent", Value: "120"},
	{Key: "tcp_timeout_syn_recv", Value: "60"},
	{Key: "tcp_timeout_established", Value: "432000"},
	{Key: "tcp_timeout_fin_wait", Value: "120"},
	{Key: "tcp_timeout_close_wait", Value: "60"},
	{Key: "tcp_timeout_last_ack", Value: "30"},
	{Key: "udp_timeout", Value: "30"},
	{Key: "udp_timeout_stream", Value: "120"},
	{Key: "icmp_timeout", Value: "30"},
}

// tracking notes a node's settings of connection tracking that neither the Plan nor the kernel made so.
func (r *reader) tracking() {
	if r.plan.Kind != topology.KindNode {
		return
	}
	count, _ := r.number("net/netfilter/nf_conntrack_count")
	if room, limited := r.number("net/netfilter/nf_conntrack_max"); limited && room > 0 && count >= room {
		r.other = append(r.other, fmt.Sprintf("connection tracking is full: %d of %d connections (net/netfilter/nf_conntrack_max)", count, room))
	}
	for _, s := range tracked {
		key := "net/netfilter/nf_conntrack_" + s.Key
		planned := slices.ContainsFunc(r.plan.Sysctls, func(p topology.Sysctl) bool { return p.Key == key })
		if is, has := r.settings.read(key); has && !planned && is != s.Value {
			r.other = append(r.other, fmt.Sprintf("%s is %s, a new namespace has %s", key, is, s.Value))
		}
	}
}

// number is a setting that is one; ok is false where it is not there.
func (r *reader) number(key string) (n int, ok bool) {
	text, has := r.settings.read(key)
	n, err := strconv.Atoi(text)
	return n, has && err == nil
}

// rules notes rules of routing besides the three that every namespace is born with.
func (r *reader) rules() error {
	var all []netlink.Rule
	for _, family := range r.families() {
		of, err := r.nl.RuleList(family)
		if err != nil {
			return fmt.Errorf("list rules of routing: %w", err)
		}
		all = append(all, of...)
	}
	for _, x := range all {
		if x.Table == unix.RT_TABLE_LOCAL && x.Priority <= 0 || x.Table == unix.RT_TABLE_MAIN && x.Priority == 32766 || x.Table == unix.RT_TABLE_DEFAULT && x.Priority == 32767 {
			continue
		}
		r.other = append(r.other, "rule of routing: "+x.String())
	}
	return nil
}

// disciplines notes queueing disciplines that are not the kernel's own choice: they delay, drop and filter.
func (r *reader) disciplines(links []netlink.Link) error {
	all, err := r.nl.QdiscList(nil)
	if err != nil {
		return fmt.Errorf("list queueing disciplines: %w", err)
	}
	for _, l := range links {
		for _, q := range all {
			if q.Attrs().LinkIndex != l.Attrs().Index {
				continue
			}
			switch kind := q.Type(); kind {
			case "noqueue", "mq", "pfifo_fast", "fq_codel", "fq":
			default:
				r.other = append(r.other, fmt.Sprintf("device %s: queueing discipline %s%s", l.Attrs().Name, kind, r.filters(l, kind)))
			}
		}
	}
	return nil
}

// filters are the filters at a device whose discipline has none but them.
func (r *reader) filters(l netlink.Link, kind string) (out string) {
	if kind != "clsact" && kind != "ingress" {
		return ""
	}
	for at, parent := range map[string]uint32{"in": netlink.HANDLE_MIN_INGRESS, "out": netlink.HANDLE_MIN_EGRESS} {
		all, err := r.nl.FilterList(l, parent)
		if err != nil { // what is attached there has no filters
			continue
		}
		for _, f := range all {
			out += " " + f.Type() + " (" + at + ")"
		}
	}
	return out
}
