package proof

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// checkNames are the checks in the order in which a Certificate holds them.
var checkNames = []string{"dnat", "masquerade", "reply", "path", "ends", "state", "control"}

func TestCheckProves(t *testing.T) {
	c := Check(asPredicted())
	require.Equal(t, Proved, c.Verdict, "%+v\n%+v", c.Checks, c.Wrong)
	assert.Nil(t, c.Wrong)
	var names []string
	for _, check := range c.Checks {
		names = append(names, check.Name)
		assert.NotEmpty(t, check.Detail, check.Name)
	}
	assert.Equal(t, checkNames, names)
	assert.Equal(t, "10.244.169.89:9090", c.Endpoint.String())
	assert.Equal(t, "vms100", c.Node)
	assert.True(t, c.Masqueraded)
	assert.Equal(t, "PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B KUBE-SEP-OLNIRCQFCXAN5USW DNAT POSTROUTING KUBE-POSTROUTING MASQUERADE",
		strings.Join(c.Request, " "))
	assert.Equal(t, "FORWARD KUBE-FORWARD ACCEPT", strings.Join(c.Reply, " "))
	assert.Len(t, c.Hops, len(requestHops())+len(replyHops()))
	assert.Equal(t, "vms100", c.Conntrack[0].Node, "in the order of the way, not of the events")
	told := asPredicted()
	slices.Reverse(told.Seen.Conns)
	assert.Equal(t, c.Checks[5], Check(told).Checks[5], "and so in words")
}

