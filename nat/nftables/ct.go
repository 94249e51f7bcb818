package nftables

import (
	"slices"

	"natlab/nat"
	"natlab/nat/rules"
)

// ctSelectors are the rows of nft_ct. A packet without a connection has a state, and nothing else of them.
var ctSelectors = slices.Concat([]selector{
	{name: "ct state", kind: CTState, read: func(r *run) (Number, rules.Answer) { return known(stateBits(r.visit.State)) }},
	{name: "ct status", kind: CTStatus, read: ofConn(func(_ *run, c *rules.Conn) (Number, rules.Answer) { return known(uint64(c.Status)) })},
	{name: "ct direction", kind: CTDir, read: ofConn(func(_ *run, c *rules.Conn) (Number, rules.Answer) { return known(uint64(c.Dir)) })},
	{name: "ct mark", kind: MarkType, read: tracked(func(r *run) (Number, rules.Answer) { return known(uint64(r.visit.ConnMark)) })},
	{name: "ct expiration", kind: TimeType, read: ofConn(expiration)},
	{name: "ct helper", kind: Text},
	{name: "ct label", kind: CTLabel, read: tracked(func(r *run) (Number, rules.Answer) {
		return Number{High: r.visit.Labels[1], Low: r.visit.Labels[0]}, rules.Yes
	})},
	{name: "ct l3proto", kind: NFProto, read: tracked(nfproto)},
	{name: "ct protocol", kind: InetProto, read: tracked(connProtocol)},
	{name: "ct bytes", kind: Integer, read: ofConn(func(_ *run, c *rules.Conn) (Number, rules.Answer) { return counted(c, c.Bytes[0]+c.Bytes[1]) })},
	{name: "ct packets", kind: Integer, read: ofConn(func(_ *run, c *rules.Conn) (Number, rules.Answer) { return counted(c, c.Packets[0]+c.Packets[1]) })},
	{name: "ct avgpkt", kind: Integer},
	{name: "ct zone", kind: Integer, read: ofConn(func(_ *run, c *rules.Conn) (Number, rules.Answer) { return known(uint64(c.Zone.ID)) })},
	{name: "ct id", kind: Integer},
	{name: "ct event", kind: "ct_event"},
	{name: "ct timeout", kind: Text},
	{name: "ct expectation", kind: Text},
}, ctSides("original", nat.Original), ctSides("reply", nat.Reply))

// ctSides are the rows of one direction of a connection.
func ctSides(name string, dir nat.Direction) []selector {
	side := func(key string, kind Type, read func(c *rules.Conn, t nat.Tuple) (Number, rules.Answer)) selector {
		return selector{name: "ct " + name + " " + key, kind: kind, read: ofConn(func(r *run, c *rules.Conn) (Number, rules.Answer) {
			if r.c.family == nat.IPv6 && kind == IPv4Addr || r.c.family == nat.IPv4 && kind == IPv6Addr {
				return Number{}, rules.No
			}
			if dir == nat.Reply {
				return read(c, c.Reply)
			}
			return read(c, c.Original)
		})}
	}
	src := func(_ *rules.Conn, t nat.Tuple) (Number, rules.Answer) { return addrNumber(t.Src().Addr()), rules.Yes }
	dst := func(_ *rules.Conn, t nat.Tuple) (Number, rules.Answer) { return addrNumber(t.Dst().Addr()), rules.Yes }
	return []selector{
		side("protocol", InetProto, func(_ *rules.Conn, t nat.Tuple) (Number, rules.Answer) { return known(uint64(t.Proto())) }),
		side("proto-src", InetService, func(_ *rules.Conn, t nat.Tuple) (Number, rules.Answer) { return known(uint64(t.Src().Port())) }),
		side("proto-dst", InetService, func(_ *rules.Conn, t nat.Tuple) (Number, rules.Answer) { return known(uint64(t.Dst().Port())) }),
		side("bytes", Integer, func(c *rules.Conn, _ nat.Tuple) (Number, rules.Answer) { return counted(c, c.Bytes[dir]) }),
		side("packets", Integer, func(c *rules.Conn, _ nat.Tuple) (Number, rules.Answer) { return counted(c, c.Packets[dir]) }),
		side("zone", Integer, func(c *rules.Conn, _ nat.Tuple) (Number, rules.Answer) { return known(uint64(c.Zone.In(dir))) }),
		side("ip saddr", IPv4Addr, src),
		side("ip daddr", IPv4Addr, dst),
		side("ip6 saddr", IPv6Addr, src),
		side("ip6 daddr", IPv6Addr, dst),
		{name: "ct " + name + " saddr", kind: IPv4Addr},
		{name: "ct " + name + " daddr", kind: IPv4Addr},
		{name: "ct " + name + " l3proto", kind: NFProto, read: tracked(nfproto)},
		{name: "ct " + name + " avgpkt", kind: Integer},
	}
}

// stateBits are a packet's state as nft_ct has it (NF_CT_STATE_BIT).
func stateBits(s rules.State) uint64 {
	switch {
	case s&rules.Untracked != 0:
		return 64
	case s&rules.Established != 0:
		return 2
	case s&rules.Related != 0:
		return 4
	case s&rules.New != 0:
		return 8
	}
	return 1
}

// tracked is a value that only a packet with a connection has.
func tracked(read value) value {
	return func(r *run) (Number, rules.Answer) {
		if !r.visit.Tracked() {
			return Number{}, rules.No
		}
		return read(r)
	}
}

// ofConn is a value of the packet's connection, which the World knows.
func ofConn(read func(r *run, c *rules.Conn) (Number, rules.Answer)) value {
	return tracked(func(r *run) (Number, rules.Answer) {
		c, ok := conn(r)
		if !ok {
			return Number{}, rules.Unknown
		}
		return read(r, &c)
	})
}

func conn(r *run) (rules.Conn, bool) {
	w, ok := r.visit.World.(rules.ConnHolder)
	if !ok {
		return rules.Conn{}, false
	}
	return w.Conn()
}

// connProtocol is that of the connection: an ICMP error belongs to that of the packet that it is about (nf_ct_protonum).
func connProtocol(r *run) (Number, rules.Answer) {
	if c, ok := conn(r); ok {
		return known(uint64(c.Original.Proto()))
	}
	return known(uint64(r.visit.Tuple.Proto()))
}

func counted(c *rules.Conn, n uint64) (Number, rules.Answer) {
	if !c.Counted {
		return Number{}, rules.Unknown
	}
	return known(n)
}

// expiration is in milliseconds, 0 of a connection that is not confirmed.
func expiration(_ *run, c *rules.Conn) (Number, rules.Answer) {
	if c.Policy != "" {
		return Number{}, rules.Unknown
	}
	return known(uint64(max(c.Expires.Milliseconds(), 0)))
}
