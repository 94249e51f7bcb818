package ipset

import (
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// question is a query at one packet.
type question struct {
	state  *State
	packet *rules.Packet
	linked rules.Linked
	rules.SetQuery
	at      time.Duration // since the State's beginning
	compare bool          // the counters are asked for
	info    rules.SetInfo
}

// Ask tells whether a set has a packet (ip_set_test).
func (s *State) Ask(p *rules.Packet, w rules.Linked, q rules.SetQuery, now time.Time) rules.SetAnswer {
	asking := question{
		state: s, packet: p, linked: w, SetQuery: q, at: now.Sub(s.since),
		compare: q.Packets.Compare != rules.SetAny || q.Bytes.Compare != rules.SetAny,
	}
	answer := asking.ask(q.Set)
	return rules.SetAnswer{Answer: answer, Info: asking.info, Changed: s.changed[q.Set]}
}

func (q *question) ask(name string) rules.Answer {
	set := q.state.sets[name]
	switch {
	case set == nil || set.Unread != "":
		return rules.Unknown
	case !set.takes(q.packet, q.Dims):
		return rules.No
	case set.Type == typeList:
		return q.list(set)
	}
	a, can := set.keyOf(q.packet, q.linked, q.Dims)
	switch {
	case can == rules.No || set.count == 0:
		return rules.No
	case can == rules.Unknown:
		return rules.Unknown
	}
	answer, noMatch := q.search(set, &a)
	if answer != rules.Yes {
		return answer
	}
	return rules.Is(noMatch == (q.NoMatch && len(set.nets) > 0), false)
}

// takes reports whether a rule names as many dimensions as the set has, and the packet is of its family.
func (s *Set) takes(p *rules.Packet, d rules.SetDims) bool {
	return int(d.Count) >= len(s.parts) && (s.mixed || (s.family == nat.IPv6) == p.Tuple.Src().Addr().Is6())
}

// list asks the sets of a list:set (list_set_ktest).
func (q *question) list(list *Set) rules.Answer {
	sub := *q
	sub.compare = false
	sub.KeepCounters = q.KeepCounters || q.KeepSubCounters
	open := false
	for _, k := range list.lists {
		m := list.find(k)[0]
		if list.expired(m, q.at) {
			continue
		}
		switch sub.ask(k.set) {
		case rules.Unknown:
			open = true
			continue
		case rules.No:
			continue
		case rules.Yes:
		}
		answer := q.extensions(list, k, 0)
		if answer == rules.No {
			continue
		}
		if q.info = sub.info; list.marked {
			q.info = m.info
		}
		if open && q.Info {
			return rules.Unknown
		}
		return answer
	}
	if open {
		return rules.Unknown
	}
	return rules.No
}

// search finds the member that the packet is, of networks the one of the longest of them (mtype_test_cidrs).
func (q *question) search(set *Set, a *asked) (found rules.Answer, noMatch bool) {
	nets := set.nets
	if len(nets) == 0 {
		found, noMatch, _ = q.bucket(set, a)
		return found, noMatch
	}
	host := a.addrs
	for first := set.width(); first >= 0; first-- {
		if set.lengths[0][first] == 0 {
			continue
		}
		a.addrs = host
		a.addrs[nets[0]] = host[nets[0]].shortened(first, set.width())
		if len(nets) == 1 {
			if found, noMatch, others := q.bucket(set, a); found != rules.No || others {
				return found, noMatch
			}
			continue
		}
		for second := set.width(); second >= 0; second-- {
			if set.lengths[1][second] == 0 {
				continue
			}
			a.addrs[nets[1]] = host[nets[1]].shortened(second, set.width())
			if found, noMatch, _ := q.bucket(set, a); found != rules.No {
				return found, noMatch
			}
		}
	}
	return rules.No, false
}

// shortened is the network of that length that an address is in.
func (n network) shortened(bits, width int) network {
	at := 128 - width + bits
	for i := range n.addr {
		switch left := at - 8*i; {
		case left <= 0:
			n.addr[i] = 0
		case left < 8:
			n.addr[i] &= 0xff << (8 - left)
		}
	}
	n.bits = uint8(bits)
	return n
}

// bucket asks the members of one key. Others: there are such of other devices: then shorter networks are not looked
// at.
func (q *question) bucket(set *Set, a *asked) (found rules.Answer, noMatch, others bool) {
	for i, m := range set.find(a.key) {
		if set.Type == typeNetDevice && !m.has(a.device) {
			others = true
			continue
		}
		answer := q.member(set, a, i, m)
		if answer != rules.No {
			return answer, m.noMatch, false
		}
		others = false
	}
	return rules.No, false, others
}

func (q *question) member(set *Set, a *asked, i int, m *member) rules.Answer {
	if set.Type == typeBitmapMAC {
		switch {
		case !m.filled: // it is completed (-EAGAIN)
			if q.state.own && a.framed == rules.Yes {
				own := q.state.writable(set.Name).own(a.key)[i]
				own.mac, own.filled = a.from, true
				if own.left > 0 {
					own.left += q.at
				}
			}
			return rules.Yes
		case set.expired(m, q.at):
			return rules.No
		case a.framed == rules.Unknown:
			return rules.Unknown
		case a.from != m.mac:
			return rules.No
		}
	}
	if set.expired(m, q.at) {
		return rules.No
	}
	answer := q.extensions(set, a.key, i)
	if answer == rules.Yes {
		q.info = m.info
	}
	return answer
}

// expired reports whether a member's time is over. That of one that waits for its MAC has not begun.
func (s *Set) expired(m *member, at time.Duration) bool {
	return s.timed && m.left > 0 && m.left <= at && (s.Type != typeBitmapMAC || m.filled)
}

// extensions counts the packet, and compares the counters then (ip_set_match_extensions).
func (q *question) extensions(set *Set, k key, i int) rules.Answer {
	switch {
	case !set.counted:
		return rules.Yes
	case !q.state.own && q.compare:
		return rules.Unknown
	case !q.state.own:
		return rules.Yes
	}
	m := q.state.writable(set.Name).own(k)[i]
	if !q.KeepCounters {
		m.packets++
		m.bytes += uint64(length(q.packet))
	}
	return rules.Is(!q.compare || q.Packets.Holds(m.packets) && q.Bytes.Holds(m.bytes), false)
}

func length(p *rules.Packet) int {
	if p.Wire == nil {
		return 0
	}
	return p.Wire.Len()
}
