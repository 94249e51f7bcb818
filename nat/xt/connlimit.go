package xt

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// ConnLimit is -m connlimit: how many connections there are from or to one network (xt_connlimit.c, nf_conncount.c).
type ConnLimit struct {
	UpTo  bool   // --connlimit-upto; else --connlimit-above
	Count uint32 //
	Mask  uint8  // a prefix length
	Dest  bool   // --connlimit-daddr
}

var connLimitRow = Extension{
	Name: "connlimit",
	Options: []Option{
		{Name: "--connlimit-upto", Values: 1, Not: true},
		{Name: "--connlimit-above", Values: 1, Not: true},
		{Name: "--connlimit-mask", Values: 1},
		{Name: "--connlimit-saddr"},
		{Name: "--connlimit-daddr"},
	},
	Examples: []string{"--connlimit-upto 2 --connlimit-mask 24 --connlimit-saddr", "--connlimit-above 10 --connlimit-mask 32 --connlimit-daddr"},
	Parse:    parseConnLimit,
	Listed:   listedConnLimit,
	// struct xt_connlimit_info { union nf_inet_addr mask; unsigned int limit; __u32 flags; struct xt_connlimit_data *data; }
	Layouts:   layouts(layout(1, 32, decodeConnLimit, encodeConnLimit)),
	Tracks:    true,
	Remembers: true,
}

func parseConnLimit(a *Args) Value {
	m := ConnLimit{Mask: uint8(widthOf(a.Family))}
	a.Once()
	a.Need("--connlimit-upto", "--connlimit-above")
	a.Exclusive("--connlimit-upto", "--connlimit-above")
	a.Exclusive("--connlimit-saddr", "--connlimit-daddr")
	for g := range a.Options {
		switch g.Name() {
		case "--connlimit-upto", "--connlimit-above":
			m.UpTo, m.Count = (g.Name() == "--connlimit-upto") != g.Not, uint32(g.Uint(32))
		case "--connlimit-mask":
			m.Mask = uint8(g.maskLength(g.Text()))
		case "--connlimit-saddr", "--connlimit-daddr":
			m.Dest = g.Name() == "--connlimit-daddr"
		}
	}
	return m
}

// widthOf is the number of bits in an address of the family.
func widthOf(f nat.Family) int {
	if f == nat.IPv6 {
		return 128
	}
	return 32
}

// Bits of xt_connlimit_info.flags.
const (
	connLimitInvert = 1 << 0 // XT_CONNLIMIT_INVERT
	connLimitDest   = 1 << 1 // XT_CONNLIMIT_DADDR
)

func decodeConnLimit(d []byte, e *Env) (ConnLimit, bool) {
	bits, ok := MaskBits(inetAddr(e.Family, d))
	flags := order.Uint32(d[20:])
	return ConnLimit{
		UpTo: flags&connLimitInvert != 0, Count: order.Uint32(d[16:]), Mask: uint8(bits), Dest: flags&connLimitDest != 0,
	}, ok && flags&^(connLimitInvert|connLimitDest) == 0
}

func encodeConnLimit(m ConnLimit, d []byte, e *Env) error {
	PutMask(d[:widthOf(e.Family)/8], int(m.Mask))
	order.PutUint32(d[16:], m.Count)
	order.PutUint32(d[20:], uint32(flagByte(m.UpTo))*connLimitInvert|uint32(flagByte(m.Dest))*connLimitDest)
	return nil
}

// Name is "connlimit".
func (ConnLimit) Name() string { return "connlimit" }

// Save prints the limit, the mask and the side.
func (m ConnLimit) Save(p *Printer) {
	p.Textf(" --connlimit-%s %d --connlimit-mask %d --connlimit-%saddr",
		map[bool]string{false: "above", true: "upto"}[m.UpTo], m.Count, m.Mask, map[bool]string{false: "s", true: "d"}[m.Dest])
}

// List prints the limit as iptables -L does.
func (m ConnLimit) List(p *Printer) {
	p.Textf(" #conn %s/%d %s %d", map[bool]string{false: "src", true: "dst"}[m.Dest], m.Mask, map[bool]string{false: ">", true: "<="}[m.UpTo], m.Count)
}

func listedConnLimit(l *Listing) bool {
	if !l.Take("#conn ") {
		return false
	}
	side, mask, _ := strings.Cut(l.Word(), "/")
	l.Give(map[string]string{"src": "--connlimit-saddr", "dst": "--connlimit-daddr"}[side], false)
	l.Give("--connlimit-mask", false, mask)
	l.Give(map[string]string{">": "--connlimit-above", "<=": "--connlimit-upto"}[l.Word()], false, l.Word())
	return true
}

// counted is a connection that a connlimit has seen, by its original tuple.
type counted struct {
	tuple nat.Tuple
	zone  nat.Zone
	maybe bool // not every kernel counts it, or not at every moment
}

