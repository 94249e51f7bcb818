package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/portmap"
	"natlab/nat/xt"
	"natlab/topology"
)

// side is the cluster with its kube-proxies in one mode, as data.
type side struct {
	mode     string
	cluster  topology.Cluster
	plan     topology.Plan
	setups   map[nat.Family]gateway.Setup
	networks map[nat.Family]*gateway.Network
	serves   map[string]func(netip.Addr) bool // node ports, by node and family
}

// families are the cluster's, the primary one first.
func families(c topology.Cluster) (out []nat.Family) {
	for _, f := range c.Families() {
		out = append(out, nat.Family(f))
	}
	return out
}

// newSide works the rules of one mode out, with what other agents have on the nodes beside them.
func newSide(c topology.Cluster, mode string, beside Beside) (*side, error) {
	c.KubeProxy.Mode = ""
	if mode == topology.ModeNFTables {
		c.KubeProxy.Mode = topology.ModeNFTables
	}
	plan, err := topology.NewPlan(c)
	if err != nil {
		return nil, err
	}
	s := &side{
		mode: mode, cluster: c, plan: plan,
		setups: map[nat.Family]gateway.Setup{}, networks: map[nat.Family]*gateway.Network{}, serves: map[string]func(netip.Addr) bool{},
	}
	for _, family := range families(c) {
		if err := s.add(family, beside); err != nil {
			return nil, fmt.Errorf("%s mode: %w", mode, err)
		}
	}
	return s, s.wire()
}

// add works the rules of one family out.
func (s *side) add(family nat.Family, beside Beside) error {
	setup := gateway.Setup{
		Plan: s.plan, Family: family, Rules: map[string]gateway.Rules{}, NFTOf: map[string]nftables.Ruleset{},
	}
	setup.Servers = topology.Servers(s.cluster)
	for _, n := range s.cluster.Nodes {
		o := kubeproxy.Options{Family: family, NodeAddresses: n.DeviceAddrs}
		at, err := kubeproxy.NodePortsAt(s.cluster, n.Name, o)
		if err != nil {
			return err
		}
		s.serves[servesKey(n.Name, family)] = at
		setup.Servers = append(setup.Servers, s.healthChecks(n.Name, family, at)...)
		live := beside.of(n.Name, family)
		if s.mode == topology.ModeNFTables {
			if setup.NFTOf[n.Name], err = kubeproxy.Tables(s.cluster, n.Name, o); err != nil {
				return err
			}
			listens, err := kubeproxy.LocalhostListener(s.cluster, n.Name, o)
			if err != nil {
				return err
			}
			if listens {
				setup.Servers = append(setup.Servers, s.localhost(n.Name)...)
			}
			live = withoutProxy(live)
		} else {
			u, err := kubeproxy.NewUpdate(nil, s.cluster, n.Name, o)
			if err != nil {
				return err
			}
			live = u.Apply(live, kubeproxy.DeleteStale)
		}
		if rs := portmap.Add(live, s.cluster, n.Name); len(rs.Tables) > 0 {
			setup.Rules[n.Name] = gateway.Rules{rs}
		}
	}
	s.setups[family] = setup
	return nil
}

func servesKey(node string, family nat.Family) string { return node + " " + family.String() }

// wire makes the networks of the setups.
func (s *side) wire() error {
	for family, setup := range s.setups {
		n, err := gateway.NewNetwork(setup)
		if err != nil {
			return err
		}
		s.networks[family] = n
	}
	return nil
}

// proxyServer is the name of the sockets by which kube-proxy answers load balancers' health checks.
const proxyServer = "kube-proxy"

// healthChecks are those sockets on a node.
func (s *side) healthChecks(node string, family nat.Family, at func(netip.Addr) bool) (out []topology.Server) {
	for _, svc := range s.cluster.Services {
		if svc.HealthCheckNodePort == 0 || svc.ExternalPolicy != topology.PolicyLocal {
			continue
		}
		for _, a := range ownAddresses(s.plan, node, family) {
			if at(a) {
				out = append(out, topology.Server{Name: proxyServer, Member: node, Proto: "tcp", Addr: netip.AddrPortFrom(a, svc.HealthCheckNodePort)})
			}
		}
	}
	return out
}

// localhost are the sockets at which kube-proxy takes node ports on localhost.
func (s *side) localhost(node string) (out []topology.Server) {
	for _, svc := range s.cluster.Services {
		for i := range svc.Ports {
			if p := &svc.Ports[i]; p.Protocol == "TCP" && p.NodePort != 0 && usable(p) {
				out = append(out, topology.Server{Name: proxyServer, Member: node, Proto: "tcp", Addr: netip.AddrPortFrom(loopbacks[nat.IPv4][0], p.NodePort)})
			}
		}
	}
	return out
}

// ownAddresses are those of a family that a node's devices have, the primary one first, loopback and link-local ones aside.
func ownAddresses(p topology.Plan, node string, family nat.Family) (out []netip.Addr) {
	ns, _ := p.Namespace(node)
	for _, a := range ns.Addresses {
		ip := a.Prefix.Addr()
		if nat.FamilyOf(ip) == family && a.Scope == topology.ScopeGlobal && !ip.IsLinkLocalUnicast() && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

// Beside is what other agents have in the nodes' iptables, by node, one rule set a family; "" stands for every other node. What there is of
// kube-proxy's own counts as what it left there before.
type Beside map[string][]iptables.Ruleset

func (b Beside) of(node string, family nat.Family) iptables.Ruleset {
	all, ok := b[node]
	if !ok {
		all = b[""]
	}
	for _, rs := range all {
		if rs.Family == family {
			return rs
		}
	}
	return iptables.Ruleset{Family: family}
}

// withoutProxy is what stays of a node's rules when kube-proxy in nftables mode starts: all but the chains of its iptables mode and the rules
// that lead there (CleanupLeftovers). Kubelet's chains stay.
func withoutProxy(rs iptables.Ruleset) iptables.Ruleset {
	own := func(chain string) bool {
		return strings.HasPrefix(chain, "KUBE-") && !strings.HasPrefix(chain, "KUBE-KUBELET-") && chain != "KUBE-FIREWALL"
	}
	out := iptables.Ruleset{Family: rs.Family}
	for _, t := range rs.Tables {
		kept := iptables.Table{Name: t.Name}
		for _, c := range t.Chains {
			if own(c.Name) {
				continue
			}
			c.Rules = slices.DeleteFunc(slices.Clone(c.Rules), func(r iptables.Rule) bool {
				jump, is := r.Target.(xt.Jump)
				return is && own(jump.Chain)
			})
			kept.Chains = append(kept.Chains, c)
		}
		out.Tables = append(out.Tables, kept)
	}
	return out
}

// nodeOf finds whose own address one is; "" for nobody's.
func (s *side) nodeOf(a netip.Addr) string {
	for _, ns := range s.plan.Namespaces {
		if ns.Kind != topology.KindNode {
			continue
		}
		for _, own := range ns.Addresses {
			if own.Prefix.Addr() == a {
				return ns.Member
			}
		}
	}
	return ""
}

// serve reports whether a node serves node ports at an address of its own.
func (s *side) serve(node string, a netip.Addr) bool {
	at := s.serves[servesKey(node, nat.FamilyOf(a))]
	return at != nil && at(a)
}
