package gateway_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// What the twins found over the wire, kept.

// A packet of the node's own is not taken at POSTROUTING for one like it that came in before and was lost, of which the kernel tells nothing: the connection
// that it began is the one that is confirmed.
func TestLostIsNotSent(t *testing.T) {
	t.Parallel()
	g, at := wired(t), time.Unix(1, 0)
	b := segmentOf("10.244.1.1:5000", "192.168.1.255:80", 2, 1, 0)
	lost := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: bytes.Clone(b)}, at).Conn
	sent := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: bytes.Clone(b)}, at).Conn
	require.NotSame(t, lost, sent)
	for range 2 { // what the node hears of it itself, and what leaves
		r := g.At(gateway.Seen{Hook: nat.PostRouting, Out: "eth0", Packet: bytes.Clone(b)}, at)
		require.Equal(t, nat.Accept, r.Verdict, r.Why)
		require.Same(t, sent, r.Conn)
	}
	require.Equal(t, 1, g.Conns().Len())
	r := g.At(gateway.Seen{Hook: nat.PostRouting, In: "eth0", Out: "pods", Packet: bytes.Clone(b)}, at)
	require.Same(t, lost, r.Conn, "one that came in is told by its device")
}

// Nor is one that is INVALID and has no connection taken for it, be it the same segment or another of the same ports, length and sequence number: it is translated
// by nobody.
func TestInvalidIsNotLost(t *testing.T) {
	t.Parallel()
	const syn, ack = 2, 16
	own := func(flags uint8) []byte { return segmentOf("10.244.1.1:5000", "10.244.1.9:80", flags, 7, 1) }
	for _, flags := range []uint8{syn, ack} {
		g, at := wired(t), time.Unix(1, 0)
		pass := func(s gateway.Seen, flags uint8) gateway.Ruling {
			s.Packet = own(flags)
			r := g.At(s, at)
			require.Equal(t, nat.Accept, r.Verdict, r.Why)
			return r
		}
		require.NotNil(t, pass(gateway.Seen{Hook: nat.PreRouting, In: "eth0"}, flags).Conn) // and it is lost
		for _, hook := range []nat.Hook{nat.Output, nat.PostRouting} {
			require.NotNil(t, pass(gateway.Seen{Hook: hook, Out: "pods"}, syn).Conn)
		}
		for _, hook := range []nat.Hook{nat.Output, nat.PostRouting} {
			r := pass(gateway.Seen{Hook: hook, Out: "pods"}, ack)
			require.Nil(t, r.Conn, "%s", hook)
			require.False(t, r.Changed)
		}
		if flags == ack { // which nothing tells from the one that was lost
			continue
		}
		require.Nil(t, pass(gateway.Seen{Hook: nat.PreRouting, In: "eth0"}, ack).Conn)
		r := g.At(gateway.Seen{Hook: nat.Forward, In: "eth0", Out: "pods", Packet: own(ack)}, at)
		require.Equal(t, nat.Drop, r.Verdict, "by the rule for what is INVALID")
	}
}

// What comes back by lo has a sum that is right where a device was to complete it, or where it is what the node hears itself of what it sends to others; any other is
// looked at, and not answered where it is wrong.
func TestSumsOverLo(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j REJECT\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for _, unsummed := range []bool{false, true} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		self := netip.MustParseAddrPort("192.168.1.1:0")
		b := packet.Build(nat.TupleOf(99, self, self), packet.Fields{TTL: 64, Payload: []byte("wrong")}).Bytes()
		for _, s := range []gateway.Seen{{Hook: nat.Output, Out: "lo", Unsummed: unsummed}, {Hook: nat.PostRouting, Out: "lo"}, {Hook: nat.PreRouting, In: "lo"}} {
			s.Packet = b
			require.Equal(t, nat.Accept, g.At(s, time.Unix(1, 0)).Verdict)
		}
		r := g.At(gateway.Seen{Hook: nat.Input, In: "lo", Packet: b}, time.Unix(1, 0))
		require.Equal(t, nat.Drop, r.Verdict)
		require.Equal(t, unsummed, len(r.Answers) == 1, "%t: %s", unsummed, r.Why)
	}
}

