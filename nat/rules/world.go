package rules

import (
	"maps"
	"net/netip"
	"time"

	"natlab/nat"
)

// World is what every rule may ask of its surroundings. The interfaces below are what a World may know beyond it; a
// condition that needs one that the World is not answers Unknown.
type World interface {
	// AddrType is an address's routing type in the node ("LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "BLACKHOLE", ...);
	// dev is the device the question is limited to, "" for none.
	AddrType(a netip.Addr, dev string) string
	Decider
}

// Decider decides what packet and node leave open.
type Decider interface {
	// Take decides a question of chance that answers yes with probability p.
	Take(p float64) bool
	// Unknown decides what is not known or not modelled; what names it: the condition's or the target's text.
	Unknown(what string) bool
}

// Rememberer is a World in which matches remember earlier packets. Memory is nil where they do not.
type Rememberer interface {
	Memory() *Memory
	Now() time.Time
}

// RouteTeller is a World that knows what nf_tables takes the routes for.
type RouteTeller interface {
	// RouteType is AddrType as nft_fib has it: of IPv6 it tells how the routes refuse the address, and with a device takes what is of
	// another one for UNICAST.
	RouteType(a netip.Addr, dev string) string
	// RouteDevice is the device that a way leads to, "" where none does.
	RouteDevice(p *Packet, q RouteQuery) (dev string, known bool)
}

// RouteQuery is a question for the way to a packet's source, or to its destination.
type RouteQuery struct {
	Hook nat.Hook // where the rule asks
	Dst  bool
	Dev  string // the only device that will do; "" for any
	Mark bool   // the packet's mark takes part in the look-up
}

// Router is a World that knows the node's routes.
type Router interface {
	// Back tells whether a reverse path of the packet's source is right (xt_rpfilter.c, ip6t_rpfilter.c).
	Back(p *Packet, o BackOptions) Answer
}

// BackOptions are the options of a reverse path check.
type BackOptions struct {
	Loose       bool // any device will do
	ValidMark   bool // the packet's mark takes part in the look-up
	AcceptLocal bool // a source of the node's own is right
}

// SetHolder is a World that knows the sets of ipset(8).
type SetHolder interface {
	// AskSet tells whether a set has the packet.
	AskSet(p *Packet, q SetQuery) SetAnswer
	// ChangeSet adds the packet to a set, or deletes it. What it does to a set of which nothing is known is not known either.
	ChangeSet(p *Packet, c SetChange)
}

// SetDims are the dimensions in which a set is asked for a packet: Src tells by bit, from 0 on, whether it is the source's
// side of it or the destination's ("src,dst").
type SetDims struct{ Count, Src uint8 }

// Source reports whether a dimension is the source's.
func (d SetDims) Source(dimension int) bool { return d.Src>>dimension&1 != 0 }

// SetQuery is what a rule asks of a set.
type SetQuery struct {
	Set     string
	Dims    SetDims
	NoMatch bool // members that are marked nomatch are asked for
	Info    bool // and what the member has for the packet
	// Neither the set's own counters, nor those of the sets in a list:set, count the packet.
	KeepCounters, KeepSubCounters bool
	Packets, Bytes                SetCounter // of the member, where the set has counters
}

// SetCounter is what a counter is compared with.
type SetCounter struct {
	Compare SetCompare
	Value   uint64
}

// SetCompare is how a counter is compared (IPSET_COUNTER_*).
type SetCompare uint8

// The comparisons.
const (
	SetAny SetCompare = iota // none
	SetEqual
	SetNotEqual
	SetLess
	SetGreater
)

// Holds compares a counter.
func (c SetCounter) Holds(n uint64) bool {
	switch c.Compare {
	case SetAny:
		return true
	case SetEqual:
		return n == c.Value
	case SetNotEqual:
		return n != c.Value
	case SetLess:
		return n < c.Value
	case SetGreater:
		return n > c.Value
	}
	return false
}

