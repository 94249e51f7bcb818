package iptables

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Place names a match in a table.
type Place struct {
	Table, Chain string
	Rule, Match  int // from 1
}

// Decider is a World that knows more than a packet says: what earlier packets did, what the node's sockets and routes
// are. Matches that need it ask it first.
type Decider interface {
	// Decide says whether a match holds; known is false where it cannot tell.
	Decide(at Place, m Match, p *Packet) (holds, known bool)
}

// Memory is what the matches of a node's tables remember between packets: statistic's counters, recent's lists, limit's
// credit. The zero Memory has seen nothing.
type Memory struct {
	counts map[Place]uint32
	credit map[Place]*bucket
	lists  map[string]map[netip.Addr]*recentEntry
}

type bucket struct {
	left time.Duration
	last time.Time
}

type recentEntry struct {
	ttl    uint8
	stamps []time.Time // the latest last, at most recentStamps
}

// recentStamps is how many packets a list remembers of an address (ip_pkt_list_tot).
const recentStamps = 20

// Decide answers for the matches that remember, at a time.
func (m *Memory) Decide(at Place, match Match, p *Packet, now time.Time) (holds, known bool) {
	switch match := match.(type) {
	case Statistic:
		if match.Every == 0 {
			return false, false
		}
		return m.nth(at, match), true
	case Recent:
		return m.recent(match, p, now), true
	case Limit:
		return m.limit(at, match, now)
	}
	return false, false
}

// nth is xt_statistic's mode nth: the counter goes from 0 to every-1, and the packet that makes it 0 matches. --packet
// says where it begins.
func (m *Memory) nth(at Place, s Statistic) bool {
	if m.counts == nil {
		m.counts = map[Place]uint32{}
	}
	count, ok := m.counts[at]
	if !ok {
		count = s.Every - s.Packet - 1
	}
	count++
	if count >= s.Every {
		count = 0
	}
	m.counts[at] = count
	return (count == 0) != s.Not
}

// limit is xt_limit: a bucket of burst packets that fills at the rate.
func (m *Memory) limit(at Place, l Limit, now time.Time) (holds, known bool) {
	number, unit, ok := strings.Cut(l.Rate, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	units := map[string]time.Duration{"sec": time.Second, "min": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}
	if !ok || err != nil || n == 0 || units[unit] == 0 {
		return false, false
	}
	each := units[unit] / time.Duration(n)
	if m.credit == nil {
		m.credit = map[Place]*bucket{}
	}
	full := each * time.Duration(max(l.Burst, 1))
	b := m.credit[at]
	if b == nil {
		b = &bucket{left: full, last: now}
		m.credit[at] = b
	}
	b.left = min(full, b.left+now.Sub(b.last))
	b.last = now
	if b.left < each {
		return false, true
	}
	b.left -= each
	return true, true
}

// recent is xt_recent.c's recent_mt.
func (m *Memory) recent(r Recent, p *Packet, now time.Time) bool {
	addr := p.Tuple.Src().Addr()
	if r.ByDest {
		addr = p.Tuple.Dst().Addr()
	}
	addr = maskedBy(addr, r.Mask)
	list := m.lists[r.Name]
	e := list[addr]
	if e != nil && r.TTL && e.ttl != p.TTL {
		e = nil
	}
	if e == nil {
		if r.Action != RecentSet {
			return r.Not
		}
		if list == nil {
			if m.lists == nil {
				m.lists = map[string]map[netip.Addr]*recentEntry{}
			}
			list = map[netip.Addr]*recentEntry{}
			m.lists[r.Name] = list
		}
		list[addr] = &recentEntry{ttl: p.TTL, stamps: []time.Time{now}}
		return !r.Not
	}
	holds := r.Not
	switch r.Action {
	case RecentSet:
		holds = !r.Not
	case RecentRemove:
		delete(list, addr)
		return !r.Not
	case RecentCheck, RecentUpdate:
		if e.hits(r, now) {
			holds = !r.Not
		}
	}
	if r.Action == RecentSet || r.Action == RecentUpdate && holds {
		e.stamps = append(e.stamps, now)
		e.stamps = e.stamps[max(0, len(e.stamps)-recentStamps):]
		e.ttl = p.TTL
	}
	return holds
}

// hits reports whether the list's entry has been seen as often and as lately as asked for; --reap forgets an entry
// that was last seen too long ago.
func (e *recentEntry) hits(r Recent, now time.Time) bool {
	since := now.Add(-time.Duration(r.Seconds) * time.Second)
	hits := uint32(0)
	for _, at := range e.stamps {
		if r.Seconds != 0 && at.Before(since) {
			continue
		}
		if hits++; hits >= max(r.HitCount, 1) {
			return true
		}
	}
	return false
}

func maskedBy(a, mask netip.Addr) netip.Addr {
	if !mask.IsValid() {
		return a
	}
	b, m := a.As16(), mask.As16()
	if mask.Is4() {
		for i := range 12 {
			m[i] = 255
		}
	}
	for i := range b {
		b[i] &= m[i]
	}
	out := netip.AddrFrom16(b)
	if a.Is4() {
		return out.Unmap()
	}
	return out
}
