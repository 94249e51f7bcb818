package migrate

import (
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// Sight is how a flow ended in a lab of one mode, as its client saw it. A client cannot tell a rule's refusal from a host's.
type Sight struct {
	End      nat.End        `json:"end"`                //
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`  // that answered
	As       netip.Addr     `json:"as,omitzero"`        // the client, as that saw it
	Barred   bool           `json:"barred,omitempty"`   // the client's own system did not let it out (EPERM)
	Foretold bool           `json:"foretold,omitempty"` // it is one of the endings that were predicted
}

// String is "answered by 10.244.1.7:8080, which sees 10.0.0.1", "refused", "lost".
func (s Sight) String() string {
	switch {
	case s.End == nat.EndAnswered:
		return fmt.Sprintf("answered by %s, which sees %s", s.Endpoint, s.As)
	case s.Barred:
		return "not let out (EPERM)"
	}
	return s.End.String()
}

// foretold reports whether a sight is one of the endings of a client at an address. Which of its addresses a node masquerades with depends on
// the order of its devices, which a cluster's objects do not tell: that it is not the client's is what has to agree.
func (s Sight) foretold(all []Ending, client netip.Addr) bool {
	for _, e := range all {
		var is bool
		switch {
		case s.End == nat.EndAnswered:
			is = e.End == nat.EndAnswered && e.Endpoint == s.Endpoint && (e.As == s.As || e.As != client && s.As != client)
		case s.Barred:
			is = e.End == nat.EndRejected || e.End == nat.EndLost && e.Dropped
		case s.End == nat.EndRefused:
			is = e.End == nat.EndRefused || e.End == nat.EndRejected
		case s.End == nat.EndUnreachable: // who asked for a neighbour in vain tells so in the end
			is = e.End == nat.EndUnreachable || e.End == nat.EndLost && !e.Dropped && e.Server == ""
		default:
			is = e.End == s.End
		}
		if is {
			return true
		}
	}
	return false
}

// Silent reports whether nothing may come back to the client, so that to wait longer tells no more.
func Silent(all []Ending) bool {
	return slices.ContainsFunc(all, func(e Ending) bool { return e.End == nat.EndLost })
}

// Askable reports whether a lab's clients can ask a question: of TCP or UDP, and nothing for which kube-proxy itself has a socket.
func (q Question) Askable() bool {
	return (q.Protocol == nat.TCP || q.Protocol == nat.UDP) && q.Aspect < InvalidSegment && q.Type != proof.ByHealthCheck
}

// Askable are the flows that packets can show: those that differ, then those of the sample.
func (r *Report) Askable() (out []*Difference) {
	for _, list := range [][]Difference{r.Differences, r.Sample} {
		for i := range list {
			if list[i].Askable() {
				out = append(out, &list[i])
			}
		}
	}
	return out
}

// Show takes in how the flows of Askable, in their order, ended in a lab of either mode.
func (r *Report) Show(from, to []Sight) {
	for i, d := range r.Askable() {
		a, b := from[i], to[i]
		a.Foretold, b.Foretold = a.foretold(d.From, d.Source), b.foretold(d.To, d.Source)
		d.Seen = []Sight{a, b}
	}
}

// Otherwise counts the flows that ended otherwise than predicted.
func (r Report) Otherwise() (n int) {
	for _, d := range r.Askable() {
		if d.otherwise() {
			n++
		}
	}
	return n
}

// otherwise reports whether packets showed something else than was predicted.
func (d Difference) otherwise() bool {
	for _, s := range d.Seen {
		if !s.Foretold {
			return true
		}
	}
	return false
}
