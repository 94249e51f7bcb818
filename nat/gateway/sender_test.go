package gateway_test

import (
	"net/netip"
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

// What -m owner finds at OUTPUT and POSTROUTING of a packet that the kernel answers with, or forwards. The rows are what
// Linux 6.18 does.
func TestOwnerOfAnswers(t *testing.T) {
	t.Parallel()
	const v4, v6 = "192.168.1.9:40000 > 192.168.1.1", "[2001:db8::9]:40000 > [2001:db8::1]"
	for _, row := range []struct {
		packet, chain, owner string
		holds                bool
	}{
		// ICMP goes by a socket of the kernel's, which is no user's
		{"udp " + v4 + ":53", "OUTPUT", "--socket-exists", true},
		{"udp " + v6 + ":53", "OUTPUT", "--socket-exists", true},
		{"udp " + v4 + ":53", "OUTPUT", "--uid-owner 0", false},
		{"udp " + v4 + ":53", "POSTROUTING", "! --uid-owner 5", true},
		{"icmp " + v4 + ":40000", "OUTPUT", "--socket-exists", true},
		// an RST of the stack: in IPv4 only; of a REJECT rule: never
		{"tcp " + v4 + ":53", "OUTPUT", "--socket-exists", true},
		{"tcp " + v6 + ":53", "OUTPUT", "--socket-exists", false},
		{"tcp " + v6 + ":53", "OUTPUT", "! --socket-exists", true},
		{"tcp " + v4 + ":22", "OUTPUT", "--socket-exists", false},
		{"tcp " + v4 + ":22", "OUTPUT", "! --uid-owner 5", true},
		// what is forwarded
		{"tcp 192.168.1.9:40000 > 10.244.1.5:80", "POSTROUTING", "--socket-exists", false},
		{"tcp 192.168.1.9:40000 > 10.244.1.5:80", "POSTROUTING", "! --uid-owner 5 ! --gid-owner 5", true},
	} {
		t.Run(row.packet, func(t *testing.T) {
			t.Parallel()
			tuple, err := nat.ParseTuple(row.packet)
			require.NoError(t, err)
			family := nat.FamilyOf(tuple.Src().Addr())
			rs, err := iptables.ParseString("*mangle\n-A "+row.chain+" -m owner "+row.owner+" -j DROP\nCOMMIT\n"+
				"*filter\n-A INPUT -p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset\nCOMMIT\n", family)
			require.NoError(t, err, row.owner)
			ns := twoNetworks()
			ns.Addresses = append(ns.Addresses, topology.Address{Device: "eth0", Prefix: netip.MustParsePrefix("2001:db8::1/64")})
			g, err := gateway.NewGateway(ns, gateway.Rules{rs}, gateway.NodeOptions{Family: family, Listens: func(nat.Tuple) bool { return false }})
			require.NoError(t, err)
			f := packet.Fields{TCP: packet.TCP{Flags: 2, Seq: 1, Window: 1}}
			if tuple.Proto() == nat.ICMP {
				f.Type = 8
			}
			outs, _, _ := g.Handle(packet.Build(tuple, f).Bytes(), "eth0", time.Unix(0, 1))
			require.Equal(t, row.holds, len(outs) == 0, "%s at %s: -m owner %s", row.packet, row.chain, row.owner)
		})
	}
}

// A packet of the node's own is a process's: of which user, who asks may know.
func TestExplainOwner(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		spec string
		ways int
	}{
		{"tcp 10.244.1.1:40000 > 10.244.1.5:80", 2},
		{"tcp 10.244.1.1:40000 > 10.244.1.5:80 uid 1337", 1},
		{"tcp 10.244.1.1:40000 > 10.244.1.5:80 uid 0", 1},
	} {
		t.Run(row.spec, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.spec)
			require.NoError(t, err)
			rs, err := iptables.ParseString("*filter\n-A OUTPUT -m owner --uid-owner 1337 -j ACCEPT\n-A OUTPUT -m owner ! --uid-owner 1337 -j DROP\n"+
				"-A OUTPUT -j REJECT\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, row.ways, row.spec)
			for _, o := range x.Prediction {
				require.NotEqual(t, nat.EndRejected, o.End, "nobody is both")
			}
		})
	}
	s, err := gateway.ParseSpec("tcp 192.168.1.9:40000 > 10.244.1.5:80 uid 0")
	require.NoError(t, err)
	s.In = "eth0"
	_, err = gateway.Explain(twoNetworks(), nil, gateway.Facts{}, s.Ask, nil)
	require.ErrorContains(t, err, "no uid or gid")
}

