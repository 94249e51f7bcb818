package xt

import (
	"fmt"
	"net/netip"
	"strings"

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
}

// connCounts is what one connlimit has counted: by network and zone, the connections that it saw and believes to be there.
type connCounts map[netip.Prefix]map[uint16][]counted

// connCountSweep is how many connections that are gone one packet can remove (CONNCOUNT_GC_MAX_NODES, which is exceeded by
// one); after that nothing more is looked at.
const connCountSweep = 9

// Holds counts the connection of the packet among those that the rule has seen before.
func (m ConnLimit) Holds(v *rules.Visit) rules.Answer {
	n, ok := m.count(v)
	if !ok {
		return rules.Unknown
	}
	return rules.Is(uint32(n) > m.Count, m.UpTo)
}

func (m ConnLimit) count(v *rules.Visit) (n int, ok bool) {
	w, remembers := v.World.(rules.Rememberer)
	holder, holds := v.World.(rules.ConnHolder)
	if !remembers || !holds || w.Memory() == nil {
		return 0, false
	}
	addr, this := v.Tuple.Src().Addr(), counted{tuple: keyOf(v.Packet)}
	if m.Dest {
		addr = v.Tuple.Dst().Addr()
	}
	if c, there := holder.Conn(); there {
		this = counted{c.Original, c.Zone}
	}
	network, err := addr.Prefix(int(m.Mask))
	if err != nil {
		return 0, false
	}
	counts := *rules.Recall(w.Memory(), v.At, func() connCounts { return connCounts{} })
	if counts[network] == nil {
		counts[network] = map[uint16][]counted{}
	}
	seen := this.among(counts[network][this.zone.ID], holder)
	counts[network][this.zone.ID] = seen
	return len(seen), true
}

// among is a list with the connection in it, without those that are gone or closed, as far as it is looked at
// (__nf_conncount_add).
func (c counted) among(list []counted, holder rules.ConnHolder) []counted {
	left, gone := list[:0:0], 0
	for i, other := range list {
		if gone == connCountSweep {
			return append(append(left, list[i:]...), c)
		}
		conn, there := holder.Find(other.tuple, other.zone)
		switch {
		case there && other == c:
			return append(left, list[i:]...)
		case there && !conn.Closed:
			left = append(left, other)
		default:
			gone++
		}
	}
	return append(left, c)
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
	n, _ := m.count(v)
	return fmt.Sprintf("%d connections of that network", n)
}
