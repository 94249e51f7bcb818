package ipset

import (
	"maps"
	"slices"
	"time"

	"natlab/nat/rules"
)

// Change does to a set what a rule does (ip_set_add, ip_set_del). It gives the State as it is then: another one, unless
// changes stay in this one.
func (s *State) Change(p *rules.Packet, w rules.Linked, c rules.SetChange, now time.Time) *State {
	if !s.own {
		s = &State{sets: maps.Clone(s.sets), since: s.since, mine: map[string]bool{}, changed: maps.Clone(s.changed)}
		if s.changed == nil {
			s.changed = map[string]int{}
		}
	}
	ch := change{state: s, packet: p, linked: w, SetChange: c, at: now.Sub(s.since)}
	ch.do(c.Set)
	return s
}

// change is a change by one packet.
type change struct {
	state  *State
	packet *rules.Packet
	linked rules.Linked
	rules.SetChange
	at time.Duration
}

// do changes a set; No: nothing has changed, Unknown: nothing is known of it any more.
func (c *change) do(name string) rules.Answer {
	set := c.state.sets[name]
	switch {
	case set == nil || set.Unread != "":
		return c.lose(name, "")
	case !set.takes(c.packet, c.Dims):
		return rules.No
	case set.Type == typeList:
		return c.list(set)
	}
	a, can := set.keyOf(c.packet, c.linked, c.Dims)
	if can == rules.Yes && !c.Delete {
		can = a.framed
	}
	switch can {
	case rules.No:
		return rules.No
	case rules.Unknown:
		return c.lose(name, "a rule has changed it for a packet of which the MAC is not known")
	case rules.Yes:
	}
	for i, at := range set.nets {
		a.addrs[at] = a.addrs[at].shortened(set.longest(i), set.width())
	}
	if c.Delete {
		return c.delete(set, &a)
	}
	return c.add(set, &a)
}

// list adds to the first set of a list:set that takes it, or deletes from the first one that has it. Where that is not known
// of one, it is not known of those behind it.
func (c *change) list(list *Set) rules.Answer {
	open := false
	for _, k := range list.lists {
		if list.expired(list.find(k)[0], c.at) {
			continue
		}
		if open {
			c.lose(k.set, "a rule may have changed it, by the list "+list.Name)
			continue
		}
		switch c.do(k.set) {
		case rules.Yes:
			return rules.Yes
		case rules.Unknown:
			open = true
		case rules.No:
		}
	}
	if open {
		return rules.Unknown
	}
	return rules.No
}

// lose makes a set one of which nothing is known; why is empty for one that was so before.
func (c *change) lose(name, why string) rules.Answer {
	c.state.changed[name]++
	if why != "" {
		set := c.state.writable(name)
		set.Unread = why
	}
	return rules.Unknown
}

func (c *change) delete(set *Set, a *asked) rules.Answer {
	for i, m := range set.find(a.key) {
		if !m.has(a.device) || set.expired(m, c.at) {
			continue
		}
		c.state.writable(set.Name).take(a.key, i)
		return rules.Yes
	}
	return rules.No
}

func (c *change) add(set *Set, a *asked) rules.Answer {
	fresh := member{device: a.device, packets: 1, bytes: uint64(length(c.packet)), left: set.timeout}
	if c.Timeout != nil {
		fresh.left = *c.Timeout
	}
	if fresh.left > 0 {
		fresh.left += c.at
	}
	if set.Type == typeBitmapMAC {
		fresh.mac, fresh.filled = a.from, true
	}
	for i, m := range set.find(a.key) {
		switch {
		case !m.has(a.device):
			continue
		case set.Type == typeBitmapMAC && !m.filled:
			if c.Timeout == nil && m.left > 0 {
				fresh.left = c.at + m.left
			}
		case !c.Exist && !set.expired(m, c.at):
			return rules.No
		}
		fresh.device, fresh.wildcard = m.device, m.wildcard
		*c.state.writable(set.Name).own(a.key)[i] = fresh
		return rules.Yes
	}
	if set.max > 0 && set.count >= set.max {
		switch set.sweep(c); {
		case c.state.sets[set.Name].count < set.max:
		case set.forced:
			return c.lose(set.Name, "a rule has added to it when it was full, and something else has gone from it")
		default:
			return rules.No
		}
	}
	c.state.writable(set.Name).put(a.key, &fresh)
	return rules.Yes
}

// sweep takes out what has timed out.
func (s *Set) sweep(c *change) {
	over := map[key]bool{}
	for k := range s.keys {
		over[k] = slices.ContainsFunc(s.find(k), func(m *member) bool { return s.expired(m, c.at) })
	}
	for k, some := range over {
		if !some {
			continue
		}
		for i, m := range slices.Backward(s.find(k)) {
			if s.expired(m, c.at) {
				c.state.writable(s.Name).take(k, i)
			}
		}
	}
}
