package conntrack

import (
	"encoding/binary"

	"natlab/nat"
)

// sctpState is where conntrack believes an SCTP association to be (enum sctp_conntrack).
type sctpState uint8

const (
	sctpNone sctpState = iota
	sctpClosed
	sctpCookieWait
	sctpCookieEchoed
	sctpEstablished
	sctpShutdownSent
	sctpShutdownRecd
	sctpShutdownAckSent
	sctpHeartbeatSent
	sctpStates
	sctpInvalid = sctpStates
)

var sctpNames = [sctpStates]string(nat.SCTPStates)

func (s sctpState) String() string { return sctpNames[s] }

// Chunk types that move an association (RFC 9260, section 3.2).
const (
	chunkData             = 0
	chunkInit             = 1
	chunkInitAck          = 2
	chunkHeartbeat        = 4
	chunkHeartbeatAck     = 5
	chunkAbort            = 6
	chunkShutdown         = 7
	chunkShutdownAck      = 8
	chunkError            = 9
	chunkCookieEcho       = 10
	chunkCookieAck        = 11
	chunkShutdownComplete = 14
)

// sctpMoves is, for a direction and a chunk type, the next state for each state in their order, by their letters in
// sctpLetters; "-" is invalid (sctp_conntracks). Cookies from either side count as of Linux 6.6 and in the stable 5.10 and
// 6.1, with the INITs that cross each other; before, COOKIE_ECHO changed nothing in the reply direction, nor COOKIE_ACK in
// the original one.
var sctpMoves = [2]map[byte]string{
	nat.Original: {
		chunkInit: "LLWEXLLAW", chunkInitAck: "LLWEXSRAL", chunkAbort: "LLLLLLLLL", chunkShutdown: "LLWESSRAL",
		chunkShutdownAck: "ALWEXAAAA", chunkError: "LLWEXSRAL", chunkCookieEcho: "LLEEXSRAL", chunkCookieAck: "LLWXXSRAL",
		chunkShutdownComplete: "LLWEXSRLL", chunkHeartbeat: "HLWEXSRAH", chunkHeartbeatAck: "LLWEXSRAH",
	},
	nat.Reply: {
		chunkInit: "-LWEXSRA-", chunkInitAck: "-WWEXSRA-", chunkAbort: "-LLLLLLL-", chunkShutdown: "-LWERSRA-",
		chunkShutdownAck: "-LWEXAAA-", chunkError: "-LWLXSRA-", chunkCookieEcho: "-LEEXSRA-", chunkCookieAck: "-LWXXSRA-",
		chunkShutdownComplete: "-LWEXSRL-", chunkHeartbeat: "-LWEXSRAH", chunkHeartbeatAck: "-LWEXSRAX",
	},
}

const sctpLetters = "NLWEXSRAH"

func nextSCTP(d nat.Direction, chunk byte, s sctpState) sctpState {
	moves, ok := sctpMoves[d][chunk]
	if !ok { // DATA, SACK and others change nothing
		return s
	}
	for i := range sctpLetters {
		if sctpLetters[i] == moves[s] {
			return sctpState(i)
		}
	}
	return sctpInvalid
}

// sctpConn is what conntrack remembers of an association (struct ip_ct_sctp).
type sctpConn struct {
	state         sctpState
	tag           [2]uint32 // the verification tag of packets in each direction
	init          [2]bool   // an INIT of this direction is under way
	lastDir       nat.Direction
	heartbeatLost bool // a heartbeat had an unknown tag (SCTP_FLAG_HEARTBEAT_VTAG_FAILED)
}

// chunk is one chunk of an SCTP packet.
type chunk struct {
	kind, flags byte
	body        []byte
}

// SCTP is what conntrack reads of an SCTP packet.
type SCTP struct {
	Tag    uint32
	Chunks []byte // all of them, as they stand in the packet
}

