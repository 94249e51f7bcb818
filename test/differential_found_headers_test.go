package test

import (
	"natlab/nat/packet"
)

// foundHeaders are differences of what stands between the IP header and the transport header, and of extensions that rules seldom have.
func foundHeaders() []found {
	const forwarded, own = "udp 192.168.1.10:1000 > 10.0.0.20:80", "udp 192.168.1.10:1000 > 192.168.1.1:80"
	accept := filterRules("-A FORWARD -j ACCEPT", "-A INPUT -j ACCEPT")
	hop := func(option ...byte) []packet.Header {
		return []packet.Header{{Type: 0, Bytes: append([]byte{0, 0}, append(option, make([]byte, 6-len(option))...)...)}}
	}
	later := []packet.Header{{Type: 44, Bytes: []byte{0, 0, 0, 9, 0, 0, 0, 9}}}
	return []found{
		{"options of IPv4 that change nothing go through, and what has a wrong length is told of", accept, []given{
			{dev: "in0", tuple: forwarded, options: []byte{1, 1, 1, 0}},
			{dev: "in0", tuple: forwarded, options: []byte{148, 4, 0, 0}},
			{dev: "in0", tuple: forwarded, options: []byte{30, 4, 1, 2}},
			{dev: "in0", tuple: forwarded, options: []byte{30, 9, 1, 2}},
			{dev: "in0", tuple: own, options: []byte{1, 148, 3, 0}},
			{dev: "in0", tuple: own, options: []byte{1, 1, 1, 30}},
			{tuple: "udp 10.0.0.1:1000 > 10.0.0.20:80", options: []byte{30, 9, 1, 2}},
		}, only4, nil},
		{"pieces out of which what a target writes into came to the first one", mangleRules("-A FORWARD -p tcp --dport 80 --syn -j TCPMSS --set-mss 1000", "-A FORWARD -p tcp --dport 81 -j TCPOPTSTRIP --strip-options wscale") + filterRules("-A FORWARD -m conntrack --ctstate INVALID -j DROP"), []given{
			{dev: "in0", tuple: "tcp 192.168.1.10:1001 > 10.244.0.5:80", flags: 2, seq: 1000, tcpOptions: []byte{2, 4, 5, 180}, payload: make([]byte, 50), pieces: []int{24, 8, 42}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1002 > 10.244.0.5:81", flags: 2, seq: 1000, tcpOptions: []byte{3, 3, 7, 0}, payload: make([]byte, 50), pieces: []int{16, 16, 42}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1003 > 10.244.0.5:81", flags: 2, seq: 1000, tcpOptions: []byte{3, 3, 7, 1, 1, 1, 1, 1, 1, 1, 1, 0}, payload: make([]byte, 50), pieces: []int{24, 16, 42}},
			{dev: "in0", tuple: "tcp 192.168.1.10:1005 > 10.244.0.5:83", flags: 2, seq: 1000, tcpOptions: []byte{3, 3, 7, 0}, payload: make([]byte, 50), pieces: []int{24, 8, 42}},
		}, only4, nil},
		{"UDP of a header that rules have changed since conntrack has summed it", mangleRules("-A INPUT -p udp --sport 1001 -j HL --hl-set 5", "-A PREROUTING -p udp --sport 1002 -j DSCP --set-dscp 0x2e", "-A INPUT -p udp --sport 1003 -j TOS --set-tos 0x10/0x3f") + filterRules("-A INPUT -m conntrack --ctstate INVALID"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 192.168.1.1:80", payload: make([]byte, 68)},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 192.168.1.1:80", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1002 > 192.168.1.1:80", payload: make([]byte, 69)},
			{dev: "in0", tuple: "udp 192.168.1.10:1003 > 192.168.1.1:80", payload: make([]byte, 69)},
		}, only6, nil},
		{"a hop-by-hop option that is not known does what its highest bits tell, in front of all rules", accept, []given{
			{dev: "in0", tuple: forwarded, headers: hop(30, 2, 7, 7)},
			{dev: "in0", tuple: forwarded, headers: hop(5, 2, 0, 0)},
			{dev: "in0", tuple: forwarded, headers: hop(0x5e, 2, 7, 7)},
			{dev: "in0", tuple: forwarded, headers: hop(0x9e, 2, 7, 7)},
			{dev: "in0", tuple: forwarded, headers: hop(0xde, 2, 7, 7)},
			{dev: "in0", tuple: forwarded, headers: hop(1, 4, 0, 0, 7, 0)},
			{tuple: "udp [fd00::af4:1]:443 > [ff01::1]:40001", headers: hop(0x9e, 2, 7, 7)},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:443 > [ff02::1]:40001", headers: hop(0xde, 2, 7, 7)},
		}, only6, nil},
		{"destination options count where the packet is delivered, and an unknown protocol is named where its number stands", accept, []given{
			{dev: "in0", tuple: forwarded, headers: []packet.Header{{Type: 60, Bytes: []byte{0, 0, 0x9e, 2, 7, 7, 0, 0}}}},
			{dev: "in0", tuple: own, headers: []packet.Header{{Type: 60, Bytes: []byte{0, 0, 0x9e, 2, 7, 7, 0, 0}}}},
			{dev: "in0", tuple: "253 192.168.1.10:0 > 192.168.1.1:0", headers: hop(1, 4, 0, 0, 0, 0)},
			{dev: "in0", tuple: own, headers: []packet.Header{{Type: 43, Bytes: make([]byte, 8)}}},
			{dev: "in0", tuple: own, headers: append([]packet.Header{{Type: 43, Bytes: make([]byte, 8)}}, hop(30, 2, 7, 7)...)},
			{dev: "in0", tuple: own, headers: append(hop(1, 4, 0, 0, 0, 0), hop(1, 4, 0, 0, 0, 0)...)},
		}, only6, nil},
		{"a routing header is for one node, whichever group it is sent to", accept, []given{
			{dev: "in0", tuple: "icmp [fd00::c0a8:10b]:7 > [ff02::1]:7"},
			{dev: "in0", tuple: "icmp [fd00::c0a8:10b]:7 > [ff02::1]:7", headers: []packet.Header{{Type: 43, Bytes: make([]byte, 8)}}},
		}, only6, nil},
		{"a later fragment of IPv6 is told of, too", filterRules("-A FORWARD -j ACCEPT"), []given{
			{dev: "in0", tuple: forwarded, ttl: 1, headers: later},
			{dev: "in0", tuple: forwarded, headers: later},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 1, ttl: 1, headers: later},
		}, only6, nil},
		{"-p finds no protocol in a later fragment that an extension header is said to follow, and drops it", filterRules("-A FORWARD -o pod0", "-A FORWARD ! -p icmp"), []given{
			{dev: "in0", tuple: forwarded, headers: later, spoiled: map[int]byte{40: 44}},
			{dev: "in0", tuple: forwarded, headers: later, spoiled: map[int]byte{40: 43}},
			{dev: "in0", tuple: forwarded, headers: later, spoiled: map[int]byte{40: 59}},
			{dev: "in0", tuple: forwarded, headers: later, spoiled: map[int]byte{40: 17}},
			{dev: "pod0", tuple: "udp 10.244.0.5:1000 > 10.0.0.20:80", headers: later, spoiled: map[int]byte{40: 0}},
		}, legacy6, nil},
		{"a ping from ::1 to a network's anycast address is answered by lo", filterRules("-A OUTPUT -j ACCEPT"), []given{
			{tuple: "icmp 127.0.0.1:8 > 192.168.1.0:8"},
		}, only6, nil},
		{"what nothing follows has no ports to count by", mangleRules("-A FORWARD -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 3 --hashlimit-mode dstip,dstport --hashlimit-name found59"), []given{
			{dev: "in0", tuple: "59 192.168.1.10:0 > 10.0.0.20:0"},
			{dev: "in0", tuple: "253 192.168.1.10:0 > 10.0.0.20:0"},
		}, both, nil},
		{"nor to be in a set by", mangleRules("-A FORWARD -j SET --add-set learntports src,dst", "-A FORWARD -j SET --add-set learntpairs src,dst,dst"), []given{
			{dev: "in0", tuple: "59 192.168.1.10:0 > 10.0.0.20:0"},
			{dev: "in0", tuple: "253 192.168.1.10:0 > 10.0.0.20:0"},
		}, both, nil},
		{"HMARK leaves an error as it is that quotes no header", mangleRules("-A FORWARD -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 16 --hmark-offset 0x40 --hmark-rnd 0x01020304"), []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, payload: []byte("none")},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80"},
		}, both, nil},
		{"HMARK finds the addresses that an error quotes, and no ports where those are cut off", mangleRules("-A FORWARD -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 60000 --hmark-offset 1 --hmark-rnd 0x01020304 --hmark-dport 0x0100",
			"-A FORWARD -m mark --mark 0x1/0x1", "-A FORWARD -m mark --mark 0x2/0x2", "-A FORWARD -m mark --mark 0x4/0x4", "-A FORWARD -m mark --mark 0x8/0x8"), []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", cut: 8},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", cut: 6},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", cut: 5},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", cut: 4},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", cut: 9},
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "51 10.0.0.20:0 > 192.168.1.10:0"},
			{dev: "in0", tuple: "51 192.168.1.10:0 > 10.0.0.20:0", payload: []byte{6, 4, 0, 0, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		}, both, nil},
		{"HMARK does not look into an error behind a fragment header", mangleRules("-A FORWARD -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 60000 --hmark-offset 1 --hmark-rnd 0x01020304"), []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80", headers: []packet.Header{{Type: 44, Bytes: []byte{0, 0, 0, 0, 0, 0, 0, 9}}}},
			{dev: "in0", tuple: forwarded, headers: []packet.Header{{Type: 44, Bytes: []byte{0, 0, 0, 0, 0, 0, 0, 9}}}},
			{dev: "in0", tuple: forwarded, headers: []packet.Header{{Type: 51, Bytes: []byte{0, 4, 0, 0, 1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}}},
		}, only6, nil},
		{"REJECT answers the first fragment of a datagram without a checksum", filterRules("-A FORWARD -j REJECT"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", headers: []packet.Header{{Type: 44, Bytes: []byte{0, 0, 0, 1, 0, 0, 0, 9}}}, spoiled: map[int]byte{54: 0, 55: 0}},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", headers: []packet.Header{{Type: 44, Bytes: []byte{0, 0, 0, 1, 0, 0, 0, 8}}}},
		}, only6, nil},
		{"of IPv4, too", filterRules("-A FORWARD -j REJECT"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", set: map[int]byte{6: 0x20}, spoiled: map[int]byte{26: 0, 27: 0}},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", set: map[int]byte{6: 0x20}},
		}, only4, nil},
		{"the RST that ends a connection is counted", filterRules("-A FORWARD -m connbytes --connbytes 2 --connbytes-mode packets --connbytes-dir both"), []given{
			{dev: "pod0", tuple: "tcp 10.244.0.5:443 > 203.0.113.7:1000", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp 203.0.113.7:1000 > 10.244.0.5:443", flags: 20, ack: 1001},
		}, both, nil},
		{"what comes by lo is redirected to the address that the kernel gives lo", natRules("-A OUTPUT -o lo -j NFQUEUE --queue-num 9 --queue-bypass", "-A PREROUTING -p udp -j REDIRECT --to-ports 8080"), []given{
			{tuple: "udp 192.168.1.1:40001 > 10.0.0.1:53"},
		}, both, nil},
		{"a queue that nobody listens on ends the NAT hook that its rule is in", natRules("-A INPUT -j NFQUEUE --queue-num 9 --queue-bypass", "-A PREROUTING -d 10.96.0.1/32 -j NFQUEUE --queue-num 9 --queue-bypass",
			"-A PREROUTING -j DNAT --to-destination 10.244.0.5"), []given{
			{dev: "in0", tuple: own},
			{dev: "in0", tuple: "udp 192.168.1.10:1001 > 10.96.0.1:80"},
			{dev: "in0", tuple: "udp 192.168.1.10:1002 > 10.96.0.2:80"},
		}, both, nil},
	}
}
