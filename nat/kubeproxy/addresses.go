package kubeproxy

import (
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// detection is how packets from the node's own pods are told from others: by where they come from, or by the device that they come
// in by. The zero value tells nothing.
type detection struct {
	prefix netip.Prefix
	device string
	begins bool // any device whose name begins so
}

// tells reports whether anything tells pods from others.
func (d detection) tells() bool { return d.prefix.IsValid() || d.device != "" }

// detectLocal finds how packets from the node's own pods are told from others (detectLocalMode).
func (d *decider) detectLocal() detection {
	var prefixes []netip.Prefix
	switch d.config.DetectLocalMode {
	case "", "ClusterCIDR":
		prefixes = d.config.ClusterCIDRs
	case "NodeCIDR":
		prefixes = d.node.PodCIDRs
	case "BridgeInterface":
		return detection{device: d.config.BridgeInterface}
	case "InterfaceNamePrefix":
		return detection{device: d.config.InterfacePrefix, begins: d.config.InterfacePrefix != ""}
	}
	for _, p := range prefixes {
		if ofFamily(p.Addr(), d.family) {
			return detection{prefix: p.Masked()}
		}
	}
	return detection{}
}

// ownIP is the node's address of the family, as the release finds it; 0.0.0.0 where it finds none.
func (d *decider) ownIP() netip.Addr {
	bind := d.config.BindAddress
	bound := bind.IsValid() && !bind.IsUnspecified()
	if bound && ofFamily(bind, d.family) {
		return bind
	}
	unspecified, loopback := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if d.family == nat.IPv6 {
		unspecified, loopback = netip.IPv6Unspecified(), netip.IPv6Loopback()
	}
	switch d.release.NodeIP {
	case NodeIPBindOnly:
		return unspecified
	case NodeIPOneFamily:
		if len(d.node.Addresses) > 0 && !bound && ofFamily(d.node.Addresses[0], d.family) {
			return d.node.Addresses[0]
		}
		if len(d.node.Addresses) == 0 && !bound && d.family == nat.IPv4 {
			return loopback
		}
		return unspecified
	case NodeIPEachFamily:
		if a, ok := d.primary(); ok {
			return a
		}
	}
	return loopback
}

// primary is the Node's first address of the family, an ExternalIP where it has no InternalIP of it (GetNodeHostIPs).
func (d *decider) primary() (netip.Addr, bool) {
	for _, a := range slices.Concat(d.node.Addresses, d.node.ExternalIPs) {
		if ofFamily(a, d.family) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// nodePortAddresses is where node ports are served.
type nodePortAddresses struct {
	all        bool           // at every address of the node
	loopback   bool           // 127.0.0.0/8 among them, or a part of it that begins there
	onLoopback bool           // a loopback network is named, not only one that has it in it
	cidrs      []netip.Prefix // where not all: at those of its addresses that are in one of these
	addresses  []netip.Addr   // which are these, sorted by their text
}

// nodePortAddresses reads the configuration's CIDRs of the family. No CIDR of the family means every address, as does
// one of prefix length 0.
func (d *decider) nodePortAddresses() nodePortAddresses {
	var n nodePortAddresses
	given := false
	for _, text := range d.nodePortStrings() {
		p, err := netip.ParsePrefix(text)
		if err != nil || !ofFamily(p.Addr(), d.family) { // topology refused what is no CIDR
			continue
		}
		mode := d.release.ZeroLength
		if text == "0.0.0.0/0" || text == "::/0" {
			mode = ZeroLengthAll
		}
		n.onLoopback = n.onLoopback || p.Masked().Addr().IsLoopback()
		if p.Bits() == 0 && mode == ZeroLengthAll {
			n.all = true
		}
		given = true
		n.loopback = n.loopback || p.Addr().IsLoopback() || p.Masked().Contains(loopback4.Addr())
		if p.Bits() > 0 || mode == ZeroLengthContains {
			n.cidrs = append(n.cidrs, p.Masked())
		}
	}
	if !given || n.all {
		return nodePortAddresses{all: true, loopback: true, onLoopback: n.onLoopback}
	}
	for _, a := range d.deviceAddresses() {
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
func (d *decider) nodePortStrings() []string {
	var out []string
	for _, s := range d.config.NodePortAddresses {
		switch s {
		case "primary":
			for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
				other := *d
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
func (d *decider) deviceAddresses() []netip.Addr {
	addrs := append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, d.node.Addresses...)
	addrs = slices.Concat(addrs, d.node.TunnelAddresses, d.more)
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !ofFamily(a, d.family) })
}

// clusterIP is a Service's cluster IP of the family, invalid where it has none.
func (d *decider) clusterIP(s *topology.Service) netip.Addr {
	if s.HeadlessLabel && d.release.LabelsOfBoth {
		return netip.Addr{}
	}
	for _, a := range s.ClusterIPs {
		if ofFamily(a, d.family) {
			return a
		}
	}
	return netip.Addr{}
}

// ingress lists the addresses of a Service's load balancer that kube-proxy captures.
func (d *decider) ingress(s *topology.Service) []netip.Addr {
	byMode := d.release.IngressHasMode && d.gates.ipMode
	var out []netip.Addr
	for _, in := range s.Ingress {
		if ofFamily(in.IP, d.family) && (!byMode || in.IPMode == "" || in.IPMode == "VIP") {
			out = append(out, in.IP)
		}
	}
	return out
}

func (d *decider) externalIPs(s *topology.Service) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(s.ExternalIPs), func(a netip.Addr) bool { return !ofFamily(a, d.family) })
}

// sourceRanges lists a Service's loadBalancerSourceRanges of the family.
func (d *decider) sourceRanges(s *topology.Service) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s.SourceRanges {
		if !ofFamily(p.Addr(), d.family) {
			continue
		}
		if p.Bits() == 0 && d.release.ZeroRangeIsNone {
			return nil
		}
		out = append(out, p.Masked())
	}
	return out
}
