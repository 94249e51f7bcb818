package test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/topology"
)

// bridgeRules translate to hosts behind the bridge that packets come in by, and elsewhere.
const bridgeRules = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MASQ - [0:0]
-A PREROUTING -d 10.43.0.51/32 -j MASQ
-A PREROUTING -d 10.43.0.52/32 -j MASQ
-A PREROUTING -d 10.43.0.61/32 -j MASQ
-A PREROUTING -d 10.43.0.50/31 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.6:8080
-A PREROUTING -d 10.43.0.52/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.5:8080
-A PREROUTING -d 10.43.0.54/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 192.168.9.2:8080
-A PREROUTING -d 10.43.0.55/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.1:8080
-A PREROUTING -d 10.43.0.60/31 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.50.0.6:8080
-A PREROUTING -d 10.42.0.6/32 -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.42.0.7:8080
-A PREROUTING -d 10.42.0.6/32 -p tcp -m tcp --dport 82 -j DNAT --to-destination 192.168.9.2:8080
-A PREROUTING -d 10.42.0.6/32 -p tcp -m tcp --dport 83 -j DNAT --to-destination 10.42.0.1:8080
-A PREROUTING -d 192.168.9.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.42.0.6:8080
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
-A MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --dport 84 -j DROP
-A FORWARD -i cni0 -o cni0 -p tcp -m tcp --dport 85 -j REJECT --reject-with tcp-reset
-A FORWARD -i cni0 -o eth1 -p tcp -m tcp --dport 86 -j DROP
COMMIT
`

// bridgeHosts are whoever is around the node: on its bridge cni0, behind eth1, and on a network that a switch joins, behind ens9.
var bridgeHosts = []struct{ name, address, gateway, to string }{
	{"p5", "10.42.0.5", "10.42.0.1", "cni0"},
	{"p6", "10.42.0.6", "10.42.0.1", "cni0"},
	{"p7", "10.42.0.7", "10.42.0.1", "cni0"},
	{"o2", "192.168.9.2", "192.168.9.1", "eth1"},
	{"l5", "10.50.0.5", "10.50.0.1", "switch"},
	{"l6", "10.50.0.6", "10.50.0.1", "switch"},
}

// bridgeNetwork is a node with a bridge in the kernel, and its hosts' namespaces with a server each.
type bridgeNetwork struct {
	name   string // of the node's namespace; those of the others follow it
	family nat.Family
	hosts  map[netip.Addr]netns.Handle
}

var bridgeAddress = regexp.MustCompile(`\b(?:10|192)\.(4[23]|50|168)\.([09])\.(\d+)(/\d+)?(:\d+)?`)

// in is a text with addresses of IPv4 in the network's family: 10.42.0.5 is fd00:42::5 in IPv6.
func (n bridgeNetwork) in(text string) string {
	if n.family == nat.IPv4 {
		return text
	}
	return bridgeAddress.ReplaceAllStringFunc(text, func(address string) string {
		m := bridgeAddress.FindStringSubmatch(address)
		six := "fd00:" + m[1] + "::" + m[3]
		if m[5] != "" {
			return "[" + six + "]" + m[5]
		}
		return six + map[string]string{"": "", "/24": "/64", "/31": "/127", "/32": "/128"}[m[4]]
	})
}

func newBridgeNetwork(t *testing.T, family nat.Family) bridgeNetwork {
	t.Helper()
	n := bridgeNetwork{name: strings.Replace(uniqueName(t), "plan-", "br-", 1), family: family, hosts: map[netip.Addr]netns.Handle{}}
	for _, of := range append([]string{"", "-sw"}, names()...) {
		lease, err := netns.Lease(n.name + of)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, lease.Close()) })
	}
	script := []string{"N=" + n.name, "ip netns add $N", "ip netns add $N-sw", "at() { ns=$1; shift; ip netns exec $ns \"$@\"; }"}
	for _, h := range bridgeHosts {
		script = append(script, "ip netns add $N-"+h.name)
	}
	t.Cleanup(func() {
		for _, h := range append([]string{"", "-sw"}, names()...) {
			require.NoError(t, netns.Delete(n.name+h))
		}
	})
	script = append(script,
		"for i in $(ip netns | awk -v n=$N 'index($1, n) == 1 {print $1}'); do ip -n $i link set lo up; at $i sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_redirects=0; done",
		"at $N sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
		"ip -n $N link add cni0 type bridge forward_delay 0", "ip -n $N-sw link add br0 type bridge forward_delay 0", "ip -n $N-sw link set br0 up",
		"ip -n $N link add ens9 type veth peer up9 netns $N-sw", "ip -n $N-sw link set up9 master br0 up", "ip -n $N link set ens9 up",
		"ip -n $N addr add 10.50.0.1/24 dev ens9", "ip -n $N addr add 10.42.0.1/24 dev cni0", "ip -n $N link set cni0 up",
	)
	for _, h := range bridgeHosts {
		peer := map[string]string{"cni0": "$N", "eth1": "$N", "switch": "$N-sw"}[h.to]
		device := map[string]string{"cni0": "v" + h.name, "eth1": "eth1", "switch": "v" + h.name}[h.to]
		script = append(script, fmt.Sprintf("ip -n $N-%s link add eth0 type veth peer %s netns %s", h.name, device, peer),
			fmt.Sprintf("ip -n $N-%s addr add %s/24 dev eth0", h.name, h.address),
			fmt.Sprintf("ip -n $N-%s link set eth0 up", h.name),
			map[string]string{"cni0": "ip -n $N link set " + device + " master cni0", "eth1": "ip -n $N addr add 192.168.9.1/24 dev eth1", "switch": "ip -n $N-sw link set " + device + " master br0"}[h.to],
			"ip -n "+peer+" link set "+device+" up", fmt.Sprintf("ip -n $N-%s route add default via %s", h.name, h.gateway))
	}
	restore := map[nat.Family]string{nat.IPv4: "iptables-restore", nat.IPv6: "ip6tables-restore"}[family]
	run(t, n.in(strings.Join(append(script, "at $N "+restore+" <<'END'\n"+bridgeRules+"END"), "\n")))
	for _, h := range bridgeHosts {
		n.serve(t, n.in(h.address), n.name+"-"+h.name)
	}
	n.serve(t, n.in("10.42.0.1"), n.name)
	return n
}

// names are the ends of the hosts' namespaces' names.
func names() (out []string) {
	for _, h := range bridgeHosts {
		out = append(out, "-"+h.name)
	}
	return out
}

// serve has a namespace answer with the address and port that was reached, at every port that is asked.
func (n bridgeNetwork) serve(t *testing.T, address, namespace string) {
	t.Helper()
	h, err := netns.Open(namespace)
	require.NoError(t, err)
	n.hosts[netip.MustParseAddr(address)] = h
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	for _, port := range []string{"80", "81", "82", "83", "84", "85", "86", "8080"} {
		var l net.Listener
		require.NoError(t, h.Do(func() error {
			var err error
			l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":"+port)
			return err
		}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, c.LocalAddr().String())
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { require.NoError(t, l.Close()); <-done })
	}
}

// asks is how a TCP connection ends in the kernel: by whom it is answered, or not. What is to be lost is given little time.
func (n bridgeNetwork) asks(t *testing.T, from, to, want string) string {
	t.Helper()
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	if want == "lost" {
		dialer.Timeout = 300 * time.Millisecond
	}
	var c net.Conn
	err := n.hosts[netip.MustParseAddr(from)].Do(func() (err error) {
		c, err = dialer.DialContext(t.Context(), "tcp", to)
		return err
	})
	if err != nil {
		if strings.Contains(err.Error(), "refused") {
			return "rejected"
		}
		return "lost"
	}
	defer c.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	return "answered by " + string(text)
}

// prints is what a command prints in the node.
func (n bridgeNetwork) prints(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", n.name}, command...)...).Output() //nolint:gosec // of this test
	require.NoError(t, err)
	return string(out)
}

// predicts is how a connection ends by what the node's own programs print of it.
func (n bridgeNetwork) predicts(t *testing.T, node topology.NodeWords, from, to string) string {
	t.Helper()
	ns, notes, err := node.Node()
	require.NoError(t, err)
	require.Empty(t, notes)
	rs, err := iptables.ParseString(n.in(bridgeRules), n.family)
	require.NoError(t, err)
	spec, err := gateway.ParseSpec("tcp " + net.JoinHostPort(from, "40000") + " > " + to)
	require.NoError(t, err)
	dev, ok := gateway.Arrives(ns, spec.Tuple.Src().Addr())
	require.True(t, ok)
	spec.In = dev
	x, err := gateway.Explain(ns, gateway.Rules{rs}, gateway.Facts{}, spec.Ask, nil)
	require.NoError(t, err)
	require.Len(t, x.Prediction, 1, "%s > %s", from, to)
	o := x.Prediction[0]
	if o.End == nat.EndAnswered {
		return "answered by " + o.Endpoint.String()
	}
	return o.End.String()
}

// What hosts on a bridge, and on a link, get of the node's rules, in the kernel and in the emulator, which reads what ip(8), bridge(8) and
// sysctl(8) print of the node: with br_netfilter and without, with ports in hairpin mode and without.
func TestBridges(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		t.Run(family.String(), func(t *testing.T) {
			t.Parallel()
			newBridgeNetwork(t, family).agrees(t)
		})
	}
}

// agrees asks for every flow, with every setting.
func (n bridgeNetwork) agrees(t *testing.T) {
	t.Helper()
	tables := map[nat.Family]string{nat.IPv4: "iptables", nat.IPv6: "ip6tables"}[n.family]
	flows := []struct{ name, from, to string }{
		{"another pod's Service", "10.42.0.5", "10.43.0.50:80"},
		{"the same, masqueraded", "10.42.0.5", "10.43.0.51:80"},
		{"a pod's own Service, masqueraded", "10.42.0.5", "10.43.0.52:80"},
		{"a Service of a host elsewhere", "10.42.0.5", "10.43.0.54:80"},
		{"a Service of the node", "10.42.0.5", "10.43.0.55:80"},
		{"a pod, translated to a third", "10.42.0.5", "10.42.0.6:81"},
		{"a pod, translated to a host elsewhere", "10.42.0.5", "10.42.0.6:82"},
		{"a pod, translated to the node", "10.42.0.5", "10.42.0.6:83"},
		{"a pod, dropped", "10.42.0.5", "10.42.0.6:84"},
		{"a pod, rejected between ports", "10.42.0.5", "10.42.0.6:85"},
		{"a pod", "10.42.0.5", "10.42.0.6:80"},
		{"a host elsewhere", "10.42.0.5", "192.168.9.2:80"},
		{"a host elsewhere, dropped", "10.42.0.5", "192.168.9.2:86"},
		{"a pod from elsewhere", "192.168.9.2", "192.168.9.1:80"},
		{"a Service of a host on one link", "10.50.0.5", "10.43.0.60:80"},
		{"the same, masqueraded", "10.50.0.5", "10.43.0.61:80"},
		{"a Service of a pod, from a link", "10.50.0.5", "10.43.0.50:80"},
	}
	ends := map[string]bool{}
	for _, row := range []struct {
		calls, own, hairpin string // of the node, of the bridge itself, and of its ports
		texts               [][]string
	}{
		{"0", "0", "off", [][]string{{"ip", "-d", "addr"}}},
		{"0", "0", "on", [][]string{{"ip", "-j", "-d", "addr"}}},
		{"1", "0", "off", [][]string{{"bridge", "-d", "link"}, {"ip", "addr"}}},
		{"1", "0", "on", [][]string{{"bridge", "-j", "-d", "link"}, {"ip", "-j", "addr"}}},
		{"0", "1", "off", [][]string{{"ip", "-o", "-d", "link"}, {"ip", "-o", "addr"}}},
	} {
		run(t, fmt.Sprintf("N=%[1]s\nip netns exec $N sysctl -qw net.bridge.bridge-nf-call-%[5]s=%[2]s\nip -n $N link set cni0 type bridge nf_call_%[5]s %[3]s\n"+
			"for p in vp5 vp6 vp7; do ip -n $N link set $p type bridge_slave hairpin %[4]s; done", n.name, row.calls, row.own, row.hairpin, tables))
		node := topology.NodeWords{Sysctls: []string{strings.TrimSpace(n.prints(t, "sysctl", "net.bridge.bridge-nf-call-"+tables))}}
		for _, command := range row.texts {
			node.Links = append(node.Links, n.prints(t, command...))
		}
		for _, f := range flows {
			from, to := n.in(f.from), n.in(f.to)
			want := n.predicts(t, node, from, to)
			ends[want] = true
			got := n.asks(t, from, to, want)
			require.Equal(t, want, got, "%s: %s > %s, %+v", f.name, from, to, row)
		}
	}
	require.Subset(t, ends, map[string]bool{
		"lost": true, "rejected": true, n.in("answered by 10.42.0.5:8080"): true, n.in("answered by 10.42.0.7:8080"): true,
	})
}
