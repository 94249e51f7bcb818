package proof

import (
	"slices"

	"natlab/nat"
)

// noTry stands for packets that are of no try of the list.
const noTry = -1

// joinError gives an ICMP error to the try whose packet is inside it. Its own tuple then stands for the try, so
// that rule hits of the error are found, unless errors of others go between the same two hosts.
func (j *joiner) joinError(o *Observation) {
	who, ok := j.find(o.ICMP.Inside)
	if !ok { // of an earlier try, whose server may go on answering for a minute
		j.share(o.Hop.Tuple, noTry)
		return
	}
	s := &j.seen[who.try]
	j.note(s, o)
	s.keep(nat.Reply-who.dir, o)                              // it goes to whom the packet inside it came from
	if o.ICMP.tooLong() && o.ICMP.Inside.Proto() == nat.TCP { // about a later packet: one with data
		s.Stray = append(s.Stray, o.Hop)
		return
	}
	if who.dir == nat.Reply && o.ICMP.nobodyListens() { // the client complains of an answer that it does not know
		s.Stray = append(s.Stray, o.Hop)
		return
	}
	j.left(owner{who.try, nat.Reply}, o)
	s.Reply.Hops = append(s.Reply.Hops, o.Hop)
	s.Errors = append(s.Errors, o.ICMP)
	if !slices.ContainsFunc(j.errors[o.Hop.Tuple], func(try int) bool { return try != noTry }) {
		j.learn(o.Hop.Tuple, owner{who.try, nat.Reply})
	}
	j.share(o.Hop.Tuple, who.try)
}

// share notes whom ICMP errors of a tuple are about, and tells those tries of which others have it, too.
func (j *joiner) share(t nat.Tuple, try int) {
	was := j.errors[t]
	if slices.Contains(was, try) {
		return
	}
	j.errors[t] = append(was, try)
	switch len(was) {
	case 0:
		return
	case 1:
		j.sharedBy(was[0], t)
	}
	j.sharedBy(try, t)
}

func (j *joiner) sharedBy(try int, t nat.Tuple) {
	if try != noTry {
		j.seen[try].Shared = append(j.seen[try].Shared, t)
	}
}

// certain are the steps of a way that can be held against what was seen: without those of errors that others share.
func (s *Seen) certain(steps nat.Trace) nat.Trace {
	if len(s.Shared) == 0 {
		return steps
	}
	return slices.DeleteFunc(slices.Clone(steps), func(step nat.Step) bool { return slices.Contains(s.Shared, step.Before) })
}

// meets tells whose packet met a rule, by its tuple.
func (j *joiner) meets(o *Observation) (owner, bool) {
	if len(j.errors[o.Step.Before]) > 1 {
		return owner{}, false
	}
	return j.find(o.Step.Before)
}
