package xt

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// ConnAsk is what -m conntrack asks of a connection besides its state. What is nil is not asked for.
type ConnAsk struct {
	Proto   *ConnProto
	Addrs   [4]*ConnAddr  // by ConnEnd
	Ports   [4]*PortRange // by ConnEnd; High may be below Low: no port is in it then
	Status  *ConnStatus
	Expires *ConnExpires
	Dir     *ConnDir
}

// ConnEnd is an end of one of a connection's tuples.
type ConnEnd uint8

// The ends.
const (
	OrigSrc ConnEnd = iota
	OrigDst
	ReplSrc
	ReplDst
)

// connEnds are the ends as options name them.
var connEnds = [4]string{"origsrc", "origdst", "replsrc", "repldst"}

// String is the end in words: "original source".
func (e ConnEnd) String() string {
	return [...]string{"original source", "original destination", "reply source", "reply destination"}[e]
}

type (
	// ConnProto is --ctproto. 0 is a protocol like others here.
	ConnProto struct {
		Not    bool
		Number nat.Proto
	}
	// ConnAddr is --ctorigsrc and its like. The address may have bits outside its mask, which do not count.
	ConnAddr struct {
		Not  bool
		Addr AddrMask
	}
	// ConnStatus is --ctstatus: any of the bits; 0 is "NONE", which holds for no connection.
	ConnStatus struct {
		Not bool
		Any nat.Status
	}
	// ConnExpires is --ctexpire: how many seconds the connection is to live, at least and at most.
	ConnExpires struct {
		Not       bool
		Low, High uint32
	}
	// ConnDir is --ctdir: the direction of the packet.
	ConnDir struct{ Direction nat.Direction }
)

// connStatuses are the bits of --ctstatus by name (IPS_EXPECTED, ...).
var connStatuses = []string{"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"}

func (q *ConnAsk) parse(g *Given) {
	name := strings.TrimPrefix(g.Name(), "--ct")
	end, port := strings.CutSuffix(name, "port")
	switch i := slices.Index(connEnds[:], end); {
	case i >= 0 && port:
		low, high := g.Range(":", 16)
		q.Ports[i] = &PortRange{Not: g.Not, Low: uint16(low), High: uint16(high)}
	case i >= 0:
		q.Addrs[i] = &ConnAddr{g.Not, g.HostMask()}
	case name == "proto":
		q.Proto = &ConnProto{g.Not, g.Proto()}
	case name == "status":
		bits := g.Shortened(append(slices.Clone(connStatuses), "NONE"))
		q.Status = &ConnStatus{g.Not, nat.Status(bits &^ (1 << len(connStatuses)))}
	case name == "expire":
		low, high := g.Range(":", 32)
		q.Expires = &ConnExpires{g.Not, uint32(low), uint32(high)}
	case name == "dir":
		q.Dir = &ConnDir{nat.Direction(g.Choice(true, "ORIGINAL", "REPLY"))}
	}
}

func (q *ConnAsk) print(p *Printer, dashes string) {
	option := func(not bool, name, value string) {
		p.Not(not)
		p.Text(dashes, "ct", name, " ", value)
	}
	if q.Proto != nil {
		option(q.Proto.Not, "proto", strconv.Itoa(int(q.Proto.Number)))
	}
	for i, a := range q.Addrs {
		if a != nil {
			option(a.Not, connEnds[i], "")
			p.AddrMask(a.Addr)
		}
	}
	for i, r := range q.Ports {
		switch {
		case r == nil:
		case r.High == 0: // the program takes this for one port
			option(r.Not, connEnds[i]+"port", strconv.Itoa(int(r.Low)))
		default:
			option(r.Not, connEnds[i]+"port", r.String())
		}
	}
	if s := q.Status; s != nil {
		option(s.Not, "status", s.names())
	}
	if e := q.Expires; e != nil {
		option(e.Not, "expire", span(e.Low, e.High, ":"))
	}
	if q.Dir != nil {
		option(false, "dir", strings.ToUpper(q.Dir.Direction.String()))
	}
}

func (s *ConnStatus) names() string {
	if s.Any == 0 {
		return "NONE"
	}
	list := bitNames(uint32(s.Any), connStatuses, []int{0, 1, 2, 3})
	return list
}

// connPart is a part of a ConnAsk: one of those below, or of the addresses and ports by their end.
type connPart uint8

const (
	partDir connPart = iota
	partProto
	partStatus
	partExpires
	partAddr
	partPort = partAddr + 4
)

// holds tells whether a connection is as asked, and else which part is not. What is known to fail counts more than what
// is not known.
func (q *ConnAsk) holds(c *rules.Conn) (answer rules.Answer, failed connPart) {
	answer = rules.Yes
	ask := func(a rules.Answer, part connPart) {
		if answer != rules.No && a != rules.Yes {
			answer, failed = a, part
		}
	}
	if q.Dir != nil {
		ask(rules.Is(c.Dir == q.Dir.Direction, false), partDir)
	}
	for i, a := range q.Addrs {
		if a != nil {
			ask(rules.Is(equalIn(ConnEnd(i).of(c).Addr(), a.Addr.Addr, a.Addr.Mask), a.Not), partAddr+connPart(i))
		}
	}
	if q.Proto != nil {
		ask(rules.Is(c.Original.Proto() == q.Proto.Number, q.Proto.Not), partProto)
	}
	for i, r := range q.Ports {
		if r != nil {
			ask(rules.Is(r.Contains(ConnEnd(i).of(c).Port()), r.Not), partPort+connPart(i))
		}
	}
	if s := q.Status; s != nil {
		ask(rules.Is(c.Status&s.Any != 0, s.Not), partStatus)
	}
	if q.Expires != nil {
		ask(q.Expires.holds(c), partExpires)
	}
	return answer, failed
}