// TestEachCheckCanFail breaks what was seen in one way a row and names the checks that must notice.
func TestEachCheckCanFail(t *testing.T) {
	hopAt := func(hops []nat.Hop, node string, tap nat.Tap) *nat.Hop {
		i := slices.IndexFunc(hops, func(h nat.Hop) bool { return h.Node == node && h.Tap == tap })
		return &hops[i]
	}
	rows := []struct {
		name   string
		checks string // that fail, in their order
		breaks func(*Case)
	}{
		// dnat
		{"no entry translates", "dnat masquerade state control", func(c *Case) { c.Seen.Conns = c.Seen.Conns[1:] }},
		{"an endpoint of another Service", "dnat masquerade path ends state control", func(c *Case) {
			stranger := netip.MustParseAddrPort("10.244.31.123:3000")
			for i := range c.Seen.Conns {
				c.Seen.Conns[i].Reply = c.Seen.Conns[i].Reply.WithSrc(stranger)
			}
			for i := range c.Seen.Request.Hops {
				if h := &c.Seen.Request.Hops[i]; h.Tuple.Dst() == answered().Endpoint {
					h.Tuple = h.Tuple.WithDst(stranger)
				}
			}
			c.Seen.Request.Steps[7].Met = met(strings.ReplaceAll(dnatText, answered().Endpoint.String(), stranger.String()))
			c.Ends.ServerAddr, c.Ends.Server = stranger, "default/grafana"
			c.Seen.Conns[0].Reply = c.Seen.Conns[0].Reply.WithDst(netip.MustParseAddrPort("192.168.26.100:1"))
		}},
		{"the wire has another endpoint than conntrack", "dnat path", func(c *Case) {
			h := &c.Seen.Request.Hops[len(c.Seen.Request.Hops)-1]
			h.Tuple = h.Tuple.WithDst(netip.MustParseAddrPort(other))
		}},
		{"no rule with the endpoint was met", "dnat path", func(c *Case) {
			c.Seen.Request.Steps[7].Met = met("-A KUBE-SEP-X -p tcp -j DNAT --to-destination 10.0.0.1:1")
		}},
		{"another server answers", "dnat ends control", func(c *Case) {
			c.Ends.Server, c.Ends.ServerAddr = "velero/minio-b6d98746c-lxt2c", netip.MustParseAddrPort("10.244.169.89:9091")
		}},
		// masquerade
		{"not masqueraded", "masquerade state control", func(c *Case) {
			c.Seen.Conns[0].Reply = c.Seen.Conns[0].Reply.WithDst(c.Probe.Tuple.Src())
		}},
		{"masqueraded as another address", "masquerade state control", func(c *Case) {
			c.Seen.Conns[0].Reply = c.Seen.Conns[0].Reply.WithDst(netip.MustParseAddrPort("192.168.26.100:51234"))
		}},
		{"the mark was not set", "masquerade path", func(c *Case) { hopAt(c.Seen.Request.Hops, "vms100", nat.TapPreNAT).Mark = 0 }},
		{"the mark is still on the wire", "masquerade path", func(c *Case) { hopAt(c.Seen.Request.Hops, "vms100", nat.TapPost).Mark = 0x4000 }},
		// reply
		{"the answer is untranslated at the client", "reply", func(c *Case) {
			for _, tap := range []nat.Tap{nat.TapPreRaw, nat.TapPreNAT} {
				hopAt(c.Seen.Reply.Hops, "outside", tap).Tuple = tuple(back(dnated))
			}
		}},
		{"the answer goes another way", "reply", func(c *Case) {
			c.Seen.Reply.Hops = slices.DeleteFunc(c.Seen.Reply.Hops, func(h nat.Hop) bool { return h.Node == "vms100" })
		}},
		{"answered from another address", "reply ends", func(c *Case) { c.Ends.ClientPeer = netip.MustParseAddrPort("192.168.26.101:30450") }},
		// path
		{"a rule was passed over", "path", func(c *Case) { c.Seen.Request.Steps = slices.Delete(c.Seen.Request.Steps, 8, 9) }},
		{"a rule too many", "path", func(c *Case) { c.Seen.Reply.Steps = append(c.Seen.Reply.Steps, requestSteps()[0]) }},
		{"another verdict", "path", func(c *Case) { c.Seen.Reply.Steps[2].Verdict = nat.Drop }},
		{"out by another device", "path", func(c *Case) { hopAt(c.Seen.Request.Hops, "vms105", nat.TapPost).Dev = "tunl0" }},
		{"to another node", "path", func(c *Case) {
			hopAt(c.Seen.Request.Hops, "vms105", nat.TapPreRaw).Outer = tuple("ipip 192.168.26.100:0 > 192.168.26.106:0")
		}},
		// ends
		{"the server saw another peer", "ends", func(c *Case) { c.Ends.ServerPeer = netip.MustParseAddrPort("192.168.26.1:40000") }},
		{"the server saw another port", "ends", func(c *Case) {
			c.Ends.ServerPeer = netip.AddrPortFrom(c.Ends.ServerPeer.Addr(), seenPort+1)
		}},
		{"no answer reached the client", "ends control", func(c *Case) { c.Ends.End = nat.EndLost }},
		{"the connection did not end in order", "ends", func(c *Case) { c.Ends.Halted, c.Vanished = "and then the server's FIN did not come", true }},
		// state
		{"a status bit is not as it must be", "state", func(c *Case) { c.Seen.Conns[1].Status &^= nat.SeenReply }},
		{"an entry too many", "state control", func(c *Case) {
			c.Seen.Conns = append(c.Seen.Conns, nat.Conn{Node: "vms101", Original: tuple(asks), Reply: tuple(back(asks))})
		}},
		{"a conntrack mark", "state", func(c *Case) { c.Seen.Conns[1].Mark = 1 }},
		{"entries could not be inserted", "state", func(c *Case) { c.Trouble = []string{"vms100 insert_failed 1"} }},
		// control
		{"without taps it went otherwise", "control", func(c *Case) {
			c.Controls[0].Conns[0].Reply = c.Controls[0].Conns[0].Reply.WithDst(netip.MustParseAddrPort("192.168.26.100:33333"))
		}},
	}
	failing := map[string]bool{}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := asPredicted()
			row.breaks(&c)
			cert := Check(c)
			var got []string
			for _, check := range cert.Checks {
				if !check.OK {
					got = append(got, check.Name)
					failing[check.Name] = true
				}
			}
			assert.Equal(t, row.checks, strings.Join(got, " "))
			assert.Equal(t, Disproved, cert.Verdict)
			require.NotNil(t, cert.Wrong)
			assert.Equal(t, got[0], cert.Wrong.Check)
			assert.NotEmpty(t, cert.Wrong.Got)
			assert.Equal(t, FaultModel, cert.Wrong.Fault, "the live rules call for something else too")
		})
	}
	for _, name := range checkNames {
		assert.True(t, failing[name], "no row makes %s fail", name)
	}
}