// is reports whether both are one connection.
func (c counted) is(other counted) bool { return c.tuple == other.tuple && c.zone == other.zone }

// connCount are the connections of a network that are believed to be there, and when they were last looked through.
type connCount struct {
	list []counted
	at   time.Time
}

// bounds are how many there are, at the least and at the most.
func (c *connCount) bounds() (low, high int) {
	for _, one := range c.list {
		if !one.maybe {
			low++
		}
	}
	return low, len(c.list)
}

// connCounts is what one connlimit has counted.
type connCounts map[connKey]*connCount

// connKey is what connections are counted by.
type connKey struct {
	network netip.Prefix
	zone    uint16
}

// connCountSweep is how many connections that are gone one packet can remove, at the least (CONNCOUNT_GC_MAX_NODES, which is exceeded by
// one); after that nothing more is looked at. Since Linux 6.19 it is more.
const connCountSweep = 9

// connCountPause is how long the kernel may not look for what is gone, after it has done so: a jiffy of the longest kind (last_gc, since Linux
// 5.19). A packet of a connection that is counted already is counted once more meanwhile.
const connCountPause = 10 * time.Millisecond

// Holds counts the connection of the packet among those that the rule has seen before. Where it depends on the kernel or on the moment how
// many there are, and that decides, it is not known.
func (m ConnLimit) Holds(v *rules.Visit) rules.Answer {
	count, this, ok := m.counts(v)
	if !ok {
		return rules.Unknown
	}
	this.count(count, v)
	low, high := count.bounds()
	if above := uint32(low) > m.Count; above == (uint32(high) > m.Count) {
		return rules.Is(above, m.UpTo)
	}
	return rules.Unknown
}

// counts is what the rule has counted of the packet's network, and its connection; false where that is not known.
func (m ConnLimit) counts(v *rules.Visit) (count *connCount, this counted, ok bool) {
	w, remembers := v.World.(rules.Rememberer)
	holder, holds := v.World.(rules.ConnHolder)
	if !remembers || !holds || w.Memory() == nil {
		return nil, this, false
	}
	addr := v.Tuple.Src().Addr()
	this.tuple = keyOf(v.Packet)
	if m.Dest {
		addr = v.Tuple.Dst().Addr()
	}
	conn, there := holder.Conn()
	if there {
		this.tuple, this.zone = conn.Original, conn.Zone
	} else {
		conn, there = holder.Find(this.tuple, this.zone)
	}
	network, err := addr.Prefix(int(m.Mask))
	if err != nil {
		return nil, this, false
	}
	counts := *rules.Recall(w.Memory(), v.At, func() connCounts { return connCounts{} })
	key := connKey{network, this.zone.ID}
	if counts[key] == nil {
		counts[key] = &connCount{}
	}
	// One that is confirmed is counted before Linux 6.19 alone, or if it is the network's first.
	this.maybe = there && conn.Status&nat.Confirmed != 0 && len(counts[key].list) > 0
	return counts[key], this, true
}

// count adds the connection, and takes out those that are gone or closed, as far as it is looked at them (__nf_conncount_add).
func (c counted) count(to *connCount, v *rules.Visit) {
	now, holder := v.World.(rules.Rememberer).Now(), v.World.(rules.ConnHolder)
	pauses := now.Sub(to.at) < connCountPause
	left, gone, found := to.list[:0:0], 0, false
	for _, other := range to.list {
		conn, there := holder.Find(other.tuple, other.zone)
		switch alive := there && !conn.Closed; {
		case !found && gone < connCountSweep && there && c.is(other):
			found = true
		case alive:
		case found || gone == connCountSweep || pauses:
			other.maybe = true
		default:
			gone++
			continue
		}
		left = append(left, other)
	}
	if found {
		c.maybe = true
	}
	if !found || pauses {
		left = append(left, c)
	}
	to.list, to.at = left, now
}

// keyOf is a packet's tuple as conntrack keeps it: an ICMP packet's type and code are its destination port.
func keyOf(p *rules.Packet) nat.Tuple {
	if proto := p.Tuple.Proto(); proto != nat.ICMP && proto != nat.ICMPv6 {
		return p.Tuple
	}
	return p.Tuple.WithDst(netip.AddrPortFrom(p.Tuple.Dst().Addr(), uint16(p.ICMPType)<<8|uint16(p.ICMPCode)))
}

// Actual is the number of connections.
func (m ConnLimit) Actual(v *rules.Visit) string {
	count, _, ok := m.counts(v)
	if !ok {
		return "it is not known how many connections there are of that network"
	}
	low, high := count.bounds()
	if low != high {
		return fmt.Sprintf("%d to %d connections of that network", low, high)
	}
	return fmt.Sprintf("%d connections of that network", low)
}
