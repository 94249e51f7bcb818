package bundle

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/topology"
	"natlab/topology/dump"
)

// neighbours reads what somebody gave the node of its neighbours' hardware addresses for good, what it answers ARP for, and to which hosts
// its VXLAN devices send frames for which hardware address. What the node learnt itself is learnt again.
func (n *Node) neighbours(b dump.Bundle) {
	add := func(e topology.Neighbour) {
		if !slices.Contains(n.Namespace.Neighbours, e) {
			n.Namespace.Neighbours = append(n.Namespace.Neighbours, e)
		}
	}
	s, _ := b.Section("ip neigh")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) < 6 || w[1] != "dev" || w[3] != "lladdr" || w[len(w)-1] != "PERMANENT" {
			continue
		}
		if a, err := netip.ParseAddr(w[0]); err == nil {
			add(topology.Neighbour{Device: w[2], IP: a, MAC: w[4]})
		}
	}
	s, _ = b.Section("ip neigh show proxy")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) < 4 || w[1] != "dev" || !slices.Contains(w, "proxy") {
			continue
		}
		if a, err := netip.ParseAddr(w[0]); err == nil {
			add(topology.Neighbour{Device: w[2], IP: a, Proxy: true})
		}
	}
	s, _ = b.Section("bridge fdb show")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) < 5 || w[1] != "dev" || w[3] != "dst" {
			continue
		}
		if a, err := netip.ParseAddr(w[4]); err == nil {
			add(topology.Neighbour{Device: w[2], MAC: w[0], FDB: true, Remote: a})
		}
	}
}