func TestNeverAPassWithoutEvidence(t *testing.T) {
	shared := tuple("icmp 10.244.169.64:0 > 10.244.169.89:0")
	rows := []struct {
		name string
		lack func(*Case)
		want Outcome
	}{
		{"events lost", func(c *Case) { c.Lost = 1 }, Inconclusive},
		{"events lost, and a difference", func(c *Case) { c.Lost = 1; c.Ends.Server = "x" }, Inconclusive},
		{"tuples of two tries at once", func(c *Case) { c.Seen.Mixed = true }, Inconclusive},
		{"errors of two tries between the same hosts", func(c *Case) { c.Seen.Shared = []nat.Tuple{shared} }, Inconclusive},
		{"errors of two tries between the same hosts, and a difference", func(c *Case) { c.Seen.Shared = []nat.Tuple{shared}; c.Ends.Server = "x" }, Disproved},
		{"an error's rules, which another try's may have met", func(c *Case) {
			c.Seen.Shared = []nat.Tuple{shared}
			c.Live = nat.Prediction{answered()}
			c.Live[0].Reply.Steps = append(c.Live[0].Reply.Steps, step("vms100", nat.Output, "filter", "OUTPUT", 1, nat.Accept, shared.String(), "-A OUTPUT -j ACCEPT"))
			c.Intent = c.Live
		}, Inconclusive},
		{"taps saw what the trace did not", func(c *Case) { c.Seen.Reply.Steps = c.Seen.Reply.Steps[:1] }, Inconclusive},
		{"no control try by this endpoint", func(c *Case) { c.Controls = []Control{} }, Inconclusive},
		{"no prediction", func(c *Case) { c.Intent = nil }, Inconclusive},
		{"nothing seen at all", func(c *Case) { c.Seen = Seen{} }, Disproved},
		{"no control run asked for", func(c *Case) { c.Controls = nil }, Proved},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := asPredicted()
			row.lack(&c)
			cert := Check(c)
			assert.Equal(t, row.want, cert.Verdict, "%+v", cert.Checks)
			if row.want != Proved {
				require.NotNil(t, cert.Wrong)
			}
		})
	}
}

func TestRepeatedPacketsAreNotASecondWay(t *testing.T) {
	c := asPredicted()
	twice := append(observe(answered()), observe(answered())...)
	c.Seen = Join([]nat.Probe{c.Probe}, twice)[0]
	require.True(t, c.Seen.Repeated)
	cert := Check(c)
	assert.Equal(t, Proved, cert.Verdict, "%+v", cert.Checks)

	// The second one came when the first one's connection had ended, and got another port.
	for i, o := range twice {
		if i >= len(twice)/2 {
			twice[i] = withPort(o, seenPort, seenPort+1)
		}
	}
	for _, strict := range []bool{true, false} {
		c.Strict = strict
		c.Seen = Join([]nat.Probe{c.Probe}, twice)[0]
		cert = Check(c)
		assert.Equal(t, Inconclusive, cert.Verdict, "%+v", cert.Wrong)
	}
	c.Ends, c.Vanished = Ends{End: nat.EndLost}, true
	assert.Equal(t, Disproved, Check(c).Verdict, "it was sent again because nothing came back")
}

// The other end sends its answer again too, where the client's kernel had no time to confirm the first one. Wherever the second
// is cut off by the end of the watch, it disproves nothing.
func TestARepeatedAnswerIsNotASecondWay(t *testing.T) {
	once := observe(answered())
	again := slices.DeleteFunc(observe(nat.Outcome{Reply: answered().Reply}), func(o Observation) bool { return o.Kind == ConnSeen })
	probe := []nat.Probe{asPredicted().Probe}
	for n := range len(again) + 1 {
		c := asPredicted()
		c.Seen = Join(probe, slices.Concat(once, again[:n]))[0]
		cert := Check(c)
		assert.Equal(t, n > 0, c.Seen.Repeated, "%d observations of the second answer", n)
		assert.Equal(t, Proved, cert.Verdict, "%d observations of the second answer: %+v", n, cert.Wrong)
	}
	for i, o := range again {
		late := slices.DeleteFunc(slices.Clone(again), func(a Observation) bool { return a.Node != o.Node })
		if late[0].Hop.Tap == nat.TapOutRaw {
			continue // its maker: that is the row above
		}
		for _, strict := range []bool{true, false} {
			c := asPredicted()
			c.Strict = strict
			c.Seen = Join(probe, slices.Concat(once, late))[0]
			cert := Check(c)
			assert.Equal(t, Inconclusive, cert.Verdict, "%d: seen in %s alone: %+v", i, o.Node, cert.Wrong)
		}
	}
}

