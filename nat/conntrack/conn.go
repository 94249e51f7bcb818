package conntrack

import (
	"net/netip"
	"time"

	"natlab/nat"
)

// Conn is a connection: two tuples, one a direction, and what is known of it (struct nf_conn).
type Conn struct {
	Original nat.Tuple // of the first packet, as it came to conntrack
	Reply    nat.Tuple // of a packet that answers, as it comes to conntrack: the inverse of Original but for NAT
	Status   nat.Status
	Mark     uint32
	Zone     nat.Zone

	kind, code uint8 // ICMP type and code of the original direction
	inTable    bool  // it is listed
	sourced    bool  // it is in bySource
	held       bool  // it does not expire (Table.Hold)

	// Out is the device that MASQUERADE gave it the address of; "" for another. By another device it does not go on.
	Out string

	expires int64 // nanoseconds of the Unix time; before confirmation, how long it is to live from then on
	stream  int64 // when a UDP connection has become a stream
	tcp     tcpConn
	more    *extension // nil: none

	next, prev         *Conn // in the order of confirmation
	nextSame, prevSame *Conn // with the same original source, the latest first
}

// extension is what few connections have, so that the others are small (struct nf_ct_ext).
type extension struct {
	labels         [2]uint64
	policy         string
	packets, bytes [2]uint64
	counted        bool
	sctp           sctpConn
	dccp           dccpConn
}

// extend is the connection's extension, made where it has none.
func (c *Conn) extend() *extension {
	if c.more == nil {
		c.more = &extension{}
	}
	return c.more
}

// Labels are the connection's labels, 128 bits (struct nf_conn_labels).
func (c *Conn) Labels() [2]uint64 {
	if c.more == nil {
		return [2]uint64{}
	}
	return c.more.labels
}

// SetLabels puts others in the place of the connection's labels.
func (c *Conn) SetLabels(labels [2]uint64) {
	if labels != c.Labels() {
		c.extend().labels = labels
	}
}

// Policy is the name of the policy of timeouts that CT --timeout gave the connection; "" for none. The Table's own timeouts are used.
func (c *Conn) Policy() string {
	if c.more == nil {
		return ""
	}
	return c.more.policy
}

// Counters are the packets and bytes of each direction, IP headers included. counted is false where nf_conntrack_acct was off when the
// connection began.
func (c *Conn) Counters() (packets, bytes [2]uint64, counted bool) {
	if c.more == nil {
		return packets, bytes, false
	}
	return c.more.packets, c.more.bytes, c.more.counted
}

// Tuple is the connection's tuple of a direction.
func (c *Conn) Tuple(d nat.Direction) nat.Tuple {
	if d == nat.Reply {
		return c.Reply
	}
	return c.Original
}

// TCPState is the state of a TCP connection, TCPNone for others.
func (c *Conn) TCPState() TCPState { return c.tcp.state }

// State is the state as conntrack -L prints it: "ESTABLISHED"; "" for a protocol that has none.
func (c *Conn) State() string {
	switch c.Original.Proto() {
	case nat.TCP:
		return c.tcp.state.String()
	case nat.SCTP:
		if c.more != nil {
			return c.more.sctp.state.String()
		}
		return sctpNone.String()
	case nat.DCCP: // where it is tracked by state
		if c.more != nil && c.more.dccp.state != dccpNone {
			return c.more.dccp.state.String()
		}
	}
	return ""
}

// Expires is when the connection is forgotten, if it sees no packet. It is the zero time before confirmation.
func (c *Conn) Expires() time.Time {
	if !c.Has(nat.Confirmed) {
		return time.Time{}
	}
	return time.Unix(0, c.expires)
}

// Key is the connection's tuple of a direction as the kernel keeps it: an ICMP query's identifier is its source port, its type
// and code are its destination port.
func (c *Conn) Key(d nat.Direction) nat.Tuple { return c.keyIn(d) }

// Closed reports whether a TCP connection is over and only waits to be forgotten (already_closed, nf_conncount.c).
func (c *Conn) Closed() bool { return c.tcp.state == TCPTimeWait || c.tcp.state == TCPClose }

// ICMP is the type and code of the query that began an ICMP connection.
func (c *Conn) ICMP() (kind, code uint8) { return c.kind, c.code }

// Set sets status bits; they never go away again.
func (c *Conn) Set(bits nat.Status) { c.Status |= bits }

// Has reports whether all of the bits are set.
func (c *Conn) Has(bits nat.Status) bool { return c.Status&bits == bits }

// SourceChanged reports whether the original source is another one behind the translation.
func (c *Conn) SourceChanged() bool { return c.Has(nat.SrcNAT) }

// DestinationChanged reports whether the original destination is another one behind the translation.
func (c *Conn) DestinationChanged() bool { return c.Has(nat.DstNAT) }

// Manip is which end of a packet a NAT hook may change (enum nf_nat_manip_type).
type Manip uint8

// The manips: a hook in front of routing changes the destination, one behind it the source.
const (
	ManipSource      Manip = iota // NF_NAT_MANIP_SRC: POSTROUTING and INPUT
	ManipDestination              // NF_NAT_MANIP_DST: PREROUTING and OUTPUT
)

// ManipOf is the manip of a hook (HOOK2MANIP); FORWARD has none.
func ManipOf(h nat.Hook) Manip {
	if h == nat.PostRouting || h == nat.Input {
		return ManipSource
	}
	return ManipDestination
}

func (m Manip) done() nat.Status {
	if m == ManipSource {
		return nat.SrcNATDone
	}
	return nat.DstNATDone
}

func (m Manip) bit() nat.Status {
	if m == ManipSource {
		return nat.SrcNAT
	}
	return nat.DstNAT
}

// Initialized reports whether the connection's translation of this end is settled (nf_nat_initialized).
func (c *Conn) Initialized(m Manip) bool { return c.Has(m.done()) }

// Target is the address and port that one end of a packet of this direction takes at a NAT hook; ok is false where
// it stays as it is.
func (c *Conn) Target(m Manip, dir nat.Direction) (to netip.AddrPort, ok bool) {
	bit := m.bit()
	if dir == nat.Reply {
		bit ^= nat.SrcNAT | nat.DstNAT // what was done to one end is undone at the other
	}
	if !c.Has(bit) {
		return netip.AddrPort{}, false
	}
	other := &c.Reply // of which this end is the other one
	if dir == nat.Reply {
		other = &c.Original
	}
	_, src, dst := other.Parts()
	if m == ManipSource {
		return dst, true
	}
	return src, true
}
