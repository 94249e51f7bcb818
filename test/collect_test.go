package test

import (
	"bytes"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/gateway"
	"natlab/topology"
	"natlab/topology/dump"
)

// collected runs a setup and then the script of natlab collect, in a network namespace of their own, which ends with them.
func collected(t *testing.T, shell, setup string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "-n", shell, "-c", "set -e\nip link set lo up\n"+setup+"\nset +e\n"+dump.Script) //nolint:gosec // the test's own
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "%s", problems.String())
	require.Empty(t, problems.String(), "the script prints to standard output alone")
	return string(out)
}

const aNode = `
ip link add eth0 type veth peer name wire0; ip link set wire0 up; ip link set eth0 up; ip addr add 192.0.2.10/24 dev eth0
ip link add eth1.7 type veth peer name wire1; ip link set wire1 up; ip link set eth1.7 up; ip addr add 198.51.100.10/24 dev eth1.7 noprefixroute
ip link add br0 type bridge; ip link set br0 up; ip addr add 10.42.0.1/24 dev br0
ip link add port1 type veth peer name far1; ip link set port1 master br0 up; ip link set port1 type bridge_slave hairpin on
ip -6 addr add fd00:1::10/64 dev eth0 nodad
ip route add default via 192.0.2.1 dev eth0 metric 100
ip route add 10.43.0.0/16 via 192.0.2.2
ip route add unreachable 10.44.0.0/16
ip route add 10.45.0.0/16 nexthop via 192.0.2.3 nexthop via 192.0.2.4
ip nexthop add id 1 via 192.0.2.3 dev eth0
ip nexthop add id 2 via 192.0.2.4 dev eth0
ip nexthop add id 10 group 1/2
ip route add 10.46.0.0/16 nhid 10
ip -6 route add default via fd00:1::1
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/conf/eth1.7/forwarding
echo 2 > /proc/sys/net/ipv4/conf/eth1.7/rp_filter
ipset create peers hash:ip
ipset add peers 192.0.2.77
iptables-nft-restore <<END
*nat
-A PREROUTING -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.42.0.5:80
-A POSTROUTING -m comment --comment "=== end" -j MASQUERADE
COMMIT
END
ip6tables-nft-restore <<END
*filter
-A INPUT -p tcp -m tcp --dport 22 -j DROP
COMMIT
END
iptables-legacy-restore <<END
*filter
:FORWARD DROP [0:0]
-A FORWARD -m set --match-set peers src -j ACCEPT
-A FORWARD -m set --match-set peers dst -j ACCEPT
COMMIT
END
`

// What the script of natlab collect prints of a node that holds a little of everything is read back, whatever shell ran it.
func TestCollected(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"sh", "bash"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			text := collected(t, shell, aNode)
			b, err := dump.Read(strings.NewReader(text))
			require.NoError(t, err)
			require.True(t, b.Whole)
			for _, s := range b.Sections {
				require.GreaterOrEqual(t, s.Exit, 0, s.Name)
			}
			n, err := bundle.Of(b)
			require.NoError(t, err)
			require.Subset(t, n.Addresses, []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("fd00:1::10"), netip.MustParseAddr("10.42.0.1")})
			require.False(t, n.Facts.NoAddresses)
			require.NotZero(t, n.Facts.Kernel)
			require.NotNil(t, n.Facts.Sets["peers"])
			require.Empty(t, n.Doubts)
			var others []string
			for _, r := range n.Namespace.Others {
				others = append(others, r.String())
			}
			require.Equal(t, []string{"10.45.0.0/16 via 192.0.2.4 dev eth0", "10.46.0.0/16 via 192.0.2.4 dev eth0"}, others)

			v4, both := n.Rules(nat.IPv4)
			require.True(t, both)
			require.Len(t, v4, 2)
			nft, _ := v4[0].Table("nat")
			c, _ := nft.Chain("PREROUTING")
			require.Len(t, c.Rules, 1)
			require.Contains(t, strings.Split(text, "\n")[c.Rules[0].Line-1], "10.42.0.5:80", "a rule's line is the bundle's")
			v6, both := n.Rules(nat.IPv6)
			require.False(t, both)
			require.Len(t, v6, 1)
			for _, d := range n.Namespace.Devices {
				if d.Name == "port1" {
					require.Equal(t, "br0", d.Master)
					require.Equal(t, topology.SwitchOn, d.Hairpin)
				}
			}
			require.Contains(t, n.Namespace.Sysctls, topology.Sysctl{Key: "net/ipv4/conf/eth1.7/rp_filter", Value: "2"})
			require.Equal(t, "drop FORWARD", ends(t, n, "tcp 192.0.2.99:40000 > 192.0.2.10:30080 in eth0"), "by the other backend's policy")
			require.Equal(t, "answered", ends(t, n, "tcp 192.0.2.77:40000 > 192.0.2.10:30080 in eth0"), "from a peer")
			require.Equal(t, "lost", ends(t, n, "tcp 192.0.2.99:40000 > 192.0.2.10:30080 in eth1.7"), "a device that forwards nothing")
			require.Equal(t, "unreachable", ends(t, n, "tcp 192.0.2.99:40000 > 10.44.0.1:1 in eth0"))
			require.Equal(t, "refused", ends(t, n, "tcp 192.0.2.99:40000 > 192.0.2.10:81 in eth0"), "no process listens")
			require.Equal(t, "drop INPUT", ends(t, n, "tcp [fd00:1::99]:40000 > [fd00:1::10]:22 in eth0"))
		})
	}
}

// ends is how a packet ends on its only way: the chain that drops it, or its end.
func ends(t *testing.T, n *bundle.Node, packet string) string {
	t.Helper()
	s, err := gateway.ParseSpec(packet)
	require.NoError(t, err)
	if s.In = s.Device; s.Device == "node" {
		s.In = ""
	}
	c := n.Case(s.Ask)
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
	require.NoError(t, err)
	require.Len(t, x.Prediction, 1, packet)
	o := x.Prediction[0]
	for _, step := range o.Request.Steps {
		if step.Verdict == nat.Drop {
			return "drop " + step.Chain
		}
	}
	return o.End.String()
}
