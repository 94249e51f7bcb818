package gateway_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// reference is the reference cluster as a network, its nodes' rules changed by change if that is not nil.
func reference(t *testing.T, change func(node string, rs *iptables.Ruleset)) *gateway.Network {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	return network(t, c, change)
}

func network(t *testing.T, c topology.Cluster, change func(node string, rs *iptables.Ruleset)) *gateway.Network {
	t.Helper()
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	rules := map[string]gateway.Rules{}
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		require.NoError(t, err)
		if change != nil {
			change(n.Name, &rs)
		}
		rules[n.Name] = gateway.Rules{rs}
	}
	servers := topology.Servers(c)
	n, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Rules: rules, Servers: servers})
	require.NoError(t, err)
	return n
}

func predict(t *testing.T, n *gateway.Network, from, tuple string) nat.Prediction {
	t.Helper()
	probe, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	p, err := n.Predict(nat.Probe{From: from, Tuple: probe})
	require.NoError(t, err)
	sum := 0.0
	for _, o := range p {
		sum += o.Probability
	}
	require.InDelta(t, 1, sum, 1e-9)
	return p
}

// chains are the chains of the nat table that a journey met in a node.
func chains(j nat.Journey, node string) string {
	var out []string
	for _, s := range j.Steps.In(node, "nat") {
		if len(out) == 0 || out[len(out)-1] != s.Chain {
			out = append(out, s.Chain)
		}
	}
	return strings.Join(out, " ")
}

const post = " POSTROUTING KUBE-POSTROUTING"

// The three paths of the request that were seen on the real cluster.
func TestPathsOfTheRealCluster(t *testing.T) {
	t.Parallel()
	n := reference(t, nil)
	for _, row := range []struct {
		name, from, tuple, node string
		want                    []string // one an endpoint, in the order of the rules
	}{
		{
			"NodePort", "outside", "tcp 192.168.26.1:40000 > 192.168.26.100:30450", "vms100",
			[]string{
				"PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-MARK-MASQ KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B KUBE-SEP-OLNIRCQFCXAN5USW" + post,
				"PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-MARK-MASQ KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B KUBE-SEP-DB3JUIMGX6LERFY3" + post,
			},
		},
		{
			"ClusterIP from a node", "vms101", "tcp 192.168.26.101:40000 > 10.96.0.10:9153", "vms101",
			[]string{
				"OUTPUT KUBE-SERVICES KUBE-SVC-JD5MR3NA4I4DYORP KUBE-MARK-MASQ KUBE-SVC-JD5MR3NA4I4DYORP KUBE-SEP-DYDOGONVKJMXNXZO" + post,
				"OUTPUT KUBE-SERVICES KUBE-SVC-JD5MR3NA4I4DYORP KUBE-MARK-MASQ KUBE-SVC-JD5MR3NA4I4DYORP KUBE-SEP-PURVZ5VLWID76HVQ" + post,
			},
		},
		{
			"LoadBalancer", "outside", "tcp 192.168.26.1:40000 > 192.168.26.223:80", "vms102",
			[]string{"PREROUTING KUBE-SERVICES KUBE-EXT-XR6NUEPTVOUAGEC3 KUBE-MARK-MASQ KUBE-EXT-XR6NUEPTVOUAGEC3 KUBE-SVC-XR6NUEPTVOUAGEC3 KUBE-SEP-RLRDAS77BUJVWRRK" + post},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := map[string]bool{}
			for _, o := range predict(t, n, row.from, row.tuple) {
				require.Equal(t, nat.EndAnswered, o.End, "%s: %s", o.Where, o.Why)
				got[chains(o.Request, row.node)] = true
				require.Empty(t, chains(o.Reply, row.node), "a reply meets no nat rule")
			}
			for _, want := range row.want {
				require.True(t, got[want], "%s\nis not among %v", want, got)
			}
			require.Len(t, got, len(row.want))
		})
	}
}

// Through the network a seed chooses one way too, with a port that all nodes agree on.
func TestOneWay(t *testing.T) {
	t.Parallel()
	n := reference(t, nil)
	probe := nat.Probe{From: "outside", Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("192.168.26.1:40000"), netip.MustParseAddrPort("192.168.26.106:30450"))}
	seen := map[string]bool{}
	for seed := range uint64(20) {
		x, err := n.Explain(probe, rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // the same again
		require.NoError(t, err)
		require.Len(t, x.Prediction, 1)
		o := x.Prediction[0]
		require.Equal(t, nat.EndAnswered, o.End)
		seen[o.Endpoint.String()] = true
		require.NotEqual(t, nat.AnyPort, o.ServerPeer.Port())
		require.Equal(t, o.ServerPeer, o.Conns[0].Reply.Dst())
		require.Equal(t, o.ServerPeer, o.Conns[1].Original.Src())
	}
	require.Len(t, seen, 2)
}

