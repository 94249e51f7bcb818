package proof

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
)

// comparedStatus are the status bits that have to be as predicted. ASSURED is not among them: it comes with the
// client's ACK, which no witness waits for.
const comparedStatus = nat.SeenReply | nat.Confirmed | nat.SrcNAT | nat.DstNAT

// evidence is one try with the outcome that it is held against.
type evidence struct {
	Case
	needed needed
	want   nat.Outcome // of the intent, the outcome that the try goes longest with
	match
	way  nat.Outcome // the path that it has to have: of the live rules, or where the Case is Strict of the intent
	went match       // how what was seen compares with that
}

// match is how what was seen compares with one predicted outcome.
type match struct {
	bound               ports
	hops, steps         [2]*difference // by direction
	conns               *difference
	translation, wanted *nat.Conn // the entry that translates the destination, as seen and as predicted
}

// matchOutcome holds what was seen against one outcome.
func matchOutcome(c Case, want nat.Outcome) match {
	m := match{bound: ports{}}
	more := c.Seen.Repeated || len(c.Seen.Stray) > 0 || c.Vanished // a client that hears of nothing asks again and again
	for dir, way := range [2][2]nat.Journey{{want.Request, c.Seen.Request}, {want.Reply, c.Seen.Reply}} {
		m.hops[dir] = m.bound.compareHops(nat.Direction(dir), way[0].Hops, way[1].Hops, more)
		m.steps[dir] = compareSteps(nat.Direction(dir), c.Chains.inOrder(c.Chains.known(c.Seen.certain(way[0].Steps))), c.Chains.inOrder(c.Chains.known(way[1].Steps)), more)
	}
	m.conns = m.bound.compareConns(want.Conns, c.Seen.Conns)
	m.translation, m.wanted = translating(c.Seen.Conns), translating(want.Conns)
	return m
}

// same reports whether the witnesses saw exactly the outcome.
func (m match) same() bool {
	return m.hops == [2]*difference{} && m.steps == [2]*difference{} && m.conns == nil
}

// depth is how far what was seen goes with the outcome before they part.
func (m match) depth(c Case) int {
	depth := 0
	for dir, way := range [2]nat.Journey{c.Seen.Request, c.Seen.Reply} {
		if d := m.steps[dir]; d != nil {
			return depth + d.at
		}
		if d := m.hops[dir]; d != nil {
			return depth + len(way.Steps) + d.at
		}
		depth += len(way.Steps) + len(way.Hops)
	}
	return depth
}

func translating(conns []nat.Conn) *nat.Conn {
	for i, c := range conns {
		if c.Reply.Src() != c.Original.Dst() {
			return &conns[i]
		}
	}
	return nil
}

// masquerading reports whether an entry changes the source, the address or only the port, and to which address.
func masquerading(c *nat.Conn) (netip.Addr, bool) {
	if c == nil || c.Reply.Dst() == c.Original.Src() {
		return netip.Addr{}, false
	}
	return c.Reply.Dst().Addr(), true
}

// mayStay reports whether a predicted entry keeps the source's address and leaves its port to chance, which in one of
// 64,512 cases chooses the one it has. Then the kernel calls the source unchanged.
func mayStay(c *nat.Conn) bool {
	return c != nil && c.Reply.Dst().Port() == nat.AnyPort && c.Reply.Dst().Addr() == c.Original.Src().Addr()
}

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)}
}

func bad(name, format string, args ...any) Finding {
	return Finding{Name: name, Detail: fmt.Sprintf(format, args...)}
}

func (d *difference) check(name string) Finding {
	f := bad(name, "%s: want %s, got %s", d.dir, d.want, d.got)
	f.Missing = d.again
	return f
}

