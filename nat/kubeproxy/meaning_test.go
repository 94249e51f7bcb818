package kubeproxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/kubeproxy"
	"natlab/nat/proof"
	objects "natlab/nat/service"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// deviation is something else than the objects call for that kube-proxy is known to do, in all releases or until one.
type deviation struct {
	issue string
	until string // the first release that does not any more; "" where all do
	holds func(topology.Cluster, proof.Flow, objects.Answer, nat.Outcome) bool
}

var deviations = []deviation{
	// What cannot be served is refused by rules that ask for the node port and any address of the node.
	{"kubernetes#97360: nodePortAddresses does not keep a node port without endpoints from being refused", "", func(_ topology.Cluster, f proof.Flow, a objects.Answer, o nat.Outcome) bool {
		return f.Type == proof.ByNodePort && len(a.Endings) == 0 && strings.Contains(o.Where, " filter KUBE-EXTERNAL-SERVICES:")
	}},
	// Which of two endpoints of one address counts hung on their order.
	{"kubernetes#135266: of an address that stands twice a wrong one counts", "v1.36", func(c topology.Cluster, f proof.Flow, _ objects.Answer, _ nat.Outcome) bool {
		return slices.ContainsFunc(c.Services, func(s topology.Service) bool {
			return slices.ContainsFunc(s.Ports, func(p topology.ServicePort) bool {
				return kubeproxy.PortName(s.Namespace, s.Name, p.Name) == f.Service && len(p.Listed) > 0
			})
		})
	}},
}

// known is the deviation that a difference is; "" for none.
func (c compared) known(f proof.Flow, a objects.Answer, o nat.Outcome) string {
	for _, d := range deviations {
		if (d.until == "" || c.cluster.KubeProxy.Release < d.until) && d.holds(c.cluster, f, a, o) {
			return d.issue
		}
	}
	return ""
}

// compared is a cluster with both opinions of it.
type compared struct {
	cluster topology.Cluster
	network *gateway.Network
	model   *objects.Model
	servers []topology.Server
}

func compare(t require.TestingT, c topology.Cluster) compared {
	plan, err := topology.NewPlan(c)
	require.NoError(t, err)
	held := map[string]gateway.Rules{}
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		require.NoError(t, err)
		held[n.Name] = gateway.Rules{rs}
	}
	servers := topology.Servers(c)
	network, err := gateway.NewNetwork(gateway.Setup{Plan: plan, Rules: held, Servers: servers})
	require.NoError(t, err)
	model, err := objects.New(c)
	require.NoError(t, err)
	return compared{c, network, model, servers}
}

// answer is what the objects call for.
func (c compared) answer(f proof.Flow) (objects.Answer, error) {
	return c.model.Ask(objects.Flow{From: f.From, Protocol: f.Protocol, Source: f.Source, Target: f.Target})
}

// differences are where kube-proxy's rules and the objects' meaning do not agree about a flow, and which known deviations that is.
func (c compared) differences(f proof.Flow) (diff, known []string, err error) {
	probe := nat.Probe{From: f.From, Tuple: nat.TupleOf(f.Protocol, netip.AddrPortFrom(f.Source, 40000), f.Target)}
	p, err := c.network.Predict(probe)
	if err != nil {
		return nil, nil, err
	}
	a, err := c.answer(f)
	if err != nil {
		return nil, nil, err
	}
	note := func(o nat.Outcome, format string, args ...any) {
		if issue := c.known(f, a, o); issue != "" {
			known = append(known, issue)
			return
		}
		diff = append(diff, fmt.Sprintf("%s: %s: kube-proxy's rules: %s at %s (%s); the objects: %+v", f.Name, fmt.Sprintf(format, args...), o.Summary(), o.Where, o.Why, a))
	}
	served := false
	for _, o := range p {
		if what := c.differs(f, a, o); what != "" {
			note(o, "%s", what)
		}
	}
	for _, e := range a.Endings {
		served = served || e.Endpoint.IsValid()
		if !slices.ContainsFunc(p, func(o nat.Outcome) bool { return translated(o) == e.Endpoint }) {
			note(nat.Outcome{}, "%s is never chosen", e.Endpoint)
		}
	}
	if served && proof.Sticks(p) != (a.AffinitySeconds > 0) {
		note(nat.Outcome{}, "affinity: %t", proof.Sticks(p))
	}
	return diff, known, nil
}

// translated is the endpoint that an outcome came to, whether or not somebody listens there.
func translated(o nat.Outcome) netip.AddrPort {
	for _, c := range o.Conns {
		if c.Reply.Src() != c.Original.Dst() {
			return c.Reply.Src()
		}
	}
	return netip.AddrPort{}
}

