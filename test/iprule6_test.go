package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/gateway"
	"natlab/topology/dump"
)

// ruledNode6 is ruledNode in IPv6.
const ruledNode6 = `set -e
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
for i in 0 1 2; do
  ip link add eth$i type veth peer name wire$i; ip link set wire$i up; ip link set eth$i up
  ip -6 addr add fd00:$i::10/64 dev eth$i nodad
done
ip link set lo up
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip -6 route add default via fd00:0::1
ip -6 route add 2001:db8:3::/50 via fd00:2::1
ip -6 route add default via fd00:1::1 table 101
ip -6 route add 2001:db8:3:8000::/49 via fd00:0::7 dev eth0 table 101
ip -6 route add unreachable 2001:db8:3:4000::/50 table 101
ip -6 route add default via fd00:2::1 table 102
ip -6 route add throw 2001:db8:5::/48 table 102
ip -6 route add prohibit 2001:db8:2::/49 table 103
ip -6 route add blackhole 2001:db8:2:8000::/49 table 103
ip -6 rule add pref 50 from all lookup main suppress_prefixlength 0
ip -6 rule add pref 100 from fd00:1::/64 lookup 101
ip -6 rule add pref 110 fwmark 0x2/0xf lookup 102
ip -6 rule add pref 120 iif eth2 to 2001:db8:2::/48 lookup 103
ip -6 rule add pref 130 not from fd00::/16 iif eth1 lookup 101
ip -6 rule add pref 140 to 2001:db8:18::/64 unreachable
ip -6 rule add pref 150 to 2001:db8:18:1::/64 goto 32766
ip -6 rule add pref 160 to 2001:db8:18::/48 prohibit
ip -6 rule add pref 180 iif lo to 2001:db8:64::/48 lookup 102
ip -6 rule add pref 190 from all ipproto udp dport 53 lookup 101
`

// Of IPv6, too, an explanation of what the node's programs print agrees with the kernel about where rules of routing lead.
func TestRulesOfRouting6(t *testing.T) {
	t.Parallel()
	name := "iprule6-node"
	h, err := netns.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	run := func(command string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, "sh", "-c", command).CombinedOutput() //nolint:gosec // the test's own
		return string(out), err
	}
	out, err := run(ruledNode6)
	require.NoError(t, err, out)
	text, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, "sh", "-c", dump.Script).Output() //nolint:gosec // the test's own
	require.NoError(t, err)
	n, err := bundle.Read(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Empty(t, n.Doubts)

	tried := 0
	ends := map[string]int{}
	for _, in := range []string{"eth0", "eth1", "eth2", "node"} {
		for _, src := range []string{"fd00:0::99", "fd00:1::99", "fd00:2::99", "2001:db8:99::9"} {
			if in == "node" {
				if src = strings.Replace(src, "::99", "::10", 1); src == "2001:db8:99::9" {
					continue
				}
			}
			for _, dst := range []string{
				"fd00::10", "fd00:2::7", "2001:db8:3::7", "2001:db8:3:4000::7", "2001:db8:3:8000::7", "2001:db8:5::7", "2001:db8:2::7", "2001:db8:2:8000::7",
				"2001:db8:8::8", "2001:db8:18::7", "2001:db8:18:1::7", "2001:db8:18:3::7", "2001:db8:64::7",
			} {
				for _, proto := range []string{"tcp", "udp"} {
					for _, mark := range []uint32{0, 2, 3} {
						if in != "node" && mark != 0 {
							continue // a packet that comes in has none yet
						}
						want := kernelRoute(run, src, dst, in, proto, mark)
						got := explainedRoute6(t, n, src, dst, in, proto, mark)
						require.Equal(t, want, got, "%s from %s to %s in %s mark %#x", proto, src, dst, in, mark)
						tried++
						ends[want]++
					}
				}
			}
		}
	}
	require.Greater(t, tried, 300)
	for _, kind := range []string{"local", "eth0 fd00::1", "eth1 fd00:1::1", "eth2 fd00:2::1", "eth0 fd00::7", "none"} {
		require.Positive(t, ends[kind], "%s of %v", kind, ends)
	}
}

func explainedRoute6(t *testing.T, n *bundle.Node, src, dst, in, proto string, mark uint32) string {
	t.Helper()
	s, err := gateway.ParseSpec(fmt.Sprintf("%s [%s]:40000 > [%s]:53 mark %d", proto, src, dst, mark))
	require.NoError(t, err)
	if s.In = in; in == "node" {
		s.In = ""
	}
	c := n.Case(s.Ask)
	g, err := gateway.NewGateway(c.Namespace, c.Rules, gateway.NodeOptions{Facts: gateway.Facts{Kernel: c.Facts.Kernel}, Family: nat.IPv6})
	require.NoError(t, err)
	x := g.Leaves(s.Ask)
	switch {
	case x.Packet == nil:
		return "none"
	case x.Local():
		return "local"
	}
	return x.Dev + " " + x.Via.String()
}
