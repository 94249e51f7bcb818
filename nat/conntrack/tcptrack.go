package conntrack

import "natlab/nat"

// packet moves a connection on by a segment (nf_conntrack_tcp_packet, without its accounting).
func (t *tcpConn) packet(c *Conn, d nat.Direction, s *Segment, o *Settings) (was TCPState, act tcpAction) {
	was, kind := t.state, kindOf(s.Flags)
	next := nextTCP(d, kind, was)
	skipWindow := false
	switch next {
	case tcpInvalid:
		return was, tcpRefuse
	case TCPSynSent:
		if was >= TCPTimeWait && t.over(d) {
			return was, tcpReopen
		}
		if was < TCPTimeWait {
			break
		}
		fallthrough
	case tcpIgnored:
		if !t.resync(d, kind, s) {
			t.annotate(d, kind, s, was, o)
			return was, tcpLetPass
		}
		was, next = TCPSynSent, TCPSynRecv
	case TCPTimeWait:
		if was == TCPLastAck && kind == kindACK && t.lastDir != d && t.last == kindSYN && t.pending&tcpChallenge != 0 {
			t.pending &^= tcpChallenge
			return was, tcpLetPass
		}
	case TCPSynSent2:
		t.pending |= tcpSimultaneous
	case TCPSynRecv:
		if d == nat.Reply && kind == kindACK && t.pending&tcpSimultaneous != 0 {
			next = TCPEstablished
		}
	case TCPClose:
		if kind != kindRST {
			break
		}
		var ok bool
		if next, skipWindow, ok = t.reset(c, d, s, o); !ok {
			return was, tcpRefuse
		}
	case TCPNone, TCPEstablished, TCPFinWait, TCPCloseWait, TCPLastAck:
	}
	if !skipWindow {
		if act := t.inWindow(d, kind, s, o); act != tcpAccept {
			return was, act
		}
	}
	t.last, t.lastDir, t.state = kind, d, next
	if was != next && next == TCPFinWait {
		t.seen[d].flags |= tcpCloseInit
	}
	return was, tcpAccept
}

// over reports whether a SYN in this direction means that the client is done with the old connection (RFC 1122,
// 4.2.2.13): one side closed it, or the sender itself reset it.
func (t *tcpConn) over(d nat.Direction) bool {
	return (t.seen[0].flags|t.seen[1].flags)&tcpCloseInit != 0 || t.lastDir == d && t.last == kindRST
}

// resync takes over what a SYN that was let pass had in it, when the other side acknowledges it: the two are in sync, and
// it was conntrack that was not.
func (t *tcpConn) resync(d nat.Direction, kind segmentKind, s *Segment) bool {
	if kind != kindSYNACK || t.last != kindSYN || t.lastDir == d || s.Ack != t.lastEnd {
		return false
	}
	other := &t.seen[t.lastDir]
	other.end, other.maxEnd, other.maxWin = t.lastEnd, t.lastEnd, max(uint32(t.lastWin), 1)
	other.scale = t.pendingS
	t.pending &^= tcpChallenge
	other.flags = t.pending
	t.seen[d] = tcpEnd{flags: t.seen[d].flags & tcpBeLiberal}
	return true
}

// annotate notes a segment that is let pass although it does not fit: the ends may know better.
func (t *tcpConn) annotate(d nat.Direction, kind segmentKind, s *Segment, was TCPState, o *Settings) {
	t.last, t.lastDir = kind, d
	t.lastSeq, t.lastEnd, t.lastWin = s.Seq, s.end(), s.Window
	if kind == kindSYN && d == nat.Original {
		var seen tcpEnd
		seen.options(s.Options)
		t.pending, t.pendingS = seen.flags&(tcpWindowScale|tcpSackPerm), 0
		if seen.flags&tcpWindowScale != 0 {
			t.pendingS = seen.scale
		}
		if was == TCPLastAck {
			t.pending |= tcpChallenge
		}
	}
	if was == TCPSynSent && kind == kindACK && d == nat.Reply && o.Kernel.Has(nat.ChallengeACK) {
		t.lastAck = s.Ack
	}
}

// reset judges an RST (RFC 5961): the state it leads to, whether it needs no look at the window, and whether it is
// valid at all.
func (t *tcpConn) reset(c *Conn, d nat.Direction, s *Segment, o *Settings) (next TCPState, skipWindow, ok bool) {
	next = TCPClose
	old := !o.Kernel.Has(nat.RSTOfReusedTuple)
	if t.closing() && !old {
		return next, true, true
	}
	if other := &t.seen[1-d]; other.flags&tcpMaxAckSet != 0 && (t.last != kindSYN || old) {
		if s.Seq == 0 && !c.established() && !old {
			return next, false, true
		}
		if before(s.Seq, other.maxAck) && !o.IgnoreInvalidRST {
			return next, false, false
		}
		if !c.established() || s.Seq == other.maxAck {
			return next, false, true
		}
		if t.last == kindACK && t.lastDir == d && s.Seq == t.lastEnd {
			return next, false, true
		}
		next = t.state // a challenge ACK may follow
	}
	answersSYN := c.Has(nat.SeenReply) && t.last == kindSYN && t.lastDir != d
	answersACK := !c.Has(nat.Assured) && t.last == kindACK
	if (answersSYN || answersACK) && s.Ack == t.lastEnd {
		return next, true, true
	}
	answersChallenge := o.Kernel.Has(nat.ChallengeACK) && t.state == TCPSynSent && t.last == kindACK && t.lastDir == nat.Reply && s.Seq == t.lastAck
	return next, answersChallenge, true
}

// timeout is how long the connection is kept after a segment in window.
func (t *tcpConn) timeout(kind segmentKind, o *Settings) (index int) {
	index = int(t.state)
	longer := func(than int) bool { return o.Timeouts.TCP[index] > o.Timeouts.TCP[than] }
	switch {
	case t.retrans >= o.MaxRetrans && longer(tcpRetrans):
		return tcpRetrans
	case kind == kindRST && o.Kernel == nat.Kernel{Major: 6, Minor: 12}: // Linux 6.12.117; neither 6.1.192 nor 7.2.13
		if t.state == TCPEstablished && longer(tcpUnacked) {
			return tcpUnacked
		}
	case kind == kindRST:
		return int(TCPClose)
	}
	switch {
	case (t.seen[0].flags|t.seen[1].flags)&tcpUnackedData != 0 && longer(tcpUnacked):
		return tcpUnacked
	case t.lastWin == 0 && longer(tcpRetrans):
		return tcpRetrans
	}
	return index
}
