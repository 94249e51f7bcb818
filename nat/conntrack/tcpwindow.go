package conntrack

import (
	"encoding/binary"

	"natlab/nat"
)

// Segment is what conntrack reads of a TCP header.
type Segment struct {
	Flags    uint8
	Seq, Ack uint32
	Window   uint16
	Length   int    // of the payload, in bytes
	Options  []byte // as they stand in the header
}

// end is the sequence number behind the segment: SYN and FIN take one each.
func (s *Segment) end() uint32 {
	end := s.Seq + uint32(s.Length)
	if s.Flags&tcpSYN != 0 {
		end++
	}
	if s.Flags&tcpFIN != 0 {
		end++
	}
	return end
}

// tcpEnd is what is known of one end of a connection (struct ip_ct_tcp_state).
type tcpEnd struct {
	end    uint32 // behind the last byte that it sent
	maxEnd uint32 // what it may send up to: the other's acknowledgement and window
	maxWin uint32 // the largest window that it offered; 0: it was not seen yet
	maxAck uint32 // the highest acknowledgement that it sent
	scale  uint8
	flags  tcpFlags
}

func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return before(b, a) }

// maxAckWindow is how far an acknowledgement may lag behind (MAXACKWINDOW).
func (e *tcpEnd) maxAckWindow() uint32 { return max(e.maxWin, 66000) }

// eachOption walks a header's options until f wants no more or they make no sense.
func eachOption(b []byte, f func(kind byte, value []byte) bool) {
	for len(b) > 0 {
		switch {
		case b[0] == 0:
			return
		case b[0] == 1:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
			return
		}
		if !f(b[0], b[2:b[1]]) {
			return
		}
		b = b[b[1]:]
	}
}

// options takes window scale and SACK permission from a SYN. A SYN without any option changes nothing.
func (e *tcpEnd) options(b []byte) {
	if len(b) == 0 {
		return
	}
	e.scale = 0
	e.flags &= tcpBeLiberal
	eachOption(b, func(kind byte, value []byte) bool {
		switch {
		case kind == 3 && len(value) == 1:
			e.scale = min(value[0], 14) // RFC 7323
			e.flags |= tcpWindowScale
		case kind == 4 && len(value) == 0:
			e.flags |= tcpSackPerm
		}
		return true
	})
}

// highestSack is the highest right edge of a segment's SACK blocks, at least ack.
func highestSack(b []byte, ack uint32) uint32 {
	eachOption(b, func(kind byte, value []byte) bool {
		if kind != 5 || len(value) < 8 || len(value)%8 != 0 {
			return true
		}
		for ; len(value) > 0; value = value[8:] {
			if edge := binary.BigEndian.Uint32(value[4:]); after(edge, ack) {
				ack = edge
			}
		}
		return false
	})
	return ack
}

// window is one segment set against the window of its connection.
type window struct {
	tcp              *tcpConn
	kernel           nat.Kernel
	sender, receiver *tcpEnd
	s                *Segment
	seq, end         uint32
	ack, sack        uint32
}

// inWindow reports whether a segment can be a part of the connection, and learns from it if so (tcp_in_window, after
// "Real Stateful TCP Packet Filtering in IP Filter" by Guido van Rooij).
func (t *tcpConn) inWindow(d nat.Direction, kind segmentKind, s *Segment, o *Settings) tcpAction {
	w := window{tcp: t, kernel: o.Kernel, sender: &t.seen[d], receiver: &t.seen[1-d], s: s, seq: s.Seq, end: s.end(), ack: s.Ack, sack: s.Ack}
	if w.receiver.flags&tcpSackPerm != 0 && len(s.Options) > 0 {
		w.sack = highestSack(s.Options, s.Ack)
	}
	if w.firstOfItsKind(d) {
		return tcpAccept
	}
	if s.Flags&tcpACK == 0 || s.Flags&tcpRST != 0 && w.ack == 0 {
		w.ack, w.sack = w.receiver.end, w.receiver.end
	}
	if s.Flags&tcpRST != 0 && w.seq == 0 && t.state == TCPSynSent { // it answers a SYN
		w.seq, w.end = w.sender.end, w.sender.end
	}
	if act := w.judge(); act != tcpAccept && !o.Liberal && w.sender.flags&tcpBeLiberal == 0 {
		return act
	} else if act != tcpAccept {
		return tcpAccept
	}
	w.learn(d, kind)
	return tcpAccept
}

