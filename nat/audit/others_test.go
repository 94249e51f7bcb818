package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// What others do, or leave behind, is found where what comes to pods hangs on it; and it is not where something answers for it.
func TestOthersFaults(t *testing.T) {
	t.Parallel()
	port := func(to string) string {
		return "-A CNI-DN-A -p tcp -m tcp --dport 8080 -j DNAT --to-destination " + to + "\n"
	}
	hostPort := func(rules string) string {
		return "*nat\n:CNI-HOSTPORT-DNAT - [0:0]\n:CNI-DN-A - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n-A CNI-HOSTPORT-DNAT -j CNI-DN-A\n" + rules + "COMMIT\n"
	}
	const there, gone, loopback = "10.244.169.89:80", "10.244.169.99:80", "-A CNI-DN-A -d 127.0.0.1/32 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.17.0.2:80\n"
	for _, row := range []struct {
		name, agent string
		drops       bool // the policy of FORWARD
		want        []Kind
	}{
		{"a hostPort", hostPort(port(there)), false, nil},
		{"a hostPort of a pod that is gone", hostPort(port(gone)), false, []Kind{StaleDNAT}},
		{"one behind another", hostPort(port(gone) + port(there)), false, []Kind{StaleDNAT, ShadowedDNAT}},
		{"one by chance", hostPort("-A CNI-DN-A -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.9.0.1\n-A CNI-DN-A -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.9.0.2\n"), false, nil},
		{"a port on loopback", hostPort(loopback), false, []Kind{LoopbackPublished}},
		{"a port on loopback that the table raw closes", "*raw\n-A PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP\nCOMMIT\n" + hostPort(loopback), false, nil},
		{"the policy", "*filter\n-A FORWARD -i docker0 -j ACCEPT\n-A FORWARD -s 172.17.0.0/16 -j ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n", true, []Kind{ForwardPolicy}},
		{"the policy, and a rule for pods", "*filter\n-A FORWARD -d 10.244.0.0/16 -j ACCEPT\nCOMMIT\n", true, nil},
		{"the policy, and a rule by Calico's mark", "*filter\n-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT\nCOMMIT\n", true, nil},
		{"a refusal of everything", "*filter\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n", false, []Kind{Dropped}},
		{"behind Docker's", "*filter\n-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n", false, []Kind{Dropped}},
		{"behind what accepts pods", "*filter\n-A FORWARD -s 10.244.0.0/16 -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n", false, nil},
		{"of an endpoint's port", "*filter\n:SITE - [0:0]\n-A FORWARD -j SITE\n-A SITE -d 10.244.0.0/16 -p tcp -m multiport --dports 22,9000 -j DROP\nCOMMIT\n", false, []Kind{Dropped}},
		{"of another port", "*filter\n:SITE - [0:0]\n-A FORWARD -j SITE\n-A SITE -d 10.244.0.0/16 -p tcp -m multiport --dports 22,9001 -j DROP\n-A SITE -d 10.245.0.0/16 -j DROP\nCOMMIT\n", false, nil},
		{"of another agent's marks", "*filter\n:SITE - [0:0]\n-A FORWARD -j SITE\n-A SITE -m mark --mark 0x10000/0x10000 -j RETURN\n-A SITE -d 10.244.0.0/16 -j DROP\nCOMMIT\n", false, nil},
		{"of what is not new", "*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n", false, nil},
		{"of a node port, early", "*raw\n-A PREROUTING -p tcp -m tcp --dport 30450 -j DROP\nCOMMIT\n", false, []Kind{Dropped}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := healthy(t)
			text := beside(t, n.Held[0].Rules.String(), row.agent)
			if row.drops {
				before, filter, _ := strings.Cut(text, "*filter\n")
				text = before + "*filter\n" + swap(":FORWARD DROP [0:0]", ":FORWARD ACCEPT")(filter)
			}
			n.Held[0] = held(t, legacy, parse(t, text))
			found, err := Check(n)
			require.NoError(t, err)
			require.Equal(t, row.want, kinds(found), "%v", found)
		})
	}
}

// Settings that Services need are found where they are off, and count.
func TestSettings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, key, value string
		bridged          bool
		want             []Kind
	}{
		{"forwarding", "net/ipv4/ip_forward", "0", false, []Kind{Setting}},
		{"forwarding is on", "net/ipv4/ip_forward", "1", false, nil},
		{"bridges", "net/bridge/bridge-nf-call-iptables", "0", true, []Kind{Setting}},
		{"bridges that pods are not behind", "net/bridge/bridge-nf-call-iptables", "0", false, nil},
		{"loopback", "net/ipv4/conf/all/route_localnet", "0", false, []Kind{Setting}},
		{"another", "net/ipv4/conf/all/rp_filter", "0", true, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := healthy(t)
			n.Sysctls, n.Bridged = []topology.Sysctl{{Key: row.key, Value: row.value}}, row.bridged
			found, err := Check(n)
			require.NoError(t, err)
			require.Equal(t, row.want, kinds(found), "%v", found)
		})
	}
}

// A strict rp_filter of the uplink is found where answers of a pod that a node port leads to are routed out by another, and only there.
func TestReversePath(t *testing.T) {
	t.Parallel()
	const pod = "10.244.169.89"
	for _, row := range []struct {
		name, filter, marked, from, out string
		want                            []Kind
	}{
		{"strict", "1", "0", pod + "/32", "eth1", []Kind{Setting}},
		{"loose", "2", "0", pod + "/32", "eth1", nil},
		{"by mark", "1", "1", pod + "/32", "eth1", nil},
		{"of another host", "1", "0", "192.0.2.1/32", "eth1", nil},
		{"by the uplink", "1", "0", pod + "/32", "ens32", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := healthy(t)
			n.Name = "vms105" // where the pod is
			rs, err := kubeproxy.Rules(n.Cluster, n.Name, kubeproxy.Options{})
			require.NoError(t, err)
			n.Held = []Held{held(t, legacy, rs)}
			set := func(key, value string) {
				n.Sysctls = append(n.Sysctls, topology.Sysctl{Key: "net/ipv4/conf/" + key, Value: value})
			}
			set("all/rp_filter", "0")
			set("ens32/rp_filter", row.filter)
			set("all/src_valid_mark", "0")
			set("ens32/src_valid_mark", row.marked)
			any4 := netip.MustParsePrefix("0.0.0.0/0")
			n.Namespace.Routes = []topology.Route{{Dst: any4, Device: "ens32"}, {Dst: any4, Device: row.out, Table: "2"}}
			n.Namespace.Rules = []topology.RoutingRule{{Priority: 1536, From: netip.MustParsePrefix(row.from), Action: topology.RouteByTable, Table: "2", Suppress: -1}}
			found, err := Check(n)
			require.NoError(t, err)
			require.Equal(t, row.want, kinds(found), "%v", found)
		})
	}
}
