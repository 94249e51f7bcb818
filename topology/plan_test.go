package topology

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

func reference(t *testing.T) Cluster {
	t.Helper()
	c, err := Reference()
	require.NoError(t, err)
	return c
}

func planOf(t *testing.T, c Cluster) Plan {
	t.Helper()
	p, err := NewPlan(c)
	require.NoError(t, err)
	return p
}

func namespace(t *testing.T, p Plan, member string) Namespace {
	t.Helper()
	ns, ok := p.Namespace(member)
	require.True(t, ok, member)
	return ns
}

// texts prints each element of a list.
func texts[T interface{ String() string }](list []T) []string {
	out := []string{}
	for _, one := range list {
		out = append(out, one.String())
	}
	return out
}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})

func TestReferencePlanMembers(t *testing.T) {
	var got []string
	for _, ns := range planOf(t, reference(t)).Namespaces {
		got = append(got, ns.Kind.String()+" "+ns.Name)
	}
	require.Equal(t, []string{
		"underlay reference.underlay",
		"router reference.router",
		"node reference.vms100", "node reference.vms101", "node reference.vms102", "node reference.vms103", "node reference.vms105", "node reference.vms106",
		"pod reference.default.release-name-grafana-5d8c6f6c6b-x7k2p",
		"pod reference.kube-system.coredns-c676cc86f-kpvcj", "pod reference.kube-system.coredns-c676cc86f-xqj8d",
		"pod reference.velero.minio-b6d98746c-lxt2c", "pod reference.velero.minio-b6d98746c-m7rzc",
		"client reference.outside",
	}, got)
}

// TestFacts holds the plan against what the real cluster printed (facts.md).
func TestFacts(t *testing.T) {
	p := planOf(t, reference(t))
	require.Equal(t, []string{
		"default via 192.168.26.2 dev ens32",
		"blackhole 10.244.169.64/26 proto bird",
		"10.244.239.128/26 via 192.168.26.100 dev tunl0 proto bird onlink",
		"10.244.198.0/26 via 192.168.26.101 dev tunl0 proto bird onlink",
		"10.244.63.64/26 via 192.168.26.102 dev tunl0 proto bird onlink",
		"10.244.38.128/26 via 192.168.26.103 dev tunl0 proto bird onlink",
		"10.244.31.64/26 via 192.168.26.106 dev tunl0 proto bird onlink",
		"10.244.169.89 dev calia011d753862 scope link",
	}, texts(namespace(t, p, "vms105").Routes))
	require.Contains(t, texts(namespace(t, p, "vms100").Routes), "10.244.169.64/26 via 192.168.26.105 dev tunl0 proto bird onlink")
	require.Contains(t, texts(namespace(t, p, "vms100").Routes), "10.244.239.129 dev calic2f7856928d scope link")
	require.Contains(t, texts(namespace(t, p, "vms100").Routes), "10.244.239.132 dev cali349ff1af8c4 scope link")
	require.Equal(t, []string{"192.168.26.105/24 dev ens32", "10.244.169.64/32 dev tunl0"}, texts(namespace(t, p, "vms105").Addresses))
	for _, row := range []struct {
		member, device string
		mtu            int
	}{
		{"vms105", "ens32", 1500},
		{"vms105", "tunl0", 1480},
		{"vms105", "calia011d753862", 1480},
		{"velero/minio-b6d98746c-m7rzc", "eth0", 1480},
		{"outside", "eth0", 1500},
		{"router", "eth0", 1500},
		{"underlay", "p-vms105", 1500},
	} {
		t.Run(row.member, func(t *testing.T) {
			ns := namespace(t, p, row.member)
			d := ns.device(row.device)
			require.NotNil(t, d, "%s %s", row.member, row.device)
			require.Equal(t, row.mtu, d.MTU, "%s %s", row.member, row.device)
		})
	}
	pod := namespace(t, p, "velero/minio-b6d98746c-m7rzc")
	require.Equal(t, []string{"10.244.169.89/32 dev eth0"}, texts(pod.Addresses))
	require.Equal(t, []string{"169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"}, texts(pod.Routes))
	require.Equal(t, Peer{Namespace: "reference.vms105", Device: "calia011d753862"}, pod.device("eth0").Peer)
	require.Contains(t, texts(namespace(t, p, "vms105").Sysctls), "net/ipv4/conf/calia011d753862/proxy_arp=1")
}

