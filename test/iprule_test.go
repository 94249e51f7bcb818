package test

import (
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/gateway"
	"natlab/nat/packet"
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

var (
	routeVia  = regexp.MustCompile(`\bdev (\S+)`)
	routeNext = regexp.MustCompile(`\bvia (\S+)`)
)

// Where rules of routing lead a packet, the kernel (ip route get) and an explanation of what the node's programs print agree: by source, mark, device
// and protocol, to every kind of route and rule, in both families.
func TestRulesOfRouting(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		family             nat.Family
		setUp              string
		sources, own, dsts []string
		ends               []string // each of them is met
	}{
		{
			nat.IPv4, ruledNode,
			[]string{"10.0.0.99", "10.1.0.99", "10.2.0.99", "172.16.0.9"},
			[]string{"10.0.0.10", "10.1.0.10", "10.2.0.10"},
			[]string{
				"10.0.0.10", "10.2.0.7", "203.0.113.7", "203.0.113.70", "203.0.113.200", "198.51.100.7", "192.0.2.7", "192.0.2.200", "8.8.8.8",
				"198.18.0.7", "198.18.1.7", "198.18.2.7", "198.18.3.7", "100.64.0.7",
			},
			[]string{"local", "eth0 10.0.0.1", "eth1 10.1.0.1", "eth2 10.2.0.1", "eth0 10.0.0.7", "none"},
		},
		{
			nat.IPv6, ruledNode6,
			[]string{"fd00:0::99", "fd00:1::99", "fd00:2::99", "2001:db8:99::9"},
			[]string{"fd00:0::10", "fd00:1::10", "fd00:2::10"},
			[]string{
				"fd00::10", "fd00:2::7", "2001:db8:3::7", "2001:db8:3:4000::7", "2001:db8:3:8000::7", "2001:db8:5::7", "2001:db8:2::7", "2001:db8:2:8000::7",
				"2001:db8:8::8", "2001:db8:18::7", "2001:db8:18:1::7", "2001:db8:18:3::7", "2001:db8:64::7",
			},
			[]string{"local", "eth0 fd00::1", "eth1 fd00:1::1", "eth2 fd00:2::1", "eth0 fd00::7", "none"},
		},
	} {
		t.Run(row.family.String(), func(t *testing.T) {
			t.Parallel()
			run, n := ruled(t, "iprule-"+row.family.String(), row.setUp)
			tried, ends := 0, map[string]int{}
			for _, in := range []string{"eth0", "eth1", "eth2", "node"} {
				sources, marks := row.sources, []uint32{0} // a packet that comes in has no mark yet
				if in == "node" {
					sources, marks = row.own, []uint32{0, 2, 0x12, 3}
				}
				for _, src := range sources {
					for _, dst := range row.dsts {
						for _, proto := range []string{"tcp", "udp"} {
							for _, mark := range marks {
								want := kernelRoute(run, src, dst, in, proto, mark)
								require.Equal(t, want, explainedRoute(t, n, src, dst, in, proto, mark), "%s from %s to %s in %s mark %#x", proto, src, dst, in, mark)
								tried++
								ends[want]++
							}
						}
					}
				}
			}
			require.Greater(t, tried, 300)
			for _, kind := range row.ends {
				require.Positive(t, ends[kind], "%s of %v", kind, ends)
			}
		})
	}
}

// ruled is a namespace that a script sets up, as what runs commands there, and as natlab reads what its programs print.
func ruled(t *testing.T, name, script string) (run func(string) (string, error), n *bundle.Node) {
	t.Helper()
	h, err := netns.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	run = func(command string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, "sh", "-c", command).CombinedOutput() //nolint:gosec // the test's own
		return string(out), err
	}
	out, err := run(script)
	require.NoError(t, err, out)
	text, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", name, "sh", "-c", dump.Script).Output() //nolint:gosec // the test's own
	require.NoError(t, err)
	n, err = bundle.Read(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.Empty(t, n.Doubts)
	return run, n
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
	s, err := gateway.ParseSpec(fmt.Sprintf("%s %s > %s mark %d", proto, net.JoinHostPort(src, "40000"), net.JoinHostPort(dst, "53"), mark))
	require.NoError(t, err)
	if s.In = in; in == "node" {
		s.In = ""
	}
	c := n.Case(s.Ask)
	g, err := gateway.NewGateway(c.Namespace, c.Rules, gateway.NodeOptions{Facts: gateway.Facts{Kernel: c.Facts.Kernel}, Family: nat.FamilyOf(s.Tuple.Dst().Addr())})
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

// manySources is a node whose devices have addresses of every kind, and routes by each; all that leaves is masqueraded.
const manySources = `set -e
for i in 0 1 2; do
  ip link add eth$i type veth peer name wire$i; ip link set eth$i addrgenmode none; ip link set wire$i up; ip link set eth$i up
done
ip link set lo up
ip addr add fd00:1::1/64 dev eth0 nodad; ip addr add 2001:db8:1::1/64 dev eth0 nodad; ip addr add 2002::1/64 dev eth0 nodad
ip addr add fe80::1/64 dev eth1 nodad
ip addr add fd00:2::6/64 dev eth2 nodad; ip addr add fd00:7::5/64 dev eth2 nodad preferred_lft 0
for to in 2003::/16 fd00:9::/64 2a00::/16 2002:1::/32; do ip -6 route add $to dev eth0; done
for to in 2a01::/16 fd00:8::/64; do ip -6 route add $to dev eth1; done
ip -6 route add 2a02::/16 dev eth2
ip6tables-legacy -t nat -A POSTROUTING -j MASQUERADE
`

// A node's source towards an address, which is masquerade's as well, is the kernel's choice of several (RFC 6724): a unique local one, a global one, of 6to4,
// a deprecated one, one on another device where the way out has one of the link alone.
func TestSourcesOfIPv6(t *testing.T) {
	t.Parallel()
	run, n := ruled(t, "source-ipv6", manySources)
	for _, dst := range []string{"2003::9", "fd00:9::9", "2a00::9", "2002:1::9", "2a01::9", "fd00:8::9", "fd00:7::9", "2a02::9", "fd00:2::9"} {
		out, err := run("ip -6 route get " + dst)
		require.NoError(t, err, out)
		_, want, _ := strings.Cut(out, " src ")
		want, _, _ = strings.Cut(want, " ")

		s, err := gateway.ParseSpec(fmt.Sprintf("tcp [fd00:1::1]:40000 > [%s]:53", dst))
		require.NoError(t, err)
		c := n.Case(s.Ask)
		g, err := gateway.NewGateway(c.Namespace, c.Rules, gateway.NodeOptions{Facts: gateway.Facts{Kernel: c.Facts.Kernel}, Family: nat.IPv6})
		require.NoError(t, err)
		p, err := packet.Parse(g.Leaves(s.Ask).Packet)
		require.NoError(t, err, dst)
		require.Equal(t, want, p.Tuple().Src().Addr().String(), dst)
	}
}
