package gateway_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/packet"
	"natlab/topology"
)

// Options of IPv4 and extension headers of IPv6: what goes on, what is told of, and what the Gateway tells that it does not model.
func TestHeaders(t *testing.T) {
	t.Parallel()
	const on, own = "10.244.1.9", "192.168.1.1"
	one := func(kind nat.Proto, b ...byte) []packet.Header {
		return []packet.Header{{Type: kind, Bytes: slices.Concat([]byte{0, 0}, b, make([]byte, 6-len(b)))}}
	}
	destination := func(option ...byte) []packet.Header { return one(60, option...) }
	hop := func(option ...byte) []packet.Header { return one(0, option...) }
	for _, row := range []struct {
		name, to   string
		options    []byte
		headers    []packet.Header
		sent       string // what comes of it: "on", "told" of a mistake, "unreachable" or "nothing"
		unmodelled string
	}{
		{"nothing to do", on, []byte{1, 1, 1, 0}, nil, "on", ""},
		{"a router alert", on, []byte{148, 4, 0, 0}, nil, "on", ""},
		{"a wrong length", on, []byte{30, 9, 0, 0}, nil, "told", ""},
		{"a router alert that is too short", on, []byte{148, 3, 0, 0}, nil, "told", ""},
		{"record route", on, []byte{7, 7, 4, 0, 0, 0, 0, 0}, nil, "nothing", "IPv4 option 7 is not modelled"},
		{"something behind the end", on, []byte{0, 7, 4, 0}, nil, "nothing", "what is behind the end of IPv4's options is not modelled"},
		{"no route", "10.9.9.9", []byte{7, 7, 4, 0, 0, 0, 0, 0}, nil, "nothing", "IPv4 options of a packet without a route are not modelled"},
		{"padding", on, nil, hop(1, 4), "on", ""},
		{"padding that is not zero", on, nil, hop(1, 4, 9), "nothing", ""},
		{"an option to be skipped", on, nil, hop(30, 4), "on", ""},
		{"one to be dropped", on, nil, hop(0x5e, 4), "nothing", ""},
		{"one to be told of", on, nil, hop(0x9e, 4), "told", ""},
		{"one of IOAM", on, nil, hop(49, 4), "nothing", "option 49 of extension header 0 is not modelled"},
		{"a destination option on its way", on, nil, destination(0x9e, 4), "on", ""},
		{"and delivered", own, nil, destination(0x9e, 4), "told", ""},
		{"a routing header at its end", own, nil, one(43), "unreachable", ""},
		{"and before", own, nil, one(43, 0, 1, 0, 0, 0, 0), "nothing", "a routing header of type 0 with 1 segments left is not modelled"},
		{"hop-by-hop options behind it", own, nil, slices.Concat(one(43), hop(1, 4)), "told", ""},
		{"authentication", own, nil, one(51, 0, 0, 0, 0, 0, 0), "nothing", "extension header 51 of a packet for the node is not modelled"},
		{"a fragment for the node", own, nil, one(44, 0, 1, 0, 0, 0, 9), "nothing", "fragments of IPv6 are not modelled"},
		{"a fragment for others", on, nil, one(44, 0, 9, 0, 0, 0, 9), "on", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns, family := twoNetworks(), nat.IPv4
			if row.options == nil {
				ns, family = twoNetworks6(), nat.IPv6
			}
			g, err := gateway.NewGateway(ns, nil, gateway.NodeOptions{Family: family, Listens: func(nat.Tuple) bool { return false }})
			require.NoError(t, err)
			outs, _, why := g.Handle(headed(row.options, row.headers, row.to), "eth0", time.Unix(0, 1))
			require.Equal(t, row.unmodelled, g.Unmodelled())
			sent := "nothing"
			if len(outs) > 0 {
				sent = map[bool]string{true: "told", false: "on"}[outs[0].Answer]
				if p, err := packet.Parse(outs[0].Packet); err == nil && outs[0].Answer {
					if kind, _, _ := p.ICMP(); kind == 1 || kind == 3 {
						sent = "unreachable"
					}
				}
			}
			require.Equal(t, row.sent, sent, why)
		})
	}
}

// headed is a datagram with options, or of IPv6 with a header.
func headed(options []byte, headers []packet.Header, to string) []byte {
	src, dst := netip.MustParseAddr("192.168.1.9"), netip.MustParseAddr(to)
	f := packet.Fields{}
	if options == nil {
		src, dst, f.Headers = six(src), six(dst), headers
	}
	b := packet.Build(nat.TupleOf(nat.UDP, netip.AddrPortFrom(src, 5000), netip.AddrPortFrom(dst, 80)), f).Bytes()
	if options != nil {
		b = slices.Concat(b[:20], options, b[20:])
		b[0] += byte(len(options) / 4)
		packet.Complete(b)
	}
	return b
}

// six is an IPv6 address that ends in one of IPv4.
func six(a netip.Addr) netip.Addr {
	b := a.As4()
	return netip.AddrFrom16([16]byte{0: 0xfd, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})
}

// twoNetworks6 is twoNetworks in IPv6.
func twoNetworks6() topology.Namespace {
	ns := topology.Namespace{Member: "node", Kind: topology.KindNode, Sysctls: []topology.Sysctl{{Key: "net/ipv6/conf/all/forwarding", Value: "1"}}}
	for name, prefix := range map[string]string{"eth0": "fd00::c0a8:101/120", "pods": "fd00::af4:101/120"} {
		ns.Devices = append(ns.Devices, topology.Device{Name: name, Kind: topology.Veth})
		ns.Addresses = append(ns.Addresses, topology.Address{Device: name, Prefix: netip.MustParsePrefix(prefix)})
	}
	return ns
}
