package test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/topology/dump"
)

// outageHosts are whoever is around the node that outages are made in.
//
//	client 192.0.2.99 --- eth0 node eth1 --- 198.51.100.99 up, which is 203.0.113.99 too, and knows no way to pods
//	                       cni0 (a bridge)      c1 (a link of its own)
//	              10.42.0.5 | 10.42.0.6             | 10.42.1.5
//	                    pod5  pod6                pod15
var outageHosts = []struct{ name, device, address, gateway string }{
	{"client", "eth0", "192.0.2.99/24", "192.0.2.10"},
	{"up", "eth1", "198.51.100.99/24", ""},
	{"pod5", "v5", "10.42.0.5/24", "10.42.0.1"},
	{"pod6", "v6", "10.42.0.6/24", "10.42.0.1"},
	{"pod15", "c1", "10.42.1.5/24", "10.42.1.1"},
}

// outageNode is the node's side: addresses, routes, and rules as kube-proxy, a bridge plugin, Docker and an agent with sets keep them.
const outageNode = `set -e
ip link add cni0 type bridge
ip link set v5 master cni0; ip link set v6 master cni0
for d in v5 v6; do ip link set $d type bridge_slave hairpin on; done
for d in lo eth0 eth1 v5 v6 c1 cni0; do ip link set $d up; done
ip addr add 192.0.2.10/24 dev eth0
ip addr add 198.51.100.10/24 dev eth1
ip addr add 10.42.0.1/24 dev cni0
ip addr add 10.42.1.1/32 dev c1
ip route add 10.42.1.5 dev c1
ip route add blackhole 10.42.1.0/24
ip route add default via 198.51.100.99
ip route add 203.0.113.0/25 via 192.0.2.99
echo 1 > /proc/sys/net/ipv4/ip_forward
for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done
ipset create allowed hash:ip
ipset add allowed 192.0.2.99
ipset add allowed 203.0.113.7
iptables-nft-restore <<END
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s 10.42.0.0/16 ! -d 10.42.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE
-A KUBE-SERVICES -d 10.43.0.50/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j DNAT --to-destination 10.42.1.5:80
-A KUBE-NODEPORTS -p udp -m udp --dport 30053 -j DNAT --to-destination 10.42.0.5:53
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -s 10.42.0.5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination 10.42.0.5:80
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -i eth0 -m set ! --match-set allowed src -j DROP
-A FORWARD -d 10.42.0.0/16 -j ACCEPT
-A FORWARD -s 10.42.0.0/16 -j ACCEPT
-A FORWARD -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
END
`

