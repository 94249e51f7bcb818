package proof

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/service"
)

// Case is all that there is to judge one try of a flow by.
type Case struct {
	Flow     Flow
	Probe    nat.Probe           // what the client did
	Needed   service.Answer      // what the objects call for; without endings the intended rules alone tell
	Intent   nat.Prediction      // from the rules that the Services call for
	Live     nat.Prediction      // from the rules that the nodes hold
	Health   string              // what a health check has to answer, as Ends.Health; "" for a flow that is none
	Seen     Seen                // what the witnesses saw of it
	Ends     Ends                // what the sockets saw
	Stuck    netip.AddrPort      // the endpoint that session affinity binds the client to; invalid where none does
	Controls []Control           // the same flow's tries without taps; nil: there was no control run
	Chains   Chains              // both rule sets, to name the rule in which they part
	Strict   bool                // the rules have to be those that kube-proxy writes, and not only do what the Services call for
	World    map[string][]string // what is otherwise in a member than the lab made it
	Dumped   []string            // the nodes whose rules are those of a real node: they need not be kube-proxy's
	Between  []string            // the members of World that carry packets and have no taps: a switch
	Trouble  []string            // counters of drops that grew, in nodes on the way or of the whole machine: "vms100 insert_failed"
	Lost     uint64              // events that the kernel could not deliver meanwhile
	// Allowed tells whose rule it is that changes a source or ends a packet, and what for, where that is what its owner is there for; nil: nobody may.
	Allowed  func(nat.Step) (owner, what string)
	Vanished bool // no answer came, by LostByEvidence: that the client asked again and again is no doubt then
}

// Ends is what the two sockets saw of one try.
type Ends struct {
	End        nat.End        // EndAnswered, EndRefused (by whomever) or EndLost
	Server     string         // the member that answered, as it calls itself
	ServerAddr netip.AddrPort // the address at which the request reached it
	ServerPeer netip.AddrPort // the client as the server saw it
	ClientPeer netip.AddrPort // where the answer came from, as the client saw it
	Health     string         // what a health check answered: "503: 0 local endpoints of NAMESPACE/NAME"
	Halted     string         // how a TCP exchange failed whose connection was made; "" where it went on to an orderly end
}

// Control is a try of the flow that nothing watched.
type Control struct {
	Tuple nat.Tuple // the client's
	Ends  Ends
	Conns []nat.Conn // as ctnetlink told of them
}

// Check holds a try against what is needed and against both predictions, and issues its certificate. Two questions are kept
// apart: whether the Service works as it has to, by what came of the try against what the objects call for, and where no Service
// has the address against the intent; and whether the nodes do what they hold, by its path against the live prediction. A try is proved where the first holds and the second agrees, disproved where the first does
// not hold, and inconclusive where only the second does not agree: then natlab's model or the kernel is wrong. A Strict
// Case asks for the intent's path as well.
func Check(c Case) Certificate {
	ended := c.allowedEnd()
	if ended != nil { // whether its end is what the rules call for is left
		c.Needed, c.Intent, c.Chains.Intent = service.Answer{}, c.Live, c.Chains.Live
	}
	e := &evidence{Case: c}
	e.want, e.match = choose(c, c.Intent)
	e.needed = e.need()
	e.allow(ended)
	e.way, e.went = e.want, e.match
	if !c.Strict && !c.Live.Is(c.Intent) {
		e.way, e.went = choose(c, c.Live)
	}
	cert := e.certificate()
	if a := e.needed.allowed; a != nil {
		cert.AllowedBy = []Allowance{*a}
	}
	for _, check := range []func(*evidence) Finding{
		checkDNAT, checkMasquerade, checkReply, checkPath, checkEnds, checkState, checkControl,
	} {
		cert.Checks = append(cert.Checks, check(e))
	}
	e.conclude(&cert)
	return cert
}

// choose picks the outcome that a try has to be held against: the one by the endpoint that was seen, and among
// several, or where there is none, the one that goes longest with what was seen.
func choose(c Case, p nat.Prediction) (nat.Outcome, match) {
	endpoint := EndpointOf(c.Probe.Tuple, c.Seen, c.Ends)
	seen := slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.Endpoint == endpoint })
	var best *nat.Outcome
	var bestMatch match
	bestDepth := -1
	for i := range p {
		o := &p[i]
		if seen && o.Endpoint != endpoint {
			continue
		}
		m := matchOutcome(c, *o)
		depth := m.depth(c)
		if m.same() {
			depth++
		}
		if depth > bestDepth {
			best, bestMatch, bestDepth = o, m, depth
		}
	}
	if best == nil {
		return nat.Outcome{}, matchOutcome(c, nat.Outcome{})
	}
	return *best, bestMatch
}

// EndpointOf is the endpoint that a try of the asked tuple came to, by the witness that knows best; invalid if it came
// to none.
func EndpointOf(asked nat.Tuple, s Seen, e Ends) netip.AddrPort {
	if e.End == nat.EndAnswered {
		return e.ServerAddr
	}
	if t := translating(s.Conns); t != nil {
		return t.Reply.Src()
	}
	for _, h := range slices.Backward(s.Request.Hops) {
		if dst := h.Tuple.Dst(); dst != asked.Dst() {
			return dst
		}
	}
	return netip.AddrPort{}
}

