package conntrack

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
)

// Settings are the sysctls below net/netfilter that decide what connection tracking does.
type Settings struct {
	Kernel           nat.Kernel // whose conntrack and NAT this is
	Max              int        // nf_conntrack_max: connections the table holds; 0 for no limit
	Checksum         bool       // nf_conntrack_checksum: a packet with a wrong checksum is INVALID in PREROUTING
	Loose            bool       // nf_conntrack_tcp_loose: a connection may be picked up in its middle
	LooseDCCP        bool       // nf_conntrack_dccp_loose: so may one of DCCP
	Liberal          bool       // nf_conntrack_tcp_be_liberal: out of window is not INVALID
	Accounts         bool       // nf_conntrack_acct: connections that begin are counted
	IgnoreInvalidRST bool       // nf_conntrack_tcp_ignore_invalid_rst
	MaxRetrans       uint8      // nf_conntrack_tcp_max_retrans
	Timeouts         Timeouts
}

// Timeouts are how long a connection is kept after its last packet, by protocol and state.
type Timeouts struct {
	TCP       [tcpTimeouts]time.Duration // by TCPState, then retransmission and unacknowledged data
	UDP       time.Duration              // nf_conntrack_udp_timeout
	UDPStream time.Duration              // nf_conntrack_udp_timeout_stream
	ICMP      time.Duration              // nf_conntrack_icmp_timeout
	ICMPv6    time.Duration              // nf_conntrack_icmpv6_timeout
	SCTP      [sctpStates]time.Duration  // by sctpState
	DCCP      [dccpStates]time.Duration  // by dccpState
	GRE       time.Duration              // nf_conntrack_gre_timeout
	GREStream time.Duration              // nf_conntrack_gre_timeout_stream
	Generic   time.Duration              // nf_conntrack_generic_timeout
}

// The timeouts behind those of the TCP states.
const (
	tcpRetrans  = int(TCPSynSent2) + 1 // nf_conntrack_tcp_timeout_max_retrans
	tcpUnacked  = tcpRetrans + 1       // nf_conntrack_tcp_timeout_unacknowledged
	tcpTimeouts = tcpUnacked + 1
)

// Defaults are the settings of a fresh network namespace.
func Defaults() Settings {
	s := Settings{
		Max: 262144, Checksum: true, Loose: true, LooseDCCP: true, MaxRetrans: 3,
		Timeouts: Timeouts{
			UDP: 30 * time.Second, UDPStream: 120 * time.Second, ICMP: 30 * time.Second, ICMPv6: 30 * time.Second,
			GRE: 30 * time.Second, GREStream: 180 * time.Second, Generic: 600 * time.Second,
		},
	}
	for state, seconds := range [tcpTimeouts]int{
		TCPNone: 120, TCPSynSent: 120, TCPSynRecv: 60, TCPEstablished: 432000, TCPFinWait: 120, TCPCloseWait: 60, TCPLastAck: 30,
		TCPTimeWait: 120, TCPClose: 10, TCPSynSent2: 120, tcpRetrans: 300, tcpUnacked: 300,
	} {
		s.Timeouts.TCP[state] = time.Duration(seconds) * time.Second
	}
	for state, seconds := range [sctpStates]int{
		sctpNone: 10, sctpClosed: 10, sctpCookieWait: 3, sctpCookieEchoed: 3, sctpEstablished: 210, sctpShutdownSent: 3, sctpShutdownRecd: 3,
		sctpShutdownAckSent: 3, sctpHeartbeatSent: 30,
	} {
		s.Timeouts.SCTP[state] = time.Duration(seconds) * time.Second
	}
	for state, seconds := range [dccpStates]int{
		dccpNone: 240, dccpRequest: 240, dccpRespond: 480, dccpPartOpen: 480, dccpOpen: 43200, dccpCloseReq: 64, dccpClosing: 64, dccpTimeWait: 240,
	} {
		s.Timeouts.DCCP[state] = time.Duration(seconds) * time.Second
	}
	return s
}

// Set changes the setting of a sysctl, named as below net/netfilter: "nf_conntrack_udp_timeout". known is false for
// one that tells conntrack nothing; an error is a value that is no number.
func (s *Settings) Set(name, value string) (known bool, err error) {
	name = strings.TrimPrefix(name, "nf_conntrack_")
	flags := map[string]*bool{
		"checksum": &s.Checksum, "tcp_loose": &s.Loose, "dccp_loose": &s.LooseDCCP, "tcp_be_liberal": &s.Liberal, "tcp_ignore_invalid_rst": &s.IgnoreInvalidRST, "acct": &s.Accounts,
	}
	timeouts := s.Timeouts.byName()
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		err = fmt.Errorf("nf_conntrack_%s = %q: want a number", name, value)
	}
	switch {
	case flags[name] != nil:
		*flags[name] = n != 0
	case timeouts[name] != nil:
		*timeouts[name] = time.Duration(n) * time.Second
	case name == "max":
		s.Max = int(n)
	case name == "tcp_max_retrans":
		s.MaxRetrans = uint8(min(n, 255))
	default:
		return false, nil
	}
	return true, err
}

func (t *Timeouts) byName() map[string]*time.Duration {
	m := map[string]*time.Duration{
		"udp_timeout": &t.UDP, "udp_timeout_stream": &t.UDPStream, "icmp_timeout": &t.ICMP, "icmpv6_timeout": &t.ICMPv6,
		"generic_timeout": &t.Generic, "gre_timeout": &t.GRE, "gre_timeout_stream": &t.GREStream, "tcp_timeout_max_retrans": &t.TCP[tcpRetrans], "tcp_timeout_unacknowledged": &t.TCP[tcpUnacked],
	}
	for s := TCPSynSent; s < TCPSynSent2; s++ {
		m["tcp_timeout_"+strings.ToLower(s.String())] = &t.TCP[s]
	}
	for s := sctpClosed; s < sctpStates; s++ {
		m["sctp_timeout_"+strings.ToLower(s.String())] = &t.SCTP[s]
	}
	for s := dccpRequest; s < dccpStates; s++ {
		m["dccp_timeout_"+strings.ToLower(s.String())] = &t.DCCP[s]
	}
	return m
}
