package bundle

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
	"natlab/topology/dump"
)

// borne tells devices what they bear, and which hosts on their links are none of that: a macvlan adds its hardware address to what the device below it
// hears (macvlan_open), which bridge fdb lists, wherever the macvlan itself is.
func (n *Node) borne(b dump.Bundle) {
	own := map[string]bool{}
	for _, d := range n.Namespace.Devices {
		own[d.MAC] = true
	}
	bears := map[string]bool{} // "MAC DEVICE"
	s, _ := b.Section("bridge fdb show")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) != 5 || w[1] != "dev" || w[3] != "self" || w[4] != "permanent" || own[w[0]] {
			continue
		}
		mac, ok := nat.ParseMAC(w[0])
		d := n.device(w[2])
		if !ok || mac[0]&1 != 0 || d == nil || d.Kind == topology.TunnelVXLAN {
			continue
		}
		bears[w[0]+" "+w[2]], d.Bears = true, w[0]
	}
	s, _ = b.Section("ip neigh")
	for line := range strings.Lines(s.Text) {
		w := strings.Fields(line)
		if len(w) < 6 || w[1] != "dev" || w[3] != "lladdr" || bears[w[4]+" "+w[2]] {
			continue
		}
		if d, a := n.device(w[2]), parsed(w[0]); d != nil && a.IsValid() {
			d.Met = append(d.Met, a)
		}
	}
}

// device is one of the node's; nil where it has none of that name.
func (n *Node) device(name string) *topology.Device {
	for i := range n.Namespace.Devices {
		if d := &n.Namespace.Devices[i]; d.Name == name {
			return d
		}
	}
	return nil
}

// parsed is an address; one that is not valid for other words.
func parsed(word string) netip.Addr {
	a, _ := netip.ParseAddr(word)
	return a
}

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
