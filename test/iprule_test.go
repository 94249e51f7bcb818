package test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/gateway"
	"natlab/topology/dump"
)

// ruledNode is a node with three uplinks and rules of routing by all that they may ask for.
const ruledNode = `set -e
for i in 0 1 2; do
  ip link add eth$i type veth peer name wire$i; ip link set wire$i up; ip link set eth$i up
  ip addr add 10.$i.0.10/24 dev eth$i
done
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done
ip route add default via 10.0.0.1
ip route add 203.0.113.0/26 via 10.2.0.1
ip route add default via 10.1.0.1 table 101
ip route add 203.0.113.128/25 via 10.0.0.7 table 101
ip route add unreachable 203.0.113.64/26 table 101
ip route add default via 10.2.0.1 table 102
ip route add throw 198.51.100.0/24 table 102
ip route add prohibit 192.0.2.0/25 table 103
ip route add blackhole 192.0.2.128/25 table 103
ip rule add pref 50 from all lookup main suppress_prefixlength 0
ip rule add pref 100 from 10.1.0.0/16 lookup 101
ip rule add pref 110 fwmark 0x2/0xf lookup 102
ip rule add pref 120 iif eth2 to 192.0.2.0/24 lookup 103
ip rule add pref 130 not from 10.0.0.0/8 iif eth1 lookup 101
ip rule add pref 140 to 198.18.0.0/24 unreachable
ip rule add pref 150 to 198.18.1.0/24 goto 32766
ip rule add pref 160 to 198.18.0.0/15 prohibit
ip rule add pref 170 to 198.18.2.0/24 lookup 102
ip rule add pref 180 iif lo to 100.64.0.0/10 lookup 102
ip rule add pref 190 from all ipproto udp dport 53 lookup 101
`

var (
	routeVia  = regexp.MustCompile(`\bdev (\S+)`)
	routeNext = regexp.MustCompile(`\bvia (\S+)`)
)

// Where rules of routing lead a packet, the kernel (ip route get) and an explanation of what the node's programs print agree: by source, mark, device
// and protocol, to every kind of route and rule.
func TestRulesOfRouting(t *testing.T) {
	t.Parallel()
	name := "iprule-node"
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
	out, err := run(ruledNode)
	require.NoError(t, err, out)
	text, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, "sh", "-c", dump.Script).Output() //nolint:gosec // the test's own
	require.NoError(t, err)
	n, err := bundle.Read(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Empty(t, n.Doubts)

	tried := 0
	ends := map[string]int{}
	for _, in := range []string{"eth0", "eth1", "eth2", "node"} {
		for _, src := range []string{"10.0.0.99", "10.1.0.99", "10.2.0.99", "172.16.0.9"} {
			if in == "node" {
				if src = strings.Replace(src, ".99", ".10", 1); src == "172.16.0.9" {
					continue
				}
			}
			for _, dst := range []string{
				"10.0.0.10", "10.2.0.7", "203.0.113.7", "203.0.113.70", "203.0.113.200", "198.51.100.7", "192.0.2.7", "192.0.2.200", "8.8.8.8",
				"198.18.0.7", "198.18.1.7", "198.18.2.7", "198.18.3.7", "100.64.0.7",
			} {
				for _, proto := range []string{"tcp", "udp"} {
					for _, mark := range []uint32{0, 2, 0x12, 3} {
						if in != "node" && mark != 0 {
							continue // a packet that comes in has none yet
						}
						want := kernelRoute(run, src, dst, in, proto, mark)
						got := explainedRoute(t, n, src, dst, in, proto, mark)
						require.Equal(t, want, got, "%s from %s to %s in %s mark %#x", proto, src, dst, in, mark)
						tried++
						ends[want]++
					}
				}
			}
		}
	}
	require.Greater(t, tried, 300)
	for _, kind := range []string{"local", "eth0 10.0.0.1", "eth1 10.1.0.1", "eth2 10.2.0.1", "eth0 10.0.0.7", "none"} {
		require.Positive(t, ends[kind], "%s of %v", kind, ends)
	}
}

// kernelRoute is the device and the next hop that the kernel has for a packet; "local", or "none".
func kernelRoute(run func(string) (string, error), src, dst, in, proto string, mark uint32) string {
	command := fmt.Sprintf("ip route get %s from %s ipproto %s sport 40000 dport 53", dst, src, proto)
	if in != "node" {
		command += " iif " + in
	}
	if mark != 0 {
		command += fmt.Sprintf(" mark %#x", mark)
	}
	out, err := run(command)
	switch dev := routeVia.FindStringSubmatch(out); {
	case err != nil || dev == nil:
		return "none"
	case strings.HasPrefix(out, "local"):
		return "local"
	default:
		next := dst
		if via := routeNext.FindStringSubmatch(out); via != nil {
			next = via[1]
		}
		return dev[1] + " " + next
	}
}

func explainedRoute(t *testing.T, n *bundle.Node, src, dst, in, proto string, mark uint32) string {
	t.Helper()
	s, err := gateway.ParseSpec(fmt.Sprintf("%s %s:40000 > %s:53 mark %d", proto, src, dst, mark))
	require.NoError(t, err)
	if s.In = in; in == "node" {
		s.In = ""
	}
	c := n.Case(s.Ask)
	g, err := gateway.NewGateway(c.Namespace, c.Rules, gateway.NodeOptions{Facts: gateway.Facts{Kernel: c.Facts.Kernel}, Family: nat.IPv4})
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