// checkDNAT: the destination became an endpoint that may serve this client, the same one in the rules, on the wire,
// in conntrack and in the answer; and where nothing may be translated, nothing was.
func checkDNAT(e *evidence) Finding {
	const name = "dnat"
	asked := e.Probe.Tuple.Dst()
	if !e.needed.endpoint.IsValid() {
		if e.translation != nil {
			return bad(name, "%s must not be translated, but %s made it %s", asked, e.translation.Node, e.translation.Reply.Src())
		}
		became := asked
		for _, h := range e.Seen.Request.Hops {
			if h.Tuple.Dst() == asked {
				continue
			}
			if became = h.Tuple.Dst(); !e.dropsTranslated(became) {
				return bad(name, "%s must not be translated, but was %s at %s", asked, became, h)
			}
		}
		if became != asked {
			return ok(name, "%s became %s, and no entry of it stays", asked, became)
		}
		return ok(name, "%s stayed as it was", asked)
	}
	t := e.translation
	if t == nil {
		return bad(name, "%s must become %s in %s, but no entry translates it", asked, e.needed.endpoint, e.needed.node)
	}
	endpoint := t.Reply.Src()
	if e.Stuck.IsValid() && endpoint != e.Stuck {
		return bad(name, "%s served this client before and has to again, but %s became %s", e.Stuck, asked, endpoint)
	}
	if t.Original.Dst() != asked {
		return bad(name, "the entry in %s is of %s, not of %s", t.Node, t.Original.Dst(), asked)
	}
	if !slices.Contains(e.needed.may, endpoint) {
		return bad(name, "%s became %s, which is no endpoint that may serve this client", asked, endpoint)
	}
	if e.Strict && !slices.ContainsFunc(e.Seen.Request.Steps, func(s nat.Step) bool { return s.To == endpoint }) {
		return bad(name, "conntrack has %s, but no rule that the request met has it", endpoint)
	}
	if hops := ordered(e.way.Request.Hops, e.Seen.Request.Hops, hopNode); len(hops) > 0 && hops[len(hops)-1].Tuple.Dst() != endpoint {
		return bad(name, "conntrack has %s, but on the wire it was %s", endpoint, hops[len(hops)-1].Tuple.Dst())
	}
	if e.Ends.End == nat.EndAnswered && e.Ends.ServerAddr != endpoint {
		return bad(name, "conntrack has %s, but the server that answered is %s at %s", endpoint, e.Ends.Server, e.Ends.ServerAddr)
	}
	return ok(name, "%s became %s in %s: the same in the rule, on the wire and in conntrack", asked, endpoint, t.Node)
}

// dropsTranslated reports whether the intended rules make the destination that, and end the packet before an entry of it is confirmed.
func (e *evidence) dropsTranslated(dst netip.AddrPort) bool {
	return !e.needed.byObjects && slices.ContainsFunc(e.want.Request.Hops, func(h nat.Hop) bool { return h.Tuple.Dst() == dst })
}

// checkMasquerade: the source was changed if and only if it has to be, to the right address, and the mark that asks
// for it was there where it has to be and gone on the wire.
func checkMasquerade(e *evidence) Finding {
	const name = "masquerade"
	need, source := e.needed, e.Probe.Tuple.Src().Addr()
	got, done := masquerading(e.translation)
	switch {
	case need.masked && !done && (mayStay(e.wanted) || need.byObjects && slices.Contains(need.clients, source)):
	case need.masked && !done:
		return bad(name, "the source must become %s, but stayed %s", e.asWhom(), source)
	case !need.masked && done:
		return bad(name, "the source must stay %s, but became %s", source, got)
	case need.masked && !slices.Contains(need.clients, got):
		return bad(name, "the source must become %s, the out device's address, but became %s", e.asWhom(), got)
	}
	for dir, way := range [2][2]nat.Journey{{e.way.Request, e.Seen.Request}, {e.way.Reply, e.Seen.Reply}} {
		if d := compareMarks(nat.Direction(dir), way[0].Hops, way[1].Hops); d != nil {
			return e.path(d.check(name))
		}
	}
	if !done {
		return ok(name, "none, as it has to be; the source stayed %s", source)
	}
	if e.needed.as.IsValid() {
		return ok(name, "the source became %s in %s: allowed by %s", e.translation.Reply.Dst(), e.translation.Node, e.needed.allowed)
	}
	return ok(name, "the source became %s in %s; the marks are as predicted, up to the wire", e.translation.Reply.Dst(), e.translation.Node)
}

// asWhom is the address as which the server has to see the client: the intended rules' where the objects allow several.
func (e *evidence) asWhom() netip.Addr {
	if to, ok := masquerading(e.wanted); ok && slices.Contains(e.needed.clients, to) || len(e.needed.clients) == 0 {
		return to
	}
	return e.needed.clients[0]
}

// compareMarks looks at the marks alone, so that a wrong mark is called so also where other things are wrong.
func compareMarks(dir nat.Direction, want, got []nat.Hop) *difference {
	seen := byNode(got, hopNode)
	for _, w := range want {
		if g := seen.next(w.Node); g != nil && g.Tap == w.Tap && g.Mark != w.Mark {
			return &difference{dir: dir, node: w.Node, want: fmt.Sprintf("mark %#x at %s", w.Mark, w), got: fmt.Sprintf("mark %#x", g.Mark), packet: packetOf(*g)}
		}
	}
	return nil
}

