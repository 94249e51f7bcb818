package test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// What people break by hand on a node or beside it, among Calico's rules: the flow that it concerns is disproved, and the place
// and the thing are named. Rules of iptables are broken in TestDecisiveRules, devices, routes and neighbours in TestTheWorldIsBlamed.
func TestBreaksByHand(t *testing.T) {
	t.Parallel()
	const pod = "velero/minio-b6d98746c-lxt2c" // on vms103, 10.244.38.178
	outside := proof.Selector{Service: "velero/minio:console", From: "outside", To: "192.168.26.100:30450"}
	fromNode := proof.Selector{Service: "velero/minio:console", From: "vms100", To: "127.0.0.1:30450"}
	pods := proof.Selector{Service: "velero/minio:console", From: pod}
	otherPod := proof.Selector{Service: "velero/minio:console", From: "velero/minio-b6d98746c-m7rzc", To: "10.98.180.238:9099"}
	toDNS := proof.Selector{Service: "kube-system/kube-dns:dns", From: pod}
	for _, row := range []struct {
		name    string
		overlay topology.Overlay
		in      string
		shell   string
		act     func(*testing.T, *lab.Lab)
		flow    proof.Selector
		want    string // in "NODE: why, rules"
	}{
		{name: "a rule of the other backend", in: "vms103", shell: "iptables-nft -I FORWARD -d 10.244.38.178/32 -p tcp -j DROP", flow: outside, want: "vms103: .*-A FORWARD -d 10.244.38.178/32 -p tcp -j DROP"},
		{name: "a foreign nft table", in: "vms103", shell: "nft 'add table inet fw; add chain inet fw f { type filter hook forward priority 0; }; add rule inet fw f tcp dport 9090 drop'", flow: outside, want: "vms103: .*table inet fw"},
		{name: "a foreign nft table of the family ip", in: "vms103", shell: "nft 'add table ip fw; add chain ip fw f { type filter hook forward priority 0; }; add rule ip fw f tcp dport 9090 drop'", flow: outside, want: "vms103: .*table ip fw"},
		{name: "a foreign nft table masquerades", in: "vms103", shell: "nft 'add table ip fw; add chain ip fw f { type nat hook postrouting priority 50; }; add rule ip fw f ip daddr 10.244.38.178 masquerade'", flow: otherPod, want: "vms103: .*table ip fw"},
		{name: "a foreign nft table at a device", in: "vms103", shell: "nft 'add table netdev fw; add chain netdev fw f { type filter hook ingress device tunl0 priority 0; }; add rule netdev fw f tcp dport 9090 drop'", flow: outside, want: "vms103: .*table netdev fw"},
		{name: "ebtables of the switch", in: "underlay", shell: "ebtables -A FORWARD -p IPv4 --ip-destination 192.168.26.103 -j DROP", flow: outside, want: "underlay: .*table bridge filter"},
		{name: "tc drops", in: "vms103", shell: "tc qdisc add dev ens32 clsact && tc filter add dev ens32 ingress bpf da bytecode '1,6 0 0 2'", flow: outside, want: "vms103: .*ens32.*clsact"},
		{name: "tc shapes", in: "vms103", shell: "tc qdisc add dev cali3cc4bd22559 root tbf rate 8bit burst 1 limit 1", flow: outside, want: "vms103: .*cali3cc4bd22559.*tbf"},
		{name: "via another node", in: "vms100", shell: "ip route replace 10.244.38.128/26 via 192.168.26.2", flow: outside, want: "vms100: .*10.244.38.128/26 via 192.168.26.2"},
		{name: "ip rule", in: "vms103", shell: "ip rule add from 10.244.38.178 prohibit", flow: outside, want: "vms103: .*10.244.38.178"},
		{name: "rp_filter", in: "vms103", shell: "ip route replace 10.244.239.128/26 via 192.168.26.100 dev ens32 && sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.tunl0.rp_filter=1", flow: outside, want: "vms103: .*rp_filter is 1"},
		{name: "route_localnet", in: "vms100", shell: "sysctl -q -w net.ipv4.conf.all.route_localnet=0", flow: fromNode, want: "vms100: .*route_localnet is 0, the lab made it 1"},
		{name: "conntrack forgets at once", in: "vms100", shell: "sysctl -q -w net.netfilter.nf_conntrack_tcp_timeout_syn_sent=0", flow: outside, want: "vms100: .*nf_conntrack_tcp_timeout_syn_sent is 0"},
		{name: "the table of connections is full", act: fillConnections, flow: outside, want: "vms100: .*connection tracking is full: .* of .* connections"},
		{name: "connlimit", in: "vms103", shell: "iptables-legacy -I FORWARD -p tcp --syn -m connlimit --connlimit-above 0 -j DROP", flow: outside, want: "vms103: .*connlimit"},
		{name: "MTU too small for the answer", in: "underlay", shell: "ip link set p-vms103 mtu 700", flow: outside, want: "underlay: .*p-vms103 has MTU 700"},
		{name: "MTU too small for the answer, untold", in: "vms103", shell: "ip link set ens32 mtu 700 && iptables-legacy -I OUTPUT -p icmp -j DROP", flow: outside, want: "vms103: .*MTU 700"},
		{name: "an old entry of the tunnel", in: "vms100", shell: "conntrack -D -p 4; conntrack -I -p 4 -s 192.168.26.100 -d 192.168.26.103 -r 192.168.26.103 -q 192.168.26.199 --src-nat 192.168.26.199 -t 600", flow: outside, want: "vms100: .*192.168.26.199"},
		{name: "the switch port down", in: "underlay", shell: "ip link set p-vms103 down", flow: outside, want: "underlay: .*p-vms103 is down"},
		{name: "the tunnel's peer unknown", overlay: topology.VXLAN, in: "vms100", shell: "bridge fdb del $(bridge fdb show dev vxlan.calico | grep 192.168.26.103 | head -1 | cut -d' ' -f1) dev vxlan.calico dst 192.168.26.103", flow: outside, want: "vms100: .*192.168.26.103"},
		{name: "the server stopped", act: stopServer, flow: outside, want: pod + ": nothing listens at 10.244.38.178:9090"},
		{name: "another server", act: serveAsAnother, flow: outside, want: pod + ": "},
		{name: "the pod's own rule", in: pod, shell: "iptables-legacy -I INPUT -p tcp --dport 9090 -j DROP", flow: outside, want: pod + ": .*-A INPUT -p tcp -m tcp --dport 9090 -j DROP"},
		{name: "the pod's own rule, nft", in: pod, shell: "iptables-nft -I INPUT -p tcp --dport 9090 -j DROP", flow: outside, want: pod + ": .*-A INPUT -p tcp -m tcp --dport 9090 -j DROP"},
		{name: "the pod masquerades", in: pod, shell: "iptables-legacy -t nat -A POSTROUTING -j SNAT --to-source 10.244.38.179", flow: toDNS, want: pod + ": .*-A POSTROUTING"},
		{name: "hairpin off", in: "vms103", shell: "iptables-legacy -I FORWARD -i cali3cc4bd22559 -o cali3cc4bd22559 -j DROP", flow: pods, want: "vms103: .*-i cali3cc4bd22559 -o cali3cc4bd22559 -j DROP"},
		{name: "proxy ARP off", in: "vms103", shell: "sysctl -q -w net.ipv4.conf.cali3cc4bd22559.proxy_arp=0", flow: toDNS, want: "vms103: .*proxy_arp is 0, the lab made it 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := reference(t)
			if row.overlay != 0 {
				c.PodNetwork.Overlay = row.overlay
			}
			l := labOf(t, c, dataplane.Legacy)
			loadAgent(t, l, "calico")
			if row.act != nil {
				row.act(t, l)
			} else {
				runIn(t, l, row.in, "", "sh", "-c", row.shell)
			}
			start := time.Now()
			r, err := verify.Lab(t.Context(), l, verify.Options{Selector: row.flow, WithoutControl: true})
			require.NoError(t, err)
			t.Logf("%v", time.Since(start).Round(time.Millisecond))
			var told []string
			for _, cert := range r.Flows {
				if w := cert.Wrong; w != nil {
					told = append(told, fmt.Sprintf("%s: %s: %s; expected rule %q, actual rule %q; at fault: %s", cert.Verdict, w.Node, w.Why, w.WantRule, w.LiveRule, w.Fault))
				}
			}
			require.Equal(t, proof.Disproved, r.Outcome(), "%v", told)
			require.Regexp(t, "disproved: "+row.want, strings.Join(told, "\n"))
		})
	}
}

func stopServer(t *testing.T, l *lab.Lab) {
	t.Helper()
	require.NoError(t, l.StopServer(t.Context(), "velero/minio-b6d98746c-lxt2c"))
}

// serveAsAnother lets a stranger listen where the pod's server did.
func serveAsAnother(t *testing.T, l *lab.Lab) {
	t.Helper()
	stopServer(t, l)
	h, err := l.Handle("velero/minio-b6d98746c-lxt2c")
	require.NoError(t, err)
	var s io.Closer
	require.Eventually(t, func() bool { // a program that is being started elsewhere has the old server's socket until its exec
		s, err = traffic.Serve(h, "somebody/else", nat.TCP, netip.MustParseAddrPort("10.244.38.178:9090"))
		return !errors.Is(err, unix.EADDRINUSE)
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
}