// A client on a slow machine asks again where a broken node loses what it asked, and the watch may end when the second packet was seen in another node
// alone: then nothing is told of whether the rules are at fault or the model, and the flow is asked once more.
func TestTheEndOfARepeatedPacketBlamesNoModel(t *testing.T) {
	broken := answered()
	broken.Request.Steps = slices.Delete(slices.Clone(broken.Request.Steps), 6, 7)
	c := asPredicted()
	c.Live = nat.Prediction{broken}
	probe := []nat.Probe{c.Probe}
	c.Seen = Join(probe, observe(broken))[0]
	cert := Check(c)
	require.Equal(t, Disproved, cert.Verdict)
	require.Equal(t, FaultRules, cert.Wrong.Fault, "%+v", cert.Wrong)

	second := slices.DeleteFunc(observe(nat.Outcome{Request: broken.Request}), func(o Observation) bool { return o.Node != "vms105" })
	c.Seen = Join(probe, slices.Concat(observe(broken), second))[0]
	require.False(t, c.Seen.Repeated, "nobody was seen to send it")
	cert = Check(c)
	assert.Equal(t, Inconclusive, cert.Verdict, "%+v", cert.Wrong)
	c.Vanished = true
	cert = Check(c)
	assert.Equal(t, Disproved, cert.Verdict, "a client that hears of nothing asks again")
	assert.Equal(t, FaultRules, cert.Wrong.Fault, "%+v", cert.Wrong)
}

// TestBlame breaks one live rule a row, lets things go as the broken rules have it, and wants the rule named.
func TestBlame(t *testing.T) {
	sep := ChainRef{"vms100", "nat", "KUBE-SEP-OLNIRCQFCXAN5USW"}
	services := ChainRef{"vms100", "nat", "KUBE-SERVICES"}
	wrongPort := strings.Replace(dnatText, ":9090", ":9099", 1)
	rows := []struct {
		name       string
		seen       func(*nat.Outcome)
		live       func(map[ChainRef][]nat.Met)
		want, rule string
		why        string
	}{
		{
			"a rule deleted", func(o *nat.Outcome) { o.Request.Steps = slices.Delete(slices.Clone(o.Request.Steps), 7, 8) },
			func(m map[ChainRef][]nat.Met) { m[sep] = nil }, dnatText, "", "missing",
		},
		{
			"a chain deleted", func(o *nat.Outcome) { o.Request.Steps = slices.Delete(slices.Clone(o.Request.Steps), 7, 8) },
			func(m map[ChainRef][]nat.Met) { delete(m, sep) }, dnatText, "", "no chain",
		},
		{
			"another rule in its place", func(o *nat.Outcome) {
				o.Request.Steps = slices.Clone(o.Request.Steps)
				o.Request.Steps[7].Met = met(wrongPort)
			},
			func(m map[ChainRef][]nat.Met) { m[sep] = []nat.Met{met(wrongPort)} }, dnatText, wrongPort, "in its place",
		},
		{
			"a rule before it", func(o *nat.Outcome) {
				o.Request.Steps = slices.Insert(slices.Clone(o.Request.Steps), 1, step("vms100", nat.PreRouting, "nat", "KUBE-SERVICES", 1, nat.Return, asks, "-A KUBE-SERVICES -j RETURN"))
			},
			func(m map[ChainRef][]nat.Met) {
				m[services] = slices.Insert(m[services], 0, met("-A KUBE-SERVICES -j RETURN"))
			},
			"", "-A KUBE-SERVICES -j RETURN", "should not be there",
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := asPredicted()
			live := answered()
			row.seen(&live)
			c.Live = nat.Prediction{live}
			c.Seen = Join([]nat.Probe{c.Probe}, observe(live))[0]
			chains := fixtureChains()
			row.live(chains)
			c.Chains.Live = chainsOf(chains)
			cert := Check(c)
			require.Equal(t, Disproved, cert.Verdict)
			w := cert.Wrong
			assert.Equal(t, FaultRules, w.Fault)
			assert.Equal(t, row.want, w.WantRule)
			assert.Equal(t, row.rule, w.LiveRule)
			assert.Contains(t, w.Why, row.why)
			assert.Contains(t, w.Packet, "192.168.26.1:40000")
			assert.Equal(t, "vms100", w.Node)
		})
	}
}

