package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func dualStack(t *testing.T) Cluster {
	t.Helper()
	c, err := DualStack()
	require.NoError(t, err)
	return c
}

// TestFamilies sees which families a lab has, by the nodes' addresses and by the Lab document.
func TestFamilies(t *testing.T) {
	node := func(name string, addrs ...string) string {
		var list []string
		for _, a := range addrs {
			list = append(list, fmt.Sprintf("{type: InternalIP, address: %q}", a))
		}
		return fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: %s}, status: {addresses: [%s]}}", name, strings.Join(list, ", "))
	}
	lab := func(spec string) string { return "{apiVersion: natlab/v1alpha1, kind: Lab, spec: " + spec + "}" }
	underlay := `{underlay: {cidr: "10.0.0.0/24,fd00::/64"}}`
	for _, row := range []struct {
		name     string
		docs     []string
		families string
		underlay string
		gateways string
		client   string
		blocks   string // of the first node
		warning  string
	}{
		{"IPv4", []string{node("a", "10.0.0.2"), node("b", "10.0.0.3")}, "ipv4", "[10.0.0.0/24]", "[10.0.0.1]", "[10.0.0.254]", "[10.244.0.0/26]", ""},
		{"IPv6", []string{node("a", "fd00::2"), node("b", "fd00::3")}, "ipv6", "[fd00::/64]", "[fd00::1]", "[fd00::ffff:ffff:ffff:fffe]", "[fd00:10:244::/122]", ""},
		{"both", []string{node("a", "10.0.0.2", "fd00::2"), node("b", "10.0.0.3", "fd00::3")}, "ipv4 ipv6", "[10.0.0.0/24 fd00::/64]", "[10.0.0.1 fd00::1]", "[10.0.0.254 fd00::ffff:ffff:ffff:fffe]", "[10.244.0.0/26 fd00:10:244::/122]", ""},
		{"IPv6 first", []string{node("a", "fd00::2", "10.0.0.2"), node("b", "10.0.0.3", "fd00::3")}, "ipv6 ipv4", "[fd00::/64 10.0.0.0/24]", "[fd00::1 10.0.0.1]", "[fd00::ffff:ffff:ffff:fffe 10.0.0.254]", "[fd00:10:244::/122 10.244.0.0/26]", ""},
		{"one node has both", []string{node("a", "10.0.0.2", "fd00::2"), node("b", "10.0.0.3")}, "ipv4", "[10.0.0.0/24]", "[10.0.0.1]", "[10.0.0.254]", "[10.244.0.0/26]", ""},
		{"the second is of many networks", []string{node("a", "10.0.0.2", "fd00::2"), node("b", "10.0.0.3", "fc00::3")}, "ipv4", "[10.0.0.0/24]", "[10.0.0.1]", "[10.0.0.254]", "[10.244.0.0/26]", "the lab has no ipv6: the nodes' addresses (fc00::3, fd00::2) are not of one network of /48 or smaller"},
		{"the Lab document wants one", []string{lab("{underlay: {cidr: 10.0.0.0/24}}"), node("a", "fd00::2", "10.0.0.2")}, "ipv4", "[10.0.0.0/24]", "[10.0.0.1]", "[10.0.0.254]", "[10.244.0.0/26]", ""},
		{"the Lab document wants both", []string{lab(underlay), node("a", "fd00::2", "10.0.0.2")}, "ipv4 ipv6", "[10.0.0.0/24 fd00::/64]", "[10.0.0.1 fd00::1]", "[10.0.0.254 fd00::ffff:ffff:ffff:fffe]", "[10.244.0.0/26 fd00:10:244::/122]", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, warnings := load(t, strings.Join(row.docs, "\n---\n")+"\n")
			require.Equal(t, row.warning, strings.Join(warnings, "\n"))
			require.Equal(t, row.families, strings.Join(texts(c.Families()), " "))
			require.Equal(t, row.underlay, fmt.Sprint(c.Underlay.CIDRs))
			require.Equal(t, row.gateways, fmt.Sprint(c.Underlay.Gateways))
			require.Equal(t, row.client, fmt.Sprint(c.Clients[0].Addresses))
			require.Equal(t, row.blocks, fmt.Sprint(c.Nodes[0].PodBlocks))
			require.Equal(t, c.Families(), planOf(t, c).Families)
		})
	}
}

// TestPlanOfBothFamilies sees that each family is wired as it is in a lab of its own.
func TestPlanOfBothFamilies(t *testing.T) {
	c := dualStack(t)
	both := planOf(t, c)
	for _, f := range []Family{IPv4, IPv6} {
		one := planOf(t, c.Narrowed(f))
		require.Equal(t, []Family{f}, one.Families)
		for _, ns := range both.Namespaces {
			alone := namespace(t, one, ns.Member)
			var routes, addresses, neighbours []string
			for _, r := range ns.Routes {
				if FamilyOf(r.Dst.Addr()) == f {
					routes = append(routes, r.String())
				}
			}
			for _, a := range ns.Addresses {
				if FamilyOf(a.Prefix.Addr()) == f && !a.Prefix.Addr().IsLinkLocalUnicast() {
					addresses = append(addresses, a.String())
				}
			}
			for _, n := range ns.Neighbours {
				if n.IP.IsValid() && FamilyOf(n.IP) == f {
					neighbours = append(neighbours, n.String())
				}
			}
			require.ElementsMatch(t, texts(alone.Routes), routes, ns.Member)
			require.Subset(t, texts(alone.Addresses), addresses, ns.Member)
			require.ElementsMatch(t, texts(alone.Neighbours), neighbours, ns.Member)
		}
	}
}

