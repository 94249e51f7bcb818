package gateway_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

const wireRules = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.244.1.9:80
-A PREROUTING -d 10.96.0.2/32 -p tcp -j DNAT --to-destination 10.244.1.9:80
-A OUTPUT -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.244.1.9:80
-A POSTROUTING -o pods -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
`

func wired(t *testing.T) *gateway.Gateway {
	t.Helper()
	rs, err := iptables.ParseString(wireRules, nat.IPv4)
	require.NoError(t, err)
	g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
	require.NoError(t, err)
	return g
}

func segmentOf(src, dst string, flags uint8, seq, ack uint32) []byte {
	tuple := nat.TupleOf(nat.TCP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	return packet.Build(tuple, packet.Fields{TTL: 64, TCP: packet.TCP{Flags: flags, Seq: seq, Ack: ack, Window: 64240}}).Bytes()
}

// forwarded takes a packet through the three hooks of one that a kernel forwards.
func forwarded(t *testing.T, g *gateway.Gateway, b []byte, in, out string, at time.Time) []byte {
	t.Helper()
	for _, s := range []gateway.Seen{{Hook: nat.PreRouting, In: in}, {Hook: nat.Forward, In: in, Out: out}, {Hook: nat.PostRouting, Out: out}} {
		if s.Hook == nat.Forward {
			p, err := packet.Parse(b)
			require.NoError(t, err)
			p.DecrementTTL()
		}
		s.Packet = bytes.Clone(b) // as the kernel copies it
		r := g.At(s, at)
		require.Equal(t, nat.Accept, r.Verdict, "%s: %s", s.Hook, r.Why)
		require.Equal(t, !bytes.Equal(b, r.Packet), r.Changed, s.Hook)
		b = r.Packet
	}
	return b
}

// Hook by hook a packet becomes what it becomes all at once, and the connections are the same.
func TestHookByHook(t *testing.T) {
	t.Parallel()
	whole, parts, at := wired(t), wired(t), time.Unix(1, 0)
	for i, row := range []struct {
		packet  []byte
		in, out string
	}{
		{segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods"},
		{segmentOf("192.168.1.9:5000", "10.96.0.2:80", 2, 1, 0), "eth0", "pods"}, // behind DNAT it is like the one before
		{segmentOf("10.244.1.9:80", "10.244.1.1:5000", 18, 7, 2), "pods", "eth0"},
		{segmentOf("192.168.1.9:5000", "10.96.0.1:80", 16, 2, 8), "eth0", "pods"},
		{segmentOf("192.168.1.9:5001", "10.244.1.7:80", 2, 1, 0), "eth0", "pods"},
	} {
		outs, _, why := whole.Handle(bytes.Clone(row.packet), row.in, at)
		require.Len(t, outs, 1, why)
		require.Equal(t, outs[0].Packet, forwarded(t, parts, row.packet, row.in, row.out, at), "packet %d", i)
	}
	conns, twins := whole.Conns().Conns(), parts.Conns().Conns()
	require.Len(t, conns, 3)
	require.Len(t, twins, 3)
	for i := range conns {
		require.Equal(t, conns[i].Original, twins[i].Original)
		require.Equal(t, conns[i].Reply, twins[i].Reply)
		require.Equal(t, conns[i].Status, twins[i].Status)
	}
}

// Two packets that are alike between hooks, and on their way at the same time, keep the connections of each.
func TestAlikeInTransit(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	var between [][]byte
	for _, vip := range []string{"10.96.0.1:80", "10.96.0.2:80"} {
		r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: segmentOf("192.168.1.9:5000", vip, 2, 1, 0)}, at)
		require.Equal(t, nat.Accept, r.Verdict)
		between = append(between, bytes.Clone(r.Packet))
	}
	require.Equal(t, between[0], between[1])
	var ports []uint16
	for _, b := range between {
		r := g.At(gateway.Seen{Hook: nat.PostRouting, Out: "pods", Packet: b}, at)
		require.Equal(t, nat.Accept, r.Verdict)
		p, err := packet.Parse(r.Packet)
		require.NoError(t, err)
		ports = append(ports, p.Tuple().Src().Port())
	}
	require.NotEqual(t, ports[0], ports[1])
	require.Equal(t, "10.96.0.1:80", g.Conns().Conns()[0].Original.Dst().String())
	require.Equal(t, "10.96.0.2:80", g.Conns().Conns()[1].Original.Dst().String())
}

// A REJECT rule's answer comes to OUTPUT as a packet of the connection that it ends.
func TestAnswerOnTheWire(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	ask := packet.Build(nat.TupleOf(nat.UDP, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.5:53")), packet.Fields{TTL: 64}).Bytes()
	require.Equal(t, nat.Accept, g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: ask}, at).Verdict)
	r := g.At(gateway.Seen{Hook: nat.Forward, In: "eth0", Out: "pods", Packet: ask}, at)
	require.Equal(t, nat.Drop, r.Verdict)
	require.Contains(t, r.Why, "rejected by")
	require.Len(t, r.Answers, 1)
	answer, err := packet.Parse(r.Answers[0].Packet)
	require.NoError(t, err)
	require.True(t, answer.HeaderOK())
	require.Equal(t, "192.168.1.9:0", answer.Tuple().Dst().String())
	for _, s := range []gateway.Seen{{Hook: nat.Output, Out: "eth0"}, {Hook: nat.PostRouting, Out: "eth0"}} {
		s.Packet = answer.Bytes()
		r := g.At(s, at)
		require.Equal(t, nat.Accept, r.Verdict, r.Why)
		require.False(t, r.Changed)
	}
	require.Zero(t, g.Conns().Len())
}

// The kernel's own error about a packet on its way is translated by that packet's connection, although it was never confirmed.
func TestKernelErrorInTransit(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0)}, at)
	require.True(t, r.Changed)
	tooLate := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:0"), netip.MustParseAddrPort("192.168.1.9:0")),
		packet.Fields{Type: 11, Payload: bytes.Clone(r.Packet)}).Bytes()
	require.Equal(t, nat.Accept, g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: tooLate}, at).Verdict)
	r = g.At(gateway.Seen{Hook: nat.PostRouting, Out: "eth0", Packet: tooLate}, at)
	require.Equal(t, nat.Accept, r.Verdict)
	p, err := packet.Parse(r.Packet)
	require.NoError(t, err)
	inside, ok := p.Inside()
	require.True(t, ok)
	require.Equal(t, "tcp 192.168.1.9:5000 > 10.96.0.1:80", inside.Tuple().String())
	require.True(t, p.ChecksumOK())
}

// What the kernel does not bring back is forgotten after a while; a packet that no hook has had has no connection.
func TestLostInTransit(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0)}, at)
	r = g.At(gateway.Seen{Hook: nat.Forward, In: "eth0", Out: "pods", Packet: bytes.Clone(r.Packet)}, at.Add(time.Minute))
	require.Equal(t, nat.Drop, r.Verdict)
	require.Equal(t, "dropped by a rule of filter", r.Why) // that of what is INVALID
}

// A packet that came without its checksum is complete where it was rewritten, and what is no packet is malformed.
func TestSumsOnTheWire(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	b := segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0)
	b[36], b[37] = 0x12, 0x34
	r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: b, Unsummed: true}, at)
	require.True(t, r.Changed)
	p, err := packet.Parse(r.Packet)
	require.NoError(t, err)
	require.True(t, p.ChecksumOK())
	for _, s := range []gateway.Seen{
		{Hook: nat.PreRouting, In: "eth0", Packet: []byte{0x45, 0}},
		{Hook: nat.PreRouting, In: "eth9", Packet: segmentOf("192.168.1.9:1", "192.168.1.1:1", 2, 1, 0)},
		{Hook: nat.PreRouting, In: "eth0", Packet: make([]byte, 40)},
		{Hook: nat.PreRouting, In: "eth0"},
	} {
		r := g.At(s, at)
		require.True(t, r.Malformed)
		require.Equal(t, nat.Drop, r.Verdict)
		require.NotEmpty(t, r.Why)
	}
}

// Others than nat.Forward are called where conntrack is; a chain without rules that accepts is not.
func TestCalls(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text string
		want []nat.Hook
	}{
		{wireRules, nat.Hooks()},
		{"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n", []nat.Hook{nat.Forward}},
		{"*mangle\n-A OUTPUT -j MARK --set-xmark 0x1\nCOMMIT\n", []nat.Hook{nat.Output, nat.PostRouting}},
		{"*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", []nat.Hook{nat.PreRouting, nat.Input, nat.Output, nat.PostRouting}},
		{"*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n", nil},
	} {
		rs, err := iptables.ParseString(row.text, nat.IPv4)
		require.NoError(t, err)
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		var got []nat.Hook
		for _, hook := range nat.Hooks() {
			if g.Calls(hook) {
				got = append(got, hook)
			}
		}
		require.Equal(t, row.want, got, row.text)
	}
}

// Other rules, and a namespace that changed, leave the connections as they are.
func TestBecome(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	none, err := iptables.ParseString("*nat\n-A POSTROUTING -o nowhere -j MASQUERADE\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	ns := twoNetworks()
	require.NoError(t, g.Become(ns, gateway.Rules{none}))
	b := forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	require.Equal(t, "10.244.1.9", netip.AddrFrom4([4]byte(b[16:20])).String(), "the connection goes on")
	b = forwarded(t, g, segmentOf("192.168.1.9:5002", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	require.Equal(t, "10.96.0.1", netip.AddrFrom4([4]byte(b[16:20])).String(), "a new one finds other rules")

	ns.Devices = append(ns.Devices, ns.Devices[0])
	ns.Devices[len(ns.Devices)-1].Name = "late0"
	r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "late0", Packet: segmentOf("192.168.1.9:1", "192.168.1.1:1", 2, 1, 0)}, at)
	require.True(t, r.Malformed)
	require.NoError(t, g.Move(ns))
	r = g.At(gateway.Seen{Hook: nat.PreRouting, In: "late0", Packet: segmentOf("192.168.1.9:1", "192.168.1.1:1", 2, 1, 0)}, at)
	require.False(t, r.Malformed)
	require.Equal(t, 2, g.Conns().Len())
}

// A packet of an established connection costs no allocation at any hook.
func TestWireAllocations(t *testing.T) { // not parallel: the allocations of others would count
	g, at := wired(t), time.Unix(1, 0)
	forwarded(t, g, segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0), "eth0", "pods", at)
	forwarded(t, g, segmentOf("10.244.1.9:80", "10.244.1.1:5000", 18, 7, 2), "pods", "eth0", at)
	ack := segmentOf("192.168.1.9:5000", "10.96.0.1:80", 16, 2, 8)
	b := make([]byte, len(ack))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		copy(b, ack)
		for _, s := range []gateway.Seen{{Hook: nat.PreRouting, In: "eth0", UID: rules.ID{}}, {Hook: nat.Forward, In: "eth0", Out: "pods"}, {Hook: nat.PostRouting, Out: "pods"}} {
			s.Packet = b
			if r := g.At(s, at); r.Verdict != nat.Accept {
				t.Fatal(r.Why)
			}
		}
	}))
}

// A packet of which the kernel tells that it goes no further is not taken for a later one that is like it; one that a redirect is about goes on.
func TestToldToBeLost(t *testing.T) {
	t.Parallel()
	for kind, goesOn := range map[uint8]bool{11: false, 3: false, 5: true} {
		g, at := wired(t), time.Unix(1, 0)
		b := segmentOf("192.168.1.9:5000", "10.244.1.7:80", 2, 1, 0)
		require.NotNil(t, g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: bytes.Clone(b)}, at).Conn)
		ends := nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:0"), netip.MustParseAddrPort("192.168.1.9:0"))
		told := packet.Build(ends, packet.Fields{Type: kind, Payload: b}).Bytes()
		require.NotNil(t, g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: told}, at).Conn, "the error is of its connection")
		r := g.At(gateway.Seen{Hook: nat.Forward, In: "eth0", Out: "pods", Packet: bytes.Clone(b)}, at)
		require.Equal(t, goesOn, r.Conn != nil, "type %d", kind)
	}
}

// What a node sends and has no route any more as it is translated, goes no further at the hook that translated it: no rule behind sees it.
func TestNoNewRoute(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n:OUTPUT ACCEPT\n-A OUTPUT -d 192.168.1.9/32 -p tcp -j DNAT --to-destination 203.0.113.5:80\nCOMMIT\n"+
		"*filter\n:OUTPUT ACCEPT\n-A OUTPUT -p tcp -j CONNMARK --set-xmark 0x1/0xffffffff\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
	require.NoError(t, err)
	for dst, want := range map[string]nat.Verdict{"192.168.1.8:80": nat.Accept, "192.168.1.9:80": nat.Drop} {
		r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: segmentOf("192.168.1.1:5000", dst, 2, 1, 0)}, time.Unix(1, 0))
		require.Equal(t, want, r.Verdict, r.Why)
		require.Equal(t, want == nat.Accept, r.Conn.Mark == 1)
	}
}

// The mark that a rule outside of mangle gives to what a node sends has no say in its route. The kernel asks anew for a packet that comes back with another one, and so gets it at
// POSTROUTING alone where it would not find the same: nobody but the node itself has a route for what comes from 127/8.
func TestMarkWithoutRoute(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	const syn, finSYN = 2, 3
	for _, row := range []struct {
		table, src, dst string
		flags           uint8
		want            [2]uint32 // at OUTPUT and POSTROUTING
	}{
		{"raw", "127.9.9.9:5000", "192.168.1.8:80", syn, [2]uint32{5, 7}},
		{"raw", "127.9.9.9:5000", "192.168.1.8:80", finSYN, [2]uint32{5, 7}}, // it has no connection
		{"raw", "192.168.1.1:5000", "192.168.1.8:80", syn, [2]uint32{7, 7}},
		{"raw", "192.168.1.1:5000", "10.244.1.9:80", syn, [2]uint32{5, 7}}, // its socket is bound to a device
		{"mangle", "192.168.1.1:5000", "192.168.1.8:80", syn, [2]uint32{7, 7}},
	} {
		rs, err := iptables.ParseString("*"+row.table+"\n:OUTPUT ACCEPT\n-A OUTPUT -j MARK --set-xmark 0x7/0xffffffff\nCOMMIT\n"+
			"*filter\n:OUTPUT ACCEPT\n-A OUTPUT -m mark ! --mark 0x7 -j DROP\n-A OUTPUT -m conntrack --ctstate UNTRACKED -j DROP\nCOMMIT\n", nat.IPv4)
		require.NoError(t, err)
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		b := segmentOf(row.src, row.dst, row.flags, 1, 0)
		for i, hook := range []nat.Hook{nat.Output, nat.PostRouting} {
			r := g.At(gateway.Seen{Hook: hook, Out: "eth0", Packet: bytes.Clone(b), Mark: []uint32{5, row.want[0]}[i]}, at)
			require.Equal(t, nat.Accept, r.Verdict, r.Why)
			require.Equal(t, row.want[i], r.Mark, "%v at %s", row, hook)
		}
		g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: bytes.Clone(b), Mark: 5}, at)
		other := g.At(gateway.Seen{Hook: nat.PostRouting, Out: "eth0", Packet: bytes.Clone(b), Mark: 9}, at)
		require.EqualValues(t, 9, other.Mark, "somebody else gave it another one meanwhile")
	}
}

// Where it is not known what a rule makes of a packet that goes no further for that.
func TestRulingOpen(t *testing.T) {
	t.Parallel()
	native, err := nftables.ParseText("table ip t {\n\tchain c {\n\t\ttype filter hook output priority filter; policy accept;\n\t\tip daddr 192.168.1.9 drop\n\t\tip daddr 192.168.1.8 jump {\n\t\t\taccept\n\t\t}\n\t}\n}\n")
	require.NoError(t, err)
	g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{}, gateway.NodeOptions{Facts: gateway.Facts{NFT: native}})
	require.NoError(t, err)
	for dst, want := range map[string]struct {
		verdict nat.Verdict
		open    bool
	}{"192.168.1.7:80": {nat.Accept, false}, "192.168.1.8:80": {nat.Drop, true}, "192.168.1.9:80": {nat.Drop, false}} {
		r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: segmentOf("192.168.1.1:5000", dst, 2, 1, 0)}, time.Unix(1, 0))
		require.Equal(t, want.verdict, r.Verdict, dst)
		require.Equal(t, want.open, r.Open, dst)
	}
}

// A packet that was lost behind PREROUTING is not taken for one like it that came in by another device.
func TestLostByAnotherDevice(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	g := wired(t)
	b := segmentOf("192.168.1.9:5000", "10.96.0.1:80", 2, 1, 0)
	lost := g.At(gateway.Seen{Hook: nat.PreRouting, Packet: bytes.Clone(b), In: "pods"}, at)
	require.Equal(t, nat.Accept, lost.Verdict)
	came := g.At(gateway.Seen{Hook: nat.PreRouting, Packet: bytes.Clone(b), In: "eth0"}, at)
	require.NotEqual(t, lost.Serial, came.Serial)
	onward := bytes.Clone(came.Packet)
	require.NoError(t, g.Move(twoNetworks())) // as upon any change of an address or a setting
	r := g.At(gateway.Seen{Hook: nat.Forward, Packet: bytes.Clone(onward), In: "eth0", Out: "pods"}, at)
	require.Equal(t, came.Serial, r.Serial)
	r = g.At(gateway.Seen{Hook: nat.Forward, Packet: bytes.Clone(onward), In: "eth0", Out: "pods"}, at)
	require.NotEqual(t, lost.Serial, r.Serial, "of the one that was lost nothing is known here")
}
