package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// Route is the route by which a packet left a namespace.
type Route struct {
	Direction nat.Direction `json:"direction"`
	Node      string        `json:"node"`
	Dev       string        `json:"dev"`
	Dst       netip.Addr    `json:"dst"`              // of the packet, of the outer one where it is in a tunnel
	Route     string        `json:"route"`            // as ip route prints it
	NextHop   netip.Addr    `json:"nextHop,omitzero"` // none: the destination is on the link
}

// RoutesOf tells by which route each packet left that was seen going out: the longest of the table main that leads to its destination
// (fib_lookup), where that is by the device that it was seen at. Nothing is told of members that are no nodes, where a node has rules of routing of
// its own, and where the table leads elsewhere.
func RoutesOf(p topology.Plan, hops []Hop) (out []Route) {
	for _, h := range hops {
		ns, known := p.Namespace(h.Node)
		if h.Tap != nat.TapPost || !known || ns.Kind != topology.KindNode || len(ns.Rules) > 0 {
			continue
		}
		dst := h.Tuple.Dst().Addr()
		if h.Outer.IsValid() {
			dst = h.Outer.Dst().Addr()
		}
		r, several := longest(slices.Concat(ns.Routes, connected(ns)), dst)
		if several || r.Device != h.Dev || r.Device == "" {
			continue
		}
		out = append(out, Route{Direction: h.Direction, Node: h.Node, Dev: h.Dev, Dst: dst, Route: r.String(), NextHop: r.Via})
	}
	return out
}

// connected are the routes that come with a namespace's addresses.
func connected(ns topology.Namespace) (out []topology.Route) {
	for _, a := range ns.Addresses {
		if !a.NoRoute && !a.Prefix.IsSingleIP() {
			out = append(out, topology.Route{Dst: a.Prefix.Masked(), Device: a.Device, Protocol: "kernel", Scope: topology.ScopeLink, Src: a.Prefix.Addr()})
		}
	}
	return out
}

// longest is the route of the table main with the longest prefix that holds an address; several: more than one has it.
func longest(all []topology.Route, dst netip.Addr) (best topology.Route, several bool) {
	bits := -1
	for _, r := range all {
		switch {
		case r.Table != "" && r.Table != "main" || !r.Dst.Contains(dst):
		case r.Dst.Bits() > bits:
			best, bits, several = r, r.Dst.Bits(), false
		case r.Dst.Bits() == bits && (r.Device != best.Device || r.Via != best.Via):
			several = true
		}
	}
	return best, several
}