func TestNeverChosen(t *testing.T) {
	c := asPredicted()
	endpoint := answered().Endpoint
	cert := NeverChosen(c, endpoint, 30)
	assert.Equal(t, Disproved, cert.Verdict)
	assert.Equal(t, FaultModel, cert.Wrong.Fault, "the live rules do come to it")

	c.Live = nat.Prediction{byOther()}
	jump := ChainRef{"vms100", "nat", "KUBE-SVC-K6NOPV6C6M2DHO7B"}
	chains := fixtureChains()
	chains[jump] = []nat.Met{byOther().Request.Steps[6].Met}
	c.Chains.Live = chainsOf(chains)
	cert = NeverChosen(c, endpoint, 1)
	assert.Equal(t, FaultRules, cert.Wrong.Fault)
	assert.Equal(t, requestSteps()[6].Text, cert.Wrong.WantRule)
	assert.Equal(t, "vms100", cert.Node)
	assert.Equal(t, endpoint, cert.Endpoint)
}

func TestLostAsPredicted(t *testing.T) {
	lost := answered()
	lost.End, lost.Conns, lost.Reply = nat.EndLost, nil, nat.Journey{}
	lost.Request.Steps, lost.Request.Hops = lost.Request.Steps[:9], lost.Request.Hops[:4]
	p := nat.Prediction{byOther(), lost}
	probe := []nat.Probe{{From: "outside", Tuple: tuple(asks)}}
	seen := observe(lost)
	assert.True(t, LostAsPredicted(p, Join(probe, seen)[0], Chains{}))
	for i := range seen {
		assert.False(t, LostAsPredicted(p, Join(probe, slices.Delete(slices.Clone(seen), i, i+1))[0], Chains{}), "without %+v", seen[i])
	}
	assert.False(t, LostAsPredicted(nat.Prediction{answered()}, Join(probe, observe(answered()))[0], Chains{}), "an answer is no loss")
}

func TestLostByEvidence(t *testing.T) {
	probe := asPredicted().Probe
	all := observe(answered())
	first := observe(nat.Outcome{Request: nat.Journey{Hops: requestHops()[:1]}})
	nobody, anybody := func(nat.Hop) bool { return false }, func(nat.Hop) bool { return true }
	back := slices.IndexFunc(all, func(o Observation) bool { return o.Node == probe.From && o.Hop.Tap == nat.TapPreRaw })
	for _, row := range []struct {
		name string
		seen []Observation
		held func(nat.Hop) bool
		lost bool
	}{
		{"nothing was seen of it", nil, nobody, false},
		{"the kernel has it no more", all[:3], nobody, true},
		{"a process may have it", all[:3], anybody, false},
		{"where it was seen last counts", all[:3], func(h nat.Hop) bool { return h == all[2].Hop }, false},
		{"a process had it before", all[:3], func(h nat.Hop) bool { return h == all[1].Hop }, true},
		{"sent twice", slices.Concat(first, all[:3]), anybody, false},
		{"sent three times", slices.Concat(first, first, all[:3]), anybody, true},
		{"the answer came to its namespace", all[:back+1], nobody, false},
		{"the answer did not come there", all[:back], nobody, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			for i := range row.seen {
				row.seen[i].Seq = uint64(i + 1)
			}
			assert.Equal(t, row.lost, LostByEvidence(probe, Join([]nat.Probe{probe}, row.seen)[0], row.held))
		})
	}
}

// Where nothing explains a loss, the certificate tells where the packet was seen last.
func TestWhereALostPacketWasSeenLast(t *testing.T) {
	c := asPredicted()
	seen := observe(answered())[:3]
	for i := range seen {
		seen[i].Seq = uint64(i + 1)
	}
	c.Seen, c.Ends, c.Vanished = Join([]nat.Probe{c.Probe}, seen)[0], Ends{End: nat.EndLost}, true
	cert := Check(c)
	require.Equal(t, Disproved, cert.Verdict)
	assert.Equal(t, "a packet was lost: the taps saw it last at vms100 prerouting-raw ens32", cert.Wrong.Why)
}

