package proof

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
)

// Chains are the rule sets of all nodes, as they should be and as they are.
type Chains struct {
	Intent, Live func(ChainRef) ([]nat.Met, bool) // a chain's rules; false: there is no such chain. nil: there are no rules at all
	// Twice lists the nodes that hold rules of both backends; Live has all of them. Spare lists those that hold tables
	// of both and rules of one: nothing there can touch a packet, but each empty chain's policy is met. It lists those, too, that hold tables of
	// nf_tables' own beside rules of one backend.
	Twice, Spare []string
	// Native reports that the predictions know the tables of nf_tables' own: what was met in them is compared. Else few predictions do, and
	// what they do shows in the packets.
	Native bool
}

// intent is the chain of that name, as it should be.
func (r Chains) intent(c ChainRef) ([]nat.Met, bool) {
	if r.Intent == nil {
		return nil, false
	}
	return r.Intent(c)
}

// live is the chain of that name, as it is.
func (r Chains) live(c ChainRef) ([]nat.Met, bool) {
	if r.Live == nil {
		return nil, false
	}
	return r.Live(c)
}

// inOrder makes the steps of the nodes that hold tables of both backends comparable. Each backend has a witness of its
// own, and which of two rules of one hook came first is not known; policies that accept are left out.
func (r Chains) inOrder(steps nat.Trace) nat.Trace {
	if len(r.Twice)+len(r.Spare) == 0 {
		return steps
	}
	both := func(s nat.Step) bool { return slices.Contains(r.Twice, s.Node) || slices.Contains(r.Spare, s.Node) }
	var twice nat.Trace
	for _, s := range steps {
		if both(s) && (s.Rule != 0 || s.Verdict != nat.Accept) {
			twice = append(twice, s)
		}
	}
	slices.SortStableFunc(twice, func(a, b nat.Step) int {
		return cmp.Or(
			strings.Compare(a.Node, b.Node), cmp.Compare(a.Hook, b.Hook), strings.Compare(a.Table, b.Table),
			strings.Compare(a.Chain, b.Chain), cmp.Compare(a.Rule, b.Rule), strings.Compare(a.Text, b.Text),
		)
	})
	return append(slices.DeleteFunc(slices.Clone(steps), both), twice...)
}

// known leaves out what was met in tables that predictions do not know.
func (r Chains) known(steps nat.Trace) nat.Trace {
	if r.Native || !slices.ContainsFunc(steps, isNative) {
		return steps
	}
	return slices.DeleteFunc(slices.Clone(steps), isNative)
}

// isNative reports whether a step is of a table of nf_tables' own, and of none of iptables'.
func isNative(s nat.Step) bool { return nat.TableHooks(s.Table) == nil }

// ChainRef names a chain. Without a chain it stands for what a table of nf_tables' own has besides rules: its base chains, then the elements of
// its sets.
type ChainRef struct{ Node, Table, Chain string }

func chainOf(s nat.Step) ChainRef { return ChainRef{s.Node, s.Table, s.Chain} }

// kubeProxyDiffers is why a flow is not as it has to be although the rules are kube-proxy's own.
const kubeProxyDiffers = "kube-proxy's own rules do not do what the objects call for"

// wrong finds where a disproved try first went wrong, in which rule the live rules part from the intended ones, and
// whose fault that is.
func (e *evidence) wrong(failed Finding) *Wrong {
	w := &Wrong{Check: failed.Name, Node: e.node(), Want: "to pass", Got: failed.Detail, Fault: FaultModel}
	if e.Ends.Halted != "" && failed.Name != "dnat" && failed.Name != "masquerade" {
		e.blameLater(w)
		return w
	}
	live, m := choose(e.Case, e.Live)
	asIntended := false // by kube-proxy's own rules in the world that the lab made: what is otherwise there is not to blame
	switch {
	case e.blameServer(w, live):
	case len(e.Live) == 0:
	case !m.same():
		w.Model = m.first().text()
	case !e.same():
		w.Fault = FaultRules
	case e.needed.byObjects && slices.Contains([]string{"dnat", "masquerade", "ends"}, failed.Name):
		w.Fault, asIntended = FaultRules, sameEnd(e.want.End, e.Ends.End)
		switch {
		case e.byDump():
		case failed.Name == "dnat":
			w.because("%s", kubeProxyDiffers)
		default:
			w.because("%s: %s", kubeProxyDiffers, e.needed.why)
		}
	}
	for _, o := range e.Live {
		unknown := slices.Clone(o.Unknown)
		for _, a := range o.Assumed {
			unknown = append(unknown, a.What)
		}
		for _, u := range unknown {
			if !slices.Contains(w.Unmodeled, u) {
				w.Unmodeled = append(w.Unmodeled, u)
			}
		}
	}
	if w.Fault == FaultServer {
		return w
	}
	if d := e.differs(e.want, e.match); d != nil {
		w.place(d)
		e.nameRule(w)
	}
	w = e.orAnother(w)
	if g := w.GotStep; w.LiveRule != "" && g != nil && g.Text == w.LiveRule && (g.Verdict == nat.Drop || g.Verdict == nat.Reject) {
		w.Fault, w.Model = FaultRules, "" // the kernel told so, whatever was predicted
	}
	if w.WantRule == "" && w.LiveRule == "" && w.Fault != FaultServer {
		if !asIntended {
			e.blameWorld(w)
		}
		if h := e.Seen.LastHop; e.Vanished && h.Node != "" {
			w.because("a packet was lost: the taps saw it last at %s %s %s", h.Node, h.Tap, h.Dev)
		}
		if g := w.GotStep; w.Fault == FaultRules && e.byDump() && (g == nil || g.Verdict != nat.Drop && g.Verdict != nat.Reject) {
			w.Fault = NoFault // a route or a setting that was dumped may be to blame as well
		}
	}
	return w
}

