package proof

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/service"
)

// fixtureNeeds is what the objects call for: either endpoint, which sees the client as a node.
func fixtureNeeds() service.Answer {
	as := func(endpoint netip.AddrPort) service.Ending {
		return service.Ending{
			End: nat.EndAnswered, Endpoint: endpoint, Masqueraded: true, Why: "externalTrafficPolicy is Cluster",
			Client: []netip.Addr{netip.MustParseAddr("10.244.239.128"), netip.MustParseAddr("192.168.26.100")},
		}
	}
	return service.Answer{Service: "velero/minio:console", Node: "vms100", Endings: []service.Ending{as(netip.MustParseAddrPort(other)), as(answered().Endpoint)}}
}

// lostOutcome is a way that ends at vms100.
func lostOutcome() nat.Outcome {
	o := answered()
	o.End, o.Endpoint, o.Server, o.ServerPeer, o.ClientPeer = nat.EndLost, netip.AddrPort{}, "", netip.AddrPort{}, netip.AddrPort{}
	o.Request.Hops, o.Request.Steps, o.Reply, o.Conns = o.Request.Hops[:3], nil, nat.Journey{}, nil
	o.Where, o.Why = "vms100 filter KUBE-EXTERNAL-SERVICES:1", "dropped by it"
	return o
}

// What came of a try is held against what the objects call for, whatever the intended rules make of it; the path is held
// against the live rules as ever.
func TestTheObjectsDecide(t *testing.T) {
	t.Parallel()
	lost := func(c *Case) {
		c.Intent, c.Live = nat.Prediction{lostOutcome()}, nat.Prediction{lostOutcome()}
		c.Seen, c.Ends, c.Controls = Join([]nat.Probe{c.Probe}, observe(lostOutcome()))[0], Ends{End: nat.EndLost}, nil
	}
	end := func(end nat.End, limit string) service.Ending {
		return service.Ending{End: end, Why: "no endpoint", Limit: limit}
	}
	for _, row := range []struct {
		name    string
		change  func(*Case)
		verdict Outcome
		check   string // of Wrong
		fault   Fault
	}{
		{"all agree", func(*Case) {}, Proved, "", NoFault},
		{"strictly", func(c *Case) { c.Strict = true }, Proved, "", NoFault},
		{"without objects", func(c *Case) { c.Needed = service.Answer{} }, Proved, "", NoFault},
		{"what the objects leave open", func(c *Case) { c.Needed.Endings[0].End = nat.EndUnknown }, Proved, "", NoFault},
		{"kube-proxy sends to one that must not serve", func(c *Case) { c.Needed.Endings = c.Needed.Endings[:1] }, Disproved, "dnat", FaultRules},
		{"kube-proxy masquerades who must not be", func(c *Case) {
			c.Needed.Endings[1].Masqueraded, c.Needed.Endings[1].Client = false, []netip.Addr{c.Probe.Tuple.Src().Addr()}
		}, Disproved, "masquerade", FaultRules},
		{"kube-proxy masquerades as somebody else", func(c *Case) { c.Needed.Endings[1].Client = c.Needed.Endings[1].Client[1:] }, Disproved, "masquerade", FaultRules},
		{"kube-proxy serves what must be refused", func(c *Case) { c.Needed.Endings = []service.Ending{end(nat.EndRejected, "")} }, Disproved, "dnat", FaultRules},
		{"kube-proxy intends another address of the node", func(c *Case) {
			intent := nat.Prediction{byOther(), answered()}
			for i := range intent {
				intent[i].ServerPeer = netip.MustParseAddrPort("192.168.26.100:0")
				intent[i].Conns[0].Reply = intent[i].Conns[0].Reply.WithDst(intent[i].ServerPeer)
			}
			c.Intent = intent
		}, Proved, "", NoFault},
		{"dropped as it has to be", func(c *Case) { lost(c); c.Needed.Endings = []service.Ending{end(nat.EndLost, "")} }, Proved, "", NoFault},
		{"dropped in place of rejected", func(c *Case) { lost(c); c.Needed.Endings = []service.Ending{end(nat.EndRejected, "")} }, Disproved, "ends", FaultRules},
		{"dropped in place of rejected, as is known", func(c *Case) {
			lost(c)
			c.Needed.Endings = []service.Ending{end(nat.EndRejected, ""), end(nat.EndLost, "known")}
		}, Proved, "", NoFault},
		{"dropped in place of served", lost, Disproved, "dnat", FaultRules},
		{"served in place of lost, as is known", func(c *Case) {
			lostToo := c.Needed.Endings[1]
			lostToo.End, lostToo.Limit = nat.EndLost, "known"
			c.Needed.Endings = append(c.Needed.Endings, lostToo)
		}, Proved, "", NoFault},
		{"no server, as in the intent", func(c *Case) {
			for _, p := range []nat.Prediction{c.Intent, c.Live} {
				p[1].End, p[1].Endpoint, p[1].Server = nat.EndRefused, netip.AddrPort{}, ""
			}
			c.Ends, c.Controls = Ends{End: nat.EndRefused}, nil
		}, Proved, "", NoFault},
		{"another path than the live rules'", func(c *Case) { c.Seen.Request.Steps = c.Seen.Request.Steps[1:] }, Inconclusive, "path", NoFault},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := asPredicted()
			c.Strict, c.Needed = false, fixtureNeeds()
			row.change(&c)
			if row.fault == FaultRules { // what has come of it anyway
				c.World = map[string][]string{"vms100": {"a timeout is another one"}, "vms103": {"a timeout is another one"}}
			}
			cert := Check(c)
			require.Equal(t, row.verdict, cert.Verdict, "%+v\n%+v", cert.Checks, cert.Wrong)
			if row.check == "" {
				require.Nil(t, cert.Wrong)
				return
			}
			require.Equal(t, row.check, cert.Wrong.Check)
			require.Equal(t, row.fault, cert.Wrong.Fault)
			if row.fault == FaultRules {
				require.Contains(t, cert.Wrong.Why, kubeProxyDiffers)
				c.Dumped = []string{"vms101"} // which the flow does not cross
				require.Equal(t, cert.Wrong, Check(c).Wrong)
				c.Dumped, c.World = []string{"vms100"}, nil // whose rules need not be kube-proxy's
				w := Check(c).Wrong
				require.Equal(t, NoFault, w.Fault, "%+v", w)
				require.NotContains(t, w.Why, "kube-proxy")
			}
		})
	}
}

