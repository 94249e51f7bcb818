package conntrack

import "natlab/nat"

// TCPState is where conntrack believes a TCP connection to be (enum tcp_conntrack).
type TCPState uint8

// The states, with the kernel's numbers.
const (
	TCPNone        TCPState = iota
	TCPSynSent              // a SYN was seen
	TCPSynRecv              // a SYN-ACK answered it
	TCPEstablished          // and an ACK that
	TCPFinWait              // a FIN was seen
	TCPCloseWait            // it was acknowledged
	TCPLastAck              // a FIN the other way too
	TCPTimeWait             // acknowledged
	TCPClose                // an RST was seen
	TCPSynSent2             // SYNs from both sides
	tcpStates
	tcpInvalid = tcpStates // the packet is no part of the connection
	tcpIgnored = tcpStates + 1
)

var tcpNames = [tcpStates]string(nat.TCPStates)

// String is the name that conntrack -L prints.
func (s TCPState) String() string {
	if s < tcpStates {
		return tcpNames[s]
	}
	return "INVALID"
}

// The bits of TCP's flag byte.
const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
	tcpURG
	tcpECE
	tcpCWR
)

// segmentKind is what a segment's flags make it (enum tcp_bit_set).
type segmentKind uint8

const (
	kindSYN segmentKind = iota
	kindSYNACK
	kindFIN
	kindACK
	kindRST
	kindNone
	segmentKinds
)

func kindOf(flags uint8) segmentKind {
	switch {
	case flags&tcpRST != 0:
		return kindRST
	case flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
		return kindSYNACK
	case flags&tcpSYN != 0:
		return kindSYN
	case flags&tcpFIN != 0:
		return kindFIN
	case flags&tcpACK != 0:
		return kindACK
	}
	return kindNone
}

// tcpMoves is, for a direction and a kind of segment, the next state for each state in their order: a letter for a
// state (see tcpLetters), "." for a segment that is let pass without changing anything, "-" for one that is invalid
// (tcp_conntracks of nf_conntrack_proto_tcp.c, Linux 3.5 to 7.x).
var tcpMoves = [2][segmentKinds]string{
	nat.Original: {
		kindSYN:    "SS.....SS2",
		kindSYNACK: "--R------R",
		kindFIN:    "--FFLLLTZ-",
		kindACK:    "E-EECCTTZ-",
		kindRST:    "-ZZZZZZZZZ",
		kindNone:   "----------",
	},
	nat.Reply: {
		kindSYN:    "-2-----S-2",
		kindSYNACK: "-R.......R",
		kindFIN:    "--FFLLLTZ-",
		kindACK:    "-.RECCTTZ.",
		kindRST:    "-ZZZZZZZZZ",
		kindNone:   "----------",
	},
}

const tcpLetters = "NSREFCLTZ2"

func nextTCP(d nat.Direction, k segmentKind, s TCPState) TCPState {
	switch letter := tcpMoves[d][k][s]; letter {
	case '-':
		return tcpInvalid
	case '.':
		return tcpIgnored
	default:
		for i := range tcpLetters {
			if tcpLetters[i] == letter {
				return TCPState(i)
			}
		}
	}
	return tcpInvalid
}

// tcpSane reports whether a segment's flags make sense together; PSH, ECE and CWR always do (tcp_valid_flags).
func tcpSane(flags uint8) bool {
	switch flags &^ (tcpPSH | tcpECE | tcpCWR) {
	case tcpSYN, tcpSYN | tcpURG, tcpSYN | tcpACK, tcpRST, tcpRST | tcpACK, tcpFIN | tcpACK, tcpFIN | tcpACK | tcpURG, tcpACK, tcpACK | tcpURG:
		return true
	}
	return false
}

// tcpConn is what conntrack remembers of a TCP connection (struct ip_ct_tcp).
type tcpConn struct {
	seen     [2]tcpEnd // by the direction that the end sends in
	state    TCPState
	lastDir  nat.Direction
	last     segmentKind // of the last segment in window, or the last that was let pass
	retrans  uint8
	lastWin  uint16
	lastSeq  uint32
	lastAck  uint32
	lastEnd  uint32
	pending  tcpFlags // options of a SYN that was let pass out of sync
	pendingS uint8    // its window scale
}

// tcpFlags are what is known of one end of a connection (IP_CT_TCP_FLAG_*).
type tcpFlags uint8

const (
	tcpWindowScale tcpFlags = 1 << iota // it offered to scale its window
	tcpSackPerm
	tcpCloseInit // it began to close
	tcpBeLiberal
	tcpUnackedData
	tcpMaxAckSet
	tcpChallenge    // IP_CT_EXP_CHALLENGE_ACK
	tcpSimultaneous // IP_CT_TCP_SIMULTANEOUS_OPEN
)

// tcpAction is what a look at a segment comes to.
type tcpAction uint8

const (
	tcpAccept tcpAction = iota
	tcpLetPass
	tcpRefuse  // INVALID
	tcpOutside // INVALID, because it is out of window
	tcpReopen  // the connection is over, and the SYN opens another
	tcpKill    // the connection is deleted; the packet goes on as a part of it
	tcpDrop    // the packet ends here
)

// established reports whether data has flowed both ways (nf_conntrack_tcp_established).
func (c *Conn) established() bool { return c.tcp.state == TCPEstablished && c.Has(nat.Assured) }

// closing reports whether the connection may be thrown out when the table is full (tcp_can_early_drop).
func (t *tcpConn) closing() bool {
	return t.state >= TCPFinWait && t.state <= TCPClose
}

// begin sets a connection up from its first segment; false: such a segment opens none (tcp_new).
func (t *tcpConn) begin(s *Segment, loose bool) bool {
	next := nextTCP(nat.Original, kindOf(s.Flags), TCPNone)
	if next == tcpInvalid || next != TCPSynSent && !loose {
		return false
	}
	*t = tcpConn{last: kindNone}
	client := &t.seen[nat.Original]
	client.end, client.maxWin = s.end(), max(uint32(s.Window), 1)
	if next == TCPSynSent {
		client.maxEnd = client.end
		client.options(s.Options)
		return true
	}
	client.maxEnd = client.end + client.maxWin
	t.seen[nat.Original].flags = tcpSackPerm | tcpBeLiberal
	t.seen[nat.Reply].flags = tcpSackPerm | tcpBeLiberal
	return true
}

// SetClosing is what a REJECT rule's RST does to the TCP connection that it ends (nf_conntrack_tcp_set_closing, as of
// nat.ResetCloses).
func (t *Table) SetClosing(c *Conn) {
	if !c.Has(nat.Confirmed) || c.Original.Proto() != nat.TCP || !t.Settings.Kernel.Has(nat.ResetCloses) {
		return
	}
	if c.tcp.state != TCPClose && !c.Has(nat.FixedTimeout) {
		c.expires = t.now + int64(t.Settings.Timeouts.TCP[TCPClose])
	}
	c.tcp.state = TCPClose
}