// SetAnswer is what a set answers.
type SetAnswer struct {
	Answer
	Info    SetInfo // of the member that was found
	Changed int     // how often rules have changed the set in a way of which the outcome is not known
}

// SetInfo is what a member has for the packets that it is found for (skbinfo).
type SetInfo struct {
	Mark, MarkMask uint32 // the mark's bits in MarkMask become Mark
	Priority       uint32
	Queue          uint16
}

// SetChange is what a rule does to a set.
type SetChange struct {
	Set     string
	Dims    SetDims
	Delete  bool
	Exist   bool           // a member that is there is set anew
	Timeout *time.Duration // nil: the set's own
}

// ConnHolder is a World that knows the node's connections.
type ConnHolder interface {
	// Conn is the connection of the packet that is at the rules now; ok is false for one that has none.
	Conn() (c Conn, ok bool)
	// Find is the connection of which one tuple is this one, as Conn keeps it.
	Find(tuple nat.Tuple, z nat.Zone) (c Conn, ok bool)
}

// Conn is a connection as rules see it. Original is the tuple of the packet that opened it, Reply that of its answers; an
// ICMP query's identifier is its source port, its type and code are its destination port.
type Conn struct {
	Original, Reply nat.Tuple
	Dir             nat.Direction // of the packet in it
	Status          nat.Status
	Mark            uint32
	Zone            nat.Zone
	Packets, Bytes  [2]uint64     // by nat.Direction, where Counted
	Counted         bool          // nf_conntrack_acct was on when it began
	Expires         time.Duration // until it is forgotten, if it sees no packet; of a confirmed one
	Closed          bool          // TCP in TIME_WAIT or CLOSE
	Policy          string        // the timeout policy that a rule named: Expires is not known then
}

// Measurer is a World that knows how long packets may be.
type Measurer interface {
	// PathMTU is the longest packet, in bytes, that the packet's route out of the node takes and the route back to its source,
	// too; ok is false where the packet has no route yet.
	PathMTU(p *Packet) (mtu int, ok bool)
}

// Linked is a World that knows the links of its devices.
type Linked interface {
	// Ethernet tells whether a device's frames are Ethernet's, which those of lo and of an IP tunnel are not.
	Ethernet(dev string) Answer
	// Sender is the hardware address that the packet at the rules came from, "" where it is not known.
	Sender() string
}

// FrameSource is the hardware address that a packet came from; w may be nil. No: it came in no Ethernet frame.
func FrameSource(p *Packet, w Linked) (mac [6]byte, framed Answer) {
	switch {
	case p.In == "":
		return mac, No
	case w == nil:
		return mac, Unknown
	}
	if framed = w.Ethernet(p.In); framed != Yes {
		return mac, framed
	}
	mac, ok := nat.ParseMAC(w.Sender())
	if !ok {
		return mac, Unknown
	}
	return mac, Yes
}

// Echoer is a World that knows what of its own the node hears.
type Echoer interface {
	// Echoed reports whether the packet at the rules is what the node hears of its own broadcast, or of what it sent to a group that it
	// is in (PACKET_LOOPBACK).
	Echoed() bool
}

// FrameKind is whom the frame was for that a packet came in (PACKET_HOST and its like, if_packet.h).
type FrameKind uint8

// The kinds that IP takes.
const (
	FrameHost      FrameKind = iota // the node itself; packets of the node's own are so, too
	FrameBroadcast                  // all
	FrameMulticast                  // a group
)

