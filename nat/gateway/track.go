package gateway

import (
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// connect gives a packet its connection, as conntrack does at PREROUTING and OUTPUT, unless it has one: it came back by lo, or is an
// answer (nf_conntrack_in).
func (v *visit) connect(p *passage, hook nat.Hook) bool {
	if p.looped && hook == nat.PreRouting || p.ref.Conn != nil && hook == nat.Output {
		return true
	}
	if p.view.State == rules.Untracked {
		p.ref = conntrack.Ref{Info: conntrack.InfoUntracked}
		return true
	}
	if hook == nat.PreRouting && p.pkt.Proto() == nat.SCTP && v.conns.Settings.Checksum { // sctp_error
		p.view.Pull(sctpHeader)
	}
	if !p.pkt.Trackable() || p.strange {
		p.ref = conntrack.Ref{}
		p.state()
		return true
	}
	v.fill(&v.track, &p.pkt, hook)
	v.track.BadChecksum = !p.sound && hook == nat.PreRouting && !p.pkt.TrackedChecksumOK()
	p.summed = v.track.BadChecksum && v.conns.Settings.Checksum && p.pkt.Summed()
	p.valid = !v.track.BadChecksum && v.conns.Settings.Checksum && hook == nat.PreRouting && p.pkt.V6() && p.pkt.Summed()
	v.track.Zone, v.track.Policy = p.view.Template.Zone, p.view.Template.Policy
	var verdict nat.Verdict
	if p.ref, verdict = v.conns.Track(&v.track, v.at); verdict == nat.Drop {
		why := "the connection table is full"
		if most := v.conns.Settings.Max; most == 0 || v.conns.Len() < most {
			why = "the DCCP header is cut short"
		}
		v.lost("conntrack", why)
		return false
	}
	p.state()
	return true
}

// state brings what rules see of the connection up to date.
func (p *passage) state() {
	switch p.ref.Info {
	case conntrack.InfoInvalid:
		p.view.State = rules.Invalid
	case conntrack.InfoUntracked:
		p.view.State = rules.Untracked
	case conntrack.InfoNew:
		p.view.State = rules.New
	case conntrack.InfoRelated:
		p.view.State = rules.Related
	case conntrack.InfoEstablished:
		p.view.State = rules.Established
	}
	if p.ref.Conn != nil {
		p.view.State |= natStates(p.ref.Conn)
	}
}

func natStates(c *conntrack.Conn) (s rules.State) {
	if c.SourceChanged() {
		s |= rules.SNATed
	}
	if c.DestinationChanged() {
		s |= rules.DNATed
	}
	return s
}

// fill is what conntrack reads of a packet.
func (v *visit) fill(c *conntrack.Packet, p *packet.Packet, hook nat.Hook) {
	*c = conntrack.Packet{Hook: hook, Length: p.Len(), Malformed: !p.Whole()}
	if c.Tuple = p.Tuple(); !v.conns.Settings.Knows(p.Proto()) {
		c.Tuple = v.conns.Settings.Read(c.Tuple)
	}
	switch p.Proto() {
	case nat.TCP:
		t, _ := p.TCP()
		c.TCP = conntrack.Segment{Flags: t.Flags, Seq: t.Seq, Ack: t.Ack, Window: t.Window, Length: t.Length, Options: t.Options}
	case nat.SCTP:
		if h := p.Transport(); len(h) >= 12 {
			c.SCTP = conntrack.SCTP{Tag: uint32(h[4])<<24 | uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7]), Chunks: h[12:]}
		}
	case nat.DCCP:
		c.DCCP.Header = p.Transport()
	case nat.ICMP, nat.ICMPv6:
		c.ICMPType, c.ICMPCode, _ = p.ICMP()
		c.Error = packet.IsError(p.Proto(), c.ICMPType)
		if inside, ok := p.Inside(); ok && inside.Trackable() {
			c.Inside = v.conns.Settings.Read(inside.Tuple())
			c.InsideType, c.InsideCode, _ = inside.ICMP()
		}
	}
}

// confirm puts a new connection into the table when its first packet leaves the node or reaches a socket (nf_confirm).
func (v *visit) confirm(p *passage) bool {
	c := p.ref.Conn
	if c == nil || p.ref.Dir != nat.Original || c.Has(nat.Confirmed) {
		return true
	}
	if v.conns.Confirm(c) {
		if v.prediction.confirmed != nil {
			v.prediction.confirmed(c)
		}
		return true
	}
	v.abandon(p)
	if v.conns.Resolve(&p.ref) == nat.Accept {
		return true
	}
	v.lost("conntrack", "another connection has the tuple: insert_failed")
	return false
}
