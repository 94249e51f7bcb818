package xt

import (
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// recentList is one of the lists of -m recent, which all tables of a node share.
type recentList struct {
	entries map[netip.Addr]*recentEntry
	order   uint64 // of the entry that was seen last
}

type recentEntry struct {
	ttl    uint8
	order  uint64      // in which entries were seen
	stamps []time.Time // the latest last
}

// ForgetRecent empties the lists of -m recent, as writing "/" to each in /proc/net/xt_recent does.
func ForgetRecent(m *rules.Memory) {
	m.Forget(func(key any) bool { _, ok := key.(recentKey); return ok })
}

const (
	// recentEntries is how many addresses a list remembers (ip_list_tot): the one that was seen longest ago goes.
	recentEntries = 100
	// recentStamps is how many packets of an address a list remembers at most (XT_RECENT_MAX_NSTAMPS; before Linux 6.11 it was
	// 256, and no rule asked for more). The kernel keeps fewer, but never fewer than any rule of the list asks for.
	recentStamps = 65536
)

// recentKey is under which a list is remembered.
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
	list := rules.Recall(w.Memory(), recentKey{m.ListName}, func() recentList { return recentList{entries: map[netip.Addr]*recentEntry{}} })
	return rules.Is(m.visit(list, v, w.Now()), m.Not)
}

// visit reports whether the list answers yes, before it is inverted.
func (m Recent) visit(list *recentList, v *rules.Visit, now time.Time) bool {
	addr := v.Tuple.Src().Addr()
	if m.ByDest {
		addr = v.Tuple.Dst().Addr()
	}
	addr = maskedBy(addr, m.Mask)
	ttl := v.TTL
	if v.Out != "" && (v.Hook == nat.Forward || v.Sender.Socket == rules.NoSocket) { // as it was before forwarding
		ttl++
	}
	e := list.entries[addr]
	if e != nil && m.TTL && ttl != 0 && e.ttl != 0 && e.ttl != ttl {
		e = nil
	}
	if e == nil {
		if m.Action == RecentSet {
			list.add(addr, ttl, now)
		}
		return m.Action == RecentSet
	}
	holds := true
	switch m.Action {
	case RecentSet:
	case RecentRemove:
		delete(list.entries, addr)
		return true
	case RecentCheck, RecentUpdate:
		since := now.Add(-time.Duration(m.Seconds) * time.Second)
		holds = e.hits(m, since)
		if m.Reap {
			list.reap(since, e, m.Action == RecentUpdate && holds != m.Not)
		}
	}
	if m.Action == RecentSet || m.Action == RecentUpdate && holds != m.Not {
		list.see(e, ttl, now)
	}
	return holds
}

// add remembers an address (recent_entry_init).
func (l *recentList) add(addr netip.Addr, ttl uint8, now time.Time) {
	if old, _ := l.oldest(); len(l.entries) >= recentEntries {
		delete(l.entries, old)
	}
	e := &recentEntry{}
	l.entries[addr] = e
	l.see(e, ttl, now)
}

// see notes a packet of an address (recent_entry_update).
func (l *recentList) see(e *recentEntry, ttl uint8, now time.Time) {
	l.order++
	e.order, e.ttl = l.order, ttl
	e.stamps = append(e.stamps, now)
	e.stamps = e.stamps[max(0, len(e.stamps)-recentStamps):]
}

func (l *recentList) oldest() (addr netip.Addr, e *recentEntry) {
	for a, other := range l.entries {
		if e == nil || other.order < e.order {
			addr, e = a, other
		}
	}
	return addr, e
}

// reap forgets the address that was seen longest ago, if that was too long ago; the one that is looked at stays if it is
// about to be seen again (recent_entry_reap).
func (l *recentList) reap(since time.Time, working *recentEntry, updated bool) {
	addr, e := l.oldest()
	if e == working && updated {
		return
	}
	if e.stamps[len(e.stamps)-1].Before(since) {
		delete(l.entries, addr)
	}
}

// hits reports whether the list's entry has been seen as often and as lately as asked for.
func (e *recentEntry) hits(m Recent, since time.Time) bool {
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
func (m Recent) Actual(v *rules.Visit) string {
	addr := v.Tuple.Src().Addr()
	if m.ByDest {
		addr = v.Tuple.Dst().Addr()
	}
	addr = maskedBy(addr, m.Mask)
	if m.Not {
		return "the list " + m.ListName + " has " + addr.String() + " so"
	}
	return "the list " + m.ListName + " does not have " + addr.String() + " so"
}