// checkReply: the answer went back through the node that translated, hop by hop as it has to, and reached the
// client's socket from the address it asked; nothing reached it untranslated.
func checkReply(e *evidence) Finding {
	const name = "reply"
	client := e.Probe.Tuple
	if d := e.went.hops[nat.Reply]; d != nil || !e.Strict && e.needed.end == nat.EndAnswered && e.Ends.End != nat.EndAnswered {
		if from, untranslated := e.untranslated(); untranslated {
			return bad(name, "an answer reached the client untranslated, from %s instead of %s", from, client.Dst())
		}
		if d != nil {
			return e.path(d.check(name))
		}
	}
	if e.needed.end != nat.EndAnswered || e.Ends.End != nat.EndAnswered {
		return ok(name, "%s; what was seen of it is as it has to be", e.Ends.End)
	}
	if e.Ends.ClientPeer != client.Dst() {
		return bad(name, "the client asked %s and was answered by %s", client.Dst(), e.Ends.ClientPeer)
	}
	if t := e.translation; t != nil {
		if !slices.ContainsFunc(e.Seen.Reply.Hops, func(h nat.Hop) bool { return h.Node == t.Node }) {
			return bad(name, "the answer did not cross %s, which translated the request", t.Node)
		}
		return ok(name, "back through %s, to the client as %s", t.Node, e.Ends.ClientPeer)
	}
	return ok(name, "to the client as %s", e.Ends.ClientPeer)
}

// untranslated looks for an answer at the client that does not come from where it asked. An answer to the node that
// translates is translated back behind the last tap; there the socket is the witness.
func (e *evidence) untranslated() (netip.AddrPort, bool) {
	for _, h := range slices.Concat(e.Seen.Reply.Hops, e.Seen.Stray) {
		if h.Node == e.Probe.From && h.Node != e.node() && h.Tap == nat.TapPreNAT &&
			h.Tuple.Dst() == e.Probe.Tuple.Src() && h.Tuple.Src() != e.Probe.Tuple.Dst() {
			return h.Tuple.Src(), true
		}
	}
	return netip.AddrPort{}, false
}

// checkPath: both packets met the rules and crossed the taps that they have to, one for one.
func checkPath(e *evidence) Finding {
	const name = "path"
	for dir := range e.went.steps {
		if d := e.went.steps[dir]; d != nil {
			return e.path(d.check(name))
		}
	}
	if d := e.went.hops[nat.Original]; d != nil {
		return e.path(d.check(name))
	}
	return ok(name, "%d rules and %d hops as predicted", len(e.Seen.Request.Steps)+len(e.Seen.Reply.Steps), len(e.Seen.Request.Hops)+len(e.Seen.Reply.Hops))
}

// path is a finding about the path: where the Case is not Strict it is no fault of the Service, but evidence that is missing
// for calling the try understood.
func (e *evidence) path(f Finding) Finding {
	f.Missing = f.Missing || !f.OK && !e.Strict
	return f
}

// checkEnds: what the two sockets saw of each other.
func checkEnds(e *evidence) Finding {
	const name = "ends"
	if !e.needed.ends(e.Ends.End) {
		f := bad(name, "the client must be %s, but was %s", e.needed.end, e.Ends.End)
		if e.Ends.Halted != "" {
			f.Detail += ": " + e.Ends.Halted
		}
		return f
	}
	if e.Ends.Halted != "" {
		return bad(name, "%s", e.Ends.Halted)
	}
	if e.Ends.End != nat.EndAnswered {
		return ok(name, "%s: %s", e.needed.end, e.needed.why)
	}
	peer := e.peer()
	switch {
	case e.Health != "" && e.Ends.Health != e.Health:
		return bad(name, "the health check must answer %s, but answered %s", e.Health, e.Ends.Health)
	case e.Ends.Server != e.want.Server && (!e.needed.byObjects || e.want.Endpoint == e.needed.endpoint):
		return bad(name, "%s must answer, but %s did", e.want.Server, e.Ends.Server)
	case !e.bound.addrPort(peer, e.Ends.ServerPeer):
		return bad(name, "the server must see %s, but saw %s", anyPort(peer), e.Ends.ServerPeer)
	case e.Ends.ClientPeer != e.Probe.Tuple.Dst():
		return bad(name, "the client must see %s, but saw %s", e.Probe.Tuple.Dst(), e.Ends.ClientPeer)
	}
	return ok(name, "%s saw %s, the client saw %s", e.Ends.Server, e.Ends.ServerPeer, e.Ends.ClientPeer)
}

