package conntrack

import (
	"encoding/binary"

	"natlab/nat"
)

// dccpState is where conntrack believes a DCCP connection to be (enum ct_dccp_states).
type dccpState uint8

const (
	dccpNone dccpState = iota
	dccpRequest
	dccpRespond
	dccpPartOpen
	dccpOpen
	dccpCloseReq
	dccpClosing
	dccpTimeWait
	dccpStates
	dccpIgnore  = dccpStates     // the packet goes on as a part of the connection, and changes nothing
	dccpInvalid = dccpStates + 1 // it is no part of it
)

var dccpNames = [dccpStates]string{"NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"}

func (s dccpState) String() string { return dccpNames[s] }

// Types of DCCP packets (RFC 4340, section 5.1); those from 10 on are reserved.
const (
	dccpTypeRequest = iota
	dccpTypeResponse
	dccpTypeData
	dccpTypeAck
	dccpTypeDataAck
	dccpTypeCloseReq
	dccpTypeClose
	dccpTypeReset
	dccpTypeSync
	dccpTypeSyncAck
	dccpTypes
)

// dccpRole is which end of a connection sends in a direction (enum ct_dccp_roles).
type dccpRole uint8

const (
	dccpClient dccpRole = iota
	dccpServer
)

// dccpMoves is, for who sends and a packet's type, the next state for each state in their order, by their letters in dccpLetters
// (dccp_state_table).
var dccpMoves = [2][dccpTypes]string{
	dccpClient: {
		dccpTypeRequest: "QQSIIIIQ", dccpTypeResponse: "-IIIIII-", dccpTypeData: "----OCG-", dccpTypeAck: "--PPOCG-", dccpTypeDataAck: "--PPOCG-",
		dccpTypeCloseReq: "--------", dccpTypeClose: "---GGG--", dccpTypeReset: "-TTTTTTI", dccpTypeSync: "-IIIIIII", dccpTypeSyncAck: "-IIIIIII",
	},
	dccpServer: {
		dccpTypeRequest: "-IIIIIIQ", dccpTypeResponse: "-SSIIII-", dccpTypeData: "---OO-G-", dccpTypeAck: "---OO-G-", dccpTypeDataAck: "---OO-G-",
		dccpTypeCloseReq: "---CCCC-", dccpTypeClose: "---GG-G-", dccpTypeReset: "-TTTTTTT", dccpTypeSync: "-IIIIIII", dccpTypeSyncAck: "-IIIIIII",
	},
}

const dccpLetters = "NQSPOCGTI"

func nextDCCP(r dccpRole, kind uint8, s dccpState) dccpState {
	for i := range dccpLetters {
		if dccpLetters[i] == dccpMoves[r][kind][s] {
			return dccpState(i)
		}
	}
	return dccpInvalid
}

// dccpConn is what conntrack remembers of a DCCP connection (struct nf_ct_dccp).
type dccpConn struct {
	state     dccpState
	role      [2]dccpRole // by direction
	handshake uint64      // the response's sequence number
	last      uint8       // the type of the packet before
	lastDir   nat.Direction
}

// dccpBasic is how long a DCCP header is at least (struct dccp_hdr).
const dccpBasic = 12

// DCCP is a DCCP packet as conntrack looks at it: its header with all that follows.
type DCCP struct{ Header []byte }

func (d DCCP) kind() uint8 { return d.Header[8] >> 1 & 15 }

// long reports whether sequence numbers have 48 bits.
func (d DCCP) long() bool { return d.Header[8]&1 != 0 }

// acknowledgement is where the header has the number of what it acknowledges.
func (d DCCP) acknowledgement() int {
	if d.long() {
		return dccpBasic + 4
	}
	return dccpBasic
}

// length is that of the header of its type, without options (__dccp_hdr_len).
func (d DCCP) length() int {
	switch n := d.acknowledgement(); d.kind() {
	case dccpTypeData:
		return n
	case dccpTypeRequest:
		return n + 4
	case dccpTypeResponse, dccpTypeReset:
		return n + 12
	default:
		return n + 8
	}
}

