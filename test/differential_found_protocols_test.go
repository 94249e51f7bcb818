package test

// foundProtocols are differences of protocols that hardly any rule set asks for.
func foundProtocols() []found {
	const dccp, lite = "dccp 192.168.1.10:1000 > 10.96.0.1:80", "udplite 192.168.1.10:1000 > 10.0.0.20:80"
	toPod := natRules("-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.244.0.5")
	invalid := filterRules("-A FORWARD -m conntrack --ctstate INVALID", "-A INPUT -m conntrack --ctstate INVALID")
	ppp, other := []byte{0x30, 1, 0x88, 0x0b, 0, 4, 0, 7, 0, 0, 0, 0}, []byte{0x30, 1, 8, 0, 0, 4, 0, 7, 0, 0, 0, 0}
	return []found{
		{"conntrack reads no ports of DCCP, and NAT leaves its header alone", toPod, []given{
			{dev: "in0", tuple: dccp},
			{dev: "in0", tuple: "dccp 192.168.1.10:1001 > 10.96.0.1:81"},
		}, noDCCP, nil},
		{"REJECT answers DCCP only if it sums to zero", filterRules("-A INPUT -j REJECT --reject-with icmp-net-unreachable"), []given{
			{dev: "in0", tuple: "dccp 192.168.1.10:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "dccp 192.168.1.10:0 > 192.168.1.1:0"},
		}, noDCCP, nil},
		{"a DCCP connection is translated, header and ports, and moved on by types", toPod + invalid, []given{
			{dev: "in0", tuple: dccp, set: map[int]byte{35: 5}},
			{dev: "pod0", tuple: "dccp 10.244.0.5:80 > 192.168.1.10:1000", payload: make([]byte, 8), set: map[int]byte{24: 7, 28: 3, 35: 9}},
			{dev: "in0", tuple: dccp, payload: make([]byte, 4), set: map[int]byte{24: 6, 28: 7, 43: 9}},
			{dev: "in0", tuple: dccp, payload: make([]byte, 8), set: map[int]byte{24: 7, 28: 15}},
		}, oldDCCP, nil},
		{"DCCP that no request opened is none, nor what is too short for its type", toPod + invalid, []given{
			{dev: "in0", tuple: dccp, set: map[int]byte{28: 5}},
			{dev: "in0", tuple: dccp, set: map[int]byte{28: 4}},
			{dev: "in0", tuple: dccp, set: map[int]byte{28: 3}},
			{dev: "in0", tuple: dccp, set: map[int]byte{28: 0}},
			{dev: "in0", tuple: dccp, set: map[int]byte{25: 2}},
			{dev: "in0", tuple: dccp, set: map[int]byte{24: 2}},
		}, oldDCCP, nil},
		{"a kernel with IPIP tunnels takes what is in it, and is silent where that is too short", filterRules("-A INPUT -j ACCEPT"), []given{
			{dev: "in0", tuple: "ipip 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 16)},
			{dev: "in0", tuple: "ipip 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 20)},
			{dev: "in0", tuple: "ipv6 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 39)},
			{dev: "in0", tuple: "ipv6 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 40)},
		}, only4, nil},
		{"a right checksum of UDP-Lite is wrong to conntrack", invalid, []given{
			{dev: "in0", tuple: lite},
			{dev: "in0", tuple: lite, payload: []byte("what is not covered"), set: map[int]byte{25: 8}},
		}, only4, nil},
		{"UDP-Lite of the node itself is a stream once it is answered", invalid, []given{
			{tuple: "udplite 10.0.0.1:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "udplite 10.0.0.20:80 > 10.0.0.1:1000"},
		}, both, nil},
		{"a socket is asked for UDP-Lite", filterRules("-A OUTPUT -m conntrack --ctstate RELATED"), []given{
			{dev: "in0", tuple: "udplite 192.168.1.10:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "udplite 192.168.1.10:1000 > 192.168.1.1:80", payload: []byte("more")},
		}, both, nil},
		{"of GRE's version 1 only PPTP's is tracked, with its call id", invalid, []given{
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 10.0.0.20:0", payload: ppp},
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 10.0.0.20:0", payload: other},
		}, both, nil},
		{"GRE of an unknown version gets no other destination", toPod, []given{
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 10.96.0.1:0", payload: []byte{0, 0, 8, 0, 0, 0, 0, 0}},
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 10.96.0.1:0", payload: []byte{0, 2, 8, 0, 0, 0, 0, 0}},
		}, both, nil},
		{"the stack takes IGMP and PIM itself", filterRules("-A INPUT -j ACCEPT"), []given{
			{dev: "in0", tuple: "igmp 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 8)},
			{dev: "in0", tuple: "pim 192.168.1.10:0 > 192.168.1.1:0", payload: make([]byte, 8)},
		}, both, nil},
		{"nothing follows IPv6's last header, and nothing of it is tracked", invalid, []given{
			{dev: "in0", tuple: "59 192.168.1.10:0 > 192.168.1.1:0"},
			{dev: "in0", tuple: "59 192.168.1.10:0 > 10.0.0.20:0"},
		}, only6, nil},
		{"the reserved bit of IPv4's flags is lost where a packet is split", filterRules("-A FORWARD -m conntrack --ctstate NEW"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", payload: make([]byte, 1350), set: map[int]byte{6: 0x80}},
		}, only4, nil},
	}
}
