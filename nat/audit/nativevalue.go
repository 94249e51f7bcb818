package audit

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/nftables"
)

// parts are the parts of a concatenation, or the value alone.
func parts(e nftables.Expr) []nftables.Expr {
	if c, is := e.(nftables.Concat); is {
		return c
	}
	return []nftables.Expr{e}
}

// selector is the name of a value of the packet, without the word meta; "" for what is none.
func selector(e nftables.Expr) string {
	s, _ := e.(nftables.Selector)
	return strings.TrimPrefix(string(s), "meta ")
}

// numbersOf are the protocols of headers.
var numbersOf = map[string]nat.Proto{"tcp": nat.TCP, "udp": nat.UDP, "sctp": nat.SCTP}

// absent reports whether the packet surely has no such value, so that a rule that asks for it is not for the packet.
func (w *nativeWalk) absent(e nftables.Expr) bool {
	if o, is := e.(nftables.Operation); is {
		return w.absent(o.Left)
	}
	header, field, _ := strings.Cut(selector(e), " ")
	six := w.packet.dst.Addr().Is6()
	switch header {
	case "ip":
		return six
	case "ip6":
		return !six
	case "icmp", "icmpv6", "igmp", "esp", "ah", "comp", "arp":
		return true
	}
	proto, is := numbersOf[header]
	return is && field != "" && proto != w.packet.proto
}

// value is what the packet has, as far as it is known of one that begins a connection.
func (w *nativeWalk) value(e nftables.Expr) (n nftables.Number, known bool) {
	switch e := e.(type) {
	case nftables.Constant:
		return e.Low, e.Single()
	case nftables.Operation:
		return w.operation(e)
	case nftables.Fib:
		if e.Result == "type" && slices.Equal(e.Keys, []string{"daddr"}) && !w.translated && slices.Contains(w.addresses(), w.packet.dst.Addr()) {
			return nftables.ReadConstant(nftables.FibAddrType, "local").Low, true
		}
		return n, false
	}
	number := func(v uint64) (nftables.Number, bool) { return nftables.Number{Low: v}, true }
	six := w.packet.dst.Addr().Is6()
	switch selector(e) {
	case "ip daddr", "ip6 daddr":
		return nftables.Addr(w.packet.dst.Addr()).Low, true
	case "tcp dport", "udp dport", "sctp dport", "th dport":
		return number(uint64(w.packet.dst.Port()))
	case "l4proto", "ip protocol", "ip6 nexthdr":
		return number(uint64(w.packet.proto))
	case "nfproto":
		if six {
			return number(10) // NFPROTO_IPV6
		}
		return number(2)
	case "protocol":
		if six {
			return number(0x86dd) // ETH_P_IPV6
		}
		return number(0x0800)
	case "ct state":
		return nftables.ReadConstant(nftables.CTState, "new").Low, !w.untracked
	case "ct direction":
		return nftables.ReadConstant(nftables.CTDir, "original").Low, !w.untracked
	}
	return n, false
}

// operation is a sum of bits of the packet: of the mark the bit of kube-proxy's is known, which it has not.
func (w *nativeWalk) operation(o nftables.Operation) (n nftables.Number, known bool) {
	mask, is := o.Right.(nftables.Constant)
	if !is || o.Op != "&" || !mask.Single() {
		return n, false
	}
	if selector(o.Left) == "mark" {
		return n, !w.marked && mask.Low.Low&^uint64(w.mark) == 0
	}
	n, known = w.value(o.Left)
	return nftables.Number{High: n.High & mask.Low.High, Low: n.Low & mask.Low.Low}, known
}