// firstOfItsKind begins an end's record with the first segment that it sends, or anew with another SYN. It reports
// true for a SYN from both ends, which needs no more.
func (w *window) firstOfItsKind(d nat.Direction) bool {
	syn, ack := w.s.Flags&tcpSYN != 0, w.s.Flags&tcpACK != 0
	switch {
	case w.sender.maxWin == 0 && syn:
		w.start()
		w.agreeOnScales(d)
		return !ack
	case w.sender.maxWin == 0:
		w.sender.end = w.end
		w.sender.maxWin = max(uint32(w.s.Window)<<w.sender.scale, 1)
		w.sender.maxEnd = w.end + w.sender.maxWin
		if w.receiver.maxWin == 0 {
			w.receiver.end, w.receiver.maxEnd = w.sack, w.sack
		} else if w.sack == w.receiver.end+1 { // it answers a keepalive
			w.receiver.end++
		}
	case !after(w.end, w.sender.end):
	case !w.kernel.Has(nat.SYNReinitialises):
		if w.tcp.state == TCPSynSent && d == nat.Original || w.tcp.state == TCPSynRecv && d == nat.Reply {
			w.start()
		}
	case syn && (w.tcp.state == TCPSynSent || w.tcp.state == TCPSynRecv):
		w.start()
		w.agreeOnScales(d)
		return d == nat.Reply && !ack
	}
	return false
}

// start begins an end's record with its SYN.
func (w *window) start() {
	w.sender.end, w.sender.maxEnd = w.end, w.end
	w.sender.maxWin = max(uint32(w.s.Window), 1)
	w.sender.options(w.s.Options)
}

// agreeOnScales scales windows only where both ends offered it (RFC 7323), once the second one has.
func (w *window) agreeOnScales(d nat.Direction) {
	if (d == nat.Reply || !w.kernel.Has(nat.ScaleOfReply)) && w.sender.flags&w.receiver.flags&tcpWindowScale == 0 {
		w.sender.scale, w.receiver.scale = 0, 0
	}
}

// judge sets the segment against the four bounds.
func (w *window) judge() tcpAction {
	lowest := w.sender.end - w.receiver.maxWin - 1
	ackFresh := after(w.sack, w.receiver.end-w.sender.maxAckWindow()-1)
	ackKnown := before(w.sack, w.receiver.end+1)
	if !w.kernel.Has(nat.WindowLeniency) {
		if before(w.seq, w.sender.maxEnd+1) && (w.receiver.maxWin == 0 || after(w.end, lowest)) && ackKnown && ackFresh {
			return tcpAccept
		}
		return tcpRefuse
	}
	if !before(w.seq, w.sender.maxEnd+1) {
		overshot := w.end - w.sender.maxEnd + 1
		if w.receiver.maxWin != 0 && after(w.end, lowest) && ackFresh && overshot <= w.receiver.maxWin && ackKnown {
			w.sender.end = w.end
			w.sender.flags |= tcpUnackedData
			return tcpLetPass
		}
		return tcpOutside
	}
	switch {
	case !ackKnown:
		return tcpOutside
	case w.receiver.maxWin != 0 && !after(w.end, lowest), !ackFresh:
		return tcpLetPass
	}
	return tcpAccept
}

// learn takes what a segment in window tells of both ends.
func (w *window) learn(d nat.Direction, kind segmentKind) {
	win := uint32(w.s.Window)
	if w.s.Flags&tcpSYN == 0 {
		win <<= w.sender.scale
	}
	w.sender.maxWin = max(w.sender.maxWin, win+w.sack-w.ack)
	if after(w.end, w.sender.end) {
		w.sender.end = w.end
		w.sender.flags |= tcpUnackedData
	}
	if w.s.Flags&tcpACK != 0 && (w.sender.flags&tcpMaxAckSet == 0 || after(w.ack, w.sender.maxAck)) {
		w.sender.maxAck = w.ack
		w.sender.flags |= tcpMaxAckSet
	}
	if w.receiver.maxWin != 0 && after(w.end, w.sender.maxEnd) {
		w.receiver.maxWin += w.end - w.sender.maxEnd
	}
	if after(w.sack+win, w.receiver.maxEnd-1) {
		w.receiver.maxEnd = w.sack + win
		if win == 0 {
			w.receiver.maxEnd++
		}
	}
	if w.ack == w.receiver.end {
		w.receiver.flags &^= tcpUnackedData
	}
	if kind == kindACK {
		w.tcp.countRetransmission(d, w)
	}
}

// countRetransmission counts ACKs that are the same again.
func (t *tcpConn) countRetransmission(d nat.Direction, w *window) {
	if t.lastDir == d && t.lastSeq == w.seq && t.lastAck == w.ack && t.lastEnd == w.end && t.lastWin == w.s.Window {
		if t.retrans < 255 {
			t.retrans++
		}
		return
	}
	t.lastDir, t.lastSeq, t.lastAck, t.lastEnd, t.lastWin, t.retrans = d, w.seq, w.ack, w.end, w.s.Window, 0
}
