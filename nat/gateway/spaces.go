package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"natlab/nat/behaviour"
	"natlab/topology"
)

// space is a namespace of a Network. That of a pod, of which there may be many thousands, is made a Gateway of once a packet comes near it.
type space struct {
	ns      *topology.Namespace
	network *Network
	once    sync.Once
	made    *Gateway
}

// gateway is the namespace as a Gateway.
func (s *space) gateway() *Gateway {
	s.once.Do(func() {
		if s.made != nil {
			return
		}
		var err error
		if s.made, err = s.network.make(s.ns); err != nil {
			panic(fmt.Errorf("a namespace that waits has nothing that can be wrong: %w", err))
		}
	})
	return s.made
}

// waits reports whether a namespace's Gateway can be made when it is asked for: nothing in it can be wrong, and nobody looks for rules there.
func (n *Network) waits(ns *topology.Namespace) bool {
	facts := n.setup.factsOf(ns)
	tracking := func(s topology.Sysctl) bool { return strings.HasPrefix(s.Key, "net/netfilter/") }
	return ns.Kind == topology.KindPod && n.setup.rulesOf(ns) == nil && len(facts.natives(n.setup.Family)) == 0 && !slices.ContainsFunc(ns.Sysctls, tracking)
}

// factsOf are what is known of a namespace.
func (s *Setup) factsOf(ns *topology.Namespace) Facts {
	facts := s.Facts
	if sets, ok := s.SetsOf[ns.Member]; ok {
		facts.Sets = sets
	}
	if native, ok := s.NFTOf[ns.Member]; ok {
		facts.NFT = native
	}
	if ns.Kind != topology.KindNode {
		facts.NAT = behaviour.NAT{} // theirs is their kernel's
	}
	return facts
}

// make makes a Gateway of a namespace, without its rules.
func (n *Network) make(ns *topology.Namespace) (*Gateway, error) {
	g, err := NewGateway(*ns, nil, NodeOptions{Facts: n.setup.factsOf(ns), Family: n.setup.Family})
	if err != nil {
		return nil, err
	}
	if n.setup.KernelIPIP { // it was there when the namespace was born
		slices.SortStableFunc(g.host.devices, func(a, b *device) int { return a.birth() - b.birth() })
	}
	g.host.network = n
	return g, nil
}

// checkWires reports a veth whose other end is not in the plan.
func (n *Network) checkWires(namespaces []topology.Namespace) error {
	there := map[topology.Peer]bool{}
	for i := range namespaces {
		for j := range namespaces[i].Devices {
			there[topology.Peer{Namespace: namespaces[i].Name, Device: namespaces[i].Devices[j].Name}] = true
		}
	}
	for i := range namespaces {
		for j := range namespaces[i].Devices {
			if d := &namespaces[i].Devices[j]; d.Kind == topology.Veth && !there[d.Peer] {
				return fmt.Errorf("%s: device %s: its other end %s in %s is not in the plan", namespaces[i].Member, d.Name, d.Peer.Device, d.Peer.Namespace)
			}
		}
	}
	return nil
}

// hears are the devices that hear what leaves by one. What a pod sends to a bridge of its node is the node's to hand on; what hears the node's
// bridge is behind its ports.
func (d *device) hears() []*device {
	d.once.Do(func() {
		n := d.host.network
		switch {
		case n == nil:
		case d.Kind == topology.Bridge && d.host.kind != topology.KindUnderlay:
			for _, port := range d.host.devices {
				if port.Master == d.Name && port.Kind == topology.Veth {
					d.segment = append(d.segment, n.hearing(port)...)
				}
			}
		case d.Kind == topology.Veth:
			d.segment = n.hearing(d)
		}
	})
	return d.segment
}

// hearing are the devices behind one: its other end, or where that is a port of a switch what is behind the others.
func (n *Network) hearing(d *device) (out []*device) {
	end := n.end(d)
	switch {
	case end == nil:
		return nil
	case end.Master == "" || end.host.kind != topology.KindUnderlay:
		return []*device{end}
	}
	for _, port := range end.host.devices {
		if port.Master != end.Master || port == end || port.Kind != topology.Veth {
			continue
		}
		if far := n.end(port); far != nil {
			out = append(out, far)
		}
	}
	return out
}

// end is the other end of a veth, nil where the plan has none.
func (n *Network) end(d *device) *device {
	if s := n.bySpace[d.Peer.Namespace]; s != nil {
		return s.gateway().host.device(d.Peer.Device)
	}
	return nil
}

// member is a namespace of the lab by its name, nil where there is none of that name.
func (n *Network) member(name string) *Gateway {
	if s := n.members[name]; s != nil {
		return s.gateway()
	}
	return nil
}