// peer is the client as the server has to see it.
func (e *evidence) peer() netip.AddrPort {
	switch {
	case e.needed.as.IsValid():
		return netip.AddrPortFrom(e.needed.as, nat.AnyPort)
	case !e.needed.byObjects:
		return e.want.ServerPeer
	case !e.needed.masked:
		return e.Probe.Tuple.Src()
	case slices.Contains(e.needed.clients, e.Ends.ServerPeer.Addr()):
		return netip.AddrPortFrom(e.Ends.ServerPeer.Addr(), nat.AnyPort)
	}
	return netip.AddrPortFrom(e.asWhom(), nat.AnyPort)
}

// sameEnd compares a predicted end with what a socket can tell: it knows that it was refused, and not by whom.
func sameEnd(want, got nat.End) bool {
	return want == got || want == nat.EndRejected && (got == nat.EndRefused || got == nat.EndUnreachable)
}

func anyPort(a netip.AddrPort) string {
	if a.Port() == nat.AnyPort {
		return a.Addr().String() + ":any"
	}
	return a.String()
}

// checkState: the connection tracking entries, and no trouble in the nodes' counters.
func checkState(e *evidence) Finding {
	const name = "state"
	if d := e.went.conns; d != nil {
		return e.path(bad(name, "want %s, got %s", d.want, d.got))
	}
	if len(e.Trouble) > 0 {
		return bad(name, "counters of drops grew: %s", strings.Join(e.Trouble, ", "))
	}
	var words []string
	for _, c := range ordered(e.way.Conns, e.Seen.Conns, connNode) {
		words = append(words, fmt.Sprintf("%s %s", c.Node, c.Status))
	}
	if len(words) == 0 {
		return ok(name, "no entry, as it has to be")
	}
	return ok(name, "%s", strings.Join(words, ", "))
}

// checkControl: the same flow had the same tuples when nothing watched it.
func checkControl(e *evidence) Finding {
	const name = "control"
	if e.Controls == nil {
		return ok(name, "not asked for")
	}
	got := shape(e.Seen.Conns, e.Probe.Tuple)
	endpoint := EndpointOf(e.Probe.Tuple, Seen{Conns: e.Seen.Conns}, e.Ends) // as a control knows it
	free := mayStay(e.wanted) && e.translation != nil                        // chance may choose the port that it had, with taps or without
	var others []string
	for _, c := range e.Controls {
		if by := EndpointOf(c.Tuple, Seen{Conns: c.Conns}, c.Ends); by != endpoint && (c.Ends.End == e.Ends.End || MayEnd(e.Live, by, c.Ends.End)) {
			continue // chance had it go another way
		}
		other := shape(c.Conns, c.Tuple)
		same := other == got || free && shape(c.Conns, nat.Tuple{}) == shape(e.Seen.Conns, nat.Tuple{})
		if same && c.Ends.End == e.Ends.End {
			return ok(name, "the same without taps")
		}
		others = append(others, fmt.Sprintf("%s by %s", c.Ends.End, other))
	}
	if len(others) == 0 && e.needed.allowed != nil && e.Ends.End != nat.EndAnswered {
		return ok(name, "never went this way without taps; the rule that ends it was told of by the kernel")
	}
	if len(others) == 0 {
		return Finding{Name: name, Missing: true, Detail: fmt.Sprintf("never went this way without taps: %s by %s", e.Ends.End, got)}
	}
	return bad(name, "with taps %s by %s, without %s", e.Ends.End, got, strings.Join(others, "; "))
}

// MayEnd reports whether a prediction has a way by an endpoint that ends so; an invalid one is of ways that are not translated.
func MayEnd(p nat.Prediction, by netip.AddrPort, end nat.End) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool {
		return sameEnd(o.End, end) && (o.Endpoint == by || translationOf(o) == by)
	})
}

// shape writes entries so that two tries of one flow that were translated alike are equal: the client's port is "c",
// a port that the translation may have chosen "*". Of no client all ports are.
func shape(conns []nat.Conn, client nat.Tuple) string {
	source := func(a netip.AddrPort) string {
		if a == client.Src() {
			return a.Addr().String() + ":c"
		}
		return a.Addr().String() + ":*"
	}
	var words []string
	for _, c := range conns {
		from, to := source(c.Original.Src()), source(c.Reply.Dst())
		words = append(words, fmt.Sprintf("%s(%s > %s = %s > %s)", c.Node, from, c.Original.Dst(), to, c.Reply.Src()))
	}
	if len(words) == 0 {
		return "no entry"
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
