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

var sctpNames = [sctpStates]string{
	"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
}

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

// sctpMoves says, for a direction and a chunk type, the next state for each state in their order, by their letters in
// sctpLetters; "-" is invalid (sctp_conntracks, Linux 3.12 to 7.x).
var sctpMoves = [2]map[byte]string{
	nat.Original: {
		chunkInit: "LLWEXLLAW", chunkInitAck: "LLWEXSRAL", chunkAbort: "LLLLLLLLL", chunkShutdown: "LLWESSRAL",
		chunkShutdownAck: "ALWEXAAAA", chunkError: "LLWEXSRAL", chunkCookieEcho: "LLEEXSRAL", chunkCookieAck: "LLWEXSRAL",
		chunkShutdownComplete: "LLWEXSRLL", chunkHeartbeat: "HLWEXSRAH", chunkHeartbeatAck: "LLWEXSRAH",
	},
	nat.Reply: {
		chunkInit: "-LWEXSRA-", chunkInitAck: "-WWEXSRA-", chunkAbort: "-LLLLLLL-", chunkShutdown: "-LWERSRA-",
		chunkShutdownAck: "-LWEXAAA-", chunkError: "-LWLXSRA-", chunkCookieEcho: "-LWEXSRA-", chunkCookieAck: "-LWXXSRA-",
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

// each calls f for every chunk until it says stop. It reports false where a chunk has no length.
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
func (t *sctpConn) begin(s *SCTP) bool {
	*t = sctpConn{}
	ok := true
	s.each(func(_ int, c chunk) bool {
		next := nextSCTP(nat.Original, c.kind, sctpNone)
		switch {
		case next == sctpNone || next == sctpInvalid:
			ok = false
		case c.kind == chunkInit && (s.Tag != 0 || len(c.body) < 16):
			ok = false
		case c.kind == chunkInit:
			t.tag[nat.Reply] = binary.BigEndian.Uint32(c.body)
		case c.kind == chunkHeartbeat:
			t.tag[nat.Original] = s.Tag
		default:
			t.tag[nat.Reply] = s.Tag
		}
		return ok
	})
	return ok
}

// packet moves an association on; ok is false where the packet is no part of it (nf_conntrack_sctp_packet). was is the
// state before its last chunk.
func (t *sctpConn) packet(confirmed bool, d nat.Direction, s *SCTP) (was sctpState, ok bool) {
	has, ok := s.kinds()
	if !ok {
		return was, false
	}
	if !confirmed && (has[chunkAbort] || has[chunkShutdownComplete] || has[chunkCookieAck] || !t.begin(s)) {
		return was, false
	}
	free := has[chunkInit] || has[chunkShutdownComplete] || has[chunkCookieEcho] || has[chunkAbort] || has[chunkShutdownAck] ||
		has[chunkHeartbeat] || has[chunkHeartbeatAck]
	if !free && s.Tag != t.tag[d] {
		return was, false
	}
	ignore := false
	s.each(func(_ int, c chunk) bool {
		var skip bool
		if skip, ok = t.checkTag(d, s.Tag, c, has[chunkData] || ignore); !ok {
			return false
		}
		if skip {
			ignore = true
			return true
		}
		next := nextSCTP(d, c.kind, t.state)
		if next == sctpInvalid {
			ok = false
			return false
		}
		if c.kind == chunkInit || c.kind == chunkInitAck {
			if len(c.body) < 16 {
				ok = false
				return false
			}
			t.tag[1-d] = binary.BigEndian.Uint32(c.body)
		}
		was, t.state = t.state, next
		return true
	})
	return was, ok
}

// checkTag checks a chunk's verification tag (RFC 9260, section 8.5.1). skip says that the chunk is passed over.
func (t *sctpConn) checkTag(d nat.Direction, tag uint32, c chunk, strict bool) (skip, ok bool) {
	switch c.kind {
	case chunkInit:
		return false, tag == 0
	case chunkAbort, chunkShutdownComplete:
		if c.flags&1 != 0 { // the T bit: the tag is the sender's own
			return false, tag == t.tag[1-d]
		}
		return false, tag == t.tag[d]
	case chunkCookieEcho:
		return false, tag == t.tag[d]
	case chunkHeartbeat, chunkHeartbeatAck:
	default:
		return false, true
	}
	switch {
	case t.tag[d] == 0:
		t.tag[d] = tag
	case tag == t.tag[d]:
		t.heartbeatLost = false
	case strict:
		return false, false
	case c.kind == chunkHeartbeat:
		t.heartbeatLost, t.lastDir = true, d
		return true, true
	case !t.heartbeatLost || t.lastDir == d:
		return false, false
	default:
		t.heartbeatLost = false
		t.tag[d], t.tag[1-d] = tag, 0
	}
	return false, true
}
