package twin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/bundle"
	"natlab/topology"
)

// objects are two nodes, three pods on the first of them and one on the second.
const objects = `
apiVersion: natlab/v1alpha1
kind: Lab
metadata: {name: two}
spec: {clients: [{name: far, address: 203.0.113.7}]}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.42.0.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.10}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDRs: [10.42.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.20}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, spec: {nodeName: n1, containers: []}, status: {phase: Running, podIP: 10.42.0.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop}, spec: {nodeName: n1, containers: []}, status: {phase: Running, podIP: 10.42.0.6}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c, namespace: shop}, spec: {nodeName: n2, containers: []}, status: {phase: Running, podIP: 10.42.1.5}}
`

const (
	mac     = "    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 0\n"
	uplink  = "2: eth7: <UP> mtu 1400\n" + mac + "    inet 192.0.2.10/24 scope global eth7\n"
	second  = "9: eth1: <UP> mtu 1500\n" + mac + "    inet 198.51.100.10/24 scope global eth1\n"
	bridge  = "3: cni0: <UP> mtu 1400\n" + mac + "    bridge forward_delay 1500\n    inet 10.42.0.1/24 scope global cni0\n"
	ports   = "4: veth4@if2: <UP> mtu 1400 master cni0\n" + mac + "    veth\n    bridge_slave state forwarding hairpin on\n5: veth5@if2: <UP> mtu 1400 master cni0\n" + mac + "    veth\n    bridge_slave state forwarding hairpin on\n"
	links   = "4: cali4@if2: <UP> mtu 1400\n" + mac + "    veth\n5: cali5@if2: <UP> mtu 1400\n" + mac + "    veth\n"
	vxlan   = "6: flannel.1: <UP> mtu 1350\n    link/ether 02:00:00:00:00:06 brd ff:ff:ff:ff:ff:ff promiscuity 0\n    vxlan id 1 local 192.0.2.10 dev eth7 srcport 0 0 dstport 8472 nolearning\n    inet 10.42.0.0/32 scope global flannel.1\n"
	tunnel  = "6: tunl0@NONE: <UP> mtu 1380\n    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0\n    inet 10.42.0.0/32 scope global tunl0\n"
	connect = "192.0.2.0/24 dev eth7 proto kernel scope link src 192.0.2.10\n"
)

// of is a bundle of sections, each a name and what it printed.
func of(t *testing.T, sections ...string) *bundle.Node {
	t.Helper()
	var b strings.Builder
	b.WriteString("=== natlab bundle 1\n")
	for i := 0; i < len(sections); i += 2 {
		b.WriteString("=== " + sections[i] + "\n" + sections[i+1] + "\n=== exit 0\n")
	}
	n, err := bundle.Read(strings.NewReader(b.String() + "=== end\n"))
	require.NoError(t, err)
	return n
}

func load(t *testing.T) topology.Cluster {
	t.Helper()
	c, _, err := topology.Load(topology.Source{Name: "objects", Reader: strings.NewReader(objects)})
	require.NoError(t, err)
	return c
}

func planned(t *testing.T, devices, routes string, more ...string) *Twin {
	t.Helper()
	w, err := New(load(t), []*bundle.Node{of(t, append([]string{"hostname", "n1\n", "ip -d address", devices, "ip -4 route show table all", connect + routes}, more...)...)})
	require.NoError(t, err)
	return w
}

// In a large twin members know their neighbours by the links that it has; the node that was dumped asks, and is asked.
func TestManyNeighbours(t *testing.T) {
	t.Parallel()
	var more strings.Builder
	for i := range 30 {
		fmt.Fprintf(&more, "\n---\n{apiVersion: v1, kind: Node, metadata: {name: more%d}, spec: {podCIDRs: [10.43.%d.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.%d}]}}", i, i, 100+i)
	}
	c, _, err := topology.Load(topology.Source{Name: "objects", Reader: strings.NewReader(objects + more.String())})
	require.NoError(t, err)
	w, err := New(c, []*bundle.Node{of(t, "hostname", "n1\n", "ip -d address", uplink+bridge+ports, "ip -4 route show table all", connect)})
	require.NoError(t, err)
	known := func(member, ip string) (macs []string) {
		for _, e := range namespace(t, w, member).Neighbours {
			if e.IP == netip.MustParseAddr(ip) && !e.Proxy {
				macs = append(macs, e.MAC)
			}
		}
		return macs
	}
	for _, ns := range w.Plan.Namespaces {
		require.Empty(t, known(ns.Member, "192.0.2.10"), ns.Member)
	}
	require.Empty(t, known("n1", "192.0.2.20"))
	other := slices.IndexFunc(namespace(t, w, "n2").Devices, func(d topology.Device) bool { return d.Kind == topology.Veth })
	require.Equal(t, []string{namespace(t, w, "n2").Devices[other].MAC}, known("more7", "192.0.2.20"))
}

