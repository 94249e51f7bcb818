package witness_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"natlab/lab/netns"
)

// The address plan of these tests: a client and a server, each with a link of its own to the node between them.
//
//	client 10.1.0.2 ---- 10.1.0.1 node 10.2.0.1 ---- 10.2.0.2 server
//	                              VIP 10.9.0.9
var (
	clientAddr = netip.MustParseAddr("10.1.0.2")
	serverAddr = netip.MustParseAddr("10.2.0.2")
	vipAddr    = netip.MustParseAddr("10.9.0.9")
)

var wires atomic.Int32

// wire is the three namespaces.
type wire struct{ client, node, server netns.Handle }

func newWire(t *testing.T) wire {
	t.Helper()
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	var w wire
	n := wires.Add(1)
	for _, at := range []struct {
		name string
		into *netns.Handle
	}{{"client", &w.client}, {"node", &w.node}, {"server", &w.server}} {
		name := fmt.Sprintf("natlab-witness-%d-%d-%s", os.Getpid(), n, at.name)
		h, err := netns.CreateLeased(name)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, h.Close())
			require.NoError(t, netns.Delete(name))
		})
		*at.into = h
	}
	link(t, w.client, w.node, "10.1.0.2/24", "10.1.0.1/24", "toclient")
	link(t, w.server, w.node, "10.2.0.2/24", "10.2.0.1/24", "toserver")
	route(t, w.client, "10.1.0.1")
	route(t, w.server, "10.2.0.1")
	routeTo(t, w.node, "10.9.0.0/24", "10.2.0.2")
	sysctl(t, w.node, "net/ipv4/ip_forward", "1")
	for _, h := range []netns.Handle{w.client, w.node, w.server} {
		sysctl(t, h, "net/ipv4/icmp_ratelimit", "0") // else only six errors come at once, and then one a second
	}
	return w
}

// link joins a host's eth0 to a device of the node.
func link(t *testing.T, host, node netns.Handle, hostAddr, nodeAddr, dev string) {
	t.Helper()
	hnl, err := host.Netlink()
	require.NoError(t, err)
	defer hnl.Close()
	nnl, err := node.Netlink()
	require.NoError(t, err)
	defer nnl.Close()
	fd, err := host.Fd()
	require.NoError(t, err)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dev}, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}
	require.NoError(t, nnl.LinkAdd(veth))
	for _, end := range []struct {
		nl        *netlink.Handle
		dev, addr string
	}{{nnl, dev, nodeAddr}, {hnl, "eth0", hostAddr}} {
		for _, name := range []string{"lo", end.dev} {
			l, err := end.nl.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, end.nl.LinkSetUp(l))
			if name == end.dev {
				addr, err := netlink.ParseAddr(end.addr)
				require.NoError(t, err)
				require.NoError(t, end.nl.AddrAdd(l, addr))
			}
		}
	}
}

func route(t *testing.T, h netns.Handle, via string) {
	t.Helper()
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	l, err := nl.LinkByName("eth0")
	require.NoError(t, err)
	require.NoError(t, nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)}))
}

func routeTo(t *testing.T, h netns.Handle, dst, via string) {
	t.Helper()
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	_, n, err := net.ParseCIDR(dst)
	require.NoError(t, err)
	require.NoError(t, nl.RouteAdd(&netlink.Route{Dst: n, Gw: net.ParseIP(via)}))
}

func sysctl(t *testing.T, h netns.Handle, key, value string) {
	t.Helper()
	require.NoError(t, h.Do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) }))
}
