package topology

import (
	"net/netip"
	"slices"
)

// Family is an address family; its number is that of nat.Family.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// FamilyOf is an address's family.
func FamilyOf(a netip.Addr) Family {
	if a.Is6() {
		return IPv6
	}
	return IPv4
}

// Families are those that a lab of the cluster has, the primary one first: those of its underlay. A cluster without a network, which was
// read for its rules only, counts as one of IPv4.
func (c Cluster) Families() []Family {
	var out []Family
	for _, p := range c.Underlay.CIDRs {
		out = append(out, FamilyOf(p.Addr()))
	}
	if out == nil {
		return []Family{IPv4}
	}
	return out
}

// Has reports whether a lab of the cluster has an address's family.
func (c Cluster) Has(a netip.Addr) bool {
	return a.IsValid() && slices.Contains(c.Families(), FamilyOf(a))
}

// Narrowed is the cluster whose labs have one family alone; without that family it is the cluster itself.
func (c Cluster) Narrowed(f Family) Cluster {
	if f.network(c.Underlay.CIDRs).IsValid() {
		c.Underlay.CIDRs = []netip.Prefix{f.network(c.Underlay.CIDRs)}
		c.Underlay.Gateways = []netip.Addr{f.first(c.Underlay.Gateways)}
	}
	return c
}

// any is the network of all addresses.
func (f Family) any() netip.Prefix {
	if f == IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// first is the first address of the family in a list; the zero Addr where there is none.
func (f Family) first(list []netip.Addr) netip.Addr {
	for _, a := range list {
		if FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

// all are the addresses of the family in a list.
func (f Family) all(list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return FamilyOf(a) != f })
}

// network is the first network of the family in a list; the zero Prefix where there is none.
func (f Family) network(list []netip.Prefix) netip.Prefix {
	for _, p := range list {
		if FamilyOf(p.Addr()) == f {
			return p
		}
	}
	return netip.Prefix{}
}

// networks are those of the family in a list.
func (f Family) networks(list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return FamilyOf(p.Addr()) != f })
}

// sizes are the prefix lengths that a family's networks have where nobody tells them.
type sizes struct {
	narrowUnderlay, widestUnderlay int // nodes whose addresses have less than the second in common are not taken to be on one network
	narrowPods, widestPods         int
	block                          int // Calico's
	pods                           string
}

func (f Family) sizes() sizes {
	if f == IPv6 {
		return sizes{narrowUnderlay: 64, widestUnderlay: 48, narrowPods: 56, widestPods: 16, block: 122, pods: "fd00:10:244::/56"}
	}
	return sizes{narrowUnderlay: 24, widestUnderlay: 16, narrowPods: 16, widestPods: 8, block: 26, pods: "10.244.0.0/16"}
}

// CIDR is the underlay's network of a family; the zero Prefix where it has none.
func (u Underlay) CIDR(f Family) netip.Prefix { return f.network(u.CIDRs) }

// Gateway is the router's address of a family.
func (u Underlay) Gateway(f Family) netip.Addr { return f.first(u.Gateways) }

// holds reports whether an address is of one of the underlay's networks.
func (u Underlay) holds(a netip.Addr) bool { return inAny(u.CIDRs, a) }

// CIDR is the pods' network of a family; the zero Prefix where it has none.
func (n PodNetwork) CIDR(f Family) netip.Prefix { return f.network(n.CIDRs) }

// Of is the overlay of a family: IPIP carries IPv4 alone, so that IPv6 has none in its place.
func (n PodNetwork) Of(f Family) Overlay {
	switch {
	case f == IPv4:
		return n.Overlay
	case n.Overlay6 == IPIP:
		return None
	}
	return n.Overlay6
}

// Address is the node's primary address of a family; the zero Addr where it has none.
func (n Node) Address(f Family) netip.Addr { return f.first(n.Addresses) }

// Tunnel is the address of the node's tunnel device of a family; the zero Addr where it has none.
func (n Node) Tunnel(f Family) netip.Addr { return f.first(n.TunnelAddresses) }

// Address is the pod's address of a family; the zero Addr where it has none.
func (p Pod) Address(f Family) netip.Addr { return f.first(p.IPs) }

// Address is the client's address of a family; the zero Addr where it has none.
func (c Client) Address(f Family) netip.Addr { return f.first(c.Addresses) }

// among are the addresses of a pod that a lab of the cluster has.
func (p Pod) among(c Cluster) []netip.Addr {
	if p.HostNetwork {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.IPs), func(a netip.Addr) bool { return !c.Has(a) })
}

// String is "ipv4" or "ipv6".
func (f Family) String() string { return word(familyNames, "family", uint8(f)) }

// MarshalText makes a family its word in JSON.
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (f *Family) UnmarshalText(b []byte) error {
	n, err := number(familyNames, "family", string(b))
	*f = Family(n)
	return err
}