// byDump reports whether a node on the way holds what was dumped of a real one: that its rules are kube-proxy's, or to blame, is a guess then.
func (e *evidence) byDump() bool {
	on := func(h nat.Hop) bool { return slices.Contains(e.Dumped, h.Node) }
	for _, way := range []nat.Journey{e.want.Request, e.want.Reply, e.Seen.Request, e.Seen.Reply} {
		if slices.ContainsFunc(way.Hops, on) {
			return true
		}
	}
	return false
}

// blameLater finds what ended an exchange whose connection was made: the rule that one of its later packets met last, or what is
// otherwise where one was seen last.
func (e *evidence) blameLater(w *Wrong) {
	w.Want = "a request and an answer of more than a packet, and a FIN each way"
	for i := range e.Seen.Later {
		s := e.Seen.Later[i]
		if s.Verdict == nat.Drop || s.Verdict == nat.Reject {
			w.Node, w.Fault, w.GotStep, w.LiveRule = s.Node, FaultRules, &s, s.Text
			if s.Rule == 0 {
				w.LiveRule = ""
				w.because("the policy of %s drops a later packet of the connection", s.Chain)
			}
			w.because("the rule ends a later packet of the connection")
			return
		}
	}
	if h := e.Seen.LastHop; h.Node != "" {
		w.Node = h.Node
	}
	if !e.Vanished { // whoever ended it was heard of
		w.Fault = NoFault
		w.because("%s", e.Ends.Halted)
		return
	}
	e.blameWorld(w)
	if h := e.Seen.LastHop; h.Node != "" {
		w.because("a later packet of the connection was lost: the taps saw one last at %s %s %s", h.Node, h.Tap, h.Dev)
	}
}

// blameServer finds the fault in who listens where the rules lead: nobody, or somebody else. live is the outcome by the live rules.
func (e *evidence) blameServer(w *Wrong, live nat.Outcome) bool {
	at, hops := translationOf(e.want), e.want.Request.Hops
	if e.want.End != nat.EndAnswered || len(hops) == 0 {
		return false
	}
	if !at.IsValid() {
		at = e.Probe.Tuple.Dst()
	}
	member := hops[len(hops)-1].Node
	switch {
	case live.End == nat.EndRefused && e.Ends.End == nat.EndRefused && EndpointOf(e.Probe.Tuple, e.Seen, e.Ends) == translationOf(e.want):
		w.because("nothing listens at %s in %s", at, member)
	case e.Ends.End == nat.EndAnswered && e.Ends.ServerAddr == at && e.Ends.Server != e.want.Server && e.Ends.Server != "":
		w.because("%s answers at %s in %s, where %s has to", e.Ends.Server, at, member, e.want.Server)
	default:
		return false
	}
	w.Fault, w.Node = FaultServer, member
	return true
}

// blameWorld looks for what is otherwise on the way than the lab made it: where the packet was seen last, then on, then before, and
// at last in what carries packets unseen.
func (e *evidence) blameWorld(w *Wrong) {
	nodes := []string{w.Node}
	for _, h := range slices.Concat(e.want.Request.Hops, e.want.Reply.Hops) {
		nodes = append(nodes, h.Node)
	}
	if last := e.Seen.LastHop; e.Vanished && last.Node != "" {
		nodes = append([]string{last.Node}, e.behind(last, nodes[1:])...)
	}
	for _, node := range append(nodes, e.Between...) {
		if differs := e.World[node]; len(differs) > 0 {
			w.Node, w.Fault = node, FaultNode
			w.Why = node + ": " + strings.Join(differs, "; ")
			return
		}
	}
}

// behind turns the nodes of a way so that those come first that a packet had before it.
func (e *evidence) behind(last nat.Hop, way []string) []string {
	at := len(e.want.Request.Hops) // of an answer
	if slices.ContainsFunc(e.Seen.Request.Hops, func(h nat.Hop) bool { return h.Node == last.Node && h.Tap == last.Tap && h.Tuple == last.Tuple }) {
		at = 0
	}
	for i := at; i < len(way); i++ {
		if way[i] == last.Node {
			return slices.Concat(way[i:], way[:i])
		}
	}
	return way
}