// certificate writes down what was seen.
func (e *evidence) certificate() Certificate {
	c := Certificate{
		Flow: e.Flow, Expect: e.needed.end, End: e.Ends.End, Endpoint: EndpointOf(e.Probe.Tuple, e.Seen, e.Ends), Server: e.Ends.Server, ClientPeer: e.Ends.ClientPeer,
		Packets: e.Seen.Packets, Tries: 1, Node: e.node(), Conntrack: ordered(e.way.Conns, e.Seen.Conns, connNode),
	}
	_, c.Masqueraded = masquerading(e.translation)
	c.Hops = make([]Hop, 0, len(e.Seen.Request.Hops)+len(e.Seen.Reply.Hops))
	c.Met = make([]Step, 0, len(e.Seen.Request.Steps)+len(e.Seen.Reply.Steps))
	for dir, way := range [2][2]nat.Journey{{e.way.Request, e.Seen.Request}, {e.way.Reply, e.Seen.Reply}} {
		dir := nat.Direction(dir)
		for _, h := range ordered(way[0].Hops, way[1].Hops, hopNode) {
			c.Hops = append(c.Hops, Hop{dir, h})
		}
		steps := ordered(way[0].Steps, way[1].Steps, stepNode)
		if e.Seen.Repeated && e.went.steps[dir] == nil && len(steps) > len(way[0].Steps) { // a SYN that is sent again meets other rules than the first
			steps = steps[:len(way[0].Steps)]
		}
		for _, s := range steps {
			c.Met = append(c.Met, Step{dir, s})
			if s.Verdict == nat.Reject && (c.End == nat.EndRefused || c.End == nat.EndUnreachable) {
				c.End = nat.EndRejected
			}
		}
		if dir == nat.Original {
			c.Request = e.Chains.requestChains(steps, c.Node)
		} else {
			c.Reply = replyChains(steps, c.Node)
		}
	}
	return c
}

// node is where the request was translated, or else where its way ended: the node of its last rule.
func (e *evidence) node() string {
	switch {
	case e.translation != nil:
		return e.translation.Node
	case e.wanted != nil:
		return e.wanted.Node
	}
	steps := ordered(e.way.Request.Steps, e.Seen.Request.Steps, stepNode)
	if len(steps) > 0 {
		return steps[len(steps)-1].Node
	}
	node, _, _ := strings.Cut(e.want.Where, " ")
	return node
}

// blind names a node where the taps saw a packet come and go and no witness told of a rule, although the node holds
// some that each packet meets: what is missing there is evidence.
func (e *evidence) blind() string {
	live, _ := choose(e.Case, e.Live)
	for dir, way := range [2][2]nat.Journey{{live.Request, e.Seen.Request}, {live.Reply, e.Seen.Reply}} {
		for _, s := range e.Seen.certain(way[0].Steps) {
			met := slices.ContainsFunc(way[1].Steps, func(g nat.Step) bool { return g.Node == s.Node })
			if !met && e.went.hops[dir] == nil {
				return s.Node
			}
		}
	}
	return ""
}

// sentAgain reports whether the first packet or its answer was sent more than once, or may have been: all went as the live rules have it, and then a
// packet came once more of which no more was seen.
func (e *evidence) sentAgain() bool {
	if e.Seen.Repeated {
		return true
	}
	_, live := choose(e.Case, e.Live)
	d := live.first()
	return d != nil && d.again
}

// conclude turns the checks into a verdict, and finds what is wrong first and whose fault it is.
func (e *evidence) conclude(cert *Certificate) {
	failed := slices.IndexFunc(cert.Checks, func(c Finding) bool { return !c.OK && !c.Missing })
	missing := slices.IndexFunc(cert.Checks, func(c Finding) bool { return !c.OK && c.Missing })
	switch {
	case len(e.Intent) == 0:
		cert.Wrong = &Wrong{Check: "path", Want: "a prediction", Got: "none"}
	case e.Lost > 0:
		cert.Wrong = &Wrong{Check: "path", Want: "every event of the kernel", Got: "some that could not be delivered"}
	case failed >= 0 && e.blind() != "":
		cert.Wrong = &Wrong{Check: "path", Node: e.blind(), Want: "the rules that every packet meets there", Got: "packets, and not one rule"}
	case failed >= 0 && e.sentAgain() && !e.Vanished && e.Ends.Halted == "": // each of them may have been translated otherwise, and answered
		cert.Wrong = &Wrong{Check: cert.Checks[failed].Name, Want: "a first packet and an answer that were sent once", Got: "one that was sent again: " + cert.Checks[failed].Detail}
	case e.Seen.Mixed:
		cert.Wrong = &Wrong{Check: "path", Want: "tuples of its own", Got: "tuples that another try had too"}
	case failed >= 0:
		cert.Verdict = Disproved
		cert.Wrong = e.wrong(cert.Checks[failed])
	case missing >= 0:
		c := cert.Checks[missing]
		cert.Wrong = &Wrong{Check: c.Name, Want: "evidence", Got: c.Detail}
	case len(e.Seen.Shared) > 0: // what is certain is as it has to be; of the rest nothing is known
		cert.Wrong = &Wrong{Check: "path", Want: "ICMP errors whose rules are its own", Got: "errors between the same hosts about another try"}
	default:
		cert.Verdict = Proved
	}
}
