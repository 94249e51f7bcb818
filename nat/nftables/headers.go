package nftables

// field is a field of a header, in bits from the header's first.
type field struct {
	header, name string
	kind         Type
	at, bits     int
}

// fields are those of the headers that nft has names for (proto.c).
var fields = []field{
	{"ip", "version", Integer, 0, 4},
	{"ip", "hdrlength", Integer, 4, 4},
	{"ip", "dscp", DSCP, 8, 6},
	{"ip", "ecn", ECN, 14, 2},
	{"ip", "length", Integer, 16, 16},
	{"ip", "id", Integer, 32, 16},
	{"ip", "frag-off", Integer, 48, 16},
	{"ip", "ttl", Integer, 64, 8},
	{"ip", "protocol", InetProto, 72, 8},
	{"ip", "checksum", Integer, 80, 16},
	{"ip", "saddr", IPv4Addr, 96, 32},
	{"ip", "daddr", IPv4Addr, 128, 32},

	{"ip6", "version", Integer, 0, 4},
	{"ip6", "dscp", DSCP, 4, 6},
	{"ip6", "ecn", ECN, 10, 2},
	{"ip6", "flowlabel", Integer, 12, 20},
	{"ip6", "length", Integer, 32, 16},
	{"ip6", "nexthdr", InetProto, 48, 8},
	{"ip6", "hoplimit", Integer, 56, 8},
	{"ip6", "saddr", IPv6Addr, 64, 128},
	{"ip6", "daddr", IPv6Addr, 192, 128},

	{"th", "sport", InetService, 0, 16},
	{"th", "dport", InetService, 16, 16},

	{"tcp", "sport", InetService, 0, 16},
	{"tcp", "dport", InetService, 16, 16},
	{"tcp", "sequence", Integer, 32, 32},
	{"tcp", "ackseq", Integer, 64, 32},
	{"tcp", "doff", Integer, 96, 4},
	{"tcp", "reserved", Integer, 100, 4},
	{"tcp", "flags", TCPFlag, 104, 8},
	{"tcp", "window", Integer, 112, 16},
	{"tcp", "checksum", Integer, 128, 16},
	{"tcp", "urgptr", Integer, 144, 16},

	{"udp", "sport", InetService, 0, 16},
	{"udp", "dport", InetService, 16, 16},
	{"udp", "length", Integer, 32, 16},
	{"udp", "checksum", Integer, 48, 16},

	{"udplite", "sport", InetService, 0, 16},
	{"udplite", "dport", InetService, 16, 16},
	{"udplite", "checksum", Integer, 48, 16},

	{"sctp", "sport", InetService, 0, 16},
	{"sctp", "dport", InetService, 16, 16},
	{"sctp", "vtag", Integer, 32, 32},
	{"sctp", "checksum", Integer, 64, 32},

	{"dccp", "sport", InetService, 0, 16},
	{"dccp", "dport", InetService, 16, 16},
	{"dccp", "type", "dccp_pkttype", 67, 4},

	{"icmp", "type", ICMPType, 0, 8},
	{"icmp", "code", ICMPCode, 8, 8},
	{"icmp", "checksum", Integer, 16, 16},
	{"icmp", "id", Integer, 32, 16},
	{"icmp", "sequence", Integer, 48, 16},
	{"icmp", "gateway", Integer, 32, 32},
	{"icmp", "mtu", Integer, 48, 16},

	{"icmpv6", "type", ICMPv6Type, 0, 8},
	{"icmpv6", "code", ICMPv6Code, 8, 8},
	{"icmpv6", "checksum", Integer, 16, 16},
	{"icmpv6", "id", Integer, 32, 16},
	{"icmpv6", "sequence", Integer, 48, 16},
	{"icmpv6", "mtu", Integer, 32, 32},
	{"icmpv6", "parameter-problem", Integer, 32, 32},
	{"icmpv6", "max-delay", Integer, 32, 16},

	{"esp", "spi", Integer, 0, 32},
	{"esp", "sequence", Integer, 32, 32},
	{"ah", "nexthdr", InetProto, 0, 8},
	{"ah", "hdrlength", Integer, 8, 8},
	{"ah", "spi", Integer, 32, 32},
	{"ah", "sequence", Integer, 64, 32},
	{"comp", "nexthdr", InetProto, 0, 8},
	{"comp", "cpi", Integer, 16, 16},

	{"ether", "daddr", EtherAddr, 0, 48},
	{"ether", "saddr", EtherAddr, 48, 48},
	{"ether", "type", EtherType, 96, 16},
	{"vlan", "id", Integer, 4, 12},
	{"vlan", "type", EtherType, 16, 16},
	{"arp", "htype", Integer, 0, 16},
	{"arp", "ptype", EtherType, 16, 16},
	{"arp", "operation", "arp_op", 48, 16},
	{"arp", "saddr ether", EtherAddr, 64, 48},
	{"arp", "saddr ip", IPv4Addr, 112, 32},
	{"arp", "daddr ether", EtherAddr, 144, 48},
	{"arp", "daddr ip", IPv4Addr, 192, 32},
	{"igmp", "type", Integer, 0, 8},
	{"frag", "nexthdr", InetProto, 0, 8},
	{"frag", "frag-off", Integer, 16, 13},
	{"frag", "more-fragments", Integer, 31, 1},
	{"frag", "id", Integer, 32, 32},
}

// headerSelectors are the fields as selectors.
var headerSelectors = func() (out []selector) {
	for _, f := range fields {
		out = append(out, selector{name: f.header + " " + f.name, kind: f.kind, read: f.value()})
	}
	return out
}()