func TestCommentsAreNotCompared(t *testing.T) {
	rows := []struct {
		a, b string
		same bool
	}{
		{`-A C -m comment --comment "a \"b" -j D`, `-A C -j D`, true},
		{`-A C -p tcp -m comment --comment word -j D`, `-A C -p tcp -m comment --comment "two words" -j D`, true},
		{`-A C -m comment --comment "x" -j D`, `-A C -j E`, false},
		{`-A C -j D`, `-A C -j E`, false},
	}
	for _, row := range rows {
		assert.Equal(t, row.same, met(row.a).Same(met(row.b)), "%s | %s", row.a, row.b)
	}
}

func TestDeviation(t *testing.T) {
	bent := byOther()
	bent.Probability = 0.25
	bent.Request.Steps = bent.Request.Steps[:9]
	silent := answered()
	silent.Probability, silent.End = 0.125, nat.EndLost
	both := nat.Prediction{byOther(), answered()}
	assert.Zero(t, Deviation(both, both, Chains{}, true))
	assert.Zero(t, Deviation(both, both[1:], Chains{}, true), "one that is missing is NeverChosen's to report")
	assert.InDelta(t, 0.375, Deviation(both, nat.Prediction{answered(), bent, silent}, Chains{}, true), 1e-12)
}

func TestNobodyListens(t *testing.T) {
	c := asPredicted()
	refused := answered()
	refused.End, refused.Where = nat.EndRefused, pod
	c.Live = nat.Prediction{byOther(), refused}
	c.Ends = Ends{End: nat.EndRefused}
	c.Controls = nil
	cert := Check(c)
	assert.Equal(t, Disproved, cert.Verdict)
	assert.Equal(t, FaultServer, cert.Wrong.Fault)
	assert.Equal(t, "ends", cert.Wrong.Check)
	assert.Contains(t, cert.Wrong.Why, "nothing listens at 10.244.169.89:9090 in "+pod)
}

func TestCulprits(t *testing.T) {
	missing := Wrong{Node: "a", WantRule: "-A X -j Y", Why: "the rule is missing", Fault: FaultRules}
	words := Wrong{Node: "a", Want: "this", Got: "that", Fault: FaultModel}
	cert := func(name string, v Outcome, w *Wrong) Certificate {
		return Certificate{Flow: Flow{Name: name}, Verdict: v, Wrong: w}
	}
	r := Report{Flows: []Certificate{
		cert("1", Proved, nil), cert("2", Disproved, &missing), cert("3", Disproved, &words), cert("4", Disproved, &missing), cert("5", Inconclusive, nil),
	}}
	assert.Equal(t, []Culprit{
		{Node: "a", WantRule: "-A X -j Y", Why: "the rule is missing", Fault: FaultRules, Flows: 2, First: "2"},
		{Node: "a", Why: "want this, got that", Fault: FaultModel, Flows: 1, First: "3"},
	}, r.Culprits())
}

func TestAnEmptyBackendIsNoDifference(t *testing.T) {
	c := asPredicted()
	policy := step("vms100", nat.PreRouting, "nat", "PREROUTING", 0, nat.Accept, asks, "")
	c.Seen.Request.Steps = append(slices.Clone(c.Seen.Request.Steps), policy)
	assert.Equal(t, Disproved, Check(c).Verdict)
	c.Chains.Spare = []string{"vms100"}
	assert.Equal(t, Proved, Check(c).Verdict)
	policy.Verdict = nat.Drop
	c.Seen.Request.Steps = append(slices.Clone(c.Seen.Request.Steps), policy)
	assert.Equal(t, Disproved, Check(c).Verdict, "a policy that drops does touch a packet")
}

// foreign puts rules that kube-proxy did not write on the way of the request: one without a target, chains of another agent,
// a mark of its own.
func foreign(o *nat.Outcome) {
	const bit = 0x10000
	o.Request.Steps = slices.Clone(o.Request.Steps)
	insert := func(at int, s nat.Step) { o.Request.Steps = slices.Insert(o.Request.Steps, at, s) }
	insert(0, step("vms100", nat.PreRouting, "nat", "PREROUTING", 1, nat.Continue, asks, "-A PREROUTING -m comment --comment harmless"))
	insert(1, step("vms100", nat.PreRouting, "nat", "PREROUTING", 2, nat.Jump, asks, "-A PREROUTING -j cali-PREROUTING"))
	mark := step("vms100", nat.PreRouting, "nat", "cali-PREROUTING", 1, nat.Continue, asks, "-A cali-PREROUTING -j MARK --set-xmark 0x10000/0x10000")
	mark.Mark = bit
	insert(2, mark)
	insert(3, step("vms100", nat.PreRouting, "nat", "cali-PREROUTING", 2, nat.Return, asks, "-A cali-PREROUTING -j RETURN"))
	for i := 2; i < len(o.Request.Steps); i++ {
		if s := &o.Request.Steps[i]; s.Node == "vms100" && s.Hook == nat.PreRouting {
			s.Mark |= bit
		}
	}
}

