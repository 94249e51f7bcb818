package conntrack

import (
	"time"

	"natlab/nat"
)

// Chance is where random port numbers come from.
type Chance interface{ Uint32() uint32 }

// Table is a node's connections, found by either tuple. The zero Table is empty and ready; it has no limit and its
// settings are all off, so that connections in it never expire unless Settings are set. It is to be used by one
// goroutine at a time.
type Table struct {
	Settings Settings
	Chance   Chance // nil: port searches begin at the lowest port
	Stats    Stats

	now      int64
	dir      nat.Direction // of the packet that is being tracked
	length   int           // of that packet
	seed     uint64        // of hashes; 0: none yet
	byTuple  index         // both directions of each connection
	bySource index         // the latest connection of each source
	first    *Conn         // in the order of confirmation
	last     *Conn
	sweep    *Conn // where the next sweep for expired connections begins
	count    int
}

// Stats counts what `conntrack -S` counts, by its names.
type Stats struct {
	InsertFailed uint64 // insert_failed
	Drop         uint64 // drop
	EarlyDrop    uint64 // early_drop
	ClashResolve uint64 // clash_resolve
}

// Advance sets the time. It never goes back.
func (t *Table) Advance(at time.Time) {
	if at.IsZero() {
		return
	}
	t.now = max(t.now, at.UnixNano())
}

// Lookup finds the connection of the default zone that a packet of this tuple belongs to, and its direction; nil where there is none.
// kind and code are an ICMP packet's type and code, which are a part of its tuple, and 0 for any other.
func (t *Table) Lookup(tuple nat.Tuple, kind, code uint8) (*Conn, nat.Direction) {
	return t.find(keyOf(t.Settings.Read(tuple), kind, code), nat.Zone{})
}

// Find is the connection of which one tuple is this key (Conn.Key), in a zone.
func (t *Table) Find(key nat.Tuple, z nat.Zone) (*Conn, nat.Direction) { return t.find(key, z) }

// find is Lookup by key, in a zone (nf_ct_key_equal). A connection that expired is removed on the way (nf_ct_gc_expired).
func (t *Table) find(k nat.Tuple, z nat.Zone) (*Conn, nat.Direction) {
	return t.findAt(t.hash(k), &k, z)
}

// findAt is find of a key with its hash.
func (t *Table) findAt(hash uint32, k *nat.Tuple, z nat.Zone) (*Conn, nat.Direction) {
	s := t.byTuple.find(hash, func(c *Conn, d nat.Direction) bool { return c.isKey(d, k) && c.Zone.In(d) == z.In(d) })
	if s == nil {
		return nil, nat.Original
	}
	if t.expired(s.conn) {
		t.Delete(s.conn)
		return nil, nat.Original
	}
	return s.conn, s.dir
}

func (t *Table) expired(c *Conn) bool { return c.expires != 0 && c.expires <= t.now && !c.held }

// New is a connection of which this is the first packet (init_conntrack). It is not in the table before Confirm.
func New(tuple nat.Tuple) *Conn { return &Conn{Original: tuple, Reply: tuple.Reply()} }

// Confirm puts a connection into the table when its first packet leaves the node or reaches a socket
// (__nf_conntrack_confirm). It reports false for a clash: another connection has one of the tuples already. What the
// kernel does then is Resolve's.
func (t *Table) Confirm(c *Conn) bool {
	if c.Has(nat.Confirmed) {
		return true
	}
	original, reply := c.keyIn(nat.Original), c.keyIn(nat.Reply)
	there, back := t.hash(original), t.hash(reply)
	if t.taken(there, &original, c) || t.taken(back, &reply, c) {
		return false
	}
	if original != reply { // the reply is found first, where both are the same
		t.byTuple.add(slot{c, there, nat.Original})
	}
	t.byTuple.add(slot{c, back, nat.Reply})
	t.list(c)
	t.collect()
	return true
}

func (t *Table) taken(hash uint32, k *nat.Tuple, by *Conn) bool {
	c, _ := t.findAt(hash, k, by.Zone)
	return c != nil && c != by
}

// list makes a connection the last of all.
func (t *Table) list(c *Conn) {
	c.Set(nat.Confirmed)
	if c.expires != 0 {
		c.expires += t.now
	}
	c.prev, c.next, c.inTable = t.last, nil, true
	if t.last != nil {
		t.last.next = c
	} else {
		t.first = c
	}
	t.last = c
	t.count++
}

