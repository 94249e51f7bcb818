package portuse

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
)

// Recorder is told what there is and what happens, in the order of time. Its zero value is ready.
type Recorder struct {
	leases []lease
	open   map[key]int // of those that have not ended
}

// key is what no two connections of one time have in common: the tuple of answers, in its zone.
type key struct {
	reply nat.Tuple
	zone  uint16
}

type lease struct {
	Lease
	key
}

// Have tells that a connection is there, from before anything is told of it; one that is known already is passed over.
func (r *Recorder) Have(e nat.Entry) { r.begin(e, time.Time{}) }

// Event tells what happened to a connection. One that changes or ends and was not known was there before.
func (r *Recorder) Event(at time.Time, e nat.Event) {
	switch e.Kind {
	case nat.New:
		r.begin(e.Entry, at)
	case nat.Updated:
		r.begin(e.Entry, time.Time{})
	case nat.Destroyed:
		r.begin(e.Entry, time.Time{})
		r.finish(keyOf(e.Entry), at, false)
	}
}

// Only tells all connections that there are now. What was there before anything was told may have ended without an event: the kernel gives an entry no
// events that began while nobody listened.
func (r *Recorder) Only(at time.Time, all []nat.Entry) {
	r.gone(at, all, func(l *lease) bool { return l.From.IsZero() })
}

// Last tells all connections that there are, when no event comes any more: of one that was not known the beginning is not known either but that it was
// by then, and so is the end of one that is not there.
func (r *Recorder) Last(at time.Time, all []nat.Entry) {
	r.gone(at, all, func(*lease) bool { return true })
	for _, e := range all {
		r.begin(e, at)
	}
}

// gone ends those of some leases whose connection is not there.
func (r *Recorder) gone(at time.Time, all []nat.Entry, of func(*lease) bool) {
	there := make(map[key]bool, len(all))
	for _, e := range all {
		there[keyOf(e)] = true
	}
	for k, i := range r.open {
		if !there[k] && of(&r.leases[i]) {
			r.finish(k, at, true)
		}
	}
}

func keyOf(e nat.Entry) key { return key{e.Reply, e.Zone} }

func (r *Recorder) begin(e nat.Entry, at time.Time) {
	switch e.Reply.Proto() {
	case nat.TCP, nat.UDP, nat.UDPLite, nat.SCTP, nat.DCCP, nat.ICMP, nat.ICMPv6:
	default:
		return // others have no ports
	}
	if _, known := r.open[keyOf(e)]; known {
		return
	}
	if r.open == nil {
		r.open = map[key]int{}
	}
	r.open[keyOf(e)] = len(r.leases)
	r.leases = append(r.leases, lease{
		Lease: Lease{Port: e.Reply.Dst().Port(), Client: e.Original.Src(), Endpoint: e.Reply.Src(), Own: e.Reply.Dst() == e.Original.Src(), From: at},
		key:   keyOf(e),
	})
}

func (r *Recorder) finish(k key, at time.Time, silent bool) {
	if i, known := r.open[k]; known {
		r.leases[i].Until, r.leases[i].Silent = at, silent
		delete(r.open, k)
	}
}

// Use is what was told, from begin to end.
func (r *Recorder) Use(begin, end time.Time, ports Range) Use {
	type place struct {
		proto nat.Proto
		addr  netip.Addr
		zone  uint16
	}
	u := Use{Begin: begin, End: end, Range: ports}
	by, order := map[place][]Lease{}, []place{}
	for _, l := range r.leases {
		at := place{l.reply.Proto(), l.reply.Dst().Addr(), l.zone}
		if _, known := by[at]; !known {
			order = append(order, at)
		}
		by[at] = append(by[at], l.Lease)
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), a.addr.Compare(b.addr), cmp.Compare(a.zone, b.zone))
	})
	for _, at := range order {
		if translated := slices.ContainsFunc(by[at], func(l Lease) bool { return !l.Own }); translated {
			u.Pools = append(u.Pools, u.pool(Pool{Protocol: at.proto, Address: at.addr, Zone: at.zone, Leases: by[at]}))
		}
	}
	return u
}

// pool fills in what follows from a pool's leases.
func (u *Use) pool(p Pool) Pool {
	slices.SortStableFunc(p.Leases, func(a, b Lease) int { return a.begin(u).Compare(b.begin(u)) })
	p.Connections = len(p.Leases)
	p.Peak, p.PeakAt, p.AtEnd = u.peak(p.Leases)
	ports, to := map[uint16]bool{}, map[netip.AddrPort][]Lease{}
	for _, l := range p.Leases {
		ports[l.Port] = true
		to[l.Endpoint] = append(to[l.Endpoint], l)
	}
	p.Ports = len(ports)
	for endpoint, leases := range to {
		d := Destination{Endpoint: endpoint, Connections: len(leases)}
		d.Peak, _, d.AtEnd = u.peak(leases)
		p.Destinations = append(p.Destinations, d)
	}
	slices.SortFunc(p.Destinations, func(a, b Destination) int {
		return cmp.Or(-cmp.Compare(a.Peak, b.Peak), a.Endpoint.Compare(b.Endpoint))
	})
	return p
}

// change is one more connection from a moment on, or one less.
type change struct {
	at time.Time
	by int
}

// changes are those of leases, in order; of one moment ends come first, as a port that is free is given anew.
func (u *Use) changes(leases []Lease) []change {
	out := make([]change, 0, 2*len(leases))
	for i := range leases {
		out = append(out, change{leases[i].begin(u), 1})
		if !leases[i].Until.IsZero() {
			out = append(out, change{leases[i].end(u), -1})
		}
	}
	slices.SortStableFunc(out, func(a, b change) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
	return out
}

func (u *Use) peak(leases []Lease) (peak int, at time.Time, last int) {
	for _, c := range u.changes(leases) {
		if last += c.by; last > peak {
			peak, at = last, c.at
		}
	}
	return peak, at, last
}
