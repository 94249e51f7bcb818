package nft_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/labtest"
	"natlab/lab/nft"
	"natlab/lab/traffic"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/proof"
	"natlab/nat/service"
	"natlab/topology"
)

// A lab in nftables mode: each node holds what kube-proxy would have written there, and what clients ask ends as the objects have it. A
// change is followed.
func TestLabInNFTablesMode(t *testing.T) {
	c, _, err := topology.Load(topology.DualStackSource())
	require.NoError(t, err)
	c.KubeProxy.Release, c.KubeProxy.Mode = "v1.37", topology.ModeNFTables
	l := labtest.New(t, c)
	require.Equal(t, []nat.Family{nat.IPv4}, l.Families(), "its table of IPv6 is not written yet")
	c = l.Cluster()
	holds(t, l, c)
	require.Greater(t, ask(t, l, c), 100)

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
	require.Positive(t, ask(t, l, changed))
	require.ErrorContains(t, prove(t, l), "the path is not known")
	network, err := l.Network(t.Context())
	require.NoError(t, err)
	require.Len(t, network.NFTOf, len(l.Nodes()))
	changed.KubeProxy.Mode = ""
	_, err = l.Apply(t.Context(), changed, lab.Partial)
	require.ErrorIs(t, err, lab.ErrRewire)
}

func prove(t *testing.T, l *lab.Lab) error {
	t.Helper()
	_, err := verify.Lab(t.Context(), l, verify.Options{})
	return err
}

// What nft refuses is refused whole, and named.
func TestRefused(t *testing.T) {
	l := labtest.New(t, labtest.Load(t, "../../topology/reference/cluster.yaml"))
	h, err := l.Handle(l.Nodes()[0])
	require.NoError(t, err)
	var refused *dataplane.RefusedError
	err = dataplane.RunNFT(t.Context(), h, "add table ip t\nadd rule ip t none drop\n")
	require.ErrorAs(t, err, &refused)
	got, err := nft.Tables(t.Context(), h)
	require.NoError(t, err)
	require.Empty(t, got.Tables)
}

// holds compares what the nodes hold with what they should.
func holds(t *testing.T, l *lab.Lab, c topology.Cluster) {
	t.Helper()
	for _, node := range l.Nodes() {
		h, err := l.Handle(node)
		require.NoError(t, err)
		got, err := nft.Tables(t.Context(), h)
		require.NoError(t, err)
		want, err := kubeproxy.Tables(c, node, kubeproxy.Options{Family: nat.IPv4})
		require.NoError(t, err)
		table, ok := got.Table(nftables.IP, kubeproxy.NFTTable)
		require.True(t, ok, node)
		require.Equal(t, texts(want.Tables[0]), texts(table), node)
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

// ask asks every flow of a cluster that has to be answered, and holds who answered, and as whom he saw the client, against what the
// objects mean. It returns how many those are.
func ask(t *testing.T, l *lab.Lab, c topology.Cluster) (asked int) {
	t.Helper()
	means, err := service.New(c)
	require.NoError(t, err)
	names := map[netip.AddrPort]string{}
	servers, _ := topology.Servers(c)
	for _, s := range servers {
		names[s.Addr] = s.Name
	}
	for _, f := range proof.Flows(c, proof.Selector{}) {
		answer, err := means.Ask(service.Flow{From: f.From, Protocol: f.Protocol, Source: f.Source, Target: f.Target})
		require.NoError(t, err)
		if len(answer.Endings) == 0 || f.Protocol == nat.SCTP {
			continue
		}
		if !slices.ContainsFunc(answer.Endings, func(e service.Ending) bool { return e.End == nat.EndAnswered }) {
			continue
		}
		h, err := l.Handle(f.From)
		require.NoError(t, err)
		r := traffic.AskAll(t.Context(), h, []nat.Tuple{nat.TupleOf(f.Protocol, netip.AddrPort{}, f.Target)})[0]
		asked++
		require.NoError(t, r.Err, f.Name)
		fits := func(e service.Ending) bool {
			return e.End == nat.EndAnswered && names[e.Endpoint] == r.Answer.Server && slices.Contains(e.Client, r.Answer.PeerSeen.Addr())
		}
		require.True(t, slices.ContainsFunc(answer.Endings, fits), "%s: %s saw %s: want %s", f.Name, r.Answer.Server, r.Answer.PeerSeen, fmt.Sprint(answer.Endings))
	}
	return asked
}
