package lab

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/realise"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

// TestEveryoneReachesEveryPod asks every server from every member, over each overlay: no Service is in play, only the
// wiring. The answer tells that the server saw the client's own address.
func TestEveryoneReachesEveryPod(t *testing.T) {
	for _, overlay := range []topology.Overlay{topology.IPIP, topology.VXLAN, topology.None} {
		t.Run(overlay.String(), func(t *testing.T) {
			c := reference(t)
			c.PodNetwork.Overlay = overlay
			l := raise(t, c)
			if overlay != topology.IPIP {
				require.Equal(t, realise.NoTunnel, l.Tunnel())
			}
			servers := topology.Servers(c)
			for _, ns := range l.Plan().Namespaces {
				if ns.Kind != topology.KindUnderlay {
					askAll(t, l, ns, servers)
				}
			}
		})
	}
}

func askAll(t *testing.T, l *Lab, ns topology.Namespace, servers []topology.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	h, err := l.Handle(ns.Member)
	require.NoError(t, err)
	tuples := make([]nat.Tuple, len(servers))
	for i, s := range servers {
		proto, err := nat.ParseProto(s.Proto)
		require.NoError(t, err)
		tuples[i] = nat.TupleOf(proto, netip.AddrPort{}, s.Addr)
	}
	for i, r := range traffic.AskAll(ctx, h, tuples) {
		require.NoError(t, r.Err, "%s asks %s", ns.Member, servers[i])
		require.Equal(t, servers[i].Name, r.Answer.Server)
		require.Equal(t, r.Answer.Local.Addr(), r.Answer.PeerSeen.Addr(), "%s asks %s", ns.Member, servers[i])
	}
}

// TestClientBehindTheRouter has a client that is not of the underlay.
func TestClientBehindTheRouter(t *testing.T) {
	c := reference(t)
	c.Clients = append(c.Clients, topology.Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.9")}})
	l := raise(t, c)
	far, ok := l.Plan().Namespace("far")
	require.True(t, ok)
	servers := topology.Servers(c)
	askAll(t, l, far, servers)
	require.Contains(t, look(t, l, "far").routes, "default via 169.254.1.1 dev eth0")
}

// TestServicesWork asks the reference cluster's three Services by each kind of address that they have, with the rules of
// both backends: the addresses of facts.md, the load balancer's answered for on the underlay by ARP.
func TestServicesWork(t *testing.T) {
	for _, backend := range dataplane.Backends() {
		t.Run(string(backend), func(t *testing.T) {
			l, err := Up(t.Context(), reference(t), Options{Backend: backend})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Down(context.Background())) })
			require.Equal(t, backend, l.Backend())
			requireAnswers(t, l,
				question{"outside", "tcp", "192.168.26.100:30450", "velero/minio-"},
				question{"outside", "tcp", "192.168.26.105:30450", "velero/minio-"},
				question{"outside", "tcp", "192.168.26.223:80", "default/release-name-grafana-"},
				question{"outside", "tcp", "192.168.26.101:30174", "default/release-name-grafana-"},
				question{"vms101", "tcp", "10.98.180.238:9099", "velero/minio-"},
				question{"vms106", "tcp", "10.96.85.130:80", "default/release-name-grafana-"},
				question{"velero/minio-b6d98746c-m7rzc", "tcp", "10.98.180.238:9099", "velero/minio-"}, // itself, one time in two
				question{"velero/minio-b6d98746c-m7rzc", "tcp", "10.96.0.10:9153", "kube-system/coredns-"},
				question{"velero/minio-b6d98746c-lxt2c", "udp", "10.96.0.10:53", "kube-system/coredns-"},
			)
		})
	}
}

// question is what a member asks, and who has to answer.
type question struct{ from, proto, target, server string }

// requireAnswers asks each four times, since chance may choose among servers.
func requireAnswers(t *testing.T, l *Lab, all ...question) {
	t.Helper()
	for _, q := range all {
		h, err := l.Handle(q.from)
		require.NoError(t, err)
		proto, err := nat.ParseProto(q.proto)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for range 4 {
			answer, err := traffic.Ask(ctx, h, nat.TupleOf(proto, netip.AddrPort{}, mustAddrPort(t, q.target)))
			require.NoError(t, err, "%s asks %s", q.from, q.target)
			require.Contains(t, answer.Server, q.server)
		}
		cancel()
	}
}
