package audit

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