func TestAnnouncedAddress(t *testing.T) {
	p := planOf(t, reference(t))
	announcer := namespace(t, p, "vms102")
	require.Equal(t, []string{"proxy 192.168.26.223 dev ens32"}, texts(announcer.Neighbours))
	require.Contains(t, texts(announcer.Routes), "192.168.26.223 dev lb0 scope link src 192.168.26.102")
	for _, ns := range p.Namespaces {
		for _, a := range ns.Addresses {
			require.NotEqual(t, "192.168.26.223", a.Prefix.Addr().String(), "the address is on no device")
		}
	}
}

// In ipvs mode with strictARP the kernel answers for what the device has alone.
func TestAnnouncedAddressOfStrictARP(t *testing.T) {
	c := reference(t)
	for _, strict := range []bool{false, true} {
		c.KubeProxy.Mode, c.KubeProxy.StrictARP = ModeIPVS, strict
		announcer := namespace(t, planOf(t, c), "vms102")
		require.Equal(t, !strict, slices.Contains(texts(announcer.Neighbours), "proxy 192.168.26.223 dev ens32"))
		require.Equal(t, strict, slices.Contains(texts(announcer.Addresses), "192.168.26.223/32 dev ens32"))
		require.Equal(t, !strict, announcer.device("lb0") != nil)
	}
}

func TestOverlays(t *testing.T) {
	for _, row := range []struct {
		overlay Overlay
		device  string
		mtu     int
		route   string
		neigh   []string
	}{
		{IPIP, "tunl0", 1480, "10.244.169.64/26 via 192.168.26.105 dev tunl0 proto bird onlink", nil},
		{VXLAN, "vxlan.calico", 1450, "10.244.169.64/26 via 10.244.169.64 dev vxlan.calico onlink", []string{"10.244.169.64 lladdr 66:00:0a:f4:a9:40 dev vxlan.calico nud permanent", "66:00:0a:f4:a9:40 dev vxlan.calico dst 192.168.26.105 self permanent"}},
		{None, "", 1500, "10.244.169.64/26 via 192.168.26.105 dev ens32 proto bird", nil},
	} {
		t.Run(row.device, func(t *testing.T) {
			c := reference(t)
			c.PodNetwork.Overlay = row.overlay
			p := planOf(t, c)
			node := namespace(t, p, "vms100")
			require.Contains(t, texts(node.Routes), row.route)
			require.Equal(t, row.device, row.overlay.Device(IPv4))
			require.Equal(t, row.mtu, node.device("calic2f7856928d").MTU)
			require.Equal(t, row.device != "", node.device(row.device) != nil)
			for _, n := range row.neigh {
				require.Contains(t, texts(node.Neighbours), n)
			}
			if d := node.device(row.device); d != nil {
				require.Equal(t, "192.168.26.100", d.Local.String())
				require.Equal(t, row.mtu, d.MTU)
			}
		})
	}
}

