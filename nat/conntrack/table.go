package conntrack

import (
	"natlab/nat"
)

// Table is a node's connections, found by either tuple. The zero Table is empty and ready.
type Table struct {
	conns []*Conn // confirmed, in the order of confirmation
	index map[nat.Tuple]entry
}

type entry struct {
	conn *Conn
	dir  nat.Direction
}

// Lookup finds the connection that a packet of this tuple belongs to, and its direction; nil where there is none.
func (t *Table) Lookup(tuple nat.Tuple) (*Conn, nat.Direction) {
	e := t.index[tuple]
	return e.conn, e.dir
}

// New is a connection of which this is the first packet (init_conntrack). It is not in the table before Confirm.
func New(tuple nat.Tuple) *Conn { return &Conn{Original: tuple, Reply: tuple.Reply()} }

// Confirm puts a connection into the table when its first packet leaves the node or reaches a socket
// (__nf_conntrack_confirm). It reports false for a clash: another connection has one of the tuples already.
func (t *Table) Confirm(c *Conn) bool {
	if c.Has(Confirmed) {
		return true
	}
	if t.taken(c.Original, c) || t.taken(c.Reply, c) {
		return false
	}
	if t.index == nil {
		t.index = make(map[nat.Tuple]entry, 4)
	}
	c.Set(Confirmed)
	t.index[c.Original] = entry{c, nat.Original}
	if _, own := t.index[c.Reply]; !own {
		t.index[c.Reply] = entry{c, nat.Reply}
	}
	t.conns = append(t.conns, c)
	return true
}

func (t *Table) taken(tuple nat.Tuple, by *Conn) bool {
	e, ok := t.index[tuple]
	return ok && e.conn != by
}

// Conns lists the connections in the order in which they were confirmed.
func (t *Table) Conns() []*Conn { return t.conns }