// A Service that works is proved on rules of whoever's, if the nodes do what they hold; with Strict it is not.
func TestRulesOfOthers(t *testing.T) {
	live := answered()
	foreign(&live)
	c := asPredicted()
	c.Live, c.Seen = nat.Prediction{live}, Join([]nat.Probe{c.Probe}, observe(live))[0]
	assert.Equal(t, Disproved, Check(c).Verdict, "strict")
	c.Strict = false
	cert := Check(c)
	assert.Equal(t, Proved, cert.Verdict, "%+v", cert.Wrong)

	c.Live = nat.Prediction{answered()}
	cert = Check(c)
	assert.Equal(t, Inconclusive, cert.Verdict, "it works, and not as the live rules call for")
	assert.Equal(t, "path", cert.Wrong.Check)
}

// The decisive rule is named, and not the first that is another one.
func TestTheDecisiveRuleIsNamed(t *testing.T) {
	for _, row := range []struct {
		name       string
		change     func(*nat.Outcome)
		want, live string
	}{
		{"a drop of another agent behind its harmless rules", func(o *nat.Outcome) {
			i := slices.IndexFunc(o.Request.Steps, func(s nat.Step) bool { return s.Node == "vms100" && s.Hook == nat.Forward })
			drop := step("vms100", nat.Forward, "filter", "cali-FORWARD", 1, nat.Drop, dnated, "-A cali-FORWARD -p tcp -j DROP")
			jump := step("vms100", nat.Forward, "filter", "FORWARD", 1, nat.Jump, dnated, "-A FORWARD -j cali-FORWARD")
			drop.Mark, jump.Mark = 0x14000, 0x14000
			o.Request.Steps = append(o.Request.Steps[:i:i], jump, drop)
			o.End, o.Conns, o.Reply = nat.EndLost, nil, nat.Journey{}
			o.Request.Hops = o.Request.Hops[:4]
		}, "", "-A cali-FORWARD -p tcp -j DROP"},
	} {
		live := answered()
		foreign(&live)
		row.change(&live)
		c := asPredicted()
		c.Strict = false
		c.Live, c.Seen = nat.Prediction{live}, Join([]nat.Probe{c.Probe}, observe(live))[0]
		c.Ends = Ends{End: live.End}
		cert := Check(c)
		require.Equal(t, Disproved, cert.Verdict, row.name)
		assert.Equal(t, row.want, cert.Wrong.WantRule, row.name)
		assert.Equal(t, row.live, cert.Wrong.LiveRule, row.name)
	}
}

