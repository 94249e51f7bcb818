package xt

import (
	"encoding/binary"
	"net/netip"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// hashTable is one of the tables of -m hashlimit, which all rules of its name share. The rate is that of the first rule.
type hashTable struct {
	HashLimit
	groups map[hashGroup]*hashEntry
}

// hashTableKey is under which a table is remembered.
type hashTableKey struct{ name string }

// hashGroup is what the packets of a group have in common (struct dsthash_dst).
type hashGroup struct {
	src, dst         netip.Prefix
	srcPort, dstPort uint16
}

// hashEntry is a group's state (struct dsthash_ent).
type hashEntry struct {
	last    time.Time // when it was last brought up to date
	expires time.Time
	credit  uint64 // of packets: µs; of bytes: parts of hashCredit
	refills uint64 // of bytes: how often the credit may be filled up at once
	current uint64 // of a rate match: what came in this interval
	over    bool   // of a rate match: the interval before was over the rate
}

// hashCredit is what a group of bytes gains in a second, and the most that it can have (CREDITS_PER_JIFFY_BYTES * HZ, with
// an HZ of 250 or 1000).
const hashCredit = 4194304000

// Holds asks for the packet's group (hashlimit_mt_common). A group that has expired is forgotten when the table is next swept;
// until then it may still be there.
func (m HashLimit) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Rememberer)
	if !ok || w.Memory() == nil || m.Bytes && v.Wire == nil {
		return rules.Unknown
	}
	group, there := m.group(v)
	if !there {
		v.HotDrop = true
		return rules.No
	}
	t := rules.Recall(w.Memory(), hashTableKey{m.Table}, func() hashTable { return hashTable{m, map[hashGroup]*hashEntry{}} })
	now, e := w.Now(), t.groups[group]
	swept := time.Duration(t.GCInterval) * time.Millisecond
	if e != nil && !now.Before(e.expires.Add(swept)) {
		delete(t.groups, group)
		e = nil
	}
	if e == nil {
		if t.full(now) {
			v.HotDrop = true
			return rules.No
		}
		e = t.fresh(now)
		t.groups[group] = e
	}
	unsure := now.After(e.expires)
	anew := t.fresh(now)
	t.advance(e, now)
	e.expires = now.Add(time.Duration(t.Expire) * time.Millisecond)
	below := m.below(t, e, v)
	if unsure && m.below(t, anew, v) != below {
		return rules.Unknown
	}
	return rules.Is(below, m.Above)
}

// group is the packet's; ok is false where it is cut short in front of its ports. A later fragment's payload is taken for
// ports, as the kernel does.
func (m HashLimit) group(v *rules.Visit) (g hashGroup, ok bool) {
	if m.Keys&HashSrc != 0 {
		g.src, _ = v.Tuple.Src().Addr().Prefix(int(m.SrcMask))
	}
	if m.Keys&HashDst != 0 {
		g.dst, _ = v.Tuple.Dst().Addr().Prefix(int(m.DstMask))
	}
	if m.Keys&(HashSrcPort|HashDstPort) == 0 {
		return g, true
	}
	src, dst, ok := hashPorts(v.Packet)
	if m.Keys&HashSrcPort != 0 {
		g.srcPort = src
	}
	if m.Keys&HashDstPort != 0 {
		g.dstPort = dst
	}
	return g, ok
}

// hashPorts are the ports of a packet, or what stands in their place: the SPI of ESP and AH, zeros for protocols without
// (proto_ports_offset).
func hashPorts(p *rules.Packet) (src, dst uint16, ok bool) {
	at := 0
	switch p.Tuple.Proto() {
	case nat.TCP, nat.UDP, nat.SCTP, nat.DCCP, nat.UDPLite, nat.ESP:
	case nat.AH:
		at = 4
	case noNextHeader: // IPv6 has no transport header then (ipv6_skip_exthdr)
		return 0, 0, !p.Tuple.Src().Addr().Is6()
	default:
		return 0, 0, true
	}
	if p.Wire == nil {
		return p.Tuple.Src().Port(), p.Tuple.Dst().Port(), true
	}
	h := p.Wire.Transport()
	if len(h) < at+4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(h[at:]), binary.BigEndian.Uint16(h[at+2:]), true
}

// full reports whether a table can take no more groups, as far as its size is known.
func (t *hashTable) full(now time.Time) bool {
	most := uint64(max(t.Max, t.Size))
	switch {
	case t.Size == 0:
		return false
	case t.Max == 0:
		most = 8 * uint64(t.Size)
	}
	if uint64(len(t.groups)) < most {
		return false
	}
	for g, e := range t.groups {
		if !now.Before(e.expires.Add(time.Duration(t.GCInterval) * time.Millisecond)) {
			delete(t.groups, g)
		}
	}
	return uint64(len(t.groups)) >= most
}

// period is what a packet costs, in µs.
func (t *hashTable) period() uint64 {
	if t.Coarse {
		return t.Cost * (hashScale / hashCoarse)
	}
	return t.Cost
}

// fresh is a group that has seen nothing (rateinfo_init).
func (t *hashTable) fresh(now time.Time) *hashEntry {
	e := &hashEntry{last: now, expires: now, credit: hashCredit, refills: t.Burst}
	if !t.Bytes {
		e.credit = t.period() * t.Burst
	}
	return e
}

// advance lets time pass for a group (rateinfo_recalc).
func (t *hashTable) advance(e *hashEntry, now time.Time) {
	passed := uint64(max(now.Sub(e.last), 0) / time.Microsecond)
	if passed == 0 {
		return
	}
	if t.RateMatch {
		if interval := uint64(t.Interval) * hashScale; passed >= interval {
			e.last, e.over, e.current = now, e.current*interval > passed*t.rate(), 0
		}
		return
	}
	e.last = now
	switch passed = min(passed, 1<<50); {
	case t.Bytes && passed >= hashScale:
		e.credit = hashCredit
	case t.Bytes:
		e.credit = min(hashCredit, e.credit+hashCredit*passed/hashScale)
	default:
		e.credit = min(t.period()*t.Burst, e.credit+passed)
	}
}

// rate is how many packets or bytes may come in a second.
func (t *hashTable) rate() uint64 {
	if t.Bytes {
		return costToBytes(t.Cost)
	}
	return hashScale / max(t.period(), 1)
}

// below reports whether the group is below the rate with the packet, and takes what that costs.
func (m HashLimit) below(t *hashTable, e *hashEntry, v *rules.Visit) bool {
	if m.RateMatch {
		cost, burst := uint64(1), t.Burst+t.rate()
		if m.Bytes {
			cost, burst = uint64(v.Wire.Len()), max(t.Burst, 1)*t.rate()
		}
		e.current += cost
		return !e.over && e.current <= burst
	}
	cost := t.period()
	if m.Bytes {
		cost = min(hashCredit, uint64(v.Wire.Len()/hashChunk+1)*(t.Cost*hashCredit>>32))
		if e.credit < cost && e.refills > 0 {
			e.refills--
			e.credit = hashCredit
		}
	}
	if e.credit < cost {
		return false
	}
	e.credit -= cost
	return true
}

// Actual tells on which side of the rate the group is.
func (m HashLimit) Actual(*rules.Visit) string {
	if m.Above {
		return "the rate of its group is kept"
	}
	return "the rate of its group is used up"
}