// orAnother looks at the other ways that the packet had to have: where chance decided before it went wrong, one of
// them may tell the rule that is to blame, and the way chosen first does not.
func (e *evidence) orAnother(w *Wrong) *Wrong {
	if w.WantRule != "" || w.LiveRule != "" || e.differs(e.want, e.match) == nil {
		return w
	}
	depth := e.depth(e.Case)
	for _, o := range e.Intent {
		m := matchOutcome(e.Case, o)
		d := e.differs(o, m)
		if d == nil || m.depth(e.Case) < depth {
			continue
		}
		other := *w
		other.Why = ""
		other.place(d)
		e.nameRule(&other)
		if other.WantRule != "" || other.LiveRule != "" {
			return &other
		}
	}
	return w
}

// differs is where what was seen parts from an outcome: at the first rule or hop that is not the same one, or, where the
// rules need not be kube-proxy's own, at the first after which the packet is not what it has to be.
func (e *evidence) differs(want nat.Outcome, m match) *difference {
	if e.Strict {
		return m.first()
	}
	for dir, way := range [2][2]nat.Journey{{want.Request, e.Seen.Request}, {want.Reply, e.Seen.Reply}} {
		if d := e.Chains.decisive(nat.Direction(dir), e.Seen.certain(way[0].Steps), way[1].Steps); d != nil {
			return d
		}
		if d := m.hops[dir]; d != nil {
			return d
		}
	}
	return m.conns
}

func (w *Wrong) place(d *difference) {
	w.Direction, w.Node, w.Want, w.Got, w.Packet = d.dir, d.node, d.want, d.got, d.packet
	w.WantStep, w.GotStep = d.wantStep, d.gotStep
}

// first is the earliest difference: a rule before a hop before an entry, the request before the reply.
func (m match) first() *difference {
	for dir := range m.steps {
		if m.steps[dir] != nil {
			return m.steps[dir]
		}
		if m.hops[dir] != nil {
			return m.hops[dir]
		}
	}
	return m.conns
}

func (d *difference) text() string {
	if d == nil {
		return ""
	}
	return fmt.Sprintf("%s in %s: %s, and not: %s", d.dir, d.node, d.want, d.got)
}

// nameRule finds the rule behind the first wrong step: the one that should have matched and is not there, what
// stands in its place, or what was met before it.
func (e *evidence) nameRule(w *Wrong) {
	if slices.Contains(e.Chains.Twice, w.Node) {
		w.Why = w.Node + " holds rules of both backends, iptables-legacy and iptables-nft: every packet meets both"
	}
	if want := w.WantStep; want != nil && want.Rule != 0 {
		live, there := e.Chains.live(chainOf(*want))
		intent, _ := e.Chains.intent(chainOf(*want))
		switch {
		case !there:
			w.WantRule = want.Text
			w.because("there is no chain %s in the table %s", want.Chain, want.Table)
			return
		case countRule(live, want.Met) < max(1, countRule(intent, want.Met)):
			w.WantRule = want.Text
			w.LiveRule = standsFor(intent, live, want.Met)
			what := "rule"
			if want.Element != "" && indexRule(live, nat.Met{Brief: want.Brief, Action: want.Action}) >= 0 {
				what = "element of the map"
			}
			if w.LiveRule == "" {
				w.because("the %s is missing", what)
			} else {
				w.because("another %s stands in its place", what)
			}
			return
		}
	}
	if got := w.GotStep; got != nil && got.Rule != 0 {
		if intent, _ := e.Chains.intent(chainOf(*got)); indexRule(intent, got.Met) < 0 {
			w.LiveRule = got.Text
			w.because("the rule should not be there")
			return
		}
	}
	if w.WantStep != nil {
		e.nameByPolicy(w)
	}
	if w.WantRule == "" && w.LiveRule == "" {
		nameDeclared(e.Chains, w, e.want.Request.Steps)
	}
}

// nameByPolicy handles a packet that left a chain otherwise than it should although the chain's rules it met are all
// as they should be: a rule before the wanted one is there in another order.
func (e *evidence) nameByPolicy(w *Wrong) {
	want := *w.WantStep
	intent, _ := e.Chains.intent(chainOf(want))
	live, _ := e.Chains.live(chainOf(want))
	if w.GotStep == nil || chainOf(*w.GotStep) != chainOf(want) || slices.Equal(intent, live) {
		return
	}
	w.WantRule, w.LiveRule = want.Text, w.GotStep.Text
	w.because("the rules stand in another order")
}

func (w *Wrong) because(format string, args ...any) {
	if w.Why == "" {
		w.Why = fmt.Sprintf(format, args...)
	}
}

// standsFor finds the live rule in the place of a missing one: the chains are laid side by side, and the rules
// between the same neighbours belong together.
func standsFor(intent, live []nat.Met, missing nat.Met) string {
	at := indexRule(intent, missing)
	if at < 0 {
		return ""
	}
	before, after := -1, len(live)
	for i := at - 1; i >= 0 && before < 0; i-- {
		before = indexRule(live, intent[i])
	}
	for i := at + 1; i < len(intent) && after == len(live); i++ {
		if j := indexRule(live, intent[i]); j >= 0 {
			after = j
		}
	}
	for i := before + 1; i < after; i++ {
		if indexRule(intent, live[i]) < 0 {
			return live[i].Text
		}
	}
	return ""
}
