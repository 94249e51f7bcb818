package topology

import (
	"net/netip"
	"slices"
)

// fewNeighbours is how many neighbours of a family a lab may have and find them out by asking, as hosts do. A kernel has one table of them for all its namespaces,
// by default with room for twice as many (net.ipv4.neigh.default.gc_thresh3), and drops what it has none for. Permanent entries do not count
// (neigh_alloc, since Linux 5.0).
const fewNeighbours = 512

// KnowNeighbours gives the members of a large lab permanent entries for their neighbours: the other end of each link, and on the underlay all the others. Addresses that a node
// answers for, and has not, are asked for all the same: who announces them may change. So is a node that is as it was dumped, and it asks itself: whether
// anybody answers there is up to its own settings. NewPlan has done so; ForgetNeighbours takes it back, for who goes on to change links.
func (p *Plan) KnowNeighbours() {
	ends := p.linkEnds()
	found := make([][]Neighbour, len(p.Namespaces))
	count := map[Family]int{}
	for i := range p.Namespaces {
		found[i] = p.neighboursOf(&p.Namespaces[i], ends)
		for _, n := range found[i] {
			count[FamilyOf(n.IP)]++
		}
	}
	for i, all := range found {
		for _, n := range all {
			if count[FamilyOf(n.IP)] > fewNeighbours {
				p.Namespaces[i].Neighbours = append(p.Namespaces[i].Neighbours, n)
			}
		}
	}
}

// ForgetNeighbours takes the entries of KnowNeighbours back.
func (p *Plan) ForgetNeighbours() {
	for i := range p.Namespaces {
		ns := &p.Namespaces[i]
		ns.Neighbours = slices.DeleteFunc(ns.Neighbours, func(n Neighbour) bool {
			d := ns.device(n.Device)
			return !n.Proxy && !n.FDB && d != nil && d.Kind == Veth
		})
	}
}

// linkEnd is one end of a link: a device with its namespace.
type linkEnd struct {
	ns  *Namespace
	dev *Device
}

// linkEnds are the ends of all links, by their names.
func (p *Plan) linkEnds() map[Peer]linkEnd {
	out := map[Peer]linkEnd{}
	for i := range p.Namespaces {
		ns := &p.Namespaces[i]
		for j := range ns.Devices {
			if d := &ns.Devices[j]; d.Kind == Veth {
				out[Peer{Namespace: ns.Name, Device: d.Name}] = linkEnd{ns, d}
			}
		}
	}
	return out
}

// neighboursOf are those that a namespace would ask for.
func (p *Plan) neighboursOf(ns *Namespace, ends map[Peer]linkEnd) (out []Neighbour) {
	if ns.Dumped {
		return nil
	}
	for i := range ns.Devices {
		d := &ns.Devices[i]
		far, linked := ends[d.Peer]
		if d.Kind != Veth || d.Master != "" || !linked {
			continue
		}
		if far.dev.Master == "" {
			out = append(out, far.neighbours(d.Name, ns.nextHops(d.Name))...)
			continue
		}
		for j := range far.ns.Devices { // a switch
			port := &far.ns.Devices[j]
			if other, there := ends[port.Peer]; there && port.Master == far.dev.Master && port != far.dev {
				out = append(out, other.neighbours(d.Name, nil)...)
			}
		}
	}
	return out
}

// nextHops are the next hops of a namespace's routes by a device.
func (n *Namespace) nextHops(device string) (out []netip.Addr) {
	for i := range n.Routes {
		if r := &n.Routes[i]; r.Device == device && r.Via.IsValid() {
			out = append(out, r.Via)
		}
	}
	return out
}

// neighbours are the entries that a device needs to reach the end of a link: those of its addresses, and of others that it answers for. A link-local address is
// a next hop or nobody's.
func (e linkEnd) neighbours(device string, others []netip.Addr) (out []Neighbour) {
	if e.ns.Dumped || e.dev.MAC == "" {
		return nil
	}
	add := func(a netip.Addr) {
		for i := range out {
			if out[i].IP == a {
				return
			}
		}
		out = append(out, Neighbour{Device: device, IP: a, MAC: e.dev.MAC})
	}
	for i := range e.ns.Addresses {
		if a := &e.ns.Addresses[i]; a.Device == e.dev.Name && !a.Prefix.Addr().IsLinkLocalUnicast() {
			add(a.Prefix.Addr())
		}
	}
	for _, a := range others {
		add(a)
	}
	return out
}