// What the kernel sends of ICMP itself is not answered by ICMP, for its stack is at work then (icmp_xmit_lock); what a process sends is.
func TestBusyOnTheWire(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p icmp -j REJECT --reject-with icmp-admin-prohibited\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for _, process := range []bool{false, true} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		b := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:7"), netip.MustParseAddrPort("192.168.1.9:7")), packet.Fields{TTL: 64, Type: 8}).Bytes()
		r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: b, UID: rules.ID{Known: process}}, time.Unix(1, 0))
		require.Equal(t, nat.Drop, r.Verdict)
		require.Equal(t, process, len(r.Answers) == 1)
	}
}

// The stack's error about a packet that came to the node itself, of a protocol that nobody takes, has that packet's connection, and is translated although rules
// would have it untracked. One about a port has none any more.
func TestErrorAboutDelivered(t *testing.T) {
	t.Parallel()
	const text = `*raw
:OUTPUT ACCEPT [0:0]
-A OUTPUT -j CT --notrack
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 192.168.1.1
COMMIT
`
	rs, err := iptables.ParseString(text, nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct {
		proto nat.Proto
		code  uint8
		from  string
	}{{51, 2, "10.96.0.1"}, {nat.UDP, 3, "192.168.1.1"}} {
		g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		at := time.Unix(1, 0)
		b := packet.Build(nat.TupleOf(row.proto, netip.MustParseAddrPort("192.168.1.9:0"), netip.MustParseAddrPort("10.96.0.1:0")), packet.Fields{TTL: 64}).Bytes()
		for _, hook := range []nat.Hook{nat.PreRouting, nat.Input} {
			r := g.At(gateway.Seen{Hook: hook, In: "eth0", Packet: bytes.Clone(b)}, at)
			require.Equal(t, nat.Accept, r.Verdict, r.Why)
			b = bytes.Clone(r.Packet)
		}
		ends := nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:0"), netip.MustParseAddrPort("192.168.1.9:0"))
		told := packet.Build(ends, packet.Fields{Type: 3, Code: row.code, Payload: b}).Bytes()
		for _, hook := range []nat.Hook{nat.Output, nat.PostRouting} {
			r := g.At(gateway.Seen{Hook: hook, Out: "eth0", Packet: told}, at)
			require.Equal(t, nat.Accept, r.Verdict, r.Why)
			told = bytes.Clone(r.Packet)
		}
		p, err := packet.Parse(told)
		require.NoError(t, err)
		require.Equal(t, row.from, p.Tuple().Src().Addr().String())
	}
}

// The error about a packet that came without a connection has none, though one is there that its addresses fit.
func TestErrorAboutUntracked(t *testing.T) {
	t.Parallel()
	const text = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 192.168.1.1/32 -j CT --notrack
-A OUTPUT -j CT --notrack
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 192.168.1.1
COMMIT
`
	rs, err := iptables.ParseString(text, nat.IPv4)
	require.NoError(t, err)
	g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
	require.NoError(t, err)
	for _, to := range []string{"10.96.0.1:0", "192.168.1.1:0"} { // the second fits the first's connection
		b := packet.Build(nat.TupleOf(51, netip.MustParseAddrPort("192.168.1.9:0"), netip.MustParseAddrPort(to)), packet.Fields{TTL: 64}).Bytes()
		for _, hook := range []nat.Hook{nat.PreRouting, nat.Input} {
			r := g.At(gateway.Seen{Hook: hook, In: "eth0", Packet: b}, time.Unix(1, 0))
			require.Equal(t, nat.Accept, r.Verdict, r.Why)
			b = bytes.Clone(r.Packet)
		}
		told := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("192.168.1.1:0"), netip.MustParseAddrPort("192.168.1.9:0")), packet.Fields{Type: 3, Code: 2, Payload: b}).Bytes()
		r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: told}, time.Unix(1, 0))
		require.Equal(t, nat.Accept, r.Verdict, r.Why)
		require.Equal(t, to == "10.96.0.1:0", r.Conn != nil)
		if r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: told}, time.Unix(1, 0)); to == "10.96.0.1:0" {
			require.Nil(t, r.Conn, "there is one error about a packet")
		}
	}
}

// No answer from 127.0.0.1 leaves by a device that has no route_localnet, although the kernel would send it as it is given to it.
func TestLoopbackStaysHome(t *testing.T) {
	t.Parallel()
	const all = `*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A INPUT -j REJECT --reject-with icmp-port-unreachable
COMMIT
`
	rs, err := iptables.ParseString(all, nat.IPv4)
	require.NoError(t, err)
	for _, proto := range []nat.Proto{nat.TCP, nat.UDP} {
		for _, localnet := range []bool{false, true} {
			ns := twoNetworks()
			if localnet {
				ns.Sysctls = append(slices.Clone(ns.Sysctls), topology.Sysctl{Key: "net/ipv4/conf/eth0/route_localnet", Value: "1"})
			}
			g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{})
			require.NoError(t, err)
			ends := nat.TupleOf(proto, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("127.0.0.1:80"))
			b := packet.Build(ends, packet.Fields{TTL: 64, TCP: packet.TCP{Flags: 2, Seq: 1}}).Bytes()
			r := g.At(gateway.Seen{Hook: nat.Input, In: "eth0", Packet: b}, time.Unix(1, 0))
			require.Equal(t, nat.Drop, r.Verdict)
			require.Equal(t, localnet, len(r.Answers) == 1, "%s, route_localnet %t", ends, localnet)
		}
	}
}

// No rule answers what is broadcast or for a group, whose route the kernel does not tell; what it forwards has another (bc_forwarding).
func TestManyAreNotAnswered(t *testing.T) {
	t.Parallel()
	const all = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A INPUT -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -j REJECT --reject-with icmp-port-unreachable
-A OUTPUT -j REJECT --reject-with icmp-port-unreachable
COMMIT
`
	rs, err := iptables.ParseString(all, nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct {
		hook     nat.Hook
		dst      string
		answered bool
	}{
		{nat.Input, "192.168.1.1", true},
		{nat.Input, "192.168.1.255", false},
		{nat.Input, "255.255.255.255", false},
		{nat.Input, "224.0.0.1", false},
		{nat.Forward, "192.168.1.255", true},
		{nat.Output, "192.168.1.9", true},
		{nat.Output, "192.168.1.255", false},
		{nat.Output, "224.0.0.1", false},
	} {
		for _, proto := range []nat.Proto{nat.TCP, nat.UDP} {
			g, err := gateway.NewGateway(twoNetworks(), gateway.Rules{rs}, gateway.NodeOptions{})
			require.NoError(t, err)
			s := gateway.Seen{Hook: row.hook, In: "eth0", Out: "eth0"}
			src := "192.168.1.9:5000"
			if row.hook == nat.Input {
				s.Out = ""
			}
			if row.hook == nat.Output {
				src, s.In = "192.168.1.1:5000", ""
			}
			t0 := nat.TupleOf(proto, netip.MustParseAddrPort(src), netip.MustParseAddrPort(row.dst+":80"))
			s.Packet = packet.Build(t0, packet.Fields{TTL: 64, TCP: packet.TCP{Flags: 2, Seq: 1}}).Bytes()
			r := g.At(s, time.Unix(1, 0))
			require.Equal(t, nat.Drop, r.Verdict)
			require.Equal(t, row.answered, len(r.Answers) == 1, "%s at %s", t0, row.hook)
		}
	}
}

// What rules do to a mark and take back has a packet routed anew where they are mangle's, whatever its socket is bound to. The kernel does not see that such a packet changed: it
// gets another mark until POSTROUTING, with which it finds the route that it would have with its own.
func TestRoutedAnewByAnotherMark(t *testing.T) {
	t.Parallel()
	const mine, top, next, change = 5, 1<<31 | 5, 1<<30 | 5, "-A OUTPUT -j MARK --set-xmark 0x5/0xffffffff\n"
	for _, row := range []struct {
		name, mangle string
		rules        []string
		out          string // by which it leaves, with the mark that it gets
		want         uint32
	}{
		{"the first that there is", change, nil, "pods", top},
		{"one that leads elsewhere is left out", change, []string{"1000: from all fwmark 0x80000000/0x80000000 lookup 7"}, "pods", next},
		{"one that leads to another neighbour, too", change, []string{"1000: from all fwmark 0x80000000/0x80000000 lookup 8"}, "pods", next},
		{"its own where no other one leads there", change, []string{"1000: not from all fwmark 0x5 lookup 7"}, "eth0", mine},
		{"its own where the kernel routes it for its TOS", change + "-A OUTPUT -j TOS --set-tos 0x10/0xff\n", nil, "pods", mine},
		{"its own where the socket's route is the same", change, []string{"1000: from all lookup 7"}, "eth0", mine},
		{"its own where mangle changed nothing", "", nil, "eth0", mine},
	} {
		ns := twoNetworks()
		for _, text := range row.rules {
			r, err := topology.ParseRoutingRule(text, false)
			require.NoError(t, err)
			ns.Rules = slices.Insert(topology.KernelRules(false), 1, r)
		}
		all, pods := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.244.1.0/24")
		ns.Routes = []topology.Route{
			{Dst: pods, Device: "pods", Scope: topology.ScopeLink},
			{Dst: all, Device: "eth0", Table: "7"},
			{Dst: all, Device: "pods", Via: netip.MustParseAddr("10.244.1.77"), Table: "8"},
		}
		rs, err := iptables.ParseString("*raw\n:OUTPUT ACCEPT\n-A OUTPUT -j MARK --set-xmark 0x9/0xffffffff\nCOMMIT\n*mangle\n:OUTPUT ACCEPT\n"+row.mangle+"COMMIT\n"+
			"*filter\n:OUTPUT ACCEPT\n-A OUTPUT -j MARK --set-xmark 0x5/0xffffffff\nCOMMIT\n", nat.IPv4)
		require.NoError(t, err)
		g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{})
		require.NoError(t, err)
		at, b := time.Unix(1, 0), segmentOf("192.168.1.1:5000", "10.244.1.9:80", 2, 1, 0)
		r := g.At(gateway.Seen{Hook: nat.Output, Out: "eth0", Packet: b, Mark: mine}, at)
		require.Equal(t, nat.Accept, r.Verdict, "%s: %s", row.name, r.Why)
		require.Equal(t, row.want, r.Mark, row.name)
		r = g.At(gateway.Seen{Hook: nat.PostRouting, Out: row.out, Packet: bytes.Clone(r.Packet), Mark: r.Mark}, at)
		require.EqualValues(t, mine, r.Mark, "%s: at POSTROUTING", row.name)
	}
}

// A packet is known again by what it carries, and whatever its checksum is meanwhile, which a device may still have to complete.
func TestKnownByWhatItCarries(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	const checksumUDP, checksumSCTP = 6, 8 // behind the IP header
	for proto, checksum := range map[nat.Proto]int{nat.UDP: checksumUDP, nat.SCTP: checksumSCTP} {
		g := wired(t)
		tuple := nat.TupleOf(proto, netip.MustParseAddrPort("192.168.1.9:5000"), netip.MustParseAddrPort("10.244.1.7:80"))
		came := func(which byte) gateway.Ruling {
			init := []byte{1, 0, 0, 20, 0, 0, 0, which, 19: 0} // an association's first chunk, with its tag
			b := packet.Build(tuple, packet.Fields{TTL: 64, Payload: init}).Bytes()
			r := g.At(gateway.Seen{Hook: nat.PreRouting, In: "eth0", Packet: b, Unsummed: true}, at)
			r.Packet = bytes.Clone(r.Packet)
			return r
		}
		lost, goesOn := came(1), came(2)
		goesOn.Packet[20+checksum]++
		r := g.At(gateway.Seen{Hook: nat.Forward, In: "eth0", Out: "pods", Packet: goesOn.Packet}, at)
		require.Equal(t, goesOn.Serial, r.Serial, proto)
		require.NotEqual(t, lost.Serial, r.Serial, proto)
	}
}