// outages are what is broken by hand on a node on which everything works, one thing each, the flow that it breaks, and what has to be blamed for it.
var outages = []struct {
	name   string
	flow   string // who asks, and what
	breaks string // run in the node
	code   string
	names  string // what the cause has to name
	word   diagnosis.Word
	change string // the kind of change that the bundles before and after have; "" for none
}{
	{"the mark rule is flushed", "pod5 tcp 10.42.0.5:40000 > 10.43.0.50:80", "iptables-nft -t nat -F KUBE-MARK-MASQ", "mark.missing", "KUBE-MARK-MASQ", diagnosis.Broken, "rule"},
	{"another agent takes the mark", "pod5 tcp 10.42.0.5:40000 > 10.43.0.50:80", "iptables-nft -t mangle -A FORWARD -o cni0 -j MARK --set-xmark 0x1/0xffffffff", "mark.cleared", "mangle FORWARD:1", diagnosis.Broken, "rule"},
	{"hairpin mode is off", "pod5 tcp 10.42.0.5:40000 > 10.43.0.50:80", "ip link set v5 type bridge_slave hairpin off", "hairpin.off", "v5", diagnosis.Broken, "device"},
	{"bridges call no rules", "pod6 tcp 10.42.0.6:40000 > 10.43.0.50:80", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables", "bridge.bypass", "net.bridge.bridge-nf-call-iptables", diagnosis.Broken, "sysctl"},
	{"rp_filter with a second uplink", "client tcp 203.0.113.7:40000 > 192.0.2.10:30080", "ip route del 203.0.113.0/25; echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter", "rpfilter.drop", "eth0", diagnosis.Broken, "route"},
	{"the policy of FORWARD", "client tcp 192.0.2.99:40000 > 198.51.100.99:80", "iptables-nft -P FORWARD DROP", "policy.drop", "filter FORWARD", diagnosis.Broken, "policy"},
	{"a rule of the administrator in Docker's chain", "client tcp 192.0.2.99:40000 > 192.0.2.10:30080", "iptables-nft -A DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 30080 -j DROP", "rule.drop", "(Docker)", diagnosis.Broken, "rule"},
	{"no masquerade to the world", "pod5 tcp 10.42.0.5:40000 > 203.0.113.199:80", "iptables-nft -t nat -D POSTROUTING 2", "masquerade.missing", "10.42.0.5", diagnosis.Depends, "rule"},
	{"a set without the client", "client tcp 192.0.2.99:40000 > 192.0.2.10:30080", "ipset del allowed 192.0.2.99", "set.member", "allowed", diagnosis.Broken, "set"},
	{"an old entry", "client udp 192.0.2.99:40000 > 192.0.2.10:30053", "conntrack -I -p udp -s 192.0.2.99 -d 192.0.2.10 --sport 40000 --dport 30053 -r 10.42.1.9 -q 192.0.2.99 --reply-port-src 53 --reply-port-dst 40000 -t 300", "conntrack.stale", "10.42.1.9:53", diagnosis.Broken, ""},
	{"both backends", "client tcp 192.0.2.99:40000 > 192.0.2.10:30080", "iptables-legacy -P FORWARD DROP", "backend.shadowed", "iptables-legacy", diagnosis.Broken, "policy"},
	{"forwarding is off", "client tcp 192.0.2.99:40000 > 192.0.2.10:30080", "echo 0 > /proc/sys/net/ipv4/ip_forward", "forwarding.off", "net.ipv4.ip_forward", diagnosis.Broken, "sysctl"},
	{"the route to a pod is lost", "client tcp 192.0.2.99:40000 > 192.0.2.10:30081", "ip route del 10.42.1.5", "dnat.stale", "10.42.1.5", diagnosis.Broken, "route"},
	{"nobody listens", "client tcp 192.0.2.99:40000 > 192.0.2.10:81", "", "listener.missing", "192.0.2.10:81", diagnosis.Broken, ""},
	{"the default route is lost", "pod5 tcp 10.42.0.5:40000 > 203.0.113.199:80", "ip route del default", "route.missing", "203.0.113.199", diagnosis.Broken, "route"},
}

// outageSite is the namespaces of one outage.
type outageSite struct {
	name  string
	hosts map[string]netns.Handle
}

func newOutageSite(t *testing.T, name string) outageSite {
	t.Helper()
	s := outageSite{name: name, hosts: map[string]netns.Handle{}}
	for _, host := range []string{"node", "client", "up", "pod5", "pod6", "pod15"} {
		full := name + host
		h, err := netns.CreateLeased(full)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, h.Close())
			require.NoError(t, netns.Delete(full))
		})
		s.hosts[host] = h
	}
	for _, h := range outageHosts {
		outageRun(t, fmt.Sprintf("ip -n %[1]snode link add %[3]s type veth peer name eth0 netns %[1]s%[2]s", name, h.name, h.device))
		s.in(t, h.name, fmt.Sprintf("ip link set lo up; ip link set eth0 up; ip addr add %s dev eth0", h.address))
	}
	s.in(t, "node", outageNode)
	for _, h := range outageHosts {
		if h.gateway != "" {
			s.in(t, h.name, "ip route add default via "+h.gateway)
		}
	}
	s.in(t, "client", "ip addr add 203.0.113.7/32 dev lo")
	s.in(t, "up", "ip addr add 203.0.113.199/32 dev lo; ip route add 192.0.2.0/24 via 198.51.100.10")
	s.serve(t, "pod5", "tcp 0.0.0.0:80")
	s.serve(t, "pod5", "udp 10.42.0.5:53")
	s.serve(t, "pod15", "tcp 0.0.0.0:80")
	s.serve(t, "up", "tcp 0.0.0.0:80")
	return s
}

func outageRun(t *testing.T, command string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput() //nolint:gosec // the test's own
	require.NoError(t, err, "%s\n%s", command, out)
}

