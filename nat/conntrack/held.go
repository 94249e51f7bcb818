package conntrack

import (
	"time"

	"natlab/nat"
)

// Steady reports whether a connection is established both ways, and a packet of it that neither begins nor ends anything would change nothing but how long it
// is to live and what is counted: it is one of UDP, or one of TCP whose windows nobody looks at (nf_conntrack_tcp_be_liberal, IP_CT_TCP_FLAG_BE_LIBERAL).
// What is not ASSURED may be thrown out at any time (early_drop), and is not steady.
func (t *Table) Steady(c *Conn) bool {
	const never = nat.Dying | nat.FixedTimeout | nat.NATClash | nat.Expected | nat.SeqAdjust
	if !c.inTable || !c.Has(nat.Confirmed|nat.SeenReply|nat.Assured) || c.Status&never != 0 || c.Zone != (nat.Zone{}) || c.Policy() != "" {
		return false
	}
	switch c.Original.Proto() {
	case nat.UDP:
		return true
	case nat.TCP:
		return c.tcp.state == TCPEstablished && (t.Settings.Liberal || c.tcp.seen[0].flags&c.tcp.seen[1].flags&tcpBeLiberal != 0)
	}
	return false
}

// Hold begins that packets of a steady connection pass of which the Table is not told at once, but by Passed. It does not expire until Release.
func (t *Table) Hold(c *Conn) { c.held = true }

// Release ends what Hold began: the Table is told of all packets again, and the connection expires when it has to. The windows of TCP are learnt
// anew, as behind the kernel's own flow tables (flow_offload_fixup_tcp).
func (t *Table) Release(c *Conn) {
	if !c.held {
		return
	}
	c.held = false
	if c.Original.Proto() == nat.TCP {
		c.ForgetWindow()
	}
}

// Passed tells of packets of one direction of a connection that is held, and of the last of them when it passed. bytes are with IP headers. It lives on as it would
// have if each had been tracked, but that of TCP nobody knows which segments were acknowledged.
func (t *Table) Passed(c *Conn, d nat.Direction, packets, bytes uint64, last time.Time) {
	if c.more != nil && c.more.counted {
		c.more.packets[d] += packets
		c.more.bytes[d] += bytes
	}
	if c.Has(nat.FixedTimeout) {
		return
	}
	timeout := t.Settings.Timeouts.UDPStream
	if c.Original.Proto() == nat.TCP {
		timeout = t.Settings.Timeouts.TCP[TCPEstablished]
	}
	c.expires = max(c.expires, last.UnixNano()+int64(timeout))
}
