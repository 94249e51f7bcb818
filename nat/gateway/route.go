package gateway

import (
	"math/bits"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// route is an entry of a namespace's main table, or one that the kernel makes for an address.
type route struct{ topology.Route }

// hop is where a packet goes next.
type nextHop struct {
	dev   *device
	via   netip.Addr // the address to ask for on the link: the gateway's, or the destination's own
	src   netip.Addr // the route's preferred source, invalid where it has none
	dst   netip.Addr
	local bool // to this namespace itself
}

// isLocal reports whether an address is one of the namespace's own, 127.0.0.0/8 included (the table "local").
func (h *host) isLocal(a netip.Addr) bool {
	_, own := h.local[a]
	return own || a.IsLoopback()
}

// lookup finds the route for a destination: the local table, then the longest prefix of the main one
// (fib_table_lookup). why says what is wrong where there is none.
func (h *host) lookup(dst netip.Addr) (next nextHop, why string) {
	if h.isLocal(dst) {
		return nextHop{dev: h.device("lo"), via: dst, src: dst, dst: dst, local: true}, ""
	}
	for _, r := range h.routes {
		if !r.Dst.Contains(dst) {
			continue
		}
		if r.Type == topology.Blackhole {
			return nextHop{}, "blackhole route " + r.Dst.String()
		}
		if d := h.device(r.Device); d != nil {
			return r.hop(d, dst), ""
		}
	}
	return nextHop{}, noRoute
}

// lookupBy finds the route for a destination by one device, which the local table has none for.
func (h *host) lookupBy(d *device, dst netip.Addr) (next nextHop, why string) {
	for _, r := range h.routes {
		if r.Device == d.Name && r.Dst.Contains(dst) {
			return r.hop(d, dst), ""
		}
	}
	return nextHop{}, noRoute
}

func (r *route) hop(d *device, dst netip.Addr) nextHop {
	next := nextHop{dev: d, via: r.Via, src: r.Src, dst: dst}
	if !next.via.IsValid() {
		next.via = dst
	}
	return next
}

// owner is the device, other than lo, that has an address; nil where none has.
func (h *host) owner(a netip.Addr) *device {
	for _, d := range h.devices {
		if d.Name != "lo" && slices.ContainsFunc(d.addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return d
		}
	}
	return nil
}

// outward is the route of a packet of the node itself: none out of it for one from 127.0.0.0/8, where route_localnet is 0
// (__mkroute_output).
func (h *host) outward(t nat.Tuple) (nextHop, string) {
	next, why := h.lookup(t.Dst().Addr())
	if why == "" && h.family == nat.IPv4 && t.Src().Addr().IsLoopback() && next.dev.Name != "lo" && !next.dev.localnet {
		return nextHop{}, "martian source " + t.Src().Addr().String() + " out of " + next.dev.Name + ": route_localnet is 0"
	}
	return next, why
}

const noRoute = "no route to the destination"

// source is the address that the namespace uses for a packet of its own to a destination, where nothing else chose
// one: the route's preferred source, else one of the out device (fib_result_prefsrc).
func (h *host) source(next nextHop) netip.Addr {
	if next.src.IsValid() {
		return next.src
	}
	return h.deviceAddr(next)
}

// deviceAddr is an address of the out device, for a device without addresses one of the first device that has any; one
// whose network holds the next hop before others (inet_select_addr).
func (h *host) deviceAddr(next nextHop) netip.Addr {
	if h.family == nat.IPv6 {
		return h.sourceAddr(next)
	}
	for _, p := range next.dev.addrs {
		if p.Contains(next.via) {
			return p.Addr()
		}
	}
	for _, d := range append([]*device{next.dev}, h.devices...) {
		if len(d.addrs) > 0 {
			return d.addrs[0].Addr()
		}
	}
	return netip.Addr{}
}

// sourceAddr is the IPv6 address that suits a destination best: the destination itself, else one of the out device, else
// the one with most bits in common, as far as its prefix goes (ipv6_dev_get_saddr, rules 1, 5 and 8 of RFC 6724); of several the youngest.
func (h *host) sourceAddr(next nextHop) (best netip.Addr) {
	if h.isLocal(next.dst) {
		return next.dst
	}
	most := -1
	for _, d := range h.devices {
		for _, p := range slices.Backward(d.addrs) {
			score := min(commonBits(p.Addr(), next.dst), p.Bits())
			if d == next.dev {
				score += 128
			}
			if score > most {
				best, most = p.Addr(), score
			}
		}
	}
	return best
}

// commonBits is how many leading bits two addresses share.
func commonBits(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range x {
		if x[i] != y[i] {
			return 8*i + bits.LeadingZeros8(x[i]^y[i])
		}
	}
	return 128
}

// martian says why a packet that came in by dev is not let in at all, "" where it is (ip_route_input_slow,
// fib_validate_source).
func (h *host) martian(dev *device, src, dst netip.Addr) string {
	if h.family == nat.IPv6 {
		return ""
	}
	lo := dev.Name == "lo"
	localnet := dev.localnet
	switch {
	case src.IsLoopback() && !lo && !localnet:
		return "martian source " + src.String() + " on " + dev.Name + ": route_localnet is 0"
	case dst.IsLoopback() && !lo && !localnet:
		return "martian destination " + dst.String() + " on " + dev.Name + ": route_localnet is 0"
	case !lo && h.isLocal(src) && !dev.acceptLocal:
		return "martian source " + src.String() + " on " + dev.Name + ": it is an address of this host"
	}
	return h.reversePath(dev, src)
}

// reversePath is rp_filter: with 1 the route back to the source must leave by the device it came in by, with 2 there
// must be one at all. The larger of the settings for all devices and for this one counts.
func (h *host) reversePath(dev *device, src netip.Addr) string {
	mode := dev.rpFilter
	if mode == "" || mode == "0" || dev.Name == "lo" {
		return ""
	}
	back, why := h.lookup(src)
	switch {
	case why != "":
		return "rp_filter on " + dev.Name + ": " + why + " back to " + src.String()
	case mode == "1" && back.dev != dev:
		return "rp_filter on " + dev.Name + ": the way back to " + src.String() + " is " + back.dev.Name
	}
	return ""
}

// neighbour finds the device that a packet for the next hop is delivered to on the link: a static neighbour's, else
// that of who answers ARP. nil: nobody does.
func (h *host) neighbour(d *device, via netip.Addr) *device {
	for _, s := range h.static {
		if s.Device != d.Name || s.IP != via || s.FDB {
			continue
		}
		for _, end := range d.segment {
			if end.MAC == s.MAC {
				return end
			}
		}
	}
	for _, end := range d.segment {
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
	if !h.forwards() || !d.proxyARP {
		return false
	}
	next, why := h.lookup(a)
	return why == "" && !next.local && next.dev != d
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

// routingType is what addrtype calls an address: of IPv4 only the table "local" is asked (inet_addr_type), so that a
// blackhole is UNICAST; of IPv6 where a packet would go.
func (h *host) routingType(a netip.Addr) string {
	if _, why := h.lookup(a); h.family == nat.IPv6 && why != "" && !a.IsMulticast() {
		return "UNREACHABLE"
	}
	switch {
	case a.IsMulticast():
		return "MULTICAST"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}), a.Is4() && a.As4()[0] == 0:
		return "BROADCAST"
	case h.isLocal(a):
		return "LOCAL"
	}
	for _, d := range h.devices {
		for _, p := range d.addrs {
			if a.Is4() && p.Bits() < 31 && a == lastOf(p) {
				return "BROADCAST"
			}
		}
	}
	return "UNICAST"
}

// lastOf is a prefix's last address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