// sane is what dccp_error asks of the type.
func (d DCCP) sane(k nat.Kernel) bool {
	if d.kind() >= dccpTypes {
		return false
	}
	switch d.kind() {
	case dccpTypeData, dccpTypeAck, dccpTypeDataAck:
		return true
	}
	return d.long() || !k.Has(nat.WholeDCCPHeader)
}

// sequence is the packet's sequence number (dccp_hdr_seq).
func (d DCCP) sequence() uint64 {
	high := uint64(binary.BigEndian.Uint16(d.Header[10:]))
	if d.long() {
		return high<<32 | uint64(binary.BigEndian.Uint32(d.Header[12:]))
	}
	return high | uint64(d.Header[9])<<16
}

// acknowledges is the number of what it acknowledges (dccp_ack_seq).
func (d DCCP) acknowledges() uint64 {
	at := d.acknowledgement()
	return uint64(binary.BigEndian.Uint16(d.Header[at+2:]))<<32 | uint64(binary.BigEndian.Uint32(d.Header[at+4:]))
}

// handleDCCP is nf_conntrack_dccp_packet, of kernels that know the protocol (nat.DCCPForgotten).
func (t *Table) handleDCCP(c *Conn, dir nat.Direction, p *Packet) tcpAction {
	d := p.DCCP
	bad := p.Malformed || p.BadChecksum && t.Settings.Checksum && p.Hook == nat.PreRouting
	switch {
	case len(d.Header) < dccpBasic:
		return t.shortDCCP()
	case bad || !d.sane(t.Settings.Kernel):
		return tcpRefuse
	case len(d.Header) < d.length():
		return t.shortDCCP()
	}
	kind, a := d.kind(), &c.extend().dccp
	if !c.Has(nat.Confirmed) {
		if first := nextDCCP(dccpClient, kind, dccpNone); first == dccpInvalid || first != dccpRequest && !t.Settings.LooseDCCP {
			return tcpRefuse
		}
		*a = dccpConn{role: [2]dccpRole{nat.Reply: dccpServer}}
	}
	if kind == dccpTypeReset && !c.Has(nat.SeenReply) { // the only answer is a reset
		t.kill(c)
		return tcpKill
	}
	next := a.next(dir, kind)
	switch {
	case next == dccpInvalid:
		return tcpRefuse
	case next == dccpIgnore:
		a.last, a.lastDir = kind, dir
		return tcpAccept
	case next == dccpRespond && a.state != dccpRespond:
		a.handshake = d.sequence()
	case next == dccpPartOpen && a.state == dccpRespond && kind == dccpTypeAck && d.acknowledges() == a.handshake:
		c.Set(nat.Assured)
	}
	a.last, a.lastDir, a.state = kind, dir, next
	t.refresh(c, t.Settings.Timeouts.DCCP[next])
	return tcpAccept
}

// shortDCCP is what becomes of a packet whose header is cut short.
func (t *Table) shortDCCP() tcpAction {
	if t.Settings.Kernel.Has(nat.ShortDCCPIsInvalid) {
		return tcpRefuse
	}
	return tcpDrop
}

// next is where a packet moves the connection. The ends change roles where the one that was asked asks when all is over, and where it
// answers a request that was ignored.
func (a *dccpConn) next(dir nat.Direction, kind uint8) dccpState {
	next := nextDCCP(a.role[dir], kind, a.state)
	switch {
	case next == dccpRequest && a.state == dccpTimeWait && a.role[dir] == dccpServer:
		a.role[dir], a.role[1-dir] = dccpClient, dccpServer
	case next == dccpIgnore && a.lastDir != dir && a.last == dccpTypeRequest && kind == dccpTypeResponse:
		a.role[dir], a.role[1-dir] = dccpServer, dccpClient
		return dccpRespond
	}
	return next
}
