package topology

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// String is what Write writes.
func (p Plan) String() string {
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		panic(err) // a Builder takes everything
	}
	return b.String()
}

// Write writes the commands that make the plan by hand: ip(8), bridge(8) and sysctl(8) for a root shell, a line each,
// in an order that works. Names and addresses need no quoting: Load lets no others in.
func (p Plan) Write(w io.Writer) error {
	b := bufio.NewWriter(w) // which keeps the first error
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format+"\n", args...) }
	line("# lab %s: %d namespaces, overlay %s", p.Lab, len(p.Namespaces), p.Overlay)
	for _, ns := range p.Namespaces {
		line("ip netns add %s", ns.Name)
	}
	for _, ns := range p.Namespaces {
		ns.sysctls(line, false)
	}
	byName := make(map[string]*Namespace, len(p.Namespaces))
	for i := range p.Namespaces {
		byName[p.Namespaces[i].Name] = &p.Namespaces[i]
	}
	for _, ns := range p.Namespaces {
		for _, d := range ns.Devices {
			d.create(line, ns.Name, byName[d.Peer.Namespace])
		}
	}
	for _, ns := range p.Namespaces {
		line("# %s %s", ns.Kind, ns.Member)
		ns.sysctls(line, true)
		for _, a := range ns.Addresses {
			line("ip -n %s address add %s", ns.Name, a)
		}
		for _, d := range ns.Devices {
			line("ip -n %s link set %s up", ns.Name, d.Name)
		}
		for _, r := range ns.Routes {
			line("ip -n %s route add %s", ns.Name, r)
		}
		for _, n := range ns.Neighbours {
			if n.FDB {
				line("bridge -n %s fdb add %s", ns.Name, n)
			} else {
				line("ip -n %s neigh add %s", ns.Name, n)
			}
		}
	}
	return b.Flush()
}

// sysctls prints a namespace's settings: those of devices, or the others.
func (n Namespace) sysctls(line func(string, ...any), ofDevices bool) {
	for _, s := range n.Sysctls {
		if (s.Device != "") == ofDevices {
			line("ip netns exec %s sysctl -q -w %s", n.Name, s)
		}
	}
}

// create prints what makes a device of a namespace, for a veth at the end that makes both; far has the other end, and is nil where there is none.
func (d Device) create(line func(string, ...any), ns string, far *Namespace) {
	switch d.Kind {
	case Loopback, PointToPoint:
	case Bridge:
		line("ip -n %s link add %s type bridge", ns, d.settings())
	case Veth:
		if !d.Create {
			return
		}
		peer := Device{Name: d.Peer.Device}
		if far != nil {
			if found := far.device(d.Peer.Device); found != nil {
				peer = *found
			}
		}
		line("ip -n %s link add %s type veth peer %s netns %s", ns, d.settings(), peer.settings(), d.Peer.Namespace)
	case TunnelIPIP:
		line("# where the kernel's ipip module is loaded, every namespace has a %s from the start", d.Name)
		line("ip -n %[1]s link show %[2]s >/dev/null 2>&1 || ip -n %[1]s link add %[2]s type ipip local %[3]s", ns, d.Name, d.Local)
		line("ip -n %s link set %s mtu %d", ns, d.Name, d.MTU)
	case TunnelVXLAN:
		line("ip -n %s link add %s type vxlan id %d local %s dev %s dstport %d nolearning", ns, d.settings(), d.VNI, d.Local, d.Parent, d.Port)
	}
	if d.Master != "" {
		line("ip -n %s link set %s master %s", ns, d.Name, d.Master)
	}
}

// settings is a device's name, MTU and MAC as `ip link add` takes them.
func (d Device) settings() string {
	s := "name " + d.Name
	if d.MTU > 0 {
		s += fmt.Sprintf(" mtu %d", d.MTU)
	}
	if d.MAC != "" {
		s += " address " + d.MAC
	}
	return s
}

// String is the address as `ip address add` takes it: "10.244.169.64/32 dev tunl0".
func (a Address) String() string {
	s := fmt.Sprintf("%s dev %s", a.Prefix, a.Device)
	if a.Scope != ScopeGlobal {
		s += " scope " + a.Scope.String()
	}
	return s
}

// String is the route as `ip route` prints and takes it: "10.244.169.64/26 via 192.168.26.105 dev tunl0 proto bird
// onlink".
func (r Route) String() string {
	var b strings.Builder
	if r.Type != Unicast {
		b.WriteString(r.Type.String() + " ")
	}
	b.WriteString(r.destination())
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	if r.Device != "" {
		b.WriteString(" dev " + r.Device)
	}
	if r.Table != "" {
		b.WriteString(" table " + r.Table)
	}
	if r.Protocol != "" {
		b.WriteString(" proto " + r.Protocol)
	}
	if r.Scope != ScopeGlobal {
		b.WriteString(" scope " + r.Scope.String())
	}
	if r.Src.IsValid() {
		b.WriteString(" src " + r.Src.String())
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	return b.String()
}

// destination is what `ip route` prints: "default" for everything, no length for one address. Without a next hop "default"
// is IPv4's, unless ip is told otherwise.
func (r Route) destination() string {
	switch {
	case r.Dst.Bits() == 0 && r.Dst.Addr().Is6() == r.Via.Is6():
		return "default"
	case r.Dst.IsSingleIP():
		return r.Dst.Addr().String()
	default:
		return r.Dst.String()
	}
}

// String is the entry as `ip neigh add`, or `bridge fdb add` for an FDB one, takes it.
func (n Neighbour) String() string {
	switch {
	case n.FDB:
		return fmt.Sprintf("%s dev %s dst %s self permanent", n.MAC, n.Device, n.Remote)
	case n.Proxy:
		return fmt.Sprintf("proxy %s dev %s", n.IP, n.Device)
	default:
		return fmt.Sprintf("%s lladdr %s dev %s nud permanent", n.IP, n.MAC, n.Device)
	}
}

// String is the setting as `sysctl -w` takes it: "net/ipv4/ip_forward=1".
func (s Sysctl) String() string { return s.Key + "=" + s.Value }
