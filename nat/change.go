package nat

import "slices"

// Change is one change that Linux made to what conntrack or NAT does with packets. Whether a kernel has it is Kernel.Has's
// to answer.
type Change uint8

// The changes that the emulator follows, in the order in which Linux took them.
const (
	LowestIsUnicast    Change = iota // the first address of an IPv4 network is like the others, and none for all on it
	RSTOfReusedTuple                 // an RST is not judged by what is known of a connection that is over or that a SYN reuses
	SYNReinitialises                 // only a SYN begins one end's record anew
	RejectsUnsummedUDP               // a REJECT rule answers UDP without a checksum
	WindowLeniency                   // an overdue segment is let pass, as is one that overshoots the window a little; RSTs out of window shorten a connection's life
	ChallengeACK                     // the RST that answers a challenge ACK is known by the number that the ACK had
	ResetCloses                      // a REJECT rule's RST closes the connection that it ends
	GREClash                         // clashes of GRE are resolved
	WholeDCCPHeader                  // a DCCP packet has the whole header of its type, with long sequence numbers where its type has them
	EvictClosing                     // a search for a free port takes one that a closing TCP connection has
	TextEndsAtTo                     // -m string wants a text to end at --to, not only to begin there
	ScaleOfReply                     // a retransmitted SYN leaves the window scales as they are
	FirstPortOfDNAT                  // DNAT to a range of ports begins with the first one, and chance has no say
	ShortDCCPIsInvalid               // a DCCP packet that is too short for its type is INVALID, and no longer dropped
	ReverseClash                     // two packets that answer each other and are both new get no new source port
	LoopbackLeadsHome                // to nft_fib what lo brings leads to lo at the input hook, too, not only at the prerouting hook
	QuotaHoldsLast                   // the packet that uses a quota of nf_tables up is within it
	DCCPForgotten                    // DCCP is tracked and translated as a protocol of which nothing is known
	ICMPClash                        // clashes of ICMP are resolved
	UDPLiteForgotten                 // UDP-Lite is, and no socket takes it any more
	NoErrorToAll                     // an address for all on a link is told of no error
)

// changes are the releases that have a change: those since the tag that first carries its commit, and longterm series whose
// newest release took it too. 5.10, 6.1, 6.12 and 7.x were seen to have it or not: their sources (5.10.262, 6.1.192,
// 6.12.117) and the twins of test/vm. What is documented of other releases is by source: by the commit's way into the tag.
var changes = [...]struct {
	since    Kernel
	longterm []Kernel
}{
	LowestIsUnicast:    {Kernel{5, 14}, nil},                               // fib_add_ifaddr
	RSTOfReusedTuple:   {Kernel{5, 14}, nil},                               // c4edc3ccbc63
	SYNReinitialises:   {Kernel{5, 18}, nil},                               // c7aab4f17021
	RejectsUnsummedUDP: {Kernel{5, 19}, nil},                               // nf_reject_verify_csum, sent to nf-next in April 2022; in 6.1 and not in 5.10
	WindowLeniency:     {Kernel{6, 1}, nil},                                // 6e250dcbff1d, 628d694344a0
	ChallengeACK:       {Kernel{6, 2}, []Kernel{{6, 1}}},                   // c410cb974f2b
	ResetCloses:        {Kernel{6, 3}, []Kernel{{6, 1}}},                   // 2954fe60e33d; 6.1.81
	GREClash:           {Kernel{6, 5}, nil},                                // d671fd82eaa9
	WholeDCCPHeader:    {Kernel{6, 5}, []Kernel{{5, 10}, {5, 15}, {6, 1}}}, // ff0a3a7d52ff
	EvictClosing:       {Kernel{6, 5}, nil},                                // 458972550287
	TextEndsAtTo:       {Kernel{6, 7}, nil},                                // skb_find_text, sent to net-next in October 2023
	ScaleOfReply:       {Kernel{6, 8}, []Kernel{{6, 1}, {6, 6}}},           // fb366fc7541a
	FirstPortOfDNAT:    {Kernel{6, 8}, nil},                                // 0f1ae2821fa4, 6.8-rc5
	ShortDCCPIsInvalid: {Kernel{6, 10}, nil},                               // sent to net-next in March 2024; in 6.12 and not in 6.1
	ReverseClash:       {Kernel{6, 12}, []Kernel{{6, 11}}},                 // d8f84a9bc7c4; 6.11.4
	LoopbackLeadsHome:  {Kernel{6, 15}, []Kernel{{6, 12}}},                 // nft_fib_can_skip, sent to nf-next in February 2025; in 6.12 and 7.2, not in 5.10 and 6.1
	QuotaHoldsLast:     {Kernel{6, 16}, []Kernel{{6, 1}, {6, 12}}},         // nft_overquota; in 6.1 and 6.12 by the twins
	DCCPForgotten:      {Kernel{6, 17}, nil},                               // fd72f265bb00
	ICMPClash:          {Kernel{7, 0}, nil},                                // f7becf0dad8f
	UDPLiteForgotten:   {Kernel{7, 1}, nil},                                // 84dee05d9d61, 56520b398e5e
	NoErrorToAll:       {Kernel{7, 2}, nil},                                // __icmp_send, by the twins: in 7.2 and not in 6.18
}

// Has reports whether a kernel has a change. A version of two numbers stands for the newest release of its series.
func (k Kernel) Has(c Change) bool {
	row := &changes[c]
	return !k.Before(row.since.Major, row.since.Minor) || slices.Contains(row.longterm, k)
}