func (s outageSite) in(t *testing.T, host, command string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", s.name+host, "sh", "-c", command).CombinedOutput() //nolint:gosec // the test's own
	require.NoError(t, err, "%s\n%s", command, out)
}

// serve answers what comes to a port.
func (s outageSite) serve(t *testing.T, host, at string) {
	t.Helper()
	proto, address, _ := strings.Cut(at, " ")
	require.NoError(t, s.hosts[host].Do(func() error {
		if proto == "udp" {
			c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				b := make([]byte, 64)
				for {
					n, from, err := c.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = c.WriteTo(b[:n], from)
				}
			}()
			return nil
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
		return nil
	}))
}

// asks tries a flow in the kernel: a connection, or a datagram that comes back.
func (s outageSite) asks(t *testing.T, host string, tuple nat.Tuple, wait time.Duration) error {
	t.Helper()
	return s.hosts[host].Do(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(tuple.Src().Addr(), 0))}
		if tuple.Proto() == nat.UDP {
			d.LocalAddr = net.UDPAddrFromAddrPort(tuple.Src())
		}
		c, err := d.DialContext(ctx, tuple.Proto().String()+"4", tuple.Dst().String())
		if err != nil || tuple.Proto() == nat.TCP {
			if err == nil {
				err = c.Close()
			}
			return err
		}
		defer c.Close() //nolint:errcheck // it was only asked
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 8))
		return err
	})
}

// answer is what natlab tells of a flow from what the script of natlab collect prints on the node.
func (s outageSite) answer(t *testing.T, tuple nat.Tuple) (diagnosis.Answer, dump.Bundle) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", s.name+"node", "sh", "-c", dump.Script) //nolint:gosec // the test's own
	out, err := cmd.Output()
	require.NoError(t, err)
	b, err := dump.Read(strings.NewReader(string(out)))
	require.NoError(t, err)
	n, err := bundle.Of(b)
	require.NoError(t, err)
	in := map[byte]string{192: "eth0", 203: "eth0", 10: "cni0"}[tuple.Src().Addr().As4()[0]]
	ask := gateway.AskOf(tuple)
	ask.In = in
	c := n.Case(ask)
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, ask, nil)
	require.NoError(t, err)
	return c.Diagnose(x.Prediction), b
}

// Every outage is one in the kernel, and what the node's own programs print of it is enough to name what was broken. Before, both agree that the flow
// works.
func TestOutages(t *testing.T) {
	t.Parallel()
	for i, row := range outages {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newOutageSite(t, fmt.Sprintf("og%d-", i))
			host, flow, _ := strings.Cut(row.flow, " ")
			tuple, err := nat.ParseTuple(flow)
			require.NoError(t, err)
			var before dump.Bundle
			if row.breaks != "" {
				require.NoError(t, s.asks(t, host, tuple, 10*time.Second), "it works before")
				var a diagnosis.Answer
				a, before = s.answer(t, tuple)
				require.Equal(t, diagnosis.Works, a.Verdict, "%s", a)
				if tuple.Proto() == nat.UDP {
					s.in(t, "node", "conntrack -F")
				}
				s.in(t, "node", row.breaks)
			}
			require.Error(t, s.asks(t, host, tuple, time.Second), "it does not work any more")
			a, after := s.answer(t, tuple)
			require.Equal(t, row.word, a.Verdict, "%s", a)
			require.NotEmpty(t, a.Causes, "%s", a)
			require.Equal(t, row.code, a.Causes[0].Code, "%s", a)
			require.Contains(t, a.Causes[0].What, row.names, "%s", a)
			if row.breaks != "" {
				changes, _, err := bundle.Changes(before, after)
				require.NoError(t, err)
				require.Equal(t, row.change != "", slices.ContainsFunc(changes, func(c bundle.Change) bool { return c.Kind == row.change }), "%v", changes)
			}
		})
	}
}

// Every code that an outage names has a page.
func TestOutagesHavePages(t *testing.T) {
	t.Parallel()
	for _, row := range outages {
		require.True(t, slices.ContainsFunc(diagnosis.Codes(), func(c diagnosis.Page) bool { return c.Code == row.code }), row.code)
	}
}