// What ends a connection after its first packet and the answer is blamed by what its later packets met, and else by where one was
// seen last.
func TestALaterPacketIsBlamed(t *testing.T) {
	const drop = "-A FORWARD -m length --length 1001:65535 -j DROP"
	pass := step("vms100", nat.Forward, "filter", "FORWARD", 1, nat.Continue, asks, "-A FORWARD -m comment --comment x")
	fatal := step("vms105", nat.Forward, "filter", "FORWARD", 2, nat.Drop, asks, drop)
	policy := step("vms105", nat.Forward, "filter", "FORWARD", 0, nat.Drop, asks, "")
	for _, row := range []struct {
		name            string
		later           nat.Trace
		world           map[string][]string
		node, rule, why string
		fault           Fault
	}{
		{"a rule", nat.Trace{pass, fatal}, nil, "vms105", drop, "the rule ends a later packet of the connection", FaultRules},
		{"a policy", nat.Trace{pass, policy}, nil, "vms105", "", "the policy of FORWARD drops a later packet of the connection", FaultRules},
		{"the world", nat.Trace{pass}, map[string][]string{"outside": {"device eth0 has MTU 80"}}, "outside", "", "outside: device eth0 has MTU 80", FaultNode},
		{"nobody knows", nat.Trace{pass}, nil, "outside", "", "a later packet of the connection was lost: the taps saw one last at outside postrouting eth0", FaultModel},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := asPredicted()
			c.Ends.End, c.Ends.Halted, c.Vanished = nat.EndLost, "the connection was made, and then no answer came to the request", true
			c.Seen.Later, c.World = row.later, row.world
			c.Seen.LastHop = nat.Hop{Node: "outside", Tap: nat.TapPost, Dev: "eth0"}
			cert := Check(c)
			require.Equal(t, Disproved, cert.Verdict)
			w := cert.Wrong
			if row.fault != FaultRules { // where nothing is lost, nothing is to blame for it
				heard := c
				heard.Vanished, heard.Seen.Repeated = false, true
				other := Check(heard)
				require.Equal(t, Disproved, other.Verdict)
				require.Equal(t, [2]any{c.Ends.Halted, NoFault}, [2]any{other.Wrong.Why, other.Wrong.Fault})
			}
			require.Equal(t, "ends", w.Check)
			require.Equal(t, [4]any{row.node, row.rule, row.why, row.fault}, [4]any{w.Node, w.LiveRule, w.Why, w.Fault})
			require.Contains(t, w.Got+cert.Checks[4].Detail, "no answer came to the request")
		})
	}
}

// With the mark that it should not have any more a packet may leave, where it is translated as it has to be.
func TestTheMarkThatAMasqueradedPacketLeavesWith(t *testing.T) {
	asked := asks
	want := nat.Trace{
		step("vms100", nat.PostRouting, "nat", "KUBE-POSTROUTING", 2, nat.Continue, asked, "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0"),
		step("vms100", nat.PostRouting, "nat", "KUBE-POSTROUTING", 3, nat.Accept, asked, "-A KUBE-POSTROUTING -j MASQUERADE"),
	}
	got := nat.Trace{step("vms100", nat.PostRouting, "nat", "cali-POSTROUTING", 1, nat.Accept, asked, "-A cali-POSTROUTING -j MASQUERADE")}
	want[1].Target, got[0].Target, want[0].Mark = "MASQUERADE", "MASQUERADE", 0x4000
	require.Nil(t, Chains{}.decisive(nat.Original, want, got))
	got[0].Target = "SNAT"
	require.NotNil(t, Chains{}.decisive(nat.Original, want, got))
}

// A packet that the rules translate and then drop has no entry, and is proved where it went like that.
func TestTranslatedAndDropped(t *testing.T) {
	c := asPredicted()
	want := answered()
	want.End, want.Endpoint, want.Server, want.Conns, want.Reply = nat.EndLost, netip.AddrPort{}, "", nil, nat.Journey{}
	c.Intent, c.Live = nat.Prediction{want}, nat.Prediction{want}
	c.Seen = Seen{Request: c.Seen.Request}
	c.Ends, c.Controls = Ends{End: nat.EndLost}, nil
	cert := Check(c)
	require.Equal(t, Proved, cert.Verdict, "%+v %+v", cert.Wrong, cert.Checks)
	require.Contains(t, cert.Checks[0].Detail, "and no entry of it stays")
	for i := range c.Seen.Request.Hops {
		if h := &c.Seen.Request.Hops[i]; h.Tuple.Dst() != c.Probe.Tuple.Dst() {
			h.Tuple = h.Tuple.WithDst(netip.MustParseAddrPort(other))
		}
	}
	require.Equal(t, Disproved, Check(c).Verdict)
}

// What a packet met that was sent again is none of the rules that the flow met: nat is asked of a first packet only, and sets no mark then.
func TestTheRulesOfARepeatedPacketAreNotTheFlows(t *testing.T) {
	c := asPredicted()
	before := len(Check(c).Met)
	c.Seen.Repeated = true
	c.Seen.Request.Steps = append(c.Seen.Request.Steps, step("vms100", nat.Forward, "filter", "FORWARD", 4, nat.Jump, asks, "-A FORWARD -j KUBE-SERVICES"))
	cert := Check(c)
	require.Equal(t, Proved, cert.Verdict, "%+v", cert.Wrong)
	require.Len(t, cert.Met, before)
	c.Seen.Repeated = false
	require.Len(t, Check(c).Met, before+1)
}
