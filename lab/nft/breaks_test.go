package nft_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/labtest"
	"natlab/lab/netns"
	"natlab/lab/nft"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/nat/proof"
	"natlab/topology"
)

// breakage is one way to spoil a node's table, with the words by which the proof has to name it.
type breakage struct {
	name          string
	change        func(t *nftables.Table)
	meets         func(s nat.Step) bool // of the unspoilt node: a flow with such a step notices
	want, instead string                // begin Wrong.WantRule and are Wrong.LiveRule
}

// TestEveryBreakIsNoticed breaks what a node of the dual-stack lab in nftables mode holds, one thing after the other, of IPv4 all and of IPv6
// every fourth, or with NATLAB_BREAKS=all all of them: each rule deleted, each
// element of a map deleted or led elsewhere, each element of a set deleted, each chain flushed, base chains called at another moment, with
// another policy or not at all. Each is asked about with one flow that meets it, which is disproved by what was broken.
func TestEveryBreakIsNoticed(t *testing.T) {
	const node = "vms100"
	c, err := topology.DualStack()
	require.NoError(t, err)
	for i := range c.Services { // else an endpoint that gets itself is masqueraded nowhere, since 1.36
		c.Services[i].ExternalPolicy = topology.PolicyCluster
	}
	c.KubeProxy.Release, c.KubeProxy.Mode = "v1.37", topology.ModeNFTables
	l := labtest.New(t, c)
	intact, err := verify.Lab(t.Context(), l, verify.Options{Strict: true, WithoutControl: true})
	require.NoError(t, err)
	require.Equal(t, proof.Proved, intact.Outcome())
	h, err := l.Handle(node)
	require.NoError(t, err)
	all, err := nft.Tables(t.Context(), h, l.Families()...)
	require.NoError(t, err)
	for family, every := range map[nftables.Family]int{nftables.IP: 1, nftables.IP6: 4} {
		if os.Getenv("NATLAB_BREAKS") == "all" {
			every = 1
		}
		table, _ := all.Table(family, kubeproxy.NFTTable)
		b := broken{t: t, lab: l, node: node, h: h, table: table, intact: intact}
		b.each(every)
		load(t, h, &table)
	}
	require.Equal(t, proof.Proved, asked(t, l, intact.Flows[0].Flow).Outcome(), "after all is mended")
}

// broken is a node whose table of one family is broken.
type broken struct {
	t      *testing.T
	lab    *lab.Lab
	node   string
	h      netns.Handle
	table  nftables.Table
	intact proof.Report // before
}

// each breaks the table in every way, or in every fourth of those that a flow meets.
func (b *broken) each(every int) {
	t, l, h, table := b.t, b.lab, b.h, b.table
	t.Helper()
	noticed, uncovered, met := 0, 0, 0
	for _, br := range breaksOf(&table) {
		flow, is := flowThat(b.intact, b.node, func(s nat.Step) bool { return s.Table == table.FullName() && br.meets(s) })
		if !is {
			uncovered++
			continue
		}
		if met++; met%every != 0 {
			continue
		}
		spoilt := copyOf(t, &table)
		br.change(&spoilt)
		load(t, h, &spoilt)
		found := asked(t, l, flow)
		if strings.HasSuffix(br.name, " of service-ips") { // whoever wrote the table, the Service is gone
			var err error
			found, err = verify.Lab(t.Context(), l, verify.Options{WithoutControl: true, Flows: []proof.Flow{flow}})
			require.NoError(t, err)
		}
		if missed := br.missed(found, b.node); missed != "" {
			t.Errorf("%s: %s: %s", br.name, flow.Name, missed)
		}
		noticed++
	}
	t.Logf("%s: %d breaks, of %d, and %d more that no flow meets", table.FullName(), noticed, met, uncovered)
	require.Greater(t, met, 50)
}

