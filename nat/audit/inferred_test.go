package audit

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// How kube-proxy knows local pods is read off the rules where the input does not tell it: they are then no finding. Where it does,
// or where there is nothing to read, nothing is taken for granted.
func TestInfer(t *testing.T) {
	t.Parallel()
	cidr := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	for _, row := range []struct {
		name   string
		writes topology.KubeProxy // what writes the rules
		given  topology.KubeProxy // what the input tells
		want   string
		found  bool
	}{
		{"clusterCIDR", topology.KubeProxy{ClusterCIDRs: cidr}, topology.KubeProxy{}, "clusterCIDR 10.244.0.0/16", false},
		{"a bridge", topology.KubeProxy{DetectLocalMode: "BridgeInterface", BridgeInterface: "cni0"}, topology.KubeProxy{}, "detectLocalMode BridgeInterface, detectLocal.bridgeInterface cni0", false},
		{"a prefix", topology.KubeProxy{DetectLocalMode: "InterfaceNamePrefix", InterfacePrefix: "veth"}, topology.KubeProxy{}, "detectLocalMode InterfaceNamePrefix, detectLocal.interfaceNamePrefix veth", false},
		{"none", topology.KubeProxy{}, topology.KubeProxy{}, "", false},
		{"the input tells it", topology.KubeProxy{ClusterCIDRs: cidr}, topology.KubeProxy{Configured: true}, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t)
			for _, k := range []*topology.KubeProxy{&row.writes, &row.given} {
				k.Release, k.Backend, k.MasqueradeBit, k.LocalhostNodePorts = c.KubeProxy.Release, c.KubeProxy.Backend, -1, true
			}
			c.KubeProxy = row.writes
			rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
			require.NoError(t, err)
			c.KubeProxy = row.given
			n := Node{Cluster: c, Name: node, Backend: legacy, Held: []Held{held(t, legacy, rs)}}
			what := n.Infer()
			if row.want == "" {
				require.Empty(t, what)
			} else {
				require.Equal(t, "the input has no KubeProxyConfiguration: by the rules of "+node+" kube-proxy has "+row.want, what)
			}
			found, err := Check(n)
			require.NoError(t, err)
			require.Equal(t, row.found, len(found) > 0, found)
		})
	}
}
