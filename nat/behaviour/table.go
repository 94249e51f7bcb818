package behaviour

import (
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// Table is a NAT's mappings. A mapping lives as long as one of its connections does. It is to be used by one goroutine at a time, the one that uses its connections.
type Table struct {
	nat      NAT
	conns    *conntrack.Table
	mapped   map[key]*mapping
	external map[place]*mapping // the youngest of a place
	hosts    map[netip.Addr]*host
	blocks   map[block]*host
	given    map[place]uint16 // of Sequential, by address and protocol: the last port
	all      []*mapping
	sweep    int       // where the next sweep of all begins
	swept    time.Time // when all were looked at last
	turn     uint32    // of external addresses
}

// key is what one mapping is for.
type key struct {
	proto    nat.Proto
	internal netip.AddrPort
	remote   netip.AddrPort // as far as the mapping hangs on it
	pool     netip.Addr     // the first of the external addresses that the rule has
}

// place is an external endpoint.
type place struct {
	proto nat.Proto
	at    netip.AddrPort
}

// mapping is an internal endpoint's external one.
type mapping struct {
	key
	place place
	dev   string // that its packets leave by; "" where that is not known
	users []user
	prune int      // when there are so many users, the dead ones are taken out
	under *mapping // the older one of the same place (Overload)
	index int      // in Table.all
}

// user is what keeps a mapping alive: a connection, or a packet that was not let go on.
type user struct {
	conn    *conntrack.Conn // nil for none
	remote  netip.AddrPort  // that packets were sent to
	inbound bool            // they were not: it was let in
	until   int64           // nanoseconds of the Unix time; of a connection, by when it has to be confirmed
}

// host is an internal one.
type host struct {
	mappings int
	address  netip.Addr // external, of paired pooling
	blocks   []block
}

// block is ports in a row of an external address.
type block struct {
	addr netip.Addr
	low  uint16
}

// confirmed is how long a connection may take from its first hook to its last.
const confirmed = int64(30 * time.Second)

// New is the Table of a NAT other than Linux's whose connections these are.
func New(n NAT, conns *conntrack.Table) *Table {
	return &Table{
		nat: n, conns: conns, mapped: map[key]*mapping{}, external: map[place]*mapping{}, hosts: map[netip.Addr]*host{}, blocks: map[block]*host{},
		given: map[place]uint16{},
	}
}

// Maps reports whether a protocol's packets are mapped by port or query identifier. Of others the addresses alone are translated, as Linux does.
func (t *Table) Maps(p nat.Proto) bool { return hasPorts(p) || p == nat.ICMP || p == nat.ICMPv6 }

func hasPorts(p nat.Proto) bool {
	return p == nat.TCP || p == nat.UDP || p == nat.UDPLite || p == nat.SCTP
}

// Outbound translates the source of a new connection that leaves by a device, which a rule asks for with a range. false: there is no port left.
func (t *Table) Outbound(c *conntrack.Conn, r *conntrack.Range, dev string, at time.Time) bool {
	now := c.Reply.Reply()
	m := t.of(c, now.Dst(), r, dev, at)
	if m == nil {
		return false
	}
	t.use(m, user{conn: c, remote: now.Dst(), until: at.UnixNano() + confirmed}, at)
	t.conns.Take(c, conntrack.ManipSource, m.place.at)
	return true
}

// Way is what becomes of a packet from outside that opens a connection.
type Way uint8

// The ways.
const (
	Unmapped Way = iota // nobody inside has the endpoint: it is the NAT's own
	Mapped              // it goes to the internal endpoint
	Filtered            // the mapping is not for whoever sent it (RFC 4787, 5)
)

// Inbound translates the destination of a new connection that came in by a device, if that is a mapping's external endpoint. What comes in by another device than
// the mapping's packets leave by is from inside (hairpinning, RFC 4787, 6); it is let in as from its own external endpoint.
func (t *Table) Inbound(c *conntrack.Conn, in string, at time.Time) Way {
	now := c.Reply.Reply()
	m := t.external[place{now.Proto(), now.Dst()}]
	if m == nil || !hasPorts(now.Proto()) || m.internal == now.Dst() || !t.live(m, at) {
		return Unmapped
	}
	src := now.Src()
	if m.outside(in) {
		if t.nat.NoHairpin {
			return Filtered
		}
		own := t.of(c, now.Dst(), poolOf(now.Dst()), m.dev, at)
		if own == nil {
			return Filtered
		}
		t.use(own, user{remote: now.Dst(), until: at.UnixNano() + int64(t.conns.Settings.Timeouts.UDP)}, at)
		src = own.place.at
	}
	if !t.lets(m, src, at) {
		return Filtered
	}
	t.use(m, user{conn: c, remote: src, inbound: true, until: at.UnixNano() + confirmed}, at)
	t.conns.Take(c, conntrack.ManipDestination, m.internal)
	return Mapped
}

// Hairpin translates the source of a connection that Inbound let in from inside, so that the answer comes back; false where it is none, or there is no port left.
func (t *Table) Hairpin(c *conntrack.Conn, in string, at time.Time) bool {
	now, asked := c.Reply.Reply(), c.Original.Dst()
	m := t.external[place{now.Proto(), asked}]
	if m == nil || m.internal != now.Dst() || asked == now.Dst() || !m.outside(in) || !t.live(m, at) {
		return false
	}
	own := t.of(c, asked, poolOf(asked), m.dev, at)
	if own == nil {
		return false
	}
	t.use(own, user{conn: c, remote: asked, until: at.UnixNano() + confirmed}, at)
	t.conns.Take(c, conntrack.ManipSource, own.place.at)
	return true
}

// Adopt notes the mapping of a connection that was there before the Table.
func (t *Table) Adopt(c *conntrack.Conn, at time.Time) {
	if !c.SourceChanged() || !t.Maps(c.Original.Proto()) {
		return
	}
	remote, external := c.Reply.Src(), c.Reply.Dst()
	k := t.keyOf(c, remote, external.Addr())
	m := t.mapped[k]
	if m == nil || m.place.at != external {
		if m != nil {
			t.release(m)
		}
		m = t.add(k, external, c.Out)
	}
	t.use(m, user{conn: c, remote: remote}, at)
}

// outside reports whether a device is known to be another than the mapping's packets leave by.
func (m *mapping) outside(in string) bool { return in != "" && m.dev != "" && in != m.dev }

func poolOf(external netip.AddrPort) *conntrack.Range {
	return &conntrack.Range{Min: external.Addr(), Max: external.Addr()}
}

func (t *Table) keyOf(c *conntrack.Conn, remote netip.AddrPort, pool netip.Addr) key {
	k := key{proto: c.Original.Proto(), internal: c.Original.Src(), pool: pool}
	switch t.nat.Mapping {
	case Own, EndpointIndependent:
	case AddressDependent:
		k.remote = netip.AddrPortFrom(remote.Addr(), 0)
	case AddressAndPortDependent:
		k.remote = remote
	}
	return k
}

// of is the mapping of a connection's source towards a remote endpoint, made where there is none; nil: there is no port left.
func (t *Table) of(c *conntrack.Conn, remote netip.AddrPort, r *conntrack.Range, dev string, at time.Time) *mapping {
	k := t.keyOf(c, remote, r.Min)
	if m := t.mapped[k]; m != nil && t.live(m, at) {
		return m
	}
	t.collect(at)
	external, ok := t.choose(c, k, r, at)
	if !ok && at.Sub(t.swept) >= time.Second { // the dead ones may have what is wanted
		t.swept = at
		for _, m := range slices.Clone(t.all) {
			t.live(m, at)
		}
		external, ok = t.choose(c, k, r, at)
	}
	if !ok {
		return nil
	}
	return t.add(k, external, dev)
}

func (t *Table) add(k key, external netip.AddrPort, dev string) *mapping {
	m := &mapping{key: k, place: place{k.proto, external}, dev: dev, index: len(t.all), prune: 8}
	t.all = append(t.all, m)
	t.mapped[k] = m
	m.under = t.external[m.place]
	t.external[m.place] = m
	h := t.host(k.internal.Addr())
	h.mappings++
	h.address = external.Addr()
	return m
}

func (t *Table) host(a netip.Addr) *host {
	h := t.hosts[a]
	if h == nil {
		h = &host{}
		t.hosts[a] = h
	}
	return h
}

// use keeps a mapping alive.
func (t *Table) use(m *mapping, u user, at time.Time) {
	if len(m.users) >= m.prune {
		t.bury(m, at)
		m.prune = max(8, 2*len(m.users))
	}
	m.users = append(m.users, u)
}

func (t *Table) alive(u *user, at time.Time) bool {
	if u.conn != nil && u.conn.Has(nat.Confirmed) {
		return t.conns.Alive(u.conn)
	}
	return u.until > at.UnixNano() && (u.conn == nil || !u.conn.Has(nat.Dying))
}

func (t *Table) bury(m *mapping, at time.Time) {
	m.users = slices.DeleteFunc(m.users, func(u user) bool { return !t.alive(&u, at) })
}

// live reports whether anything keeps a mapping; one that nothing keeps is no more.
func (t *Table) live(m *mapping, at time.Time) bool {
	for i := range m.users {
		if t.alive(&m.users[i], at) {
			return true
		}
	}
	t.release(m)
	return false
}

// lets reports whether a mapping is for packets of a remote endpoint.
func (t *Table) lets(m *mapping, remote netip.AddrPort, at time.Time) bool {
	if t.nat.Filtering == EndpointIndependent {
		return true
	}
	for i := range m.users {
		u := &m.users[i]
		known := u.remote == remote || t.nat.Filtering == AddressDependent && u.remote.Addr() == remote.Addr()
		if known && !u.inbound && t.alive(u, at) {
			return true
		}
	}
	return false
}

// collect looks at two mappings for dead ones.
func (t *Table) collect(at time.Time) {
	for range min(2, len(t.all)) {
		if t.sweep >= len(t.all) {
			t.sweep = 0
		}
		if t.live(t.all[t.sweep], at) {
			t.sweep++
		}
	}
}

// release forgets a mapping.
func (t *Table) release(m *mapping) {
	last := t.all[len(t.all)-1]
	t.all[m.index], last.index = last, m.index
	t.all = t.all[:len(t.all)-1]
	if t.mapped[m.key] == m {
		delete(t.mapped, m.key)
	}
	if head := t.external[m.place]; head != m {
		for head.under != m {
			head = head.under
		}
		head.under = m.under
	} else if m.under != nil {
		t.external[m.place] = m.under
	} else {
		delete(t.external, m.place)
	}
	h := t.host(m.internal.Addr())
	if h.mappings--; h.mappings == 0 {
		for _, b := range h.blocks {
			delete(t.blocks, b)
		}
		delete(t.hosts, m.internal.Addr())
	}
}
