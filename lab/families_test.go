package lab

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

func dualStack(t *testing.T) topology.Cluster {
	t.Helper()
	c, err := topology.DualStack()
	require.NoError(t, err)
	c.Name = reference(t).Name
	return c
}

// TestFamiliesReachEveryPod asks every server from every member in labs of both families and of IPv6 alone, over the overlays that IPv6
// has; what the kernel has then is what was planned.
func TestFamiliesReachEveryPod(t *testing.T) {
	for _, row := range []struct {
		name     string
		narrow   func(topology.Cluster) topology.Cluster
		overlay  topology.Overlay
		overlay6 topology.Overlay
	}{
		{"both", func(c topology.Cluster) topology.Cluster { return c }, topology.IPIP, topology.None},
		{"both by vxlan", func(c topology.Cluster) topology.Cluster { return c }, topology.VXLAN, topology.VXLAN},
		{"IPv6 first", func(c topology.Cluster) topology.Cluster {
			c.Underlay.CIDRs = []netip.Prefix{c.Underlay.CIDRs[1], c.Underlay.CIDRs[0]}
			return c
		}, topology.IPIP, topology.VXLAN},
		{"IPv6 alone", func(c topology.Cluster) topology.Cluster { return c.Narrowed(topology.IPv6) }, topology.None, topology.None},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := dualStack(t)
			c.PodNetwork.Overlay, c.PodNetwork.Overlay6 = row.overlay, row.overlay6
			c.Clients = append(slices.Clone(c.Clients), topology.Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("203.0.113.9")}})
			c = row.narrow(c)
			l := raise(t, c)
			servers := topology.Servers(c)
			for _, ns := range l.Plan().Namespaces {
				if ns.Kind != topology.KindUnderlay {
					askAll(t, l, ns, servers)
				}
			}
			n, err := l.Network(t.Context())
			require.NoError(t, err)
			require.Empty(t, n.World)
		})
	}
}

// TestServicesOfBothFamilies asks the dual-stack cluster's Services at addresses of both families, with the rules of both backends and natlab's own NAT.
func TestServicesOfBothFamilies(t *testing.T) {
	for _, backend := range append(dataplane.Backends(), dataplane.Userspace) {
		t.Run(string(backend), func(t *testing.T) {
			l, err := Up(t.Context(), dualStack(t), Options{Backend: backend})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
			require.Equal(t, []nat.Family{nat.IPv4, nat.IPv6}, l.Families())
			requireAnswers(t, l,
				question{"outside", "tcp", "192.168.26.105:30450", "velero/minio-"},
				question{"outside", "tcp", "[fd00:192:168:26::105]:30450", "velero/minio-"},
				question{"outside", "tcp", "192.168.26.223:80", "default/release-name-grafana-"},
				question{"outside", "tcp", "[fd00:192:168:26::223]:80", "default/release-name-grafana-"},
				question{"vms101", "tcp", "10.98.1.4:9000", "velero/minio-"},
				question{"vms101", "tcp", "[fd00:10:96::6]:9000", "velero/minio-"},
				question{"velero/minio-b6d98746c-m7rzc", "udp", "[fd00:10:96::a]:53", "kube-system/coredns-"},
				question{"velero/minio-b6d98746c-m7rzc", "tcp", "[fd00:10:96::f4a6]:9099", "velero/minio-"}, // itself, one time in two
			)
			c := l.Cluster()
			c.Services = slices.DeleteFunc(slices.Clone(c.Services), func(s topology.Service) bool { return s.Name == "minio6" })
			require.NoError(t, l.Sync(t.Context(), c))
			h, err := l.Handle("vms101")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // who answers does so by then
			defer cancel()
			_, err = traffic.Ask(ctx, h, nat.TupleOf(nat.TCP, netip.AddrPort{}, mustAddrPort(t, "[fd00:10:96::6]:9000")))
			require.Error(t, err, "the Service is gone")
		})
	}
}

// TestFamiliesOfALab sees that a lab has its cluster's families, whoever writes the nodes' rules.
func TestFamiliesOfALab(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		edit func(*topology.Cluster, *Options)
	}{
		{"kube-proxy's own rules", func(*topology.Cluster, *Options) {}},
		{"nftables mode", func(c *topology.Cluster, _ *Options) { c.KubeProxy.Mode = topology.ModeNFTables }},
		{"real kube-proxies", func(_ *topology.Cluster, o *Options) { o.KubeProxy = "/kube-proxy" }},
		{"natlab's own NAT", func(_ *topology.Cluster, o *Options) { o.Backend = dataplane.Userspace }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, err := topology.DualStack()
			require.NoError(t, err)
			var o Options
			row.edit(&c, &o)
			l, err := prepare(c, o)
			require.NoError(t, err)
			require.Equal(t, []nat.Family{nat.IPv4, nat.IPv6}, l.Families())
			l, err = prepare(c.Narrowed(topology.IPv6), o)
			require.NoError(t, err)
			require.Equal(t, []nat.Family{nat.IPv6}, l.Families())
		})
	}
}