// A client that a node remembers is asked for as one that it does not, whoever served it: the chain of the endpoint that did is flushed, and named.
func TestStuckClientIsAskedAnew(t *testing.T) {
	const node = "vms100"
	c, err := topology.DualStack()
	require.NoError(t, err)
	c.KubeProxy.Release, c.KubeProxy.Mode = "v1.37", topology.ModeNFTables
	l := labtest.New(t, c)
	intact, err := verify.Lab(t.Context(), l, verify.Options{Strict: true, WithoutControl: true, Flows: proof.Flows(c, proof.Selector{Service: "velero/minio6:api", From: node})})
	require.NoError(t, err)
	require.Equal(t, proof.Proved, intact.Outcome())
	h, err := l.Handle(node)
	require.NoError(t, err)
	all, err := nft.Tables(t.Context(), h, l.Families()...)
	require.NoError(t, err)
	table, _ := all.Table(nftables.IP6, kubeproxy.NFTTable) // with the element of who was served last
	stuck := ""
	for _, s := range table.Sets {
		if name, is := strings.CutPrefix(s.Name, "affinity-"); is && len(s.Elements) > 0 {
			stuck = name
		}
	}
	require.NotEmpty(t, stuck)
	at := slices.IndexFunc(breaksOf(&table), func(br breakage) bool { return br.name == "flush endpoint-"+stuck })
	require.GreaterOrEqual(t, at, 0, stuck)
	br := breaksOf(&table)[at]
	flow, is := flowThat(intact, node, func(s nat.Step) bool { return s.Table == table.FullName() && br.meets(s) })
	require.True(t, is)
	for range 3 { // the first contact may be with another endpoint
		spoilt := copyOf(t, &table)
		br.change(&spoilt)
		load(t, h, &spoilt)
		require.Empty(t, br.missed(asked(t, l, flow), node), stuck)
	}
}

func asked(t *testing.T, l *lab.Lab, flow proof.Flow) proof.Report {
	t.Helper()
	found, err := verify.Lab(t.Context(), l, verify.Options{Strict: true, WithoutControl: true, Flows: []proof.Flow{flow}})
	require.NoError(t, err)
	return found
}

// missed is how a report fails to name a break; "" where it does.
func (br breakage) missed(found proof.Report, node string) string {
	why := "it is " + found.Outcome().String()
	for _, c := range found.Flows {
		if w := c.Wrong; w != nil {
			if c.Verdict == proof.Disproved && w.Node == node && w.Fault == proof.FaultRules && strings.HasPrefix(w.WantRule, br.want) && (br.want != "") == (w.WantRule != "") && w.LiveRule == br.instead {
				return ""
			}
			why += fmt.Sprintf("; %s %s: want rule %q, live %q: %s; %s: want %s, got %s", c.Verdict, w.Fault, w.WantRule, w.LiveRule, w.Why, w.Check, w.Want, w.Got)
		}
	}
	return why
}

func load(t *testing.T, h netns.Handle, table *nftables.Table) {
	t.Helper()
	require.NoError(t, dataplane.RunNFT(t.Context(), h, "delete table "+table.FullName()+"\n"+table.String()))
}

func copyOf(t *testing.T, table *nftables.Table) nftables.Table {
	t.Helper()
	rs, err := nftables.ParseText(table.String())
	require.NoError(t, err)
	return rs.Tables[0]
}

// flowThat is a flow that has a step in a node.
func flowThat(r proof.Report, node string, meets func(nat.Step) bool) (proof.Flow, bool) {
	for _, c := range r.Flows {
		if slices.ContainsFunc(c.Met, func(s proof.Step) bool { return s.Node == node && meets(s.Step) }) {
			return c.Flow, true
		}
	}
	return proof.Flow{}, false
}

func breaksOf(t *nftables.Table) (out []breakage) {
	for i := range t.Chains {
		out = append(out, breaksOfChain(t, i)...)
	}
	for i := range t.Sets {
		out = append(out, breaksOfSet(t, i)...)
	}
	return out
}

