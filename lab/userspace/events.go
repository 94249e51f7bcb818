package userspace

import (
	"maps"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// Events gets what happens to a Gateway's connections, as ctnetlink tells it of a kernel's. Several may be at one Gateway.
type Events struct {
	g       *Gateway
	told    map[*conntrack.Conn]entry // the Gateway is locked, here and below
	waiting []nat.Event
	lost    uint64
	some    chan struct{} // has one while something waits
}

// expired is how often is looked for connections whose time is over while nothing else happens.
const expired = 200 * time.Millisecond

// Events begins to note what happens. Of connections that are there already it tells only what happens to them from now on.
func (g *Gateway) Events() *Events {
	e := &Events{g: g, told: map[*conntrack.Conn]entry{}, some: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	for f := range g.families {
		for _, c := range g.conns(nat.Family(f)) {
			e.told[c] = entryNow(c)
		}
	}
	g.events = append(g.events, e)
	return e
}

// Close ends it. A second Close does nothing.
func (e *Events) Close() {
	e.g.mu.Lock()
	defer e.g.mu.Unlock()
	e.g.events = slices.DeleteFunc(e.g.events, func(o *Events) bool { return o == e })
}

// Read returns what happened since the last Read, and how much was lost since Events; it waits for some until the Gateway ends, or so
// long.
func (e *Events) Read(wait time.Duration) (seen []nat.Event, lost uint64) {
	end := time.After(wait)
	look := time.NewTicker(expired)
	defer look.Stop()
	for {
		if seen, lost = e.take(); len(seen) > 0 {
			return seen, lost
		}
		select {
		case <-e.some:
		case <-look.C:
		case <-end:
			return nil, lost
		case <-e.g.stopping:
			return nil, lost
		case <-e.g.finished:
			return nil, lost
		}
	}
}

func (e *Events) take() (seen []nat.Event, lost uint64) {
	e.g.mu.Lock()
	defer e.g.mu.Unlock()
	for _, one := range e.g.families {
		if one != nil {
			one.Conns().Advance(time.Now())
		}
	}
	gone := slices.Collect(maps.Keys(e.told))
	gone = slices.DeleteFunc(gone, func(c *conntrack.Conn) bool {
		return e.g.families[nat.FamilyOf(c.Original.Src().Addr())].Conns().Alive(c)
	})
	slices.SortFunc(gone, func(a, b *conntrack.Conn) int { return strings.Compare(a.Original.String(), b.Original.String()) })
	for _, c := range gone {
		e.ended(c)
	}
	seen, e.waiting = e.waiting, nil
	return seen, e.lost
}

// entryNow is what is told of a connection when it changes.
func entryNow(c *conntrack.Conn) entry {
	return entry{state: c.State(), status: c.Status & (nat.SeenReply | nat.Assured), mark: c.Mark}
}

// tellEvents notes what a packet did to its connection. The Gateway is locked.
func (g *Gateway) tellEvents(c *conntrack.Conn, now time.Time) {
	if c == nil || len(g.events) == 0 || !c.Has(nat.Confirmed) {
		return
	}
	for _, e := range g.events {
		was, known := e.told[c]
		is := entryNow(c)
		switch {
		case c.Has(nat.Dying):
			if known {
				e.ended(c)
			}
		case !known:
			e.told[c] = is
			e.add(nat.Event{Kind: nat.New, Entry: c.Entry(now)})
		case was != is:
			e.told[c] = is
			one := nat.Event{Kind: nat.Updated, Entry: c.Entry(now)}
			if was.state == is.state {
				one.State = ""
			}
			e.add(one)
		}
	}
}

// ended tells of a connection that is no more.
func (e *Events) ended(c *conntrack.Conn) {
	delete(e.told, c)
	one := nat.Event{Kind: nat.Destroyed, Entry: c.Entry(time.Now())}
	one.Seconds = 0
	e.add(one)
}

func (e *Events) add(one nat.Event) {
	one.Node = e.g.options.Node
	if len(e.waiting) >= mostSeen {
		e.lost++
		return
	}
	e.waiting = append(e.waiting, one)
	select {
	case e.some <- struct{}{}:
	default:
	}
}
