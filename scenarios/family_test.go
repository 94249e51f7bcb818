package scenarios

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/kubeproxy"
)

// Every address of a script is one of IPv6, and what has no like there is named.
func TestInIPv6(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want, problem string }{
		{"ask cl tcp 192.168.0.1:30080 by=10.244.2.2:8080 seen=192.168.0.1", "ask cl tcp [fd00:192:168::1]:30080 by=[fd00:10:244:2::2]:8080 seen=fd00:192:168::1", ""},
		{"cidr: 192.168.0.0/24", "cidr: fd00:192:168::/64", ""},
		{"cidr: 10.244.0.0/16", "cidr: fd00:10:244::/48", ""},
		{"from 192.168.0.100/32 or 10.0.0.0/8 or 0.0.0.0/0", "from fd00:192:168::100/128 or fd00:10::/32 or ::/0", ""},
		{"release v1.28.15, 2.5 s", "release v1.28.15, 2.5 s", ""},
		{"ask n1 tcp 127.0.0.1:30080", "", "127.0.0.1:30080"},
		{"10.244.0.0/26", "", "/26"},
		{"10.96.1.$i/32 and 10.96.1.$name,", "fd00:10:96:1::$i/128 and fd00:10:96:1::$name,", ""},
		{"ip address add 10.244.2.1/24 dev cni0", "ip address add fd00:10:244:2::1/64 dev cni0", ""},
	} {
		got, err := inIPv6(row.text)
		if row.problem != "" {
			require.ErrorContains(t, err, row.problem)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, row.want, got)
	}
}

// What a script says in the words of IPv4 it says in those of IPv6, and a chain's name is that of the address which stands for its own.
func TestScriptInIPv6(t *testing.T) {
	t.Parallel()
	s := Scenario{Text: []byte("lab\n[ipv4] ask n1 tcp 127.0.0.1:1\n[ipv6] ask n1 tcp [::1]:1\niptables n2 -t nat -D KUBE-SEP-4EX2N4PG4ASNZOBF 1\niptables n2 -F KUBE-SEP-AAAAAAAAAAAAAAAA\n" +
		"sysctl n1 net.ipv4.ip_forward=0\nrun n1 nft 'add rule ip kube-proxy a ip saddr 10.0.0.0/8 drop'\n" +
		"http n1 http://127.0.0.1:10249/metrics body='{ip_family=\"IPv4\"}'\nrun n1 iptables-legacy-save\n[fixed] ! stdout 10.244.2.2:80\n-- a.yaml --\nhostIP: 127.0.0.1\n")}
	six, err := s.InIPv6()
	require.NoError(t, err)
	chain := kubeproxy.EndpointChain("default/web:http", "tcp", "[fd00:10:244:2::2]:8080")
	require.Equal(t, "lab\n[ipv6] ask n1 tcp [::1]:1\niptables n2 -t nat -D "+chain+" 1\niptables n2 -F KUBE-SEP-AAAAAAAAAAAAAAAA\n"+
		"sysctl n1 net.ipv6.conf.all.forwarding=0\nrun n1 nft 'add rule ip6 kube-proxy a ip6 saddr fd00:10::/32 drop'\n"+
		"http n1 http://127.0.0.1:10249/metrics body='{ip_family=\"IPv6\"}'\nrun n1 ip6tables-legacy-save\n[fixed] ! stdout \\[fd00:10:244:2::2\\]:80\n-- a.yaml --\nhostIP: \"::1\"\n", string(six.Text))
}

// ofIPv4Alone are the scenarios about what IPv6 has not: rp_filter, route_localnet, node ports on localhost, what old iptables make of a DNAT rule, and the first
// place in kube-proxy's order.
var ofIPv4Alone = []string{"calico-7983", "cilium-13130", "kubernetes-114537", "kubernetes-57922", "kubernetes-92315", "kubernetes-126532", "kubernetes-132955", "kubernetes-92315-alone"}

// All scenarios but those make sense in IPv6, with documents that a cluster is loaded from; the others tell why they do not.
func TestLibraryInIPv6(t *testing.T) {
	t.Parallel()
	all, err := List()
	require.NoError(t, err)
	real, err := OfKubeProxy()
	require.NoError(t, err)
	var not []string
	for _, s := range append(all, real...) {
		six, err := s.InIPv6()
		if err != nil {
			require.NotEmpty(t, err.Error())
			not = append(not, s.Name)
			continue
		}
		require.True(t, six.ipv6)
	}
	require.Equal(t, ofIPv4Alone, not)
	text, err := objectsInIPv6(string(small))
	require.NoError(t, err)
	o, err := parseObjects([]byte(text))
	require.NoError(t, err)
	c, err := o.cluster("small")
	require.NoError(t, err)
	require.Len(t, c.Families(), 1)
	_, err = Scenario{IPv4: "ARP"}.InIPv6()
	require.ErrorContains(t, err, "about IPv4: ARP")
}