// TestPlanOfIPv6 holds the plan against how Calico wires IPv6.
func TestPlanOfIPv6(t *testing.T) {
	c := dualStack(t)
	p := planOf(t, c.Narrowed(IPv6))
	node := namespace(t, p, "vms105")
	require.Equal(t, []string{
		"default via fd00:192:168:26::2 dev ens32",
		"blackhole fd00:10:244:0:105::/122 proto bird",
		"fd00:10:244:0:100::/122 via fd00:192:168:26::100 dev ens32 proto bird",
		"fd00:10:244:0:101::/122 via fd00:192:168:26::101 dev ens32 proto bird",
		"fd00:10:244:0:102::/122 via fd00:192:168:26::102 dev ens32 proto bird",
		"fd00:10:244:0:103::/122 via fd00:192:168:26::103 dev ens32 proto bird",
		"fd00:10:244:0:106::/122 via fd00:192:168:26::106 dev ens32 proto bird",
		"fd00:10:244:0:105::19 dev calia011d753862",
	}, texts(node.Routes))
	require.Contains(t, texts(node.Addresses), "fe80::ecee:eeff:feee:eeee/64 dev calia011d753862 scope link")
	require.Contains(t, texts(node.Sysctls), "net/ipv6/conf/all/forwarding=1")
	require.NotContains(t, strings.Join(texts(node.Sysctls), " "), "net/ipv4/")
	pod := namespace(t, p, "velero/minio-b6d98746c-m7rzc")
	require.Equal(t, []string{"default via fe80::ecee:eeff:feee:eeee dev eth0"}, texts(pod.Routes))
	require.Contains(t, texts(pod.Addresses), "fd00:10:244:0:105::19/128 dev eth0")
	announcer := namespace(t, p, "vms102")
	require.Equal(t, []string{"proxy fd00:192:168:26::223 dev ens32"}, texts(announcer.Neighbours))
	require.Contains(t, texts(announcer.Routes), "fd00:192:168:26::223 dev lb0 src fd00:192:168:26::102")
	require.Contains(t, texts(announcer.Sysctls), "net/ipv6/conf/ens32/proxy_ndp=1")
	require.Equal(t, "1", namespace(t, p, "underlay").Sysctls[0].Value, "the switch has no addresses")
}

// TestOverlaysOfFamilies sees that each family has its own way over the underlay, and pods an MTU that both leave.
func TestOverlaysOfFamilies(t *testing.T) {
	for _, row := range []struct {
		four, six  Overlay
		route      string
		device     string
		mtu, mtuOf int
	}{
		{IPIP, None, "fd00:10:244:0:105::/122 via fd00:192:168:26::105 dev ens32 proto bird", "", 1480, 0},
		{IPIP, VXLAN, "fd00:10:244:0:105::/122 via fd00:10:244:0:105:: dev vxlan-v6.calico onlink", "vxlan-v6.calico", 1430, 1430},
		{VXLAN, VXLAN, "fd00:10:244:0:105::/122 via fd00:10:244:0:105:: dev vxlan-v6.calico onlink", "vxlan-v6.calico", 1430, 1430},
		{None, IPIP, "fd00:10:244:0:105::/122 via fd00:192:168:26::105 dev ens32 proto bird", "", 1500, 0},
	} {
		t.Run(row.four.String()+" "+row.six.String(), func(t *testing.T) {
			c := dualStack(t)
			c.PodNetwork.Overlay, c.PodNetwork.Overlay6 = row.four, row.six
			p := planOf(t, c)
			node := namespace(t, p, "vms100")
			require.Contains(t, texts(node.Routes), row.route)
			require.Equal(t, row.mtu, node.device("calic2f7856928d").MTU)
			d := node.device("vxlan-v6.calico")
			require.Equal(t, row.device != "", d != nil)
			if d != nil {
				require.Equal(t, row.mtuOf, d.MTU)
				require.Equal(t, "fd00:192:168:26::100", d.Local.String())
				require.Contains(t, texts(node.Addresses), "fd00:10:244:0:100::/128 dev vxlan-v6.calico")
			}
		})
	}
}

func TestServersOfFamilies(t *testing.T) {
	c := dualStack(t)
	for f, want := range map[Family]int{IPv4: 5, IPv6: 5} {
		servers := Servers(c.Narrowed(f))
		n := 0
		for _, s := range servers {
			require.Equal(t, f, FamilyOf(s.Addr.Addr()))
			if strings.HasPrefix(s.Name, "velero/") || strings.HasPrefix(s.Name, "default/") {
				n++
			}
		}
		require.Equal(t, want, n)
	}
}

func TestClientBehindTheRouterInIPv6(t *testing.T) {
	c := dualStack(t)
	c.Clients = append(c.Clients, Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("203.0.113.7")}})
	p := planOf(t, c)
	router := namespace(t, p, "router")
	mac := router.device("p-far").MAC
	require.Contains(t, texts(namespace(t, p, "far").Routes), "default via "+eui64(mac).String()+" dev eth0")
	require.Contains(t, texts(router.Addresses), eui64(mac).String()+"/64 dev p-far scope link")
	require.Contains(t, texts(router.Routes), "2001:db8::7 dev p-far")
	require.Contains(t, texts(router.Routes), "203.0.113.7 dev p-far scope link")
}
