package conntrack

import (
	"time"

	"natlab/nat"
)

// Track finds the connection that a packet belongs to, or begins one, and moves its state on (nf_conntrack_in). at is
// the time, which must not go back. The verdict is Drop where the table is full or, before
// nat.ShortDCCPIsInvalid, a DCCP header is cut short, else Accept.
func (t *Table) Track(p *Packet, at time.Time) (Ref, nat.Verdict) {
	t.Advance(at)
	proto, _, _ := p.Tuple.Parts()
	if isICMP(proto) {
		if p.Malformed || p.BadChecksum && t.Settings.Checksum && p.Hook == nat.PreRouting || proto == nat.ICMP && p.ICMPType > 18 {
			return Ref{}, nat.Accept
		}
		if proto == nat.ICMPv6 && neighbourly(p.ICMPType) {
			return Ref{Info: InfoUntracked}, nat.Accept
		}
		if p.Error {
			return t.related(p), nat.Accept
		}
	}
	for {
		r, ok := t.resolve(p)
		if !ok {
			t.Stats.Drop++
			return Ref{}, nat.Drop
		}
		if r.Conn == nil {
			return Ref{}, nat.Accept
		}
		switch t.handle(r.Conn, r.Dir, p) {
		case tcpRefuse, tcpOutside:
			return Ref{}, nat.Accept
		case tcpDrop:
			return Ref{}, nat.Drop
		case tcpReopen:
			t.Delete(r.Conn)
			continue
		case tcpAccept, tcpLetPass, tcpKill:
		}
		if r.Info == InfoEstablished && r.Dir == nat.Reply {
			r.Conn.Set(nat.SeenReply)
		}
		return r, nat.Accept
	}
}

// related ties an ICMP error to the connection of the packet that it is about (nf_conntrack_inet_error).
func (t *Table) related(p *Packet) Ref {
	if !p.Inside.IsValid() {
		return Ref{}
	}
	kind := p.InsideType
	if isICMP(p.Inside.Proto()) {
		var ok bool
		if kind, ok = ICMPAnswer(p.Inside.Proto(), kind); !ok {
			return Ref{}
		}
	}
	c, d := t.find(keyOf(p.Inside.Reply(), kind, p.InsideCode), p.Zone)
	if c == nil || c.Tuple(d).Dst().Addr() != p.Tuple.Dst().Addr() {
		return Ref{}
	}
	return Ref{Conn: c, Dir: d, Info: InfoRelated}
}

// resolve looks a packet's connection up, or begins one (resolve_normal_ct). ok is false where the table is full.
func (t *Table) resolve(p *Packet) (r Ref, ok bool) {
	c, d := t.find(keyOf(p.Tuple, p.ICMPType, p.ICMPCode), p.Zone)
	switch {
	case c == nil:
		if isICMP(p.Tuple.Proto()) {
			if _, ok := ICMPAnswer(p.Tuple.Proto(), p.ICMPType); !ok {
				return Ref{}, true
			}
		}
		if t.Settings.Max > 0 && t.Len() >= t.Settings.Max && !t.earlyDrop() {
			return Ref{}, false
		}
		c = New(p.Tuple)
		c.kind, c.code, c.Zone = p.ICMPType, p.ICMPCode, p.Zone
		if t.Settings.Accounts || p.Policy != "" {
			c.more = &extension{counted: t.Settings.Accounts, policy: p.Policy}
		}
		return Ref{Conn: c, Info: InfoNew}, true
	case d == nat.Reply:
		return Ref{Conn: c, Dir: d, Info: InfoEstablished}, true
	case c.Has(nat.SeenReply):
		return Ref{Conn: c, Dir: d, Info: InfoEstablished}, true
	case c.Has(nat.Expected):
		return Ref{Conn: c, Dir: d, Info: InfoRelated}, true
	}
	return Ref{Conn: c, Dir: d, Info: InfoNew}, true
}

// handle lets the protocol look at the packet (nf_conntrack_handle_packet).
func (t *Table) handle(c *Conn, d nat.Direction, p *Packet) tcpAction {
	bad := p.Malformed || p.BadChecksum && t.Settings.Checksum && p.Hook == nat.PreRouting
	timeouts := &t.Settings.Timeouts
	t.dir, t.length = d, p.Length
	switch proto, _, _ := p.Tuple.Parts(); proto {
	case nat.TCP:
		if bad || !tcpSane(p.TCP.Flags) {
			return tcpRefuse
		}
		return t.handleTCP(c, d, &p.TCP)
	case nat.UDP:
		if bad {
			return tcpRefuse
		}
		t.handleUDP(c)
	case nat.UDPLite:
		if t.Settings.Kernel.Has(nat.UDPLiteForgotten) {
			t.refresh(c, timeouts.Generic)
			break
		}
		if bad {
			return tcpRefuse
		}
		t.handleUDPLite(c)
	case nat.ICMP, nat.ICMPv6:
		if !ICMPOpens(c.Original.Proto(), c.kind) {
			return tcpRefuse
		}
		timeout := timeouts.ICMP
		if proto == nat.ICMPv6 {
			timeout = timeouts.ICMPv6
		}
		t.refresh(c, timeout)
	case nat.SCTP:
		if bad || !t.handleSCTP(c, d, &p.SCTP) {
			return tcpRefuse
		}
	case nat.DCCP:
		if t.Settings.hasPorts(nat.DCCP) {
			return t.handleDCCP(c, d, p)
		}
		t.refresh(c, timeouts.Generic)
	case nat.GRE: // PPTP, whose calls have tuples of their own, is not modelled
		if !c.Has(nat.SeenReply) {
			t.refresh(c, timeouts.GRE)
			break
		}
		t.refresh(c, timeouts.GREStream)
		c.Set(nat.Assured)
	default:
		t.refresh(c, timeouts.Generic)
	}
	return tcpAccept
}