// actual is what a connection has in a part.
func (part connPart) actual(c *rules.Conn) string {
	switch {
	case part >= partPort:
		end := ConnEnd(part - partPort)
		return fmt.Sprintf("%s port %d", end, end.of(c).Port())
	case part >= partAddr:
		end := ConnEnd(part - partAddr)
		return fmt.Sprintf("%s %s", end, end.of(c).Addr())
	case part == partDir:
		return "direction " + c.Dir.String()
	case part == partProto:
		return "protocol " + c.Original.Proto().String()
	case part == partStatus:
		return "status " + c.Status.String()
	case c.Policy != "":
		return "what the timeout policy " + c.Policy + " has in it is not known"
	case c.Status&nat.Confirmed == 0:
		return "before its confirmation a connection's rest of life is not known"
	}
	return fmt.Sprintf("%d s to live", c.Expires/time.Second)
}

// holds tells whether the connection's rest of life is within the bounds. A timeout policy is not known. Before its confirmation the kernel takes the
// timeout for a time of its own clock, so that the answer depends on how long the node has been up (nf_ct_expires).
func (e *ConnExpires) holds(c *rules.Conn) rules.Answer {
	if c.Status&nat.Confirmed == 0 || c.Policy != "" {
		if e.Low == 0 && e.High == math.MaxUint32 {
			return rules.Is(true, e.Not)
		}
		return rules.Unknown
	}
	seconds := uint64(max(c.Expires, 0) / time.Second)
	return rules.Is(seconds >= uint64(e.Low) && seconds <= uint64(e.High), e.Not)
}

// of is the address and port that a connection has at an end.
func (e ConnEnd) of(c *rules.Conn) netip.AddrPort {
	t := c.Original
	if e >= ReplSrc {
		t = c.Reply
	}
	if e == OrigDst || e == ReplDst {
		return t.Dst()
	}
	return t.Src()
}

// decode reads the parts from struct xt_conntrack_mtinfo1 to 3.
func decodeConnAsk(d []byte, e *Env, revision uint8) (q ConnAsk) {
	flags, invert := order.Uint16(d[ctFlagsAt:]), order.Uint16(d[ctInvertAt:])
	for i := range connEnds {
		if flags&(ctAddr<<i) != 0 {
			q.Addrs[i] = &ConnAddr{invert&(ctAddr<<i) != 0, AddrMask{inetAddr(e.Family, d[32*i:]), inetAddr(e.Family, d[32*i+16:])}}
		}
		if flags&(ctPort<<i) == 0 {
			continue
		}
		r := PortRange{Not: invert&(ctPort<<i) != 0, Low: be16(d[ctPortsAt+2*i:])}
		r.High = r.Low
		if revision >= 3 {
			r.Low, r.High = order.Uint16(d[ctPortsAt+2*i:]), order.Uint16(d[ctHighAt+2*i:])
		}
		q.Ports[i] = &r
	}
	if flags&ctProto != 0 {
		q.Proto = &ConnProto{invert&ctProto != 0, nat.Proto(order.Uint16(d[ctProtoAt:]))}
	}
	if flags&ctStatus != 0 {
		_, status := ctMasks(d, revision)
		q.Status = &ConnStatus{invert&ctStatus != 0, nat.Status(status)}
	}
	if flags&ctExpires != 0 {
		q.Expires = &ConnExpires{invert&ctExpires != 0, order.Uint32(d[ctExpiresAt:]), order.Uint32(d[ctExpiresAt+4:])}
	}
	if flags&ctDirection != 0 {
		q.Dir = &ConnDir{nat.Direction(flagByte(invert&ctDirection != 0))}
	}
	return q
}

// encode fills the parts in and returns their flags.
func (q *ConnAsk) encode(d []byte, e *Env, revision uint8) (flags, invert uint16, err error) {
	set := func(bit uint16, not bool) {
		flags |= bit
		invert |= uint16(flagByte(not)) * bit
	}
	for i, a := range q.Addrs {
		if a == nil {
			continue
		}
		set(ctAddr<<i, a.Not)
		copy(d[32*i:], a.Addr.Addr.AsSlice())
		if bits, whole := MaskBits(a.Addr.Mask); whole && bits == widthOf(e.Family) {
			PutMask(d[32*i+16:32*i+32], 128) // all of the union, also for IPv4
		} else {
			copy(d[32*i+16:], a.Addr.Mask.AsSlice())
		}
	}
	for i, r := range q.Ports {
		switch {
		case r == nil:
			continue
		case revision >= 3:
			order.PutUint16(d[ctPortsAt+2*i:], r.Low)
			order.PutUint16(d[ctHighAt+2*i:], r.High)
		case r.Low != r.High:
			err = fmt.Errorf("a range of ports needs revision 3 of conntrack")
		default:
			binary.BigEndian.PutUint16(d[ctPortsAt+2*i:], r.Low)
		}
		set(ctPort<<i, r.Not)
	}
	if q.Proto != nil {
		set(ctProto, q.Proto.Not)
		order.PutUint16(d[ctProtoAt:], uint16(q.Proto.Number))
	}
	if q.Status != nil {
		set(ctStatus, q.Status.Not)
	}
	if x := q.Expires; x != nil {
		set(ctExpires, x.Not)
		order.PutUint32(d[ctExpiresAt:], x.Low)
		order.PutUint32(d[ctExpiresAt+4:], x.High)
	}
	if q.Dir != nil {
		set(ctDirection, q.Dir.Direction == nat.Reply)
	}
	return flags, invert, err
}