// With a bypass, and without: where nobody listens, and where that is not known.
func TestExplainQueue(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		target string
		listen rules.Answer
		ends   []nat.End
	}{
		{"NFQUEUE --queue-bypass", rules.No, []nat.End{nat.EndAnswered}},
		{"NFQUEUE", rules.No, []nat.End{nat.EndLost}},
		{"QUEUE", rules.No, []nat.End{nat.EndLost}},
		{"NFQUEUE --queue-bypass", rules.Unknown, []nat.End{nat.EndAnswered, nat.EndLost}},
		{"NFQUEUE", rules.Yes, []nat.End{nat.EndAnswered, nat.EndLost}},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString("*filter\n-A INPUT -j "+row.target+"\n-A INPUT -j REJECT\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			s, err := gateway.ParseSpec("tcp 192.168.1.9:40000 > 192.168.1.1:80")
			require.NoError(t, err)
			s.In = "eth0"
			x, err := gateway.Explain(twoNetworks(), gateway.Rules{rs}, gateway.Facts{Queues: row.listen}, s.Ask, nil)
			require.NoError(t, err)
			var ends []nat.End
			for _, o := range x.Prediction {
				ends = append(ends, o.End)
			}
			require.Equal(t, row.ends, ends, "%s, a program listens: %s", row.target, row.listen)
		})
	}
}

// A bridge's packets may go through these tables with its ports, unless the node does not let them. The port is known where it is named.
func TestExplainPhysDev(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		in, sysctl string
		ways       int
	}{
		{"eth0", "", 1},
		{"br0", "", 2},
		{"br0", "1", 2},
		{"br0", "0", 1},
		{"veth1", "", 2},
		{"veth1", "1", 1},
		{"veth1", "0", 1},
		{"veth2", "1", 1},
	} {
		t.Run(row.in+" "+row.sysctl, func(t *testing.T) {
			t.Parallel()
			ns := twoNetworks()
			ns.Devices = append(ns.Devices, topology.Device{Name: "br0", Kind: topology.Bridge},
				topology.Device{Name: "veth1", Kind: topology.Veth, Master: "br0"}, topology.Device{Name: "veth2", Kind: topology.Veth, Master: "br0"})
			ns.Addresses = append(ns.Addresses, topology.Address{Device: "br0", Prefix: netip.MustParsePrefix("172.17.0.1/16")})
			if row.sysctl != "" {
				ns.Sysctls = append(ns.Sysctls, topology.Sysctl{Key: "net/bridge/bridge-nf-call-iptables", Value: row.sysctl})
			}
			rs, err := iptables.ParseString("*mangle\n-A POSTROUTING -m physdev --physdev-in veth1 -j DROP\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err)
			s, err := gateway.ParseSpec("tcp 172.17.0.9:40000 > 10.244.1.5:80")
			require.NoError(t, err)
			s.In = row.in
			x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, s.Ask, nil)
			require.NoError(t, err)
			require.Len(t, x.Prediction, row.ways, "in by %s, call-iptables %q", row.in, row.sysctl)
			if row.ways == 1 {
				require.Equal(t, row.in == "veth1" && row.sysctl == "1", x.Prediction[0].End == nat.EndLost)
			}
		})
	}
}