func namespace(t *testing.T, w *Twin, member string) topology.Namespace {
	t.Helper()
	ns, ok := w.Plan.Namespace(member)
	require.True(t, ok, member)
	return ns
}

// Which device leads to a pod is told by a route, by what a bridge has learnt, by Calico's naming, or by nothing but what is left over.
func TestPods(t *testing.T) {
	t.Parallel()
	const learnt = "02:00:00:00:00:55 dev veth5 master cni0\n02:00:00:00:00:66 dev veth4 master cni0\n"
	const neighbours = "10.42.0.5 dev cni0 lladdr 02:00:00:00:00:55 REACHABLE\n10.42.0.6 dev cni0 lladdr 02:00:00:00:00:66 REACHABLE\n"
	calico := topology.Pod{Namespace: "shop", Name: "a"}.HostDevice()
	for _, row := range []struct {
		name, devices, routes string
		more                  []string
		a, b                  string // the devices
		address, gateway      string // of pod a
		told                  bool
	}{
		{"by routes", uplink + links, "10.42.0.5 dev cali5 scope link\n10.42.0.6 dev cali4 scope link\n", nil, "cali5", "cali4", "10.42.0.5/32", "169.254.1.1", true},
		{"by a link's own address", uplink + strings.Replace(links, "veth\n", "veth\n    inet 10.42.0.1/32 scope global cali4\n", 1), "10.42.0.5 dev cali4 scope link\n10.42.0.6 dev cali5 scope link\n", nil, "cali4", "cali5", "10.42.0.5/32", "10.42.0.1", true},
		{"by what the bridge has learnt", uplink + bridge + ports, "10.42.0.0/24 dev cni0\n", []string{"bridge fdb show", learnt, "ip neigh", neighbours}, "veth5", "veth4", "10.42.0.5/24", "10.42.0.1", true},
		{"by the bridge alone", uplink + bridge + ports, "10.42.0.0/24 dev cni0\n", nil, "veth4", "veth5", "10.42.0.5/24", "10.42.0.1", false},
		{"by Calico's naming", uplink + strings.Replace(links, "cali5", calico, 1), "10.42.0.6 dev cali4 scope link\n", nil, calico, "cali4", "10.42.0.5/32", "169.254.1.1", true},
		{"by what is left over", uplink + links, "10.42.0.6 dev cali4 scope link\n", nil, "cali5", "cali4", "10.42.0.5/32", "169.254.1.1", false},
		{"by nothing", uplink, "", nil, calico, topology.Pod{Namespace: "shop", Name: "b"}.HostDevice(), "10.42.0.5/32", "169.254.1.1", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := planned(t, row.devices, row.routes, row.more...)
			a := namespace(t, w, "shop/a")
			require.Equal(t, row.a, a.Devices[1].Peer.Device)
			require.Equal(t, row.b, namespace(t, w, "shop/b").Devices[1].Peer.Device)
			require.Equal(t, row.address, a.Addresses[0].Prefix.String())
			require.Equal(t, row.gateway, a.Routes[len(a.Routes)-1].Via.String())
			require.Equal(t, row.told, !strings.Contains(strings.Join(w.Notes, "; "), "pod shop/a"), "%v", w.Notes)
		})
	}
}

