package test

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/proof"
	"natlab/topology"
)

// twinKinds are labs that outages are made in: what makes one of a lab of natlab's own, run in its members, and of which objects it is.
var twinKinds = []struct {
	name    string
	file    string
	overlay topology.Overlay
	node    string // that is dumped
	makes   [][2]string
}{
	{"calico", "twin.yaml", topology.IPIP, "n1", [][2]string{
		{"n1", `ipset create allowed hash:ip; ipset add allowed 203.0.113.7; ipset add allowed 192.0.2.20
			iptables-legacy -I FORWARD -i eth0 -d 10.42.0.5 -m set ! --match-set allowed src -j DROP
			ip route add 10.42.0.5 dev $(ip -o route get 10.42.0.5 | sed 's/.* dev \([^ ]*\).*/\1/') table 100; ip route add unreachable default table 100
			ip rule add pref 100 from 10.42.0.6 to 10.42.0.0/24 lookup 100`},
	}},
	{"bridge", "twin.yaml", topology.None, "n1", [][2]string{
		{"n1", `ip link add cni0 address 02:00:00:00:00:01 type bridge; ip route del blackhole 10.42.0.0/24; ip addr add 10.42.0.1/24 dev cni0; ip link set cni0 up
			n=2; for d in $(ls /sys/class/net | grep cali); do ip route flush dev $d; ip link set $d address 02:00:00:00:01:0$n master cni0; ip link set $d type bridge_slave hairpin on; n=$((n+1)); done
			echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables`},
		{"shop/web", "ip addr flush dev eth0; ip addr add 10.42.0.5/24 dev eth0; ip route add default via 10.42.0.1"},
		{"shop/asks", "ip addr flush dev eth0; ip addr add 10.42.0.6/24 dev eth0; ip route add default via 10.42.0.1"},
	}},
	{"flat", "flat.yaml", topology.None, "ip-10-0-12-34.example.internal", nil},
	{"docker", "twin.yaml", topology.IPIP, "n1", [][2]string{
		{"router", "ip link add wan type veth peer name eth1 netns $NODE; ip link set wan up; ip addr add 198.51.100.1/24 dev wan; echo 0 > /proc/sys/net/ipv4/conf/wan/rp_filter"},
		{"n1", `ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
			ip link set eth1 up; ip addr add 198.51.100.10/24 dev eth1; ip route replace default via 198.51.100.1 dev eth1
			iptables-legacy -N DOCKER; iptables-legacy -N DOCKER-USER; iptables-legacy -A DOCKER-USER -j RETURN
			iptables-legacy -I FORWARD -j DOCKER-USER; iptables-legacy -A FORWARD -o docker0 -j DOCKER; iptables-legacy -A FORWARD -i docker0 -j ACCEPT
			iptables-legacy -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
			nft 'table inet host { chain forward { type filter hook forward priority 10; policy accept; ip daddr 172.17.0.0/16 drop; }; }'`},
	}},
}

