package nft_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/labtest"
	"natlab/lab/nft"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/topology"
)

// A dual-stack lab in nftables mode: each node holds what kube-proxy would have written there, and what clients ask ends as the objects have it. A
// change is followed.
func TestLabInNFTablesMode(t *testing.T) {
	c, err := topology.DualStack()
	require.NoError(t, err)
	for i := range c.Services { // since 1.36 an endpoint that gets itself by another node's node port is masqueraded nowhere, where the policy is Local
		c.Services[i].ExternalPolicy = topology.PolicyCluster
	}
	c.KubeProxy.Release, c.KubeProxy.Mode = "v1.37", topology.ModeNFTables
	l := labtest.New(t, c)
	require.Equal(t, []nat.Family{nat.IPv4, nat.IPv6}, l.Families())
	c = l.Cluster()
	holds(t, l, c)
	proved := labtest.Prove(t, l, proof.Selector{})
	require.Greater(t, len(proved.Flows), 300)
	require.Equal(t, "nftables", proved.Backend)
	for _, cert := range proved.Flows {
		if cert.Type == proof.ByClusterIP && cert.End == nat.EndAnswered { // by an element of a map, which the kernel's trace does not tell
			key := fmt.Sprintf("service-ips: %s . %s . %d -> ", cert.Target.Addr(), cert.Protocol, cert.Target.Port())
			require.True(t, slices.ContainsFunc(cert.Met, func(s proof.Step) bool { return strings.HasPrefix(s.Element, key) }), "%s: %s", cert.Name, cert.Request)
			require.Equal(t, "services", cert.Request[1], cert.Name)
		}
	}
	require.Positive(t, proved.Coverage.Met)
	for _, family := range l.Families() {
		require.True(t, slices.ContainsFunc(proved.Flows, func(c proof.Certificate) bool { return topology.FamilyOf(c.Target.Addr()) == topology.Family(family) }), family)
	}

	changed := c
	changed.Services = slices.Clone(c.Services)
	for i := range changed.Services {
		s := &changed.Services[i]
		s.Ports = slices.Clone(s.Ports)
		for j := range s.Ports {
			s.Ports[j].Endpoints, s.Ports[j].Listed = s.Ports[j].Endpoints[:min(1, len(s.Ports[j].Endpoints))], nil
		}
	}
	require.NoError(t, l.Change(t.Context(), changed))
	holds(t, l, changed)
	proved, err = verify.Lab(t.Context(), l, verify.Options{Intent: &changed, Strict: true})
	require.NoError(t, err)
	require.Equal(t, proof.Proved, proved.Outcome(), notProved(proved))
	network, err := l.Network(t.Context())
	require.NoError(t, err)
	require.Len(t, network.NFTOf, len(l.Nodes()))
	changed.KubeProxy.Mode = topology.ModeIPTables
	_, err = l.Apply(t.Context(), changed, lab.Partial)
	require.ErrorIs(t, err, lab.ErrRewire)
	changed.KubeProxy.Mode = "" // files that name none are for the lab's own
	_, err = l.Apply(t.Context(), changed, lab.Partial)
	require.NoError(t, err)
	holds(t, l, changed)
}

func notProved(r proof.Report) (ways []string) {
	for _, c := range r.Flows {
		if c.Verdict != proof.Proved {
			ways = append(ways, report.Way(c, report.Style{}))
		}
	}
	return ways
}

// A lab in nftables mode needs no nft program: its nodes' tables are written and read by netlink, and it is proved.
func TestLabWithoutNFT(t *testing.T) {
	c := labtest.Load(t, "../../topology/reference/cluster.yaml")
	c.KubeProxy.Release, c.KubeProxy.Mode = "v1.37", topology.ModeNFTables
	programs := t.TempDir()
	for _, name := range []string{"iptables-legacy-save", "iptables-legacy-restore", "iptables-nft-save", "iptables-nft-restore"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(programs, name)))
	}
	t.Setenv("PATH", programs)
	l := labtest.New(t, c)
	for _, node := range l.Nodes() {
		h, err := l.Handle(node)
		require.NoError(t, err)
		rs, err := dataplane.ReadNFT(h, nftables.IP)
		require.NoError(t, err)
		table, has := rs.Table(nftables.IP, kubeproxy.NFTTable)
		require.True(t, has, node)
		require.Greater(t, len(table.Chains), 20, node)
	}
	labtest.Prove(t, l, proof.Selector{Shard: 1, Shards: 20})
}

// What nft refuses is refused whole, and named.
func TestRefused(t *testing.T) {
	l := labtest.New(t, labtest.Load(t, "../../topology/reference/cluster.yaml"))
	h, err := l.Handle(l.Nodes()[0])
	require.NoError(t, err)
	var refused *dataplane.RefusedError
	err = dataplane.RunNFT(t.Context(), h, "add table ip t\nadd rule ip t none drop\n")
	require.ErrorAs(t, err, &refused)
	got, err := nft.Tables(t.Context(), h, nat.IPv4)
	require.NoError(t, err)
	require.Empty(t, got.Tables)
}

// holds compares what the nodes hold with what they should.
func holds(t *testing.T, l *lab.Lab, c topology.Cluster) {
	t.Helper()
	for _, node := range l.Nodes() {
		h, err := l.Handle(node)
		require.NoError(t, err)
		got, err := nft.Tables(t.Context(), h, l.Families()...)
		require.NoError(t, err)
		for _, family := range l.Families() {
			want, err := kubeproxy.Tables(c, node, kubeproxy.Options{Family: family})
			require.NoError(t, err)
			table, ok := got.Table(nftables.FamilyOf(family), kubeproxy.NFTTable)
			require.True(t, ok, node)
			require.Equal(t, texts(want.Tables[0].Emptied()), texts(table.Emptied()), node)
		}
	}
}

// texts are a table's sets and chains, each as its text; chains that are only there until they are deleted are left out.
func texts(table nftables.Table) (out []string) {
	for _, s := range table.Sets {
		slices.SortFunc(s.Elements, func(a, b nftables.Element) int { return strings.Compare(a.String(), b.String()) })
		one := nftables.Table{Sets: []nftables.Set{s}}
		out = append(out, one.String())
	}
	for _, c := range table.Chains {
		if len(c.Rules) > 0 {
			one := nftables.Table{Chains: []nftables.Chain{c}}
			out = append(out, one.String())
		}
	}
	slices.Sort(out)
	return out
}