// differs is what an outcome has that no ending has.
func (c compared) differs(f proof.Flow, a objects.Answer, o nat.Outcome) string {
	endpoint := translated(o)
	if len(a.Endings) == 0 {
		switch {
		case endpoint.IsValid():
			return "no Service has the address, and it is translated"
		case strings.Contains(o.Where, " filter "):
			return "no Service has the address, and a rule refuses it"
		}
		return ""
	}
	e := endingOf(a, endpoint, o.End)
	listens := slices.ContainsFunc(c.servers, func(s topology.Server) bool { return s.Addr == endpoint && s.Proto == f.Protocol.String() })
	switch {
	case e.End == nat.EndUnknown && e.Limit == "":
		return "the endpoint"
	case e.End == nat.EndUnknown:
	case endpoint.IsValid() && !listens:
		if o.End != nat.EndRefused && o.End != nat.EndLost {
			return "nobody listens"
		}
	case o.End != e.End:
		return "the end"
	case !endpoint.IsValid():
		if sentOn := a.Endings[len(a.Endings)-1].Limit != ""; !sentOn && !strings.HasPrefix(o.Where, a.Node+" filter ") {
			return "where it is refused"
		}
	case e.End != nat.EndAnswered: // lost on its way to the server, or the answer is
	case !slices.Contains(e.Client, o.ServerPeer.Addr()):
		return "as whom the server sees the client"
	case e.Masqueraded != (o.ServerPeer.Port() == nat.AnyPort):
		return "masquerade"
	case o.ClientPeer != f.Target:
		return "from where the answer is"
	}
	return ""
}

// endingOf is the ending by an endpoint, the one with that end if there are two; the zero one where there is none.
func endingOf(a objects.Answer, endpoint netip.AddrPort, end nat.End) (found objects.Ending) {
	for _, e := range a.Endings {
		if e.Endpoint == endpoint && (found.Why == "" || e.End == end) {
			found = e
		}
	}
	return found
}

// The rules that kube-proxy writes do what the objects of the reference cluster call for, in each release.
func TestRulesDoWhatTheObjectsMean(t *testing.T) {
	t.Parallel()
	for _, release := range topology.Releases() {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c, err := topology.Reference()
			require.NoError(t, err)
			c.KubeProxy.Release = release
			both := compare(t, c)
			endings := 0
			for _, f := range proof.Flows(c, proof.Selector{}) {
				diff, known, err := both.differences(f)
				require.NoError(t, err)
				require.Empty(t, diff)
				require.Empty(t, known)
				a, err := both.answer(f)
				require.NoError(t, err)
				endings += max(1, len(a.Endings))
			}
			require.Equal(t, 337, endings)
		})
	}
}

// loadDrawn is a cluster that chance made.
func loadDrawn(t require.TestingT, below func(int) int) topology.Cluster {
	text := topologytest.Random(below)
	c, _, err := topology.Load(topology.Source{Name: "drawn", Reader: strings.NewReader(text)})
	require.NoError(t, err, text)
	return c
}

// Nor does anything else come of clusters that chance made.
func TestRulesDoWhatDrawnObjectsMean(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := loadDrawn(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") })
		both := compare(t, c)
		for _, f := range proof.Flows(c, proof.Selector{}) {
			diff, _, err := both.differences(f)
			require.NoError(t, err)
			require.Empty(t, diff)
		}
	})
}

// What comes of a Service's flows hangs on no more of the cluster than proof.Part leaves of it.
func TestPartOfClusterDoesTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := loadDrawn(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") })
		whole := compare(t, c)
		for _, svc := range c.Services {
			only := proof.Selector{Service: svc.Namespace + "/" + svc.Name}
			part := proof.Part(c, only)
			flows := proof.Flows(c, only)
			require.Equal(t, flows, proof.Flows(part, only))
			network := compare(t, part).network
			for _, f := range flows {
				probe := nat.Probe{From: f.From, Tuple: nat.TupleOf(f.Protocol, netip.AddrPortFrom(f.Source, 40000), f.Target)}
				want, err := whole.network.Predict(probe)
				require.NoError(t, err)
				got, err := network.Predict(probe)
				require.NoError(t, err)
				require.Len(t, got, len(want), f.Name)
				for i, o := range want {
					require.Equal(t, o.Summary(), got[i].Summary(), f.Name)
					require.InDelta(t, o.Probability, got[i].Probability, 1e-9, f.Name)
					require.Equal(t, o.Request.Hops, got[i].Request.Hops, f.Name)
					require.Equal(t, o.Reply.Hops, got[i].Reply.Hops, f.Name)
				}
			}
		}
	})
}

// Every deviation is still there: one that no cluster shows is none.
func TestDeviationsAreThere(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := uint64(0); len(seen) < len(deviations); seed++ {
		require.Less(t, seed, uint64(100), "only %v", seen)
		c := loadDrawn(t, rand.New(rand.NewPCG(seed, 0)).IntN) //nolint:gosec // the same again
		both := compare(t, c)
		for _, f := range proof.Flows(c, proof.Selector{}) {
			_, known, err := both.differences(f)
			require.NoError(t, err)
			for _, issue := range known {
				seen[issue] = true
			}
		}
	}
}
