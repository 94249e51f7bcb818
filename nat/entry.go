package nat

import (
	"fmt"
	"net/netip"
	"strings"
)

// Entry is a connection as conntrack -L prints it.
type Entry struct {
	Conn
	Seconds    uint32    `json:"seconds"`              // until it is forgotten, if it sees no packet
	State      string    `json:"state,omitempty"`      // of TCP and SCTP: "ESTABLISHED"
	Kind       uint8     `json:"kind,omitempty"`       // of an ICMP query
	AnswerKind uint8     `json:"answerKind,omitempty"` // of its answer
	Code       uint8     `json:"code,omitempty"`       //
	Zone       uint16    `json:"zone,omitempty"`       //
	Counted    bool      `json:"counted,omitempty"`    // nf_conntrack_acct was on when it began
	Packets    [2]uint64 `json:"packets,omitzero"`     // by Direction
	Bytes      [2]uint64 `json:"bytes,omitzero"`       //
	Use        uint32    `json:"use,omitempty"`        // references that the kernel has to it
}

// String is a line of conntrack -L: "udp      17 29 src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=53 [UNREPLIED] src=... mark=0 use=1".
func (e Entry) String() string {
	var b strings.Builder
	e.begin(&b, true)
	fmt.Fprintf(&b, "mark=%d ", e.Mark)
	e.zone(&b)
	fmt.Fprintf(&b, "use=%d", max(e.Use, 1))
	return b.String()
}

// begin prints what an entry has up to its mark.
func (e *Entry) begin(b *strings.Builder, seconds bool) {
	proto, name := e.Original.Proto(), "unknown"
	switch proto {
	case TCP, UDP, UDPLite, SCTP, DCCP, GRE, ICMP:
		name = proto.String()
	case ICMPv6:
		name = "icmpv6"
	}
	fmt.Fprintf(b, "%-8s %d ", name, uint8(proto))
	if seconds {
		fmt.Fprintf(b, "%d ", e.Seconds)
	}
	if e.State != "" {
		fmt.Fprintf(b, "%s ", e.State)
	}
	e.end(b, Original, e.Kind)
	if !e.Has(SeenReply) {
		b.WriteString("[UNREPLIED] ")
	}
	e.end(b, Reply, e.AnswerKind)
	if e.Has(Assured) {
		b.WriteString("[ASSURED] ")
	}
}

func (e *Entry) zone(b *strings.Builder) {
	if e.Zone != 0 {
		fmt.Fprintf(b, "zone=%d ", e.Zone)
	}
}

// end prints what an entry has of one direction.
func (e *Entry) end(b *strings.Builder, d Direction, kind uint8) {
	t := e.Original
	if d == Reply {
		t = e.Reply
	}
	fmt.Fprintf(b, "src=%s dst=%s ", t.Src().Addr(), t.Dst().Addr())
	switch t.Proto() {
	case ICMP, ICMPv6:
		fmt.Fprintf(b, "type=%d code=%d id=%d ", kind, e.Code, t.Src().Port())
	case TCP, UDP, SCTP, UDPLite, DCCP:
		fmt.Fprintf(b, "sport=%d dport=%d ", t.Src().Port(), t.Dst().Port())
	case GRE:
		fmt.Fprintf(b, "srckey=%#x dstkey=%#x ", t.Src().Port(), t.Dst().Port())
	}
	if e.Counted {
		fmt.Fprintf(b, "packets=%d bytes=%d ", e.Packets[d], e.Bytes[d])
	}
}

// Decoded is what was done to a connection, in words: "DNAT to 10.244.1.2:8080, SNAT to 10.0.0.1:5000"; "not translated".
func (e Entry) Decoded() string {
	var words []string
	if to := e.Reply.Src(); to != e.Original.Dst() {
		words = append(words, "DNAT to "+endText(to))
	}
	if to := e.Reply.Dst(); to != e.Original.Src() {
		words = append(words, "SNAT to "+endText(to))
	}
	if words == nil {
		words = []string{"not translated"}
	}
	if !e.Has(SeenReply) {
		words = append(words, "unreplied")
	}
	return strings.Join(words, ", ")
}

// endText is an address with its port, where it has one.
func endText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// TCPStates and SCTPStates are the names of their connections' states, by the kernel's numbers (enum tcp_conntrack, enum sctp_conntrack).
var (
	TCPStates  = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	SCTPStates = []string{"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"}
)
