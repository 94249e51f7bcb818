package conformance

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
)

// reconcile deletes the nodes' entries of UDP that lead to what is no endpoint any more, as kube-proxy does after a change
// (pkg/proxy/conntrack/cleanup.go): a datagram from a port that asked before would go on to it. Where real kube-proxies run it is theirs.
func (t *stage) reconcile() error {
	if t.proxied {
		return nil
	}
	type front struct {
		addr netip.Addr // invalid: any, of a node port
		port uint16
	}
	ends := map[front][]netip.AddrPort{}
	for _, s := range t.services {
		for _, svc := range s.loaded {
			for _, p := range svc.Ports {
				if p.Protocol != "UDP" {
					continue
				}
				fronts := []front{{port: p.NodePort}}
				for _, a := range slices.Concat(svc.ClusterIPs, svc.ExternalIPs) {
					fronts = append(fronts, front{a, p.Port})
				}
				for _, in := range svc.Ingress {
					fronts = append(fronts, front{in.IP, p.Port})
				}
				for _, f := range fronts {
					if f.port == 0 {
						continue
					}
					ends[f] = slices.Clip(ends[f]) // so that a front without endpoints is there
					for _, e := range p.Endpoints {
						if e.Serving {
							ends[f] = append(ends[f], e.Addr)
						}
					}
				}
			}
		}
	}
	if len(ends) == 0 {
		return nil
	}
	return t.forget(func(c nat.Conn) bool {
		if c.Original.Proto() != nat.UDP {
			return false
		}
		for _, f := range []front{{c.Original.Dst().Addr(), c.Original.Dst().Port()}, {port: c.Original.Dst().Port()}} {
			if now, ours := ends[f]; ours {
				return !slices.Contains(now, c.Reply.Src())
			}
		}
		return false
	})
}

// forget deletes entries of all nodes.
func (t *stage) forget(match func(nat.Conn) bool) error {
	for _, n := range t.world.lab.Nodes() {
		if _, err := t.world.lab.ForgetConns(n, match); err != nil {
			return err
		}
	}
	return nil
}

// leave gives the load balancers' addresses back, without the entries that lead to them: who has one next has other endpoints.
func (t *stage) leave() error {
	if len(t.balancers) == 0 {
		return nil
	}
	err := t.forget(func(c nat.Conn) bool { return slices.Contains(t.balancers, c.Original.Dst().Addr()) })
	t.world.giveBack(t.balancers)
	return err
}

// since reports whether the lab's kube-proxies are of a release, v1.26, or of a later one.
func (t *stage) since(release string) bool {
	minor := func(s string) (n int) {
		scan(s, "v1.", &n)
		return n
	}
	now := t.world.base.KubeProxy.Release
	return now == "" || minor(now) >= minor(strings.TrimSpace(release))
}