// twinOutages are what is broken by hand in a node of such a lab, and mended again, the flow that it breaks, and what has to be blamed for it.
var twinOutages = []struct {
	name, kind     string
	breaks, mends  string
	from, to       string // the flow: who asks, and what
	packet         string // as it comes to the node
	code, names    string
	explainedAlone bool // it is no Service's flow, so that verify does not ask it
}{
	{"the mark rule is flushed", "calico", "iptables-legacy -t nat -F KUBE-MARK-MASQ", "iptables-legacy -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000", "shop/web", "10.43.0.50:80", "tcp 10.42.0.5:40000 > 10.43.0.50:80 in cali", "mark.missing", "KUBE-MARK-MASQ", false},
	{"another agent takes the mark", "calico", "iptables-legacy -t mangle -A FORWARD -j MARK --set-xmark 0x0/0xffffffff", "iptables-legacy -t mangle -F FORWARD", "shop/web", "10.43.0.50:80", "tcp 10.42.0.5:40000 > 10.43.0.50:80 in cali", "mark.cleared", "mangle FORWARD:1", false},
	{"a table lost a route", "calico", "ip route save table 100 > /tmp/$NODE.routes; ip route del 10.42.0.5 table 100", "ip route restore < /tmp/$NODE.routes 2>/dev/null; rm /tmp/$NODE.routes; true", "shop/asks", "10.43.0.50:80", "tcp 10.42.0.6:40000 > 10.43.0.50:80 in cali", "route.closed", "table 100", false},
	{"a set without the client", "calico", "ipset del allowed 203.0.113.7", "ipset add allowed 203.0.113.7", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "set.member", "allowed", false},
	{"a stale DNAT", "calico", "iptables-legacy-save -t nat | sed s/10.42.0.5:80/10.42.0.77:80/ | iptables-legacy-restore", "iptables-legacy-save -t nat | sed s/10.42.0.77:80/10.42.0.5:80/ | iptables-legacy-restore", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "dnat.stale", "10.42.0.77", false},
	{"both backends", "calico", "iptables-nft -P FORWARD DROP", "iptables-nft -P FORWARD ACCEPT", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "backend.shadowed", "iptables-nft", false},
	{"an old entry", "calico", "conntrack -I -p udp -s 203.0.113.7 -d 192.0.2.10 --sport 40000 --dport 30053 -r 10.42.1.9 -q 203.0.113.7 --reply-port-src 53 --reply-port-dst 40000 -t 300", "conntrack -D -p udp -s 203.0.113.7 --sport 40000", "far", "192.0.2.10:30053", "udp 203.0.113.7:40000 > 192.0.2.10:30053 in eth0", "conntrack.stale", "10.42.1.9:53", false},
	{"hairpin mode is off", "bridge", "for d in $(ls /sys/class/net | grep cali); do ip link set $d type bridge_slave hairpin off; done", "for d in $(ls /sys/class/net | grep cali); do ip link set $d type bridge_slave hairpin on; done", "shop/web", "10.43.0.50:80", "tcp 10.42.0.5:40000 > 10.43.0.50:80 in cni0", "hairpin.off", "cali", false},
	{"bridges call no rules", "bridge", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables", "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables", "shop/asks", "10.43.0.50:80", "tcp 10.42.0.6:40000 > 10.43.0.50:80 in cni0", "bridge.bypass", "net.bridge.bridge-nf-call-iptables", false},
	{"no masquerade", "flat", "iptables-legacy -t nat -F POSTROUTING", "", "far", "10.0.12.34:31080", "tcp 192.0.2.9:40000 > 10.0.12.34:31080 in eth0", "masquerade.missing", "masquerades the packet", false},
	{"the policy of FORWARD", "docker", "iptables-legacy -P FORWARD DROP", "iptables-legacy -P FORWARD ACCEPT", "shop/asks", "10.43.0.50:80", "tcp 10.42.0.6:40000 > 10.43.0.50:80 in cali", "policy.drop", "filter FORWARD", false},
	{"rp_filter with a second uplink", "docker", "echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter", "echo 0 > /proc/sys/net/ipv4/conf/eth0/rp_filter", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "rpfilter.drop", "eth0", false},
	{"a rule of nft's own", "docker", "nft add rule inet host forward ip daddr 10.42.0.5 tcp dport 80 drop", "nft flush chain inet host forward", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "rule.drop", "inet host forward", false},
	{"a rule of the administrator in Docker's chain", "docker", "iptables-legacy -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 30080 -j DROP", "iptables-legacy -D DOCKER-USER 1", "far", "192.0.2.10:30080", "tcp 203.0.113.7:40000 > 192.0.2.10:30080 in eth0", "rule.drop", "(Docker)", false},
}

// inMember runs a script in a member of a lab; $NODE is the namespace of the node that is dumped.
func inMember(t *testing.T, l *lab.Lab, member, node, script string) {
	t.Helper()
	var out bytes.Buffer
	status, err := l.Exec(t.Context(), member, []string{"sh", "-ec", "NODE=" + l.Name() + "." + node + "\n" + script}, lab.Streams{Out: &out, Err: &out})
	require.NoError(t, err)
	require.Zero(t, status, "%s: %s\n%s", member, script, out.String())
}

// The twin of a node that works works: it is proved whatever kind of node it is. The twin of one in which something is broken is disproved, in the flow
// that is broken, and what was broken is named by an explanation of the bundle and by the proof.
func TestTwinOutages(t *testing.T) {
	t.Parallel()
	for _, kind := range twinKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, kind.file)
			c.PodNetwork.Overlay = kind.overlay
			l := labOf(t, c, dataplane.Legacy)
			for _, m := range kind.makes {
				inMember(t, l, m[0], kind.node, m[1])
			}
			meetPods(t, l, c, kind.node)
			t.Run("healthy", func(t *testing.T) {
				healthy := collectedOf(t, l, kind.node)
				t.Parallel()
				r := proveTwin(t, c, healthy, proof.Selector{})
				require.Equal(t, proof.Proved, r.Outcome(), "%v %v", r.Culprits(), r.Notes)
			})
			for _, row := range twinOutages {
				if row.kind != kind.name {
					continue
				}
				inMember(t, l, kind.node, kind.node, row.breaks)
				broken := collectedOf(t, l, kind.node)
				inMember(t, l, kind.node, kind.node, row.mends)
				t.Run(row.name, func(t *testing.T) {
					t.Parallel()
					a := explainBundle(t, broken, row.packet)
					require.Contains(t, []diagnosis.Word{diagnosis.Broken, diagnosis.Depends}, a.Verdict, "%s", a)
					require.NotEmpty(t, a.Causes, "%s", a)
					require.Equal(t, row.code, a.Causes[0].Code, "%s", a)
					require.Contains(t, a.Causes[0].What, row.names, "%s", a)
					r := proveTwin(t, c, broken, proof.Selector{From: row.from, To: row.to})
					require.Equal(t, proof.Disproved, r.Outcome(), "%v", r.Notes)
					for _, f := range r.Flows {
						if w := f.Wrong; f.Verdict == proof.Disproved {
							require.Equal(t, kind.node, w.Node)
							require.Contains(t, w.Why+w.LiveRule, row.names, "%+v", w)
							require.True(t, strings.Contains(w.Why, row.code+": ") || w.WantRule != "", "%+v", w)
						}
					}
				})
			}
		})
	}
}