// Resolve is what the kernel does with a packet whose connection clashes at its confirmation (nf_ct_resolve_clash): for
// UDP and protocols without a handler the packet joins the connection that is there, where both are the same or that
// one has no NAT; else, where only the original tuple is taken, the new connection is inserted for one second under its
// reply tuple alone. The verdict is Drop where neither is possible.
func (t *Table) Resolve(r *Ref) nat.Verdict {
	c := r.Conn
	original, reply := c.keyIn(nat.Original), c.keyIn(nat.Reply)
	other, _ := t.find(original, c.Zone)
	if other == nil || other == c {
		other, _ = t.find(reply, c.Zone)
	}
	if other == nil || other == c || !t.allowsClash(c.Original.Proto()) {
		return t.failed()
	}
	if t.join(r, other) {
		return nat.Accept
	}
	if other, _ = t.find(reply, c.Zone); other != nil && other != c {
		if t.join(r, other) {
			return nat.Accept
		}
		return t.failed()
	}
	c.expires = int64(time.Second)
	c.Set(nat.FixedTimeout | nat.NATClash)
	t.byTuple.add(slot{c, t.hash(reply), nat.Reply})
	t.list(c)
	t.Stats.ClashResolve++
	return nat.Accept
}

func (t *Table) failed() nat.Verdict {
	t.Stats.Drop++
	t.Stats.InsertFailed++
	return nat.Drop
}

// join gives the packet the connection that won (__nf_ct_resolve_clash).
func (t *Table) join(r *Ref, winner *Conn) bool {
	if winner.Has(nat.Dying) {
		return false
	}
	same := winner.Original == r.Conn.Original && winner.Reply == r.Conn.Reply
	if !same && winner.Status&(nat.SrcNATDone|nat.DstNATDone) != 0 {
		return false
	}
	r.Conn = winner
	t.Stats.ClashResolve++
	return true
}

// allowsClash reports whether a protocol's clashes can be resolved (nf_conntrack_l4proto.allow_clash): those of UDP and of
// protocols without a handler (of these as of Linux 7.0, and in the newest releases of all longterm series), of GRE as of
// nat.GREClash, of ICMP as of nat.ICMPClash.
func (t *Table) allowsClash(p nat.Proto) bool {
	switch p {
	case nat.TCP, nat.SCTP:
		return false
	case nat.DCCP:
		return t.Settings.Kernel.Has(nat.DCCPForgotten)
	case nat.GRE:
		return t.Settings.Kernel.Has(nat.GREClash)
	case nat.ICMP, nat.ICMPv6:
		return t.Settings.Kernel.Has(nat.ICMPClash)
	}
	return true
}

// Delete forgets a connection; one that is not in the table is only marked (nf_ct_delete).
func (t *Table) Delete(c *Conn) {
	c.Set(nat.Dying)
	if !c.inTable {
		return
	}
	for _, d := range [...]nat.Direction{nat.Original, nat.Reply} {
		t.byTuple.remove(t.hash(c.keyIn(d)), c, d)
	}
	t.unsource(c)
	if t.sweep == c {
		t.sweep = c.next
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		t.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		t.last = c.prev
	}
	c.next, c.prev, c.inTable = nil, nil, false
	t.count--
}

// collect looks at two connections for expired ones, so that those of which nothing is heard again do not stay; with every
// connection that comes, its round gets shorter by one.
func (t *Table) collect() {
	for range 2 {
		if t.sweep == nil {
			t.sweep = t.first
		}
		c := t.sweep
		if c == nil {
			return
		}
		t.sweep = c.next
		if t.expired(c) {
			t.Delete(c)
		}
	}
}

// earlyDrop makes room in a full table: it throws out the oldest of the connections that it looks at that is not
// ASSURED (early_drop). The kernel looks at eight hash buckets near the new one's; which those are is chance.
func (t *Table) earlyDrop() bool {
	const look = 64
	n := 0
	for c := t.first; c != nil && n < look; n++ {
		next := c.next
		if t.expired(c) {
			t.Delete(c)
			return true
		}
		if !c.Has(nat.Assured) {
			t.Delete(c)
			t.Stats.EarlyDrop++
			return true
		}
		c = next
	}
	return false
}

// Alive reports whether a connection is in the table and has not expired.
func (t *Table) Alive(c *Conn) bool { return c.inTable && !t.expired(c) }

// Len is how many connections there are.
func (t *Table) Len() int { return t.count }

// Conns lists the connections in the order in which they were confirmed, without those that expired.
func (t *Table) Conns() []*Conn {
	out := make([]*Conn, 0, t.count)
	for c := t.first; c != nil; c = c.next {
		if !t.expired(c) {
			out = append(out, c)
		}
	}
	return out
}

// Flush forgets all connections.
func (t *Table) Flush() {
	for t.first != nil {
		t.Delete(t.first)
	}
}