// FrameOf is whom the packet's frame was for: that of a broadcast's address goes to all, a group's to the group, as far as there are frames.
// What is forwarded came to the host (ip_forward), and what leaves keeps what it came with.
func FrameOf(v *Visit) FrameKind {
	if v.Hook != nat.PreRouting && v.Hook != nat.Input || v.World == nil {
		return FrameHost
	}
	if w, ok := v.World.(Linked); ok && v.In != "" && w.Ethernet(v.In) == No {
		if e, ok := v.World.(Echoer); !ok || !e.Echoed() {
			return FrameHost
		}
	}
	to := v.Tuple.Dst().Addr()
	if holder, ok := v.World.(ConnHolder); ok { // the frame went to the address before DNAT
		if c, there := holder.Conn(); there && c.Dir == nat.Original {
			to = c.Original.Dst().Addr()
		}
	}
	switch v.World.AddrType(to, "") {
	case "BROADCAST":
		return FrameBroadcast
	case "MULTICAST":
		return FrameMulticast
	}
	return FrameHost
}

// QueueHolder is a World that knows the queues of nfnetlink_queue.
type QueueHolder interface {
	// QueueListens tells whether a program listens on one of some queues.
	QueueListens(first, last uint16) Answer
}

// IPsecHolder is a World that knows of the node's IPsec.
type IPsecHolder interface {
	// IPsec tells whether IPsec transformed the packet that is at the rules before it came to them (its sec_path), or with out
	// will transform it when it leaves (its route's xfrm).
	IPsec(p *Packet, out bool) Answer
}

// Bridger is a World that knows the ports of its bridges.
type Bridger interface {
	// BridgePorts are the ports of the packet that is at the rules; known is false where it cannot be told whether a bridge
	// hands it to them.
	BridgePorts(p *Packet) (ports BridgePorts, known bool)
}

// BridgePorts are the ports of a bridge by which a packet came in and will leave (struct nf_bridge_info); both are empty for
// one that no bridge handed to the IP tables. It leaves by a port only where the bridge itself carries it on.
type BridgePorts struct{ In, Out string }

// Sharer is a World that knows where the bytes of packets come from, and which of them share theirs.
type Sharer interface {
	// Shares reports whether the bytes of the packet that is at the rules are also those of another one, which leaves.
	Shares(p *Packet) bool
	// Raw reports whether a process wrote the packet that is at the rules, or what it is a copy of, with its IP header.
	Raw(p *Packet) bool
}

// Duplicator is a World that sends copies of packets.
type Duplicator interface {
	// Duplicate sends a copy of the packet that is at the rules of a hook.
	Duplicate(p *Packet, at nat.Hook, c Copy)
}

// Copy is where the copy of a packet goes.
type Copy struct {
	Via netip.Addr // the neighbour, whatever the packet's destination
	Out string     // the device that it is reached by; "" for any
}

// Clock is a World that may know what time it is.
type Clock interface {
	Clock() (now time.Time, ok bool)
}

// Versioned is a World that knows its kernel.
type Versioned interface{ Kernel() nat.Kernel }

// Memory is what the matches of a node's tables remember between packets: statistic's counters, recent's lists, limit's
// credit. The zero Memory has seen nothing.
type Memory struct {
	kept map[any]any

	// Midway tells that packets were counted before of which nobody knows how many: rules that were dumped, whose counters no program prints.
	Midway bool
}

// Counting is the Memory of a World in which it is known where counters stand that go round, nil of any other.
func Counting(w World) *Memory {
	r, ok := w.(Rememberer)
	if !ok {
		return nil
	}
	if m := r.Memory(); m != nil && !m.Midway {
		return m
	}
	return nil
}

// Recall is what is remembered under a key, which its extension chooses: the place of a match, the name of a list. It is
// fresh's value where nothing has been. The pointer stays good, and what it points at is remembered.
func Recall[T any](m *Memory, key any, fresh func() T) *T {
	if m.kept == nil {
		m.kept = map[any]any{}
	}
	if at, ok := m.kept[key].(*T); ok {
		return at
	}
	at := new(T)
	*at = fresh()
	m.kept[key] = at
	return at
}

// Forget forgets what is remembered under the keys that of agrees to.
func (m *Memory) Forget(of func(key any) bool) {
	maps.DeleteFunc(m.kept, func(key, _ any) bool { return of(key) })
}
