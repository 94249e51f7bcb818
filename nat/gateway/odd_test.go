package gateway_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/nat/packet"
	"natlab/topology"
)

// Packets and routes that are seldom asked for: which rule drops them, or how else they end. The node is 10.0.0.2/24 on eth0.
func TestExplainOdd(t *testing.T) {
	t.Parallel()
	const filter, mangle = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n-A ", "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 "
	for _, row := range []struct {
		name, rule, route, packet string
		end                       nat.End
		why                       string
	}{
		{"protocol by name", filter + "INPUT -p esp -j DROP", "", "50 10.0.0.1:0 > 10.0.0.2:0 in eth0", nat.EndLost, "dropped by -A INPUT -p esp -j DROP"},
		{"protocol by number", filter + "INPUT -p 47 -j DROP", "", "gre 10.0.0.1:0 > 10.0.0.2:0 in eth0", nat.EndLost, "dropped by -A INPUT -p gre -j DROP"},
		{"DCCP has ports", filter + "INPUT -p dccp -m dccp --dport 80 -j DROP", "", "33 10.0.0.1:5 > 10.0.0.2:80 in eth0", nat.EndLost, "dropped by -A INPUT -p dccp -m dccp --dport 80 -j DROP"},
		{"an echo reply is no request", filter + "INPUT -p icmp -m icmp --icmp-type 0 -j DROP", "", "icmp 10.0.0.1:5 > 10.0.0.2:5 type 0 in eth0", nat.EndLost, "dropped by -A INPUT -p icmp -m icmp --icmp-type 0 -j DROP"},
		{"no type is an echo request", filter + "INPUT -p icmp -m icmp --icmp-type 8 -j DROP", "", "icmp 10.0.0.1:5 > 10.0.0.2:5 in eth0", nat.EndLost, "dropped by -A INPUT -p icmp -m icmp --icmp-type 8 -j DROP"},
		{"nothing listens at port 0", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j REDIRECT --to-ports 0", "", "udp 10.0.0.1:5 > 10.0.0.2:53 in eth0", nat.EndRefused, "nothing listens at 10.0.0.2:0 in node"},
		{"and no TCP does", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.2:0", "", "tcp 10.0.0.1:5 > 10.0.0.2:53 in eth0", nat.EndRefused, "nothing listens at 10.0.0.2:0 in node"},
		{"there is no way back to 0.0.0.0", mangle + "-m rpfilter --invert -j DROP", "", "udp 0.0.0.0:68 > 10.0.0.2:67 in eth0", nat.EndLost, "dropped by -A PREROUTING -i eth0 -m rpfilter --invert -j DROP"},
		{"but for what is for all", mangle + "-m rpfilter --invert -j DROP", "", "udp 0.0.0.0:68 > 255.255.255.255:67 in eth0", nat.EndAnswered, "the packet is for many: whoever answers does so from an address of its own"},
		{"the network's broadcast address is for the node", filter + "INPUT -j DROP", "default via 10.0.0.1 dev eth0", "udp 10.0.0.9:1000 > 10.0.0.255:137 in eth0", nat.EndLost, "dropped by -A INPUT -j DROP"},
		{"a route that is unreachable", filter + "FORWARD -j DROP", "unreachable 10.244.0.0/16", "tcp 10.0.0.9:1 > 10.244.0.1:80 in eth0", nat.EndUnreachable, "unreachable route 10.244.0.0/16"},
		{"a route that is prohibited", filter + "FORWARD -j DROP", "prohibit 10.244.0.0/16", "tcp 10.0.0.9:1 > 10.244.0.1:80 in eth0", nat.EndUnreachable, "prohibit route 10.244.0.0/16"},
		{"a group that nobody joined", filter + "INPUT -j DROP", "", "udp 10.0.0.9:1 > 224.0.0.251:5353 in eth0", nat.EndLost, "no process of node is known to have joined 224.0.0.251"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			words := topology.NodeWords{Addresses: []string{"eth0=10.0.0.2/24"}, Sysctls: []string{"net.ipv4.ip_forward=1"}}
			if row.route != "" {
				words.Routes = []string{row.route}
			}
			ns, _, err := words.Node()
			require.NoError(t, err, row.name)
			ns.Member = "node"
			rs, err := iptables.ParseString(row.rule+"\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err, row.name)
			spec, err := gateway.ParseSpec(row.packet)
			require.NoError(t, err, row.name)
			spec.In = spec.Device
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
			require.NoError(t, err, row.name)
			require.Len(t, x.Prediction, 1, row.name)
			require.Equal(t, row.end, x.Prediction[0].End, row.name)
			require.Equal(t, row.why, x.Prediction[0].Why, row.name)
		})
	}
}

// What a node sends to itself in pieces goes by lo in pieces, too: what becomes of them is not known.
func TestOwnFragments(t *testing.T) {
	t.Parallel()
	words := topology.NodeWords{Addresses: []string{"eth0=10.0.0.2/24"}}
	ns, _, err := words.Node()
	require.NoError(t, err)
	rs, err := iptables.ParseString("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for dst, unmodelled := range map[string]string{"10.0.0.2:53": "fragments that the node sends to itself are not modelled", "10.0.0.9:53": ""} {
		g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		p := packet.Build(nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort(dst)), packet.Fields{ID: 7, Payload: make([]byte, 100)})
		var outs []gateway.Out
		for _, piece := range p.Split(68, nil) {
			outs, _, _ = g.Send(piece, 0, time.Unix(1, 0))
		}
		require.Equal(t, unmodelled, g.Unmodelled(), dst)
		require.Equal(t, unmodelled != "", len(outs) == 0, dst)
	}
}

// A packet that came in pieces leaves in the same ones, unless its header had to come to the first one out of those behind it: then that one is as long, and where the others no
// longer begin at multiples of eight bytes the packet is cut anew, by the longest of them.
func TestPiecesOfAHeader(t *testing.T) {
	t.Parallel()
	words := topology.NodeWords{Addresses: []string{"eth0=10.0.0.2/24", "eth1=10.1.0.2/24"}, Sysctls: []string{"net.ipv4.ip_forward=1"}}
	ns, _, err := words.Node()
	require.NoError(t, err)
	const rules = `table ip t {
	chain c {
		type nat hook prerouting priority dstnat; policy accept;
		tcp flags syn tcp option maxseg size set 1400 dnat to 10.1.0.9
		meta l4proto { tcp, udp, sctp, dccp } dnat to 10.1.0.9
	}
}
`
	rs, err := nftables.ParseText(rules)
	require.NoError(t, err)
	mss := []byte{2, 4, 5, 180}
	for _, row := range []struct {
		name      string
		proto     nat.Proto
		fields    packet.Fields
		kernel    nat.Kernel
		came, out []int
	}{
		{"20 bytes of TCP", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 16}, Payload: make([]byte, 28)}, nat.Kernel{}, []int{16, 16, 16}, []int{16, 16, 16}},
		{"20 bytes, of unequal pieces", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 16}, Payload: make([]byte, 28)}, nat.Kernel{}, []int{8, 24, 8, 8}, []int{24, 24}},
		{"24 bytes of TCP", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 2, Options: mss}, Payload: make([]byte, 40)}, nat.Kernel{}, []int{8, 32, 24}, []int{24, 16, 24}},
		{"pieces that are gone", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 2, Options: mss}, Payload: make([]byte, 40)}, nat.Kernel{}, []int{8, 8, 8, 8, 32}, []int{24, 8, 32}},
		{"longer than all of them", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 2, Options: mss}, Payload: make([]byte, 24)}, nat.Kernel{}, []int{16, 16, 8, 8}, []int{16, 16, 16}},
		{"a whole header in the first one", nat.TCP, packet.Fields{TCP: packet.TCP{Flags: 2, Options: mss}, Payload: make([]byte, 24)}, nat.Kernel{}, []int{24, 8, 16}, []int{24, 8, 16}},
		{"UDP", nat.UDP, packet.Fields{Payload: make([]byte, 40)}, nat.Kernel{}, []int{8, 8, 32}, []int{8, 8, 32}},
		{"SCTP", nat.SCTP, packet.Fields{Rest: 7, Payload: make([]byte, 36)}, nat.Kernel{}, []int{8, 24, 16}, []int{24, 24}},
		{"DCCP of old", nat.DCCP, packet.Fields{Payload: make([]byte, 28)}, nat.Kernel{Major: 6, Minor: 1}, []int{8, 24, 16}, []int{24, 24}},
		{"DCCP of today", nat.DCCP, packet.Fields{Payload: make([]byte, 28)}, nat.Kernel{}, []int{8, 24, 16}, []int{8, 24, 16}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g, err := gateway.NewGateway(ns, nil, gateway.NodeOptions{Facts: gateway.Facts{Kernel: row.kernel, NFT: rs}})
			require.NoError(t, err)
			p := packet.Build(nat.TupleOf(row.proto, netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.9:80")), row.fields)
			var got []int
			for _, piece := range p.Split(p.Len(), row.came) {
				outs, _, _ := g.Handle(piece, "eth0", time.Unix(1, 0))
				for _, o := range outs {
					got = append(got, len(o.Packet)-20)
				}
			}
			require.Empty(t, g.Unmodelled())
			require.Equal(t, row.out, got)
		})
	}
}
