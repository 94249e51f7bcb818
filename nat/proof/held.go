package proof

import (
	"net/netip"
	"slices"

	"natlab/nat"
)

// Held are the tuples that the nodes' connection tracking entries hold, those of earlier tries and of anybody else's connections. The zero value
// holds none.
//
// A connection whose tuples a node's other entry holds gets another source port there, though no rule says so (get_unique_tuple, nf_nat_core.c): a
// masquerade that drew the port of an earlier client of the node is met by that client's entry in the node of the endpoint. A client of the node that gets the port that a
// masquerade drew looks there like the other connection, too, whose entry may be told of late.
type Held struct {
	by      map[holding]*nat.Conn
	answers map[nat.Tuple]*nat.Conn // of entries that translate, by the tuple of what comes back
}

// holding is a tuple in a node, of either direction of an entry.
type holding struct {
	node  string
	tuple nat.Tuple
}

// Learn adds the entries that were seen.
func (h *Held) Learn(seen []Observation) {
	if h.by == nil {
		h.by, h.answers = map[holding]*nat.Conn{}, map[nat.Tuple]*nat.Conn{}
	}
	for i := range seen { // which are large
		o := &seen[i]
		if o.Kind != ConnSeen || o.Gone {
			continue
		}
		conn := o.Conn
		if conn.Reply != conn.Original.Reply() {
			h.answers[conn.Reply] = &conn
		}
		for _, t := range []nat.Tuple{conn.Original, conn.Reply} {
			if was := h.by[holding{conn.Node, t}]; was == nil || was.ID != conn.ID {
				h.by[holding{conn.Node, t}] = &conn
			}
		}
	}
}

// Forget takes away the entries that were seen to go.
func (h *Held) Forget(seen []Observation) {
	for i := range seen {
		o := &seen[i]
		if o.Kind != ConnSeen || !o.Gone {
			continue
		}
		if is := h.answers[o.Conn.Reply]; is != nil && is.ID == o.Conn.ID && is.Node == o.Conn.Node {
			delete(h.answers, o.Conn.Reply)
		}
		for _, t := range []nat.Tuple{o.Conn.Original, o.Conn.Reply} {
			if is := h.by[holding{o.Conn.Node, t}]; is != nil && is.ID == o.Conn.ID {
				delete(h.by, holding{o.Conn.Node, t})
			}
		}
	}
}

// Of lists the entries that stood in the way of those that were seen, or may be whose these are, in the order of these.
func (h *Held) Of(seen []Observation) []nat.Conn {
	var out []nat.Conn
	add := func(by *nat.Conn) {
		if !slices.Contains(out, *by) {
			out = append(out, *by)
		}
	}
	for i := range seen {
		o := &seen[i]
		if o.Kind != ConnSeen || o.Gone {
			continue
		}
		if wanted, other := unclashed(o.Conn); other {
			if by := h.by[holding{o.Conn.Node, wanted}]; by != nil && by.ID != o.Conn.ID {
				add(by)
			}
		}
		if by := h.answers[o.Conn.Original.Reply()]; by != nil && madeBy(o.Conn, *by) {
			add(by)
		}
	}
	return out
}

// unclashed is what the answers to an entry would be if it had kept its client's port; other: it did not.
func unclashed(c nat.Conn) (wanted nat.Tuple, other bool) {
	if p := c.Original.Proto(); p != nat.TCP && p != nat.UDP && p != nat.UDPLite && p != nat.SCTP && p != nat.DCCP {
		return nat.Tuple{}, false
	}
	to, port := c.Reply.Dst(), c.Original.Src().Port()
	return c.Reply.WithDst(netip.AddrPortFrom(to.Addr(), port)), to.Port() != port
}

// madeBy reports whether an entry may be that of a packet which another node's entry translated.
func madeBy(c, by nat.Conn) bool {
	return by.Node != c.Node && by.Reply == c.Original.Reply() && by.Original != c.Original
}

// Displace marks as mixed the tries one of whose entries had to get another port because another connection's had its tuple, or may be another connection's.
func Displace(tries []Seen, holders []nat.Conn) {
	for i := range tries {
		own := tries[i].Conns
		if slices.ContainsFunc(own, func(c nat.Conn) bool {
			wanted, other := unclashed(c)
			return slices.ContainsFunc(holders, func(by nat.Conn) bool {
				if madeBy(c, by) {
					return !slices.ContainsFunc(own, func(o nat.Conn) bool { return o.Node == by.Node && o.Original == by.Original })
				}
				return other && by.Node == c.Node && by.ID != c.ID && (by.Original == wanted || by.Reply == wanted)
			})
		}) {
			tries[i].Mixed = true
		}
	}
}