// TestLinksHaveTwoEnds sees that each veth is there from both sides and made by one of them, that each route and
// neighbour names a device that is there, and that no two devices of a link have one MAC.
func TestLinksHaveTwoEnds(t *testing.T) {
	for _, overlay := range []Overlay{IPIP, VXLAN, None} {
		c := reference(t)
		c.PodNetwork.Overlay = overlay
		c.Clients = append(c.Clients, Client{Name: "far-away-with-a-long-name", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
		p := planOf(t, c)
		macs := map[string]string{}
		for _, ns := range p.Namespaces {
			devices := map[string]bool{}
			for _, d := range ns.Devices {
				require.LessOrEqual(t, len(d.Name), 15)
				devices[d.Name] = true
				if d.MAC != "" && d.MAC != caliMAC {
					require.Empty(t, macs[d.MAC], "%s %s", ns.Name, d.Name)
					macs[d.MAC] = ns.Name
				}
				if d.Kind != Veth {
					continue
				}
				far := namespace(t, p, memberOf(p, d.Peer.Namespace))
				back := far.device(d.Peer.Device)
				require.NotNil(t, back, "%s %s", ns.Name, d.Name)
				require.Equal(t, Peer{Namespace: ns.Name, Device: d.Name}, back.Peer)
				require.NotEqual(t, d.Create, back.Create)
				require.Equal(t, d.MTU, back.MTU)
			}
			for _, r := range ns.Routes {
				require.True(t, r.Type == Blackhole || devices[r.Device], "%s: %s", ns.Name, r)
			}
			for _, n := range ns.Neighbours {
				require.True(t, devices[n.Device], "%s: %s", ns.Name, n)
			}
			for _, s := range ns.Sysctls {
				require.True(t, s.Device == "" || devices[s.Device] && strings.Contains(s.Key, "/"+s.Device+"/"), s.Key)
			}
			require.True(t, slices.IsSortedFunc(ns.Sysctls, func(a, b Sysctl) int { return strings.Compare(a.Key, b.Key) }))
		}
	}
}

func memberOf(p Plan, name string) string {
	for _, ns := range p.Namespaces {
		if ns.Name == name {
			return ns.Member
		}
	}
	return ""
}

func TestClientBehindTheRouter(t *testing.T) {
	c := reference(t)
	c.Clients = append(c.Clients, Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	c.LoadBalancers = append(c.LoadBalancers, LoadBalancer{Address: netip.MustParseAddr("203.0.113.77"), AnnouncedBy: "vms103"})
	p := planOf(t, c)
	far := namespace(t, p, "far")
	require.Equal(t, []string{"203.0.113.7/32 dev eth0"}, texts(far.Addresses))
	require.Equal(t, []string{"169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"}, texts(far.Routes))
	router := namespace(t, p, "router")
	require.Equal(t, []string{"192.168.26.2/24 dev eth0", "169.254.1.1/32 dev p-far scope link"}, texts(router.Addresses))
	require.Equal(t, []string{"203.0.113.7 dev p-far scope link", "203.0.113.77 via 192.168.26.103 dev eth0"}, texts(router.Routes)[:2])
	node := namespace(t, p, "vms103")
	require.Contains(t, texts(node.Routes), "203.0.113.77 dev lb0 scope link src 192.168.26.103")
	require.Empty(t, node.Neighbours, "nobody asks by ARP for what is not of the underlay")
}

func TestBorrowedAddress(t *testing.T) {
	c := reference(t)
	c.Pods[0].Node = "vms101" // its address is of vms106's block
	p := planOf(t, c)
	require.Contains(t, texts(namespace(t, p, "vms100").Routes), "10.244.31.123 via 192.168.26.101 dev tunl0 proto bird onlink")
	require.Contains(t, texts(namespace(t, p, "vms101").Routes), "10.244.31.123 dev "+c.Pods[0].HostDevice()+" scope link")
}

func TestRouteLocalnet(t *testing.T) {
	for _, row := range []struct {
		edit func(*KubeProxy)
		want string
	}{
		{func(*KubeProxy) {}, "1"},
		{func(k *KubeProxy) { k.LocalhostNodePorts = false }, "0"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"192.168.0.0/16"} }, "0"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"192.168.0.0/16", "127.0.0.0/8"} }, "1"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"0.0.0.0/0"} }, "1"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"primary"} }, "0"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"::/0"} }, "1"}, // no IPv4 range is every IPv4 address
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"126.0.0.0/7"} }, "1"},
		{func(k *KubeProxy) { k.NodePortAddresses = []string{"primary", "localhost"} }, "1"},
	} {
		t.Run(row.want, func(t *testing.T) {
			c := reference(t)
			row.edit(&c.KubeProxy)
			require.Contains(t, texts(namespace(t, planOf(t, c), "vms100").Sysctls), "net/ipv4/conf/all/route_localnet="+row.want, "%+v", c.KubeProxy)
		})
	}
}