// meetPods makes a node learn where its pods are, as it does when it talks to them.
func meetPods(t *testing.T, l *lab.Lab, c topology.Cluster, node string) {
	t.Helper()
	h, err := l.Handle(node)
	require.NoError(t, err)
	for _, p := range c.Pods {
		if p.Node != node || p.HostNetwork {
			continue
		}
		require.NoError(t, h.Do(func() error {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp4", net.JoinHostPort(p.IPv4().String(), "9"))
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte("?"))
			_, _ = conn.Read(make([]byte, 1)) // nobody listens there, which is told behind the neighbour's answer
			_ = conn.Close()
			return err
		}))
	}
}

func proveTwin(t *testing.T, c topology.Cluster, b lab.Bundle, only proof.Selector) proof.Report {
	t.Helper()
	recording := filepath.Join(t.TempDir(), "run")
	r, err := verify.Lab(t.Context(), twinUp(t, c, b), verify.Options{Selector: only, WithoutControl: true, Record: recording})
	require.NoError(t, err)
	require.NotEmpty(t, r.Flows)
	again, err := verify.Replay(recording, false)
	require.NoError(t, err)
	require.Equal(t, r.Outcome(), again.Outcome(), "judged again: %v %v", again.Culprits(), again.Notes)
	require.Len(t, again.Flows, len(r.Flows))
	return r
}

// explainBundle is what natlab explain --bundle tells of a packet. A device that ends with "cali" is the one that a route to the packet's source
// leads by.
func explainBundle(t *testing.T, b lab.Bundle, packet string) diagnosis.Answer {
	t.Helper()
	n, err := bundle.Read(strings.NewReader(b.Text))
	require.NoError(t, err)
	packet, in, _ := strings.Cut(packet, " in ")
	tuple, err := nat.ParseTuple(packet)
	require.NoError(t, err)
	if in == "cali" {
		var ok bool
		in, ok = gateway.Arrives(n.Namespace, tuple.Src().Addr())
		require.True(t, ok)
	}
	ask := gateway.AskOf(tuple)
	ask.In = in
	one := n.Case(ask)
	x, err := gateway.Explain(one.Namespace, one.Rules, one.Facts, ask, nil)
	require.NoError(t, err)
	return one.Diagnose(x.Prediction)
}