// each calls f for every chunk until it returns stop. It reports false where a chunk has no length.
func (s *SCTP) each(f func(n int, c chunk) bool) bool {
	b := s.Chunks
	for n := 0; len(b) >= 4; n++ {
		length := int(binary.BigEndian.Uint16(b[2:]))
		if length == 0 {
			return false
		}
		c := chunk{kind: b[0], flags: b[1]}
		if length > 4 {
			c.body = b[4:min(length, len(b))]
		}
		if !f(n, c) {
			return true
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return true
}

// kinds is which chunk types a packet has; ok is false for a packet that breaks the rules of bundling
// (do_basic_checks).
func (s *SCTP) kinds() (has [256]bool, ok bool) {
	count, alone, bad := 0, false, false
	sane := s.each(func(n int, c chunk) bool {
		count++
		switch c.kind {
		case chunkInit, chunkInitAck, chunkShutdownComplete:
			alone = true
		}
		if n != 0 && (alone || c.kind == chunkCookieAck || c.kind == chunkCookieEcho) {
			bad = true
		}
		has[c.kind] = true
		return !bad
	})
	return has, sane && !bad && count > 0
}

// begin sets an association up from its first packet (sctp_new).
func (a *sctpConn) begin(s *SCTP) bool {
	*a = sctpConn{}
	ok := true
	s.each(func(_ int, c chunk) bool {
		next := nextSCTP(nat.Original, c.kind, sctpNone)
		switch {
		case next == sctpNone || next == sctpInvalid:
			ok = false
		case c.kind == chunkInit && (s.Tag != 0 || len(c.body) < 16):
			ok = false
		case c.kind == chunkInit:
			a.tag[nat.Reply] = binary.BigEndian.Uint32(c.body)
		case c.kind == chunkHeartbeat:
			a.tag[nat.Original] = s.Tag
		case c.kind == chunkShutdownAck:
			a.tag[nat.Reply] = s.Tag
		}
		return ok
	})
	return ok
}

// handleSCTP is nf_conntrack_sctp_packet; false: the packet is no part of the association.
func (t *Table) handleSCTP(c *Conn, d nat.Direction, s *SCTP) bool {
	has, ok := s.kinds()
	if !ok {
		return false
	}
	a, confirmed := &c.extend().sctp, c.Has(nat.Confirmed)
	if !confirmed && (has[chunkAbort] || has[chunkShutdownComplete] || has[chunkCookieAck] || !a.begin(s)) {
		return false
	}
	free := has[chunkInit] || has[chunkShutdownComplete] || has[chunkCookieEcho] || has[chunkAbort] || has[chunkShutdownAck] ||
		has[chunkHeartbeat] || has[chunkHeartbeatAck]
	if !free && s.Tag != a.tag[d] {
		return false
	}
	next, keeps := sctpNone, false
	s.each(func(_ int, ch chunk) bool {
		var skip bool
		if skip, ok = a.checkTag(d, s.Tag, ch, has[chunkData] || keeps); !ok || skip {
			keeps = keeps || skip
			return ok
		}
		was := a.state
		next = nextSCTP(d, ch.kind, was)
		if ok = next != sctpInvalid && a.learnTag(d, was, ch); !ok {
			return false
		}
		if ch.kind == chunkInit && was == sctpClosed && next == sctpClosed && confirmed {
			keeps = true
		}
		if a.state = next; was != next && next == sctpEstablished {
			c.Set(nat.Assured)
		}
		return true
	})
	if ok && !keeps { // an INIT again, or a lost heartbeat, keeps nothing alive
		t.refresh(c, t.Settings.Timeouts.SCTP[next])
	}
	return ok
}

// learnTag takes the other end's tag from an INIT or INIT ACK; false: it is cut short, or answers another INIT. Where both
// ends have sent one, the one under way tells which tag is good (since Linux 6.6, 8e56b063c865).
func (a *sctpConn) learnTag(d nat.Direction, was sctpState, ch chunk) bool {
	if ch.kind != chunkInit && ch.kind != chunkInitAck {
		return true
	}
	if len(ch.body) < 16 {
		return false
	}
	tag, known := binary.BigEndian.Uint32(ch.body), a.tag[1-d]
	switch {
	case ch.kind == chunkInit:
		if was == sctpNone || known != tag {
			a.init[1-d] = a.init[1-d] && !a.init[d]
			a.init[d] = true
		}
	case tag == known:
	case !a.init[1-d] && known != 0, a.init[d] && a.init[1-d]:
		return false
	}
	a.tag[1-d] = tag
	return true
}

// checkTag checks a chunk's verification tag (RFC 9260, section 8.5.1). skip: the chunk is passed over.
func (a *sctpConn) checkTag(d nat.Direction, tag uint32, c chunk, strict bool) (skip, ok bool) {
	switch c.kind {
	case chunkInit:
		return false, tag == 0
	case chunkAbort, chunkShutdownComplete:
		if c.flags&1 != 0 { // the T bit: the tag is the sender's own
			return false, tag == a.tag[1-d]
		}
		return false, tag == a.tag[d]
	case chunkCookieEcho:
		return false, tag == a.tag[d]
	case chunkCookieAck:
		a.init = [2]bool{}
		return false, true
	case chunkHeartbeat, chunkHeartbeatAck:
	default:
		return false, true
	}
	switch {
	case a.tag[d] == 0:
		a.tag[d] = tag
	case tag == a.tag[d]:
		a.heartbeatLost = false
	case strict:
		return false, false
	case c.kind == chunkHeartbeat:
		a.heartbeatLost, a.lastDir = true, d
		return true, true
	case !a.heartbeatLost || a.lastDir == d:
		return false, false
	default:
		a.heartbeatLost = false
		a.tag[d], a.tag[1-d] = tag, 0
	}
	return false, true
}