// A node's own network is the lab's: device, MTU, prefix, next hop, the tunnel to other nodes with both its ends.
func TestNetwork(t *testing.T) {
	t.Parallel()
	w := planned(t, uplink+links, "default via 192.0.2.3 dev eth7\n10.42.1.0/24 via 192.0.2.20 dev eth7\n")
	require.Equal(t, topology.Underlay{CIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.3")}, Interface: "eth7", MTU: 1400}, w.Cluster.Underlay)
	require.Equal(t, topology.None, w.Cluster.PodNetwork.Overlay)
	require.Equal(t, []string{"made up from the objects, since they are not dumped: n2"}, w.Notes[len(w.Notes)-1:])

	w = planned(t, uplink+links+tunnel, "10.42.1.0/24 via 192.0.2.20 dev tunl0 onlink\n")
	require.Equal(t, topology.IPIP, w.Cluster.PodNetwork.Overlay)
	n1, _ := w.Cluster.Node("n1")
	require.Equal(t, "10.42.0.0", n1.Tunnel(topology.IPv4).String())

	w = planned(t, uplink+links+vxlan, "10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink\n",
		"ip neigh", "10.42.1.0 dev flannel.1 lladdr 02:00:00:00:00:77 PERMANENT\n", "bridge fdb show", "02:00:00:00:00:77 dev flannel.1 dst 192.0.2.20 self permanent\n")
	require.Equal(t, topology.VXLAN, w.Cluster.PodNetwork.Overlay)
	ns := namespace(t, w, "n2")
	i := slices.IndexFunc(ns.Devices, func(d topology.Device) bool { return d.Kind == topology.TunnelVXLAN })
	require.Equal(t, "02:00:00:00:00:77", ns.Devices[i].MAC, "as the dumped node knows it")
	require.Equal(t, [2]int{1, 8472}, [2]int{ns.Devices[i].VNI, int(ns.Devices[i].Port)})
	for _, e := range ns.Neighbours {
		require.Equal(t, "02:00:00:00:00:06", e.MAC, "the dumped node's own")
	}
	require.Len(t, ns.Neighbours, 2)
}

// A second uplink has a network of its own, with the router as its next hop; what leads nowhere ends where nobody answers.
func TestAround(t *testing.T) {
	t.Parallel()
	w := planned(t, uplink+second+bridge+ports+"7: wg0: <UP> mtu 1400\n    link/none\n    inet 10.9.0.1/24 scope global wg0\n", "default via 198.51.100.1 dev eth1\n198.51.100.0/24 dev eth1\n10.9.0.0/24 dev wg0\n", "ip -4 rule", "0:\tfrom all lookup local\n9:\tfrom 10.42.0.0/16 lookup 101\n32766:\tfrom all lookup main\n")
	router := namespace(t, w, "router")
	require.Contains(t, router.Addresses, topology.Address{Device: "net1", Prefix: netip.MustParsePrefix("198.51.100.1/24")})
	n1 := namespace(t, w, "n1")
	require.Len(t, n1.Rules, 3)
	require.True(t, n1.Dumped)
	ends := map[string]string{}
	for _, d := range n1.Devices {
		ends[d.Name] = d.Peer.Namespace
	}
	require.Equal(t, "two.underlay", ends["eth7"])
	require.Equal(t, "two.underlay", ends["eth1"])
	require.Equal(t, "two.beyond", ends["wg0"])
	require.Contains(t, w.Notes, "n1: wg0 is no Ethernet device: a link whose other end answers nobody stands in for it")
	require.Contains(t, w.Notes, "the lab's router stands in for 198.51.100.1, the next hop of n1 by eth1")
	peers := map[topology.Peer]int{} // every link has two ends, and one that makes it
	for _, ns := range w.Plan.Namespaces {
		for _, d := range ns.Devices {
			if d.Kind != topology.Veth {
				continue
			}
			far, ok := w.Plan.Namespace(strings.Replace(strings.TrimPrefix(d.Peer.Namespace, "two."), "shop.", "shop/", 1))
			require.True(t, ok, "%s %s", ns.Name, d.Name)
			back := deviceOf(&far, d.Peer.Device)
			require.NotNil(t, back, "%s %s", ns.Name, d.Name)
			require.Equal(t, topology.Peer{Namespace: ns.Name, Device: d.Name}, back.Peer)
			require.NotEqual(t, d.Create, back.Create, "%s %s", ns.Name, d.Name)
			peers[d.Peer]++
			require.Equal(t, 1, peers[d.Peer])
		}
	}
}

// Settings that decide where packets go are the dump's, in its order, those of devices told apart.
func TestSysctls(t *testing.T) {
	t.Parallel()
	w := planned(t, uplink+links, "", "sysctl", "net.ipv4.conf.cali4.rp_filter = 1\nnet.ipv4.conf.gone0.rp_filter = 1\nnet.core.somaxconn = 7\nnet.ipv4.ip_forward = 0\nnet.bridge.bridge-nf-call-iptables = 0\n")
	ns := namespace(t, w, "n1")
	at := slices.IndexFunc(ns.Sysctls, func(s topology.Sysctl) bool { return s.Key == "net/ipv4/ip_forward" })
	require.Equal(t, []topology.Sysctl{
		{Key: "net/ipv4/ip_forward", Value: "0"}, {Device: "cali4", Key: "net/ipv4/conf/cali4/rp_filter", Value: "1"}, {Key: "net/bridge/bridge-nf-call-iptables", Value: "0"},
	}, ns.Sysctls[at:])
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		nodes []*bundle.Node
		want  string
	}{
		{"no dump", nil, "no node is dumped"},
		{"of no node", []*bundle.Node{of(t, "hostname", "x\n", "ip -d address", second)}, `bundle of "x": the cluster has no node of that name`},
		{"of a node twice", []*bundle.Node{of(t, "hostname", "n1\n", "ip -d address", uplink), of(t, "hostname", "other\n", "ip -d address", uplink)}, `bundle of "other": node n1 is dumped twice`},
		{"of another node", []*bundle.Node{of(t, "hostname", "n2\n", "ip -d address", uplink)}, "bundle of node n2: no device of it has the node's address 192.0.2.20"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := New(load(t), row.nodes)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// Without objects the nodes and the pods are those that dumps tell of.
func TestObjects(t *testing.T) {
	t.Parallel()
	n := of(t, "hostname", "n1\n", "ip -d address", uplink+links+bridge, "ip -4 route show table all", connect+"default via 192.0.2.1 dev eth7\n10.42.0.9 dev cali4 scope link\n169.254.169.254 dev cali5 scope link\n192.0.2.7 dev eth7 scope link\n10.44.0.0/16 dev cali5\n")
	text, err := Objects([]*bundle.Node{n})
	require.NoError(t, err)
	c, _, err := topology.Load(topology.Source{Name: "dumps", Reader: strings.NewReader(text)})
	require.NoError(t, err)
	require.Len(t, c.Nodes, 1)
	require.Equal(t, "192.0.2.10", c.Nodes[0].IPv4().String())
	require.Len(t, c.Pods, 1)
	require.Equal(t, "dumped/pod-10-42-0-9", c.Pods[0].Member())
	w, err := New(c, []*bundle.Node{n})
	require.NoError(t, err)
	require.Equal(t, "cali4", namespace(t, w, "dumped/pod-10-42-0-9").Devices[1].Peer.Device)

	_, err = Objects([]*bundle.Node{of(t, "hostname", "n1\n", "ip -d address", uplink)})
	require.ErrorContains(t, err, "no address of it is by the device of a default route")
}

// A twin is of both families where the bundles tell of both; where one does not it says so, and there is none of IPv6 alone.
func TestFamilies(t *testing.T) {
	t.Parallel()
	both, err := topology.DualStack()
	require.NoError(t, err)
	node := []*bundle.Node{of(t, "hostname", "vms100\n", "ip -d address", "2: ens32: <UP> mtu 1500\n"+mac+"    inet 192.168.26.100/24 scope global ens32\n", "ip -4 route show table all", "192.168.26.0/24 dev ens32 proto kernel scope link src 192.168.26.100\n")}
	w, err := New(both, node)
	require.NoError(t, err)
	require.Len(t, w.Cluster.Families(), 1)
	require.Contains(t, strings.Join(w.Notes, "\n"), "the lab is of IPv4 alone")
	const six = "    inet6 fd00:192:168:26::100/64 scope global\n    inet6 fe80::1/64 scope link\n"
	w, err = New(both, []*bundle.Node{of(t, "hostname", "vms100\n", "ip -d address", "2: ens32: <UP> mtu 1500\n"+mac+"    inet 192.168.26.100/24 scope global ens32\n"+six+"7: wan: <UP> mtu 1500\n"+mac+"    inet 198.51.100.9/24 scope global wan\n",
		"ip -4 route show table all", "192.168.26.0/24 dev ens32 proto kernel scope link src 192.168.26.100\n",
		"ip -6 rule", "0:\tfrom all lookup local\n100:\tfrom fd00:1::/64 lookup 7\n32766:\tfrom all lookup main\n",
		"ip -6 route show table all", "fd00:192:168:26::/64 dev ens32 proto kernel metric 256\nfe80::/64 dev ens32 proto kernel metric 256\ndefault via fe80::7 dev ens32 proto ra metric 100\nfd00:9::/64 via fd00:192:168:26::7 dev ens32 table 7\n")})
	require.NoError(t, err)
	require.Len(t, w.Cluster.Families(), 2)
	n := namespace(t, w, "vms100")
	require.Len(t, n.Rules, 3)
	require.Contains(t, n.Addresses, topology.Address{Device: "ens32", Prefix: netip.MustParsePrefix("fe80::1/64"), Scope: topology.ScopeLink})
	require.Contains(t, n.Routes, topology.Route{Dst: netip.MustParsePrefix("fd00:9::/64"), Via: netip.MustParseAddr("fd00:192:168:26::7"), Device: "ens32", Table: "7"})
	require.Contains(t, namespace(t, w, "router").Addresses, topology.Address{Device: "eth0", Prefix: netip.MustParsePrefix("fe80::7/64"), Scope: topology.ScopeLink})
	require.Contains(t, w.Notes, "the lab's router stands in for fe80::7, the next hop of vms100 by ens32")
	_, err = New(both.Narrowed(topology.IPv6), node)
	require.ErrorContains(t, err, "of IPv6 alone")
}
