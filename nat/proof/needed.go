package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/service"
)

// needed is what has to come of a try: by what the objects mean, or where no Service has the address, by the intended rules.
type needed struct {
	end       nat.End
	also      []nat.End        // that are right too
	why       string           // the reason, for people
	endpoint  netip.AddrPort   // the destination; invalid: it is not translated
	node      string           // that translates
	may       []netip.AddrPort // the endpoints that may serve
	masked    bool             // the source is changed, if only its port
	clients   []netip.Addr     // the addresses as which the server may see the client
	byObjects bool
	allowed   *Allowance // by which it is otherwise than the objects call for; nil: it is not
	as        netip.Addr // with allowed: the address that the client got by it; invalid: it kept its own
}

// need finds it, for the endpoint that was seen or else for the one that the try goes longest with.
func (e *evidence) need() needed {
	if !decides(e.Needed) {
		return e.needByIntent()
	}
	all := e.Needed.Endings
	by := EndpointOf(e.Probe.Tuple, e.Seen, e.Ends)
	if by == e.Probe.Tuple.Dst() || !among(all, by) {
		by = translationOf(e.want)
	}
	if !among(all, by) {
		by = all[0].Endpoint
	}
	chosen := service.Ending{}
	n := needed{node: e.Needed.Node, endpoint: by, byObjects: true}
	for _, g := range all {
		if g.Endpoint.IsValid() {
			n.may = append(n.may, g.Endpoint)
		}
		if g.Endpoint != by {
			continue
		}
		if chosen.Why == "" || g.End == e.want.End {
			chosen = g
		}
		if g.Limit == "" {
			n.also = append(n.also, g.End)
		}
	}
	n.end, n.why, n.masked, n.clients = chosen.End, chosen.Why, chosen.Masqueraded, chosen.Client
	if chosen.Limit != "" {
		n.why = chosen.Limit
	}
	if e.want.End == nat.EndRefused && by.IsValid() && translationOf(e.want) == by { // nothing listens there, also where all is as it has to be
		n.end, n.why = e.want.End, e.want.Why
	}
	return n
}

// needByIntent is what the intended rules make of the flow.
func (e *evidence) needByIntent() needed {
	n := needed{end: e.want.End, why: e.want.Why}
	for _, o := range e.Intent {
		if o.Endpoint.IsValid() {
			n.may = append(n.may, o.Endpoint)
		} else if to := translationOf(o); to.IsValid() { // it comes to no server, and its entry stays
			n.may = append(n.may, to)
		}
	}
	if e.wanted != nil {
		n.endpoint, n.node = e.wanted.Reply.Src(), e.wanted.Node
	}
	if to, ok := masquerading(e.wanted); ok {
		n.masked, n.clients = true, []netip.Addr{to}
	} else {
		n.clients = []netip.Addr{e.Probe.Tuple.Src().Addr()}
	}
	return n
}

// ends reports whether a try may end like that.
func (n needed) ends(end nat.End) bool {
	return sameEnd(n.end, end) || slices.ContainsFunc(n.also, func(also nat.End) bool { return sameEnd(also, end) })
}

// decides reports whether the objects call for something that can be held against a try.
func decides(a service.Answer) bool {
	return len(a.Endings) > 0 && !slices.ContainsFunc(a.Endings, func(e service.Ending) bool { return e.End == nat.EndUnknown })
}

func among(all []service.Ending, endpoint netip.AddrPort) bool {
	return slices.ContainsFunc(all, func(e service.Ending) bool { return e.Endpoint == endpoint })
}

// translationOf is the destination that an outcome's packet gets; invalid where it keeps its own.
func translationOf(o nat.Outcome) netip.AddrPort {
	if t := translating(o.Conns); t != nil {
		return t.Reply.Src()
	}
	return netip.AddrPort{}
}

// Expected lists the endpoints that have to be seen to serve a client: those that the objects name, but such as have no server
// in the lab, or where no Service has the address those of the intended rules.
func Expected(a service.Answer, intent nat.Prediction) []netip.AddrPort {
	var out []netip.AddrPort
	add := func(endpoint netip.AddrPort) {
		if endpoint.IsValid() && !slices.Contains(out, endpoint) {
			out = append(out, endpoint)
		}
	}
	if !decides(a) {
		for _, o := range intent {
			add(o.Endpoint)
		}
		return out
	}
	for _, e := range a.Endings {
		deaf := slices.ContainsFunc(intent, func(o nat.Outcome) bool { return !o.Endpoint.IsValid() && translationOf(o) == e.Endpoint })
		if !deaf {
			add(e.Endpoint)
		}
	}
	return out
}
