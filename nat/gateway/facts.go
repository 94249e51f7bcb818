package gateway

import (
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/conntrack"
	"natlab/nat/ipset"
	"natlab/nat/nftables"
	"natlab/nat/rules"
	"natlab/topology"
)

// Facts are what is known of a node besides its namespace and its rules.
type Facts struct {
	Kernel nat.Kernel // the zero one is the newest
	// NAT is how ports and addresses are given to what leaves, and who is let in; the zero one is Linux's. Which packets are translated is the rules'.
	NAT  behaviour.NAT
	Sets ipset.Sets // what rules ask of others is not known
	// NFT is nf_tables' own tables, beside the Rules, whose base chains count as registered before.
	NFT nftables.Ruleset
	// NoAddresses tells that the namespace's addresses need not be all that the node has: any other may be its own.
	NoAddresses bool
	// Unplaced are devices that rules name and of which it is not told what is behind them: an address that no route but a default one leads to
	// may be. An explanation follows the packet there, too.
	Unplaced []string
	// OrderOpen tells that of two rule sets, iptables-nft's in front of iptables-legacy's, it is not known which packets meet first: no program
	// tells which was registered last. An explanation follows both orders.
	OrderOpen bool
	// Untold are settings that nobody told and that many nodes have otherwise than a fresh namespace: an explanation follows the packet with each of
	// them, too.
	Untold []topology.Sysctl
	// Queues tells whether a program listens on the queues that NFQUEUE rules name.
	Queues rules.Answer
	// IPsec tells whether there are IPsec policies or states (ip xfrm); which packets they are for is not known.
	IPsec rules.Answer
	// Sockets are all that take TCP and UDP packets of the node; nil: they are not known, and every port has one.
	Sockets []Socket
	// Entries are the connections that the node remembers. In an explanation the packet may belong to one.
	Entries []conntrack.Conn
}

// Socket takes packets of TCP or UDP that somebody else sends.
type Socket struct {
	Proto nat.Proto
	Addr  netip.Addr // zero: any of both families; unspecified: any of its family
	Port  uint16
}

// takes reports whether the socket is for a packet's destination.
func (s Socket) takes(t nat.Tuple) bool {
	dst := t.Dst()
	if s.Proto != t.Proto() || s.Port != dst.Port() {
		return false
	}
	return !s.Addr.IsValid() || s.Addr == dst.Addr() || s.Addr.IsUnspecified() && s.Addr.Is4() == dst.Addr().Is4()
}

// listens reports whether a socket may take a packet, as far as Facts know: what asked for an answer is none that listens.
func (f *Facts) listens(t nat.Tuple) bool {
	if f.Sockets == nil || t.Proto() != nat.TCP && t.Proto() != nat.UDP {
		return true
	}
	return slices.ContainsFunc(f.Sockets, func(s Socket) bool { return s.takes(t) })
}

// entriesOf are those that a packet may belong to.
func (f *Facts) entriesOf(t nat.Tuple) (out []conntrack.Conn) {
	for _, c := range f.Entries {
		if c.Original == t || c.Reply == t {
			out = append(out, c)
		}
	}
	return out
}

// QueueListens tells whether a program listens on a queue, as far as Facts know.
func (v *visit) QueueListens(uint16, uint16) rules.Answer { return v.options.Queues }

// IPsec is No for every packet of a node that has none, and not known of any other.
func (v *visit) IPsec(*rules.Packet, bool) rules.Answer {
	if v.options.IPsec == rules.No {
		return rules.No
	}
	return rules.Unknown
}
