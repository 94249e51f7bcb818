package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// Settings are the sysctls that an audit looks at; * stands for any device.
func Settings() []string {
	return []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables",
		"net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/src_valid_mark", "net/ipv4/conf/*/route_localnet",
	}
}

// Bridged reports whether a node's pods are behind a bridge: one that has an address of their network.
func Bridged(c topology.Cluster, n topology.Namespace) bool {
	return slices.ContainsFunc(n.Devices, func(d topology.Device) bool {
		return d.Kind == topology.Bridge && slices.ContainsFunc(n.Addresses, func(a topology.Address) bool {
			return a.Device == d.Name && slices.ContainsFunc(c.PodNetwork.CIDRs, func(p netip.Prefix) bool { return p.Contains(a.Prefix.Addr()) })
		})
	})
}

// settings finds sysctls of the node that Services do not work with.
func (a *auditor) settings() {
	c, family := a.node.Cluster, a.node.Options.Family
	nodePorts := c.KubeProxy.LocalhostNodePorts && c.KubeProxy.Mode != topology.ModeNFTables && // which serves none at 127.0.0.1
		slices.ContainsFunc(c.Services, func(s topology.Service) bool { return s.Type != topology.ClusterIP })
	const carried = "what pods of one bridge send each other through a Service comes back untranslated: the bridge carries it past the rules"
	for _, s := range []struct {
		family          nat.Family
		key, why, issue string
		holds           bool
	}{
		{nat.IPv4, "net/ipv4/ip_forward", "the node forwards nothing: what it translates to a pod is dropped", "kubernetes#40182", true},
		{nat.IPv6, "net/ipv6/conf/all/forwarding", "the node forwards nothing: what it translates to a pod is dropped", "kubernetes#40182", true},
		{nat.IPv4, "net/bridge/bridge-nf-call-iptables", carried, "kubernetes#33798", a.node.Bridged},
		{nat.IPv6, "net/bridge/bridge-nf-call-ip6tables", carried, "kubernetes#33798", a.node.Bridged},
		{nat.IPv4, "net/ipv4/conf/all/route_localnet", "node ports do not work at 127.0.0.1: the packet is no one's to translate to a pod", "kubernetes#90259", nodePorts},
	} {
		if value, told := a.setting(s.key); !told || !s.holds || value != "0" || family != s.family {
			continue
		}
		key := strings.ReplaceAll(s.key, "/", ".")
		a.found(Finding{Kind: Setting, What: key + " is 0", Why: s.why, Issue: s.issue, Remedy: "sysctl -w " + key + "=1, and keep it in /etc/sysctl.d"})
	}
	if family == nat.IPv4 {
		a.reversePath()
	}
}

func (a *auditor) setting(key string) (value string, told bool) {
	i := slices.IndexFunc(a.node.Sysctls, func(s topology.Sysctl) bool { return s.Key == key })
	if i < 0 {
		return "", false
	}
	return a.node.Sysctls[i].Value, true
}

// device is the larger one of a setting of all devices and of one.
func (a *auditor) device(name, setting string) (value string, told bool) {
	all, ok := a.setting("net/ipv4/conf/all/" + setting)
	own, is := a.setting("net/ipv4/conf/" + name + "/" + setting)
	return max(all, own), ok && is
}

// reversePath finds a strict rp_filter on the node's uplink where the answers of some of its pods are routed out by another one: the kernel asks for the
// way back when it has translated the request to the pod, and drops what came in by the uplink (fib_validate_source).
func (a *auditor) reversePath() {
	uplink, ok := a.uplink("")
	if !ok {
		return
	}
	strict, told := a.device(uplink, "rp_filter")
	if marked, is := a.device(uplink, "src_valid_mark"); !told || strict != "1" || is && marked == "1" { // then a mark may lead back by the same way
		return
	}
	for _, r := range a.node.Namespace.Rules {
		if r.Six || r.Not || !r.From.IsValid() || r.From.Bits() == 0 || r.To.IsValid() || r.In != "" || r.Out != "" || r.Mask != 0 || r.Open != "" || r.Action != topology.RouteByTable || r.Suppress >= 0 {
			continue
		}
		out, ok := a.uplink(r.Table)
		pod := a.podFrom(r.From)
		if !ok || out == uplink || pod == "" {
			continue
		}
		a.found(Finding{
			Kind: Setting, What: fmt.Sprintf("rp_filter of %s is 1, and the rule of routing %d sends the answers of %s out by %s", uplink, r.Priority, pod, out),
			Why:    "node ports that come in by " + uplink + " do not reach that pod: the way back from it is another, and the kernel drops the request",
			Remedy: fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2, and keep it in /etc/sysctl.d", uplink),
		})
		return
	}
}

// uplink is the device of a table's only default route; "" is the table main.
func (a *auditor) uplink(table string) (device string, ok bool) {
	for _, r := range a.node.Namespace.Routes {
		if r.Table != table || !r.Dst.IsValid() || r.Dst.Bits() != 0 || !r.Dst.Addr().Is4() || r.Device == "" {
			continue
		}
		if device != "" && device != r.Device {
			return "", false
		}
		device = r.Device
	}
	return device, device != ""
}

// podFrom is an endpoint of a node port or load balancer on the node whose packets are from a network.
func (a *auditor) podFrom(from netip.Prefix) string {
	for _, s := range a.node.Cluster.Services {
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				if p.NodePort != 0 && e.Node == a.node.Name && from.Contains(e.Addr.Addr()) && !slices.Contains(a.addresses(), e.Addr.Addr()) {
					return e.Addr.Addr().String()
				}
			}
		}
	}
	return ""
}
