package xt

import (
	"net/netip"
	"time"

	"natlab/nat/rules"
)

// Recent is -m recent (xt_recent.c).
type Recent struct {
	Not      bool
	Action   RecentAction
	Seconds  uint32 // 0: not asked for
	HitCount uint32
	Reap     bool
	TTL      bool       // --rttl
	List     string     // --name
	Mask     netip.Addr // as printed; invalid: not printed
	ByDest   bool       // --rdest
}

// RecentAction is what a Recent does with its list.
type RecentAction uint8

// The actions.
const (
	RecentSet    RecentAction = iota // --set
	RecentCheck                      // --rcheck
	RecentUpdate                     // --update
	RecentRemove                     // --remove
)

// RecentActions are the options of the actions.
var recentActions = []string{RecentSet: "--set", RecentCheck: "--rcheck", RecentUpdate: "--update", RecentRemove: "--remove"}

// Name is "recent".
func (Recent) Name() string { return "recent" }

// Save prints the action, its bounds and the list.
func (m Recent) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" ", recentActions[m.Action])
	if m.Seconds != 0 {
		p.Number("--seconds", uint64(m.Seconds))
	}
	p.Flag(m.Reap, "--reap")
	if m.HitCount != 0 {
		p.Number("--hitcount", uint64(m.HitCount))
	}
	p.Flag(m.TTL, "--rttl")
	if m.List != "" {
		p.Option(false, "--name", m.List)
	}
	if m.Mask.IsValid() {
		p.Option(false, "--mask", m.Mask.String())
	}
	p.Flag(m.ByDest, "--rdest")
	p.Flag(!m.ByDest, "--rsource")
}

// recentList is a list, by address.
type recentList map[netip.Addr]*recentEntry

type recentEntry struct {
	ttl    uint8
	stamps []time.Time // the latest last, at most recentStamps
}

// recentStamps is how many packets a list remembers of an address (ip_pkt_list_tot).
const recentStamps = 20

// recentKey is under which a list is remembered: all tables of the node share it.
type recentKey struct{ list string }

// Holds asks the list and changes it (recent_mt). Where the World does not remember, a check may go either way.
func (m Recent) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	if !ok || w.Memory() == nil {
		if m.Action == RecentSet && !m.Not {
			return rules.Yes
		}
		return rules.Is(v.Take(0.5), false)
	}
	list := *rules.Recall(w.Memory(), recentKey{m.List}, func() recentList { return recentList{} })
	return rules.Is(m.visit(list, v, w.Now()), m.Not)
}

// visit reports whether the list answers yes, before it is inverted.
func (m Recent) visit(list recentList, v *rules.Visit, now time.Time) bool {
	addr := v.Tuple.Src().Addr()
	if m.ByDest {
		addr = v.Tuple.Dst().Addr()
	}
	addr = maskedBy(addr, m.Mask)
	e := list[addr]
	if e != nil && m.TTL && e.ttl != v.TTL {
		e = nil
	}
	if e == nil {
		if m.Action == RecentSet {
			list[addr] = &recentEntry{ttl: v.TTL, stamps: []time.Time{now}}
		}
		return m.Action == RecentSet
	}
	holds := true
	switch m.Action {
	case RecentSet:
	case RecentRemove:
		delete(list, addr)
		return true
	case RecentCheck, RecentUpdate:
		holds = e.hits(m, now)
	}
	if m.Action == RecentSet || m.Action == RecentUpdate && holds != m.Not {
		e.stamps = append(e.stamps, now)
		e.stamps = e.stamps[max(0, len(e.stamps)-recentStamps):]
		e.ttl = v.TTL
	}
	return holds
}

// hits reports whether the list's entry has been seen as often and as lately as asked for; --reap forgets an entry
// that was last seen too long ago.
func (e *recentEntry) hits(m Recent, now time.Time) bool {
	since := now.Add(-time.Duration(m.Seconds) * time.Second)
	hits := uint32(0)
	for _, at := range e.stamps {
		if m.Seconds != 0 && at.Before(since) {
			continue
		}
		if hits++; hits >= max(m.HitCount, 1) {
			return true
		}
	}
	return false
}

// Actual tells that the list does not have the address so.
func (Recent) Actual(*rules.Visit) string { return "it does not hold" }