// A NodePort at a node without an endpoint, through the tunnel and back: every tap, one line each.
func TestHopsOfANodePort(t *testing.T) {
	t.Parallel()
	p := predict(t, reference(t, nil), "outside", "tcp 192.168.26.1:40000 > 192.168.26.106:30450")
	var o nat.Outcome
	for _, one := range p {
		if one.Endpoint == netip.MustParseAddrPort("10.244.169.89:9090") {
			o = one
		}
	}
	require.InDelta(t, 0.5, o.Probability, 1e-6)
	var request, reply []string
	for _, h := range o.Request.Hops {
		request = append(request, h.String())
	}
	for _, h := range o.Reply.Hops {
		reply = append(reply, h.String())
	}
	const (
		asked   = "tcp 192.168.26.1:40000 > 192.168.26.106:30450"
		dnated  = "tcp 192.168.26.1:40000 > 10.244.169.89:9090"
		snated  = "tcp 10.244.31.64:0 > 10.244.169.89:9090"
		outer   = " in ipip 192.168.26.106:0 > 192.168.26.105:0"
		pod     = "velero/minio-b6d98746c-m7rzc"
		back    = "tcp 10.244.169.89:9090 > 10.244.31.64:0"
		unsnat  = "tcp 10.244.169.89:9090 > 192.168.26.1:40000"
		undnat  = "tcp 192.168.26.106:30450 > 192.168.26.1:40000"
		outback = " in ipip 192.168.26.105:0 > 192.168.26.106:0"
	)
	require.Equal(t, []string{
		"outside output-raw eth0 " + asked + " mark 0x0",
		"outside output-nat eth0 " + asked + " mark 0x0",
		"outside postrouting eth0 " + asked + " mark 0x0",
		"vms106 prerouting-raw ens32 " + asked + " mark 0x0",
		"vms106 prerouting-nat ens32 " + dnated + " mark 0x4000",
		"vms106 postrouting tunl0 " + snated + " mark 0x0",
		"vms106 output-raw ens32 " + snated + " mark 0x0" + outer,
		"vms106 output-nat ens32 " + snated + " mark 0x0" + outer,
		"vms106 postrouting ens32 " + snated + " mark 0x0" + outer,
		"vms105 prerouting-raw ens32 " + snated + " mark 0x0" + outer,
		"vms105 prerouting-nat ens32 " + snated + " mark 0x0" + outer,
		"vms105 prerouting-raw tunl0 " + snated + " mark 0x0",
		"vms105 prerouting-nat tunl0 " + snated + " mark 0x0",
		"vms105 postrouting calia011d753862 " + snated + " mark 0x0",
		pod + " prerouting-raw eth0 " + snated + " mark 0x0",
		pod + " prerouting-nat eth0 " + snated + " mark 0x0",
	}, request)
	require.Equal(t, []string{
		pod + " output-raw eth0 " + back + " mark 0x0",
		pod + " output-nat eth0 " + back + " mark 0x0",
		pod + " postrouting eth0 " + back + " mark 0x0",
		"vms105 prerouting-raw calia011d753862 " + back + " mark 0x0",
		"vms105 prerouting-nat calia011d753862 " + back + " mark 0x0",
		"vms105 postrouting tunl0 " + back + " mark 0x0",
		"vms105 output-raw ens32 " + back + " mark 0x0" + outback,
		"vms105 output-nat ens32 " + back + " mark 0x0" + outback,
		"vms105 postrouting ens32 " + back + " mark 0x0" + outback,
		"vms106 prerouting-raw ens32 " + back + " mark 0x0" + outback,
		"vms106 prerouting-nat ens32 " + back + " mark 0x0" + outback,
		"vms106 prerouting-raw tunl0 " + back + " mark 0x0",
		"vms106 prerouting-nat tunl0 " + unsnat + " mark 0x0",
		"vms106 postrouting ens32 " + undnat + " mark 0x0",
		"outside prerouting-raw eth0 " + undnat + " mark 0x0",
		"outside prerouting-nat eth0 " + undnat + " mark 0x0",
	}, reply)
	require.Equal(t, netip.MustParseAddrPort("192.168.26.106:30450"), o.ClientPeer)
	require.Equal(t, netip.MustParseAddrPort("10.244.31.64:0"), o.ServerPeer)
	require.Len(t, o.Conns, 2)
	const bits = nat.SrcNAT | nat.DstNAT | nat.SeenReply | nat.Confirmed
	require.Equal(t, bits, o.Conns[0].Status&bits)
	require.Equal(t, "tcp 10.244.169.89:9090 > 10.244.31.64:0", o.Conns[0].Reply.String())
}

// In IPv6 as in IPv4; a probe of the other family is refused.
func TestPredictInIPv6(t *testing.T) {
	t.Parallel()
	c, err := topology.DualStack()
	require.NoError(t, err)
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	rules := map[string]gateway.Rules{}
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{Family: nat.IPv6})
		require.NoError(t, err)
		rules[n.Name] = gateway.Rules{rs}
	}
	servers := topology.Servers(c)
	n, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Rules: rules, Servers: servers, Family: nat.IPv6})
	require.NoError(t, err)
	asked := 0
	for _, s := range c.Services {
		for _, ip := range s.ClusterIPs {
			if !ip.Is6() || len(s.Ports) == 0 || s.Ports[0].Protocol != "TCP" {
				continue
			}
			for _, p := range c.Pods {
				tuple := nat.TupleOf(nat.TCP, netip.AddrPortFrom(p.Address(topology.IPv6), 40000), netip.AddrPortFrom(ip, s.Ports[0].Port))
				if p.HostNetwork || !p.Address(topology.IPv6).IsValid() {
					continue
				}
				for _, o := range predict(t, n, p.Member(), tuple.String()) {
					require.Equal(t, nat.EndAnswered, o.End, "%s %s: %s %s", p.Member(), tuple, o.Where, o.Why)
					require.Equal(t, netip.AddrPortFrom(ip, s.Ports[0].Port), o.ClientPeer)
				}
				asked++
			}
		}
	}
	require.Positive(t, asked)
	_, err = n.Predict(nat.Probe{From: c.Nodes[0].Name, Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"))})
	require.ErrorContains(t, err, "want two IPv6 addresses")
}