func TestExpected(t *testing.T) {
	t.Parallel()
	intent := nat.Prediction{byOther(), answered()}
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort(other), answered().Endpoint}, Expected(fixtureNeeds(), intent))
	require.Equal(t, []netip.AddrPort{netip.MustParseAddrPort(other), answered().Endpoint}, Expected(service.Answer{}, intent))
	needs := fixtureNeeds()
	needs.Endings = needs.Endings[1:]
	require.Equal(t, []netip.AddrPort{answered().Endpoint}, Expected(needs, intent))
	deaf := slices.Clone(intent)
	deaf[1].Endpoint, deaf[1].End = netip.AddrPort{}, nat.EndRefused
	require.Empty(t, Expected(needs, deaf), "nobody listens there")
}

// An endpoint that kube-proxy's rules do not know of, and the objects do, is never chosen by their fault.
func TestNeverChosenByKubeProxy(t *testing.T) {
	t.Parallel()
	c := asPredicted()
	c.Needed, c.Intent, c.Live = fixtureNeeds(), c.Intent[1:], c.Live[1:]
	cert := NeverChosen(c, netip.MustParseAddrPort(other), 40)
	require.Equal(t, Disproved, cert.Verdict)
	require.Equal(t, FaultRules, cert.Wrong.Fault)
	require.Equal(t, kubeProxyDiffers, cert.Wrong.Why)
}

// A node that is masqueraded as its own address keeps its port where chance chooses just that: it is no other translation than
// that of a control run in which it did not. One that must not stay, or became something else, is.
func TestAPortThatStaysByChance(t *testing.T) {
	t.Parallel()
	source := tuple(asks).Src()
	for _, row := range []struct {
		name      string
		intended  netip.AddrPort // as which the rules masquerade; port 0: any
		seen      netip.AddrPort
		unwatched netip.AddrPort
		ok        bool
	}{
		{"the port stays", netip.AddrPortFrom(source.Addr(), 0), source, netip.AddrPortFrom(source.Addr(), 33333), true},
		{"the port stays without taps", netip.AddrPortFrom(source.Addr(), 0), netip.AddrPortFrom(source.Addr(), 33333), netip.AddrPortFrom(source.Addr(), 41111), true}, // its own port
		{"the port stays, another address without taps", netip.AddrPortFrom(source.Addr(), 0), source, netip.MustParseAddrPort("192.0.2.1:33333"), false},
		{"it must become another address", netip.MustParseAddrPort("10.244.239.128:0"), source, netip.MustParseAddrPort("10.244.239.128:33333"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := asPredicted()
			for _, p := range []nat.Prediction{c.Intent, c.Live} {
				p[1].Conns[0].Reply = p[1].Conns[0].Reply.WithDst(row.intended)
			}
			c.Seen.Conns = slices.Clone(c.Seen.Conns[:1])
			c.Seen.Conns[0].Reply = c.Seen.Conns[0].Reply.WithDst(row.seen)
			c.Controls[0].Conns = slices.Clone(c.Controls[0].Conns[:1])
			c.Controls[0].Conns[0].Reply = c.Controls[0].Conns[0].Reply.WithDst(row.unwatched)
			cert := Check(c)
			control := cert.Checks[len(cert.Checks)-1]
			require.Equal(t, row.ok, control.OK, control.Detail)
		})
	}
}
