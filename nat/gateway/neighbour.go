package gateway

import (
	"net/netip"

	"natlab/topology"
)

// neighbour finds the device that a packet for the next hop is delivered to on the link: a static neighbour's, else
// that of who answers ARP, or a neighbour solicitation. nil: nobody does.
func (h *host) neighbour(d *device, via netip.Addr) *device {
	for _, s := range h.static {
		if s.Device != d.Name || s.IP != via || s.FDB {
			continue
		}
		for _, end := range d.hears() {
			if end.MAC == s.MAC {
				return end
			}
		}
	}
	for _, end := range d.hears() {
		if end.host.answersARP(end, via) {
			return end
		}
	}
	return nil
}

// answersARP reports whether a namespace answers ARP for an address on a device of its own (arp_process): for its own
// addresses, for those it was told to, and with proxy_arp for those it would forward to by another device.
func (h *host) answersARP(d *device, a netip.Addr) bool {
	if _, own := h.local[a]; own && !a.IsLoopback() {
		return true
	}
	for _, p := range h.proxies {
		if p.Device == d.Name && p.IP == a {
			return true
		}
	}
	if bridge := h.device(d.Master); d.Master != "" && bridge != nil && h.kind != topology.KindUnderlay {
		for _, far := range bridge.hears() {
			if _, own := far.host.local[a]; own {
				return true
			}
		}
	}
	if a.Is6() || !d.settings.forwarding || !d.settings.proxyARP {
		return false
	}
	next, why := h.lookup(a)
	return why == "" && !next.local() && next.dev != d
}

// tunnelEnd is the underlay address that a VXLAN device sends a packet for a next hop to: by its neighbour entry and
// that one's FDB entry.
func (h *host) tunnelEnd(d *device, via netip.Addr) netip.Addr {
	mac := ""
	for _, s := range h.static {
		if s.Device == d.Name && s.IP == via && !s.FDB {
			mac = s.MAC
		}
	}
	for _, s := range h.static {
		if s.Device == d.Name && s.FDB && s.MAC == mac && mac != "" {
			return s.Remote
		}
	}
	return netip.Addr{}
}
