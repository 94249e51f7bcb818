package topology

import (
	"net/netip"
	"slices"
	"strings"
)

// addLinks adds what texts tell of a node's devices: their kinds, bridges and their ports, addresses. notes are what is told and not
// modelled.
func (n *Namespace) addLinks(texts []string) (notes []string, err error) {
	var all links
	for _, text := range texts {
		if err := all.read(text); err != nil {
			return nil, err
		}
	}
	bridges := all.bridges()
	for _, l := range all {
		notes = append(notes, l.notes...)
		n.Devices = append(n.Devices, l.device(bridges))
		for _, a := range l.addresses {
			if a.peer.IsValid() {
				one := a.prefix.Addr()
				n.Addresses = append(n.Addresses, Address{Device: l.name, Prefix: netip.PrefixFrom(one, one.BitLen()), Scope: a.scope, Deprecated: a.old})
				n.Routes = append(n.Routes, Route{Dst: a.peer.Masked(), Device: l.name, Scope: ScopeLink, Protocol: "kernel"})
				continue
			}
			n.Addresses = append(n.Addresses, Address{Device: l.name, Prefix: a.prefix, Scope: a.scope, Deprecated: a.old})
		}
	}
	for _, bridge := range bridges { // a text of bridge(8) has no bridge, but ports that name it
		if !slices.ContainsFunc(all, func(l *link) bool { return l.name == bridge }) {
			n.Devices = append(n.Devices, Device{Name: bridge, Kind: Bridge})
		}
	}
	slices.Sort(notes)
	return slices.Compact(notes), nil
}

// bridges are the devices that are bridges, by their own kind or by what their ports are.
func (all links) bridges() (names []string) {
	for _, l := range all {
		switch {
		case l.kind == "bridge":
			names = append(names, l.name)
		case l.slave == "bridge" && l.master != "" && !slices.Contains(names, l.master):
			names = append(names, l.master)
		}
	}
	return names
}

// device is a device as far as it is told.
func (l *link) device(bridges []string) Device {
	d := Device{Name: l.name, MTU: l.mtu}
	d.Kind, d.KindFrom = l.kindOf(bridges)
	if d.Kind == Loopback {
		d.MTU = 0
	}
	if l.linkType == "ether" && strings.Contains(l.mac, ":") {
		d.MAC = l.mac
	}
	if d.Kind == TunnelVXLAN {
		d.VNI, d.Port, d.Parent, d.Local = l.vxlan.id, uint16(l.vxlan.port), l.vxlan.parent, l.vxlan.local
	}
	if d.Kind == Bridge {
		d.Calls, d.Calls6, d.Filters = l.calls, l.own6, l.filters
	}
	for _, kind := range []string{"macvlan", "ipvlan"} {
		if l.kind == kind || l.kind == "" && strings.HasPrefix(l.name, kind) {
			d.Upon = l.lower
		}
	}
	if slices.Contains(bridges, l.master) {
		d.Master, d.Hairpin = l.master, l.hairpin
	}
	return d
}

// kindOf is a device's kind: as -d prints it, else what its link layer, a device below it or its place in a bridge leave, else what
// its name tells.
func (l *link) kindOf(bridges []string) (DeviceKind, KindSource) {
	switch {
	case slices.Contains(bridges, l.name):
		return Bridge, KindTold
	case l.name == "lo", l.linkType == "loopback":
		return Loopback, KindTold
	case l.linkType == "ipip":
		return TunnelIPIP, KindTold
	case l.kind == "vxlan":
		return TunnelVXLAN, KindTold
	case l.linkType != "" && l.linkType != "ether" && l.linkType != "infiniband":
		return PointToPoint, KindTold
	case l.linkType != "" && (l.kind != "" || l.details), l.upper, l.slave == "bridge", slices.Contains(bridges, l.master):
		return Veth, KindTold
	}
	d := deviceNamed(l.name)
	return d.Kind, d.KindFrom
}