func breaksOfChain(t *nftables.Table, at int) (out []breakage) {
	c := t.Chains[at]
	for i, r := range c.Rules {
		out = append(out, breakage{
			name: "delete " + c.Name + ": " + r.String(), want: r.String(),
			change: func(t *nftables.Table) { t.Chains[at].Rules = slices.Delete(t.Chains[at].Rules, i, i+1) },
			meets:  func(s nat.Step) bool { return s.Chain == c.Name && s.Rule == i+1 },
		})
	}
	if len(c.Rules) > 1 {
		out = append(out, breakage{
			name: "flush " + c.Name, want: c.Rules[0].String(), change: func(t *nftables.Table) { t.Chains[at].Rules = nil },
			meets: func(s nat.Step) bool { return s.Chain == c.Name && s.Rule == 1 },
		})
	}
	if c.Base == nil {
		return out
	}
	called := func(b nftables.Base) string {
		one := nftables.Table{Family: t.Family, Chains: []nftables.Chain{{Name: c.Name, Base: &b}}}
		return one.Called()[0]
	}
	base := func(name string, b nftables.Base) breakage {
		return breakage{
			name: c.Name + " " + name, want: called(*c.Base), instead: called(b),
			change: func(t *nftables.Table) { t.Chains[at].Base = &b },
			meets:  func(s nat.Step) bool { return s.Chain == c.Name && s.Rule == 0 },
		}
	}
	if to, moves := moved[c.Name]; moves {
		later := *c.Base
		later.Priority = to
		at := base("at another moment", later)
		at.meets = func(s nat.Step) bool { return s.Chain == c.Name && s.Rule == 1 } // by a first packet, which NAT sees too
		out = append(out, at)
	}
	if dropping := *c.Base; c.Base.Type == nftables.FilterChain {
		dropping.Drop = true
		out = append(out, base("drops", dropping))
	}
	none := base("is called by no hook", *c.Base)
	none.instead, none.change = "", func(t *nftables.Table) { t.Chains[at].Base = nil }
	return append(out, none)
}

// moved are base chains with a priority behind another one of their hook, or in front of it. Which priority the one chain of a hook has makes no
// difference, nor does that of one that NAT asks alone (nf_nat_register_fn).
var moved = map[string]int{"filter-prerouting-pre-dnat": -50, "filter-output-pre-dnat": -50, "filter-output": -150}

func breaksOfSet(t *nftables.Table, at int) (out []breakage) {
	s := t.Sets[at]
	for i := range s.Elements {
		e := s.Elements[i]
		if s.Has("dynamic") {
			continue
		}
		without := breakage{
			name:   "delete element " + e.String() + " of " + s.Name,
			change: func(t *nftables.Table) { t.Sets[at].Elements = slices.Delete(t.Sets[at].Elements, i, i+1) },
			meets: func(step nat.Step) bool {
				return strings.Contains(step.Text+" ", "@"+s.Name+" ") && slices.Contains(keysOf(step.Before), e.String())
			},
		}
		e.Comment = ""
		if without.want = "set " + s.Name + ": " + e.String(); !s.Map {
			out = append(out, without)
			continue
		}
		bare := e.String()
		without.meets = func(step nat.Step) bool { return step.Element != "" && strings.HasSuffix(step.Text, "["+bare+"]") }
		rule := ruleThatAsks(t, s.Name)
		without.want = rule + " [" + bare + "]"
		elsewhere := without
		e.Verdict = &nftables.Verdict{Kind: nat.Drop}
		elsewhere.name, elsewhere.instead = "drop by "+bare, rule+" ["+e.String()+"]"
		elsewhere.change = func(t *nftables.Table) { t.Sets[at].Elements[i].Verdict = e.Verdict }
		out = append(out, without, elsewhere)
		if other := s.Elements[(i+1)%len(s.Elements)].Verdict; *other != *s.Elements[i].Verdict {
			wrong := e
			wrong.Verdict = other
			elsewhere.name, elsewhere.instead = "lead elsewhere by "+bare, rule+" ["+wrong.String()+"]"
			elsewhere.change = func(t *nftables.Table) { t.Sets[at].Elements[i].Verdict = other }
			out = append(out, elsewhere)
		}
	}
	return out
}

// keysOf are a packet's keys of the sets of kube-proxy's table.
func keysOf(t nat.Tuple) []string {
	src, dst := t.Src().Addr(), t.Dst().Addr()
	return []string{dst.String(), fmt.Sprintf("%s . %s . %s . %d", src, dst, t.Proto(), t.Dst().Port())}
}

func ruleThatAsks(t *nftables.Table, set string) string {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if strings.HasSuffix(r.String(), "vmap @"+set) {
				return r.String()
			}
		}
	}
	return ""
}
