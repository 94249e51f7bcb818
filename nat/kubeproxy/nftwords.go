package kubeproxy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	nft "natlab/nat/nftables"
	"natlab/nat/rules"
)

// words are the pieces that rules of one family are made of.
type words struct {
	ip        string   // "ip" or "ip6"
	addrType  nft.Type //
	localhost netip.Prefix
}

func wordsOf(f nat.Family) words {
	if f == nat.IPv6 {
		return words{"ip6", nft.IPv6Addr, loopback6}
	}
	return words{"ip", nft.IPv4Addr, loopback4}
}

func (w words) saddr() nft.Selector { return nft.Selector(w.ip + " saddr") }
func (w words) daddr() nft.Selector { return nft.Selector(w.ip + " daddr") }

const (
	l4proto = nft.Selector("meta l4proto")
	dport   = nft.Selector("th dport")
	mark    = nft.Selector("meta mark")
)

// destination and local are the keys of the maps for addresses, and for node ports.
func (w words) destination() nft.Concat { return nft.Concat{w.daddr(), l4proto, dport} }
func nodePort() nft.Concat              { return nft.Concat{l4proto, dport} }

func is(left nft.Expr, right nft.Expr) nft.Match { return nft.Match{Left: left, Right: right} }
func not(left nft.Expr, right nft.Expr) nft.Match {
	return nft.Match{Left: left, Op: "!=", Right: right}
}

// isNew holds for the first packet of a connection, isDNATed for packets whose destination was changed.
func isNew() nft.Match    { return is(nft.Selector("ct state"), nft.Value(nft.CTState, 8)) }
func isDNATed() nft.Match { return is(nft.Selector("ct status"), nft.Value(nft.CTStatus, 32)) }

// isLocal holds where an address is one of the node's own.
func isLocal(key string) nft.Match {
	return is(nft.Fib{Keys: []string{key}, Result: "type"}, nft.Value(nft.FibAddrType, 2)) // RTN_LOCAL
}

func isProtocol(protocol string) nft.Match {
	return is(l4proto, protocolOf(protocol))
}

// protocolOf is a Service port's protocol: one of three, checked before.
func protocolOf(protocol string) nft.Constant {
	p := nat.TCP
	switch protocol {
	case "udp":
		p = nat.UDP
	case "sctp":
		p = nat.SCTP
	}
	return nft.Value(nft.InetProto, uint64(p))
}

func setMark(op string, bits uint32) nft.Assign {
	return nft.Assign{To: mark, Value: nft.Operation{Left: mark, Op: op, Right: nft.Value(nft.MarkType, uint64(bits))}}
}

// marked holds for packets with the bit, or with "==" for those without.
func marked(op string, bits uint32) nft.Match {
	return nft.Match{Left: nft.Operation{Left: mark, Op: "&", Right: nft.Value(nft.MarkType, uint64(bits))}, Op: op, Right: nft.Value(nft.MarkType, 0)}
}

func masquerade() nft.NAT { return nft.NAT{Kind: rules.Masquerade, Flags: []string{"fully-random"}} }

func portOf(n uint16) nft.Constant { return nft.Value(nft.InetService, uint64(n)) }

// addressKey and portKey are keys of the maps.
func addressKey(a netip.Addr, protocol string, port uint16) []nft.Constant {
	return []nft.Constant{nft.Addr(a), protocolOf(protocol), portOf(port)}
}

func portKey(protocol string, port uint16) []nft.Constant {
	return []nft.Constant{protocolOf(protocol), portOf(port)}
}

// among is what an address is compared with that is to be in one of several networks: one of them stands by itself, several are a
// set, in which nft joins those that overlap or adjoin.
func among(prefixes []netip.Prefix) nft.Expr {
	if len(prefixes) == 1 {
		return nft.Prefix(prefixes[0])
	}
	sorted := slices.SortedFunc(slices.Values(prefixes), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var joined []nft.Constant
	var last netip.Addr // of the one before
	for _, p := range sorted {
		c, end := nft.Prefix(p), lastOf(p)
		if n := len(joined); n > 0 && (!last.Less(p.Addr()) || last.Next() == p.Addr()) {
			if last.Less(end) {
				joined[n-1], last = nft.Range(joined[n-1], c), end
			}
			continue
		}
		joined, last = append(joined, c), end
	}
	in := &nft.In{}
	for _, c := range joined {
		in.Elements = append(in.Elements, nft.Element{Key: []nft.Constant{c}})
	}
	return in
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// keyText is an element's key as nft writes it.
func keyText(e *nft.Element) string {
	parts := make([]string, len(e.Key))
	for i, c := range e.Key {
		parts[i] = c.String()
	}
	return strings.Join(parts, " . ")
}
