package kubeproxy

import (
	"net/netip"
	"slices"

	"natlab/nat"
	ipt "natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// detectLocal sets how packets from the node's own pods are told from others (detectLocalMode).
func (g *generator) detectLocal() {
	switch g.config.DetectLocalMode {
	case "", "ClusterCIDR":
		g.localByPrefix(g.config.ClusterCIDRs)
	case "NodeCIDR":
		g.localByPrefix(g.node.PodCIDRs)
	case "BridgeInterface":
		g.localByDevice(g.config.BridgeInterface)
	case "InterfaceNamePrefix":
		g.localByDevice(g.config.InterfacePrefix + "+")
	}
}

func (g *generator) localByPrefix(prefixes []netip.Prefix) {
	for _, p := range prefixes {
		if ofFamily(p.Addr(), g.family) {
			p = p.Masked()
			g.local, g.notLocal = []xt.Match{ipt.Source{Prefix: p}}, ipt.Source{Not: true, Prefix: p}
			if p.Bits() == 0 {
				g.local = nil // iptables-save prints no source that is everything
			}
			return
		}
	}
}

func (g *generator) localByDevice(name string) {
	if name == "" || name == "+" {
		return
	}
	g.local, g.notLocal = []xt.Match{ipt.InInterface{Device: name}}, ipt.InInterface{Not: true, Device: name}
}

// ownIP is the node's address of the family, as the release finds it; 0.0.0.0 where it finds none.
func (g *generator) ownIP() netip.Addr {
	bind := g.config.BindAddress
	bound := bind.IsValid() && !bind.IsUnspecified()
	if bound && ofFamily(bind, g.family) {
		return bind
	}
	unspecified, loopback := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if g.family == nat.IPv6 {
		unspecified, loopback = netip.IPv6Unspecified(), netip.IPv6Loopback()
	}
	switch g.release.NodeIP {
	case NodeIPBindOnly:
		return unspecified
	case NodeIPOneFamily:
		if len(g.node.Addresses) > 0 && !bound && ofFamily(g.node.Addresses[0], g.family) {
			return g.node.Addresses[0]
		}
		if len(g.node.Addresses) == 0 && !bound && g.family == nat.IPv4 {
			return loopback
		}
		return unspecified
	case NodeIPEachFamily:
		if a, ok := g.primary(); ok {
			return a
		}
	}
	return loopback
}

// primary is the Node's first address of the family, an ExternalIP where it has no InternalIP of it (GetNodeHostIPs).
func (g *generator) primary() (netip.Addr, bool) {
	for _, a := range slices.Concat(g.node.Addresses, g.node.ExternalIPs) {
		if ofFamily(a, g.family) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// nodePortAddresses is where node ports are served.
type nodePortAddresses struct {
	all       bool           // at every address of the node
	loopback  bool           // 127.0.0.0/8 among them, or a part of it that begins there
	cidrs     []netip.Prefix // where not all: at those of its addresses that are in one of these
	addresses []netip.Addr   // which are these, sorted by their text
}

// nodePortAddresses reads the configuration's CIDRs of the family. No CIDR of the family means every address, as does
// one of prefix length 0.
func (g *generator) nodePortAddresses() nodePortAddresses {
	var n nodePortAddresses
	given := false
	for _, text := range g.nodePortStrings() {
		p, err := netip.ParsePrefix(text)
		if err != nil || !ofFamily(p.Addr(), g.family) { // topology refused what is no CIDR
			continue
		}
		mode := g.release.ZeroLength
		if text == "0.0.0.0/0" || text == "::/0" {
			mode = ZeroLengthAll
		}
		if p.Bits() == 0 && mode == ZeroLengthAll {
			return nodePortAddresses{all: true, loopback: true}
		}
		given = true
		n.loopback = n.loopback || p.Addr().IsLoopback() || p.Masked().Contains(loopback4.Addr())
		if p.Bits() > 0 || mode == ZeroLengthContains {
			n.cidrs = append(n.cidrs, p.Masked())
		}
	}
	if !given {
		return nodePortAddresses{all: true, loopback: true}
	}
	for _, a := range g.deviceAddresses() {
		if slices.ContainsFunc(n.cidrs, func(p netip.Prefix) bool { return p.Contains(a) }) && !slices.Contains(n.addresses, a) {
			n.addresses = append(n.addresses, a)
		}
	}
	slices.SortFunc(n.addresses, func(a, b netip.Addr) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return n
}

// nodePortStrings is nodePortAddresses with the keywords written out.
func (g *generator) nodePortStrings() []string {
	var out []string
	for _, s := range g.config.NodePortAddresses {
		switch s {
		case "primary":
			for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
				other := *g
				other.family = f
				if a := other.ownIP(); !a.IsLoopback() && !a.IsUnspecified() {
					out = append(out, single(a).String())
				}
			}
		case "localhost":
			out = append(out, loopback4.String(), loopback6.String())
		case "all":
			out = append(out, "0.0.0.0/0", "::/0")
		default:
			out = append(out, s)
		}
	}
	return out
}

// deviceAddresses are the addresses of the node's devices that the cluster knows of: loopback, the underlay's, the tunnel's.
func (g *generator) deviceAddresses() []netip.Addr {
	addrs := append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, g.node.Addresses...)
	addrs = slices.Concat(addrs, g.node.TunnelAddresses, g.more)
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !ofFamily(a, g.family) })
}

// clusterIP is a Service's cluster IP of the family, invalid where it has none.
func (g *generator) clusterIP(s *topology.Service) netip.Addr {
	if s.HeadlessLabel && g.release.LabelsOfBoth {
		return netip.Addr{}
	}
	for _, a := range s.ClusterIPs {
		if ofFamily(a, g.family) {
			return a
		}
	}
	return netip.Addr{}
}

// ingress lists the addresses of a Service's load balancer that kube-proxy captures.
func (g *generator) ingress(s *topology.Service) []netip.Addr {
	byMode := g.release.IngressHasMode && g.gates.ipMode
	var out []netip.Addr
	for _, in := range s.Ingress {
		if ofFamily(in.IP, g.family) && (!byMode || in.IPMode == "" || in.IPMode == "VIP") {
			out = append(out, in.IP)
		}
	}
	return out
}

func (g *generator) externalIPs(s *topology.Service) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(s.ExternalIPs), func(a netip.Addr) bool { return !ofFamily(a, g.family) })
}

// sourceRanges lists a Service's loadBalancerSourceRanges of the family.
func (g *generator) sourceRanges(s *topology.Service) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s.SourceRanges {
		if !ofFamily(p.Addr(), g.family) {
			continue
		}
		if p.Bits() == 0 && g.release.ZeroRangeIsNone {
			return nil
		}
		out = append(out, p.Masked())
	}
	return out
}
