package conformance

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"natlab/lab"
	"natlab/topology"
)

// world is the lab that all tests of a run share: its own Services, and those of the tests that run.
type world struct {
	lab  *lab.Lab
	base topology.Cluster // as the run found it

	mu       sync.Mutex
	services map[string][]topology.Service // by test; under mu
	wanted   int                           // how often they changed; under mu
	taken    map[netip.Addr]bool           // addresses that a test has; under mu
	ports    uint16                        // node ports that were given out; under mu
	targets  uint16                        // ports of pods that were given out; under mu

	applying sync.Mutex
	applied  int // the change that the lab has taken in last; under applying
}

func newWorld(l *lab.Lab) *world {
	w := &world{lab: l, base: l.Cluster(), services: map[string][]topology.Service{}, taken: map[netip.Addr]bool{}}
	for _, s := range w.base.Services {
		for _, a := range slices.Concat(s.ClusterIPs, s.ExternalIPs) {
			w.taken[a] = true
		}
		for _, in := range s.Ingress {
			w.taken[in.IP] = true
		}
	}
	return w
}

// set makes the Services of a test those, and returns when the nodes have their rules and the pods their servers. Changes that come while
// another is being applied are applied together.
func (w *world) set(ctx context.Context, test string, services []topology.Service, how lab.Sync) error {
	w.mu.Lock()
	if len(services) == 0 {
		delete(w.services, test)
	} else {
		w.services[test] = services
	}
	w.wanted++
	mine := w.wanted
	w.mu.Unlock()
	w.applying.Lock()
	defer w.applying.Unlock()
	if w.applied >= mine && how == lab.Partial {
		return nil
	}
	c, covers := w.cluster()
	if _, err := w.lab.Apply(ctx, c, how); err != nil {
		return err
	}
	w.applied = covers
	return nil
}

// cluster is the lab's with the Services of all tests, and the number of the last change that is in it.
func (w *world) cluster() (topology.Cluster, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.base
	c.Services = slices.Clone(c.Services)
	for _, of := range w.services {
		c.Services = append(c.Services, of...)
	}
	slices.SortFunc(c.Services, func(a, b topology.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return c, w.wanted
}

// Where tests have their ports. Kubernetes keeps 30000 to 30085 of the node ports for those who name one, and what it chooses begins behind.
const (
	firstNodePort = 31500
	firstTarget   = 12000
	targetsOfTest = 32
)

// nodePort is one that no Service has.
func (w *world) nodePort() uint16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		port := firstNodePort + w.ports
		w.ports++
		if !slices.ContainsFunc(w.base.Services, func(s topology.Service) bool {
			return s.HealthCheckNodePort == port || slices.ContainsFunc(s.Ports, func(p topology.ServicePort) bool { return p.NodePort == port })
		}) {
			return port
		}
	}
}

// target is the first of the ports of pods that a test has for itself.
func (w *world) target() uint16 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.targets++
	return firstTarget + (w.targets-1)*targetsOfTest
}

// serviceRange is where cluster IPs of a family are: a ServiceCIDR, the network around the other Services' addresses, or kubeadm's.
func (w *world) serviceRange(f topology.Family) netip.Prefix {
	for _, p := range w.base.ServiceCIDRs {
		if topology.FamilyOf(p.Addr()) == f {
			return p
		}
	}
	bits, network := 16, netip.MustParsePrefix("10.96.0.0/16")
	if f == topology.IPv6 {
		bits, network = 112, netip.MustParsePrefix("fd00:10:96::/112")
	}
	for _, s := range w.base.Services {
		for _, a := range s.ClusterIPs {
			if topology.FamilyOf(a) == f {
				return netip.PrefixFrom(a, bits).Masked()
			}
		}
	}
	return network
}

// clusterIPsBehind is how far behind the beginning of a range the tests' addresses are.
const clusterIPsBehind = 0x7700

// clusterIP is an address of a range that no Service has.
func (w *world) clusterIP(network netip.Prefix) (netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := network.Addr().AsSlice()
	a[len(a)-2] |= clusterIPsBehind >> 8
	ip, _ := netip.AddrFromSlice(a)
	for w.taken[ip] {
		ip = ip.Next()
	}
	if !network.Contains(ip) {
		return netip.Addr{}, fmt.Errorf("the range %s of cluster IPs has no room for a test's: want one of /16, or of /112", network)
	}
	w.taken[ip] = true
	return ip, nil
}

// balancer is a load balancer's address of a family that a node announces and nobody has; false where there is none.
func (w *world) balancer(node string, f topology.Family) (netip.Addr, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lb := range w.base.LoadBalancers {
		if lb.AnnouncedBy == node && topology.FamilyOf(lb.Address) == f && !w.taken[lb.Address] {
			w.taken[lb.Address] = true
			return lb.Address, true
		}
	}
	return netip.Addr{}, false
}

// giveBack lets others have addresses.
func (w *world) giveBack(all []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range all {
		delete(w.taken, a)
	}
}