func TestPlanIsDeterministic(t *testing.T) {
	first := planOf(t, reference(t))
	for range 20 {
		next := planOf(t, reference(t))
		require.Equal(t, first.String(), next.String())
		require.Equal(t, first.Mermaid(), next.Mermaid())
	}
}

func TestPlanJSON(t *testing.T) {
	for _, overlay := range []Overlay{IPIP, VXLAN, None} {
		c := reference(t)
		c.PodNetwork.Overlay = overlay
		want := planOf(t, c)
		text, err := json.Marshal(want)
		require.NoError(t, err)
		var got Plan
		require.NoError(t, json.Unmarshal(text, &got))
		require.Empty(t, cmp.Diff(want, got, compareAddrs))
		require.Contains(t, string(text), `"overlay":"`+overlay.String()+`"`)
		require.Contains(t, string(text), `{"name":"lo","kind":"loopback"}`)
	}
}

func TestClusterJSON(t *testing.T) {
	small, _, err := loadText(small)
	require.NoError(t, err)
	for _, want := range []Cluster{reference(t), small} {
		text, err := json.Marshal(want)
		require.NoError(t, err)
		var got Cluster
		require.NoError(t, json.Unmarshal(text, &got))
		require.Empty(t, cmp.Diff(want, got, compareAddrs))
		require.Equal(t, planOf(t, want).String(), planOf(t, got).String())
	}
}

func TestEnumerationsPrintAndParse(t *testing.T) {
	both := func(n int, back func([]byte) (string, error), text func(uint8) string) {
		for i := range n {
			got, err := back([]byte(text(uint8(i))))
			require.NoError(t, err)
			require.Equal(t, text(uint8(i)), got)
		}
		_, err := back([]byte("nonsense"))
		require.ErrorContains(t, err, `"nonsense" is not known: want `)
		require.Contains(t, text(200), "(200)")
	}
	both(len(overlayNames), func(b []byte) (string, error) { var v Overlay; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return Overlay(i).String() })
	both(len(serviceTypeNames), func(b []byte) (string, error) { var v ServiceType; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return ServiceType(i).String() })
	both(len(trafficPolicyNames), func(b []byte) (string, error) { var v TrafficPolicy; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return TrafficPolicy(i).String() })
	both(len(kindNames), func(b []byte) (string, error) { var v Kind; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return Kind(i).String() })
	both(len(deviceKindNames), func(b []byte) (string, error) { var v DeviceKind; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return DeviceKind(i).String() })
	both(len(scopeNames), func(b []byte) (string, error) { var v Scope; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return Scope(i).String() })
	both(len(routeTypeNames), func(b []byte) (string, error) { var v RouteType; err := v.UnmarshalText(b); return v.String(), err }, func(i uint8) string { return RouteType(i).String() })
}

func TestMermaid(t *testing.T) {
	text := planOf(t, reference(t)).Mermaid()
	require.True(t, strings.HasPrefix(text, "flowchart LR\n"))
	require.Contains(t, text, `n4["vms102<br/>ens32 192.168.26.102/24<br/>tunl0 10.244.63.64/32<br/>answers for 192.168.26.223"]`)
	require.Contains(t, text, "n6 ---|calia011d753862| n12\n")
	require.Contains(t, text, "n13 ---|eth0| n0\n")
}

func TestPlanRefuses(t *testing.T) {
	_, err := NewPlan(Cluster{Name: "x"})
	require.EqualError(t, err, "plan: the cluster has no network: it was read for its rules only")
	c := reference(t)
	c.Name = "No"
	_, err = NewPlan(c)
	require.EqualError(t, err, `plan: the lab's name "No" has 'N' in it: lower-case letters, digits and dashes only`)
	c.Name, c.Clients[0].Name = "lab", "vms100"
	_, err = NewPlan(c)
	require.EqualError(t, err, "plan: vms100 and vms100 would both be the namespace lab.vms100: rename one")
}