// handleTCP is nf_conntrack_tcp_packet with its timeouts.
func (t *Table) handleTCP(c *Conn, d nat.Direction, s *Segment) tcpAction {
	if !c.Has(nat.Confirmed) && !c.tcp.begin(s, t.Settings.Loose) {
		return tcpRefuse
	}
	was, act := c.tcp.packet(c, d, s, &t.Settings)
	kind := kindOf(s.Flags)
	switch act {
	case tcpOutside:
		t.outOfWindow(c, d, kind)
		return tcpRefuse
	case tcpRefuse, tcpLetPass, tcpReopen, tcpKill, tcpDrop:
		return act
	case tcpAccept:
	}
	index := c.tcp.timeout(kind, &t.Settings)
	timeout := t.Settings.Timeouts.TCP[index]
	switch {
	case !c.Has(nat.SeenReply) && kind == kindRST: // the only answer is an RST
		t.kill(c)
		return tcpKill
	case !c.Has(nat.SeenReply) && kind == kindSYN && was == TCPSynSent: // a SYN again keeps nothing alive
		return tcpAccept
	case !c.Has(nat.SeenReply) && c.tcp.state == TCPEstablished:
		timeout = min(timeout, t.Settings.Timeouts.TCP[tcpUnacked])
	case !c.Has(nat.Assured) && (was == TCPSynRecv || was == TCPEstablished) && c.tcp.state == TCPEstablished && c.Has(nat.SeenReply):
		c.Set(nat.Assured)
	}
	t.refresh(c, timeout)
	return tcpAccept
}

// outOfWindow notes a FIN or RST out of window, and after one from either side does not keep the connection for days
// (nf_tcp_handle_invalid).
func (t *Table) outOfWindow(c *Conn, d nat.Direction, kind segmentKind) {
	if !c.Has(nat.Assured) || c.Has(nat.FixedTimeout) || kind != kindRST && kind != kindFIN {
		return
	}
	if c.tcp.lastDir == d || c.tcp.last != kindFIN && c.tcp.last != kindRST {
		c.tcp.last, c.tcp.lastDir = kind, d
		return
	}
	shorter := int64(t.Settings.Timeouts.TCP[tcpUnacked])
	if left := c.expires - t.now; left >= int64(120*time.Second) && left > shorter {
		c.expires = t.now + shorter
	}
}

// streamAfter is how old a UDP connection is before answers make it a stream.
const streamAfter = int64(2 * time.Second)

// handleUDP is nf_conntrack_udp_packet: only a stream is ASSURED (since Linux 5.17, and in the stable 5.10).
func (t *Table) handleUDP(c *Conn) {
	if !c.Has(nat.Confirmed) {
		c.stream = t.now + streamAfter
	}
	if !c.Has(nat.SeenReply) {
		t.refresh(c, t.Settings.Timeouts.UDP)
		return
	}
	if t.now <= c.stream {
		t.refresh(c, t.Settings.Timeouts.UDP)
		return
	}
	t.refresh(c, t.Settings.Timeouts.UDPStream)
	if !c.Has(nat.NATClash) {
		c.Set(nat.Assured)
	}
}

// handleUDPLite is nf_conntrack_udplite_packet: any answer makes a stream.
func (t *Table) handleUDPLite(c *Conn) {
	if !c.Has(nat.SeenReply) {
		t.refresh(c, t.Settings.Timeouts.UDP)
		return
	}
	t.refresh(c, t.Settings.Timeouts.UDPStream)
	if !c.Has(nat.NATClash) {
		c.Set(nat.Assured)
	}
}

// kill ends a connection with the packet that is its last (nf_ct_kill_acct).
func (t *Table) kill(c *Conn) {
	t.account(c)
	t.Delete(c)
}

// account counts the packet, where the connection is counted.
func (t *Table) account(c *Conn) {
	if c.more != nil && c.more.counted {
		c.more.packets[t.dir]++
		c.more.bytes[t.dir] += uint64(t.length)
	}
}

// refresh makes a connection live for that long from now; one that is not confirmed, from its confirmation on. Only what
// does so is counted (nf_ct_refresh_acct).
func (t *Table) refresh(c *Conn, timeout time.Duration) {
	t.account(c)
	switch {
	case c.Has(nat.FixedTimeout):
	case c.Has(nat.Confirmed):
		c.expires = t.now + int64(timeout)
	default:
		c.expires = int64(timeout)
	}
}
