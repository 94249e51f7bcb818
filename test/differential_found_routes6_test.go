package test

// foundRoutes6 are differences of IPv6 packets that come from or go to odd addresses. The node's are fd00::c0a8:101/120 and ::102 on
// in0, fd00::a00:1/120 on out0 and fd00::af4:1/120 on pod0.
func foundRoutes6() []found {
	plain := filterRules("-A FORWARD -m mark --mark 0x1")
	const closed = "net/ipv6/conf/all/forwarding=0"
	anycast := []given{
		{dev: "pod0", tuple: "icmp [fd00::af4:5]:8 > [fd00::af4:0]:8"},
		{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [fd00::af4:0]:80"},
		{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [fd00::c0a8:100]:80", flags: 2, seq: 1000},
		{dev: "in0", tuple: "99 [fd00::c0a8:10a]:0 > [fd00::c0a8:100]:0", payload: make([]byte, 8)},
		{tuple: "icmp [fd00::af4:1]:8 > [fd00::c0a8:100]:8"},
		{tuple: "udp [fd00::af4:1]:1000 > [fd00::c0a8:100]:80"},
		{dev: "in0", tuple: "udp [fd00::c0a8:100]:1000 > [fd00::c0a8:101]:80"},
		{dev: "in0", tuple: "icmp [fd00::c0a8:100]:8 > [fd00::c0a8:100]:8"},
	}
	return []found{
		{"a router has the address of each of its networks", plain + natRules("-A POSTROUTING -j MASQUERADE"), anycast, only6, nil},
		{"and no other node has", plain, anycast, only6, []string{closed}},
		{"a network's address is any router's to addrtype", filterRules("-A INPUT -m addrtype --dst-type ANYCAST", "-A INPUT -m addrtype ! --src-type LOCAL,ANYCAST -j ACCEPT"), anycast, only6, []string{closed}},
		{"no way leads back to any router", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -m rpfilter --accept-local\n-A PREROUTING -m rpfilter --loose\nCOMMIT\n", anycast, only6, nil},
		{"but for a node that is none", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -m rpfilter --accept-local\n-A PREROUTING -m rpfilter --loose\nCOMMIT\n", anycast, only6, []string{closed}},
		{"an RST to ::1 leaves by the device that the segment came in by", natRules("-A OUTPUT -d ::1/128 -j DNAT --to-destination fd00::c0a8:10a"), []given{
			{tuple: "tcp [fd00::af4:1]:40001 > [::1]:30080", flags: 16, seq: 1000, ack: 5000},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:30080 > [fd00::af4:1]:40001", flags: 16, seq: 5000, ack: 1000},
			{tuple: "tcp [::1]:1000 > [fd00::af4:1]:81", flags: 2, seq: 1000},
		}, only6, nil},
		{"an RST that the node sends itself is sound whatever its checksum", filterRules("-A INPUT -p tcp -m tcp --tcp-flags RST RST -j REJECT --reject-with icmp6-port-unreachable"), []given{
			{tuple: "tcp [fd00::af4:1]:40001 > [fd00::c0a8:101]:30080", flags: 16, seq: 1000, ack: 5000},
			{tuple: "tcp [fd00::af4:1]:40001 > [::]:30080", flags: 16, seq: 1000, ack: 5000},
			{tuple: "tcp [::1]:40001 > [::]:30080", flags: 16, seq: 1000, ack: 5000},
			{tuple: "tcp [::]:40001 > [::]:30080", flags: 16, seq: 1000, ack: 5000},
		}, only6, nil},
		{"all nodes of a link are a group of the node", plain, []given{
			{dev: "in0", tuple: "icmp [fd00::c0a8:10a]:8 > [ff02::1]:8"},
			{dev: "out0", tuple: "icmp [fd00::c0a8:10a]:8 > [ff02::1]:8"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff02::1]:80"},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [ff02::1]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "99 [fd00::c0a8:10a]:0 > [ff02::1]:0", payload: make([]byte, 8)},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff02::5]:80"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff01::1]:80"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff00::1]:80"},
			{dev: "in0", tuple: "udp [ff02::5]:1000 > [fd00::c0a8:101]:80"},
		}, only6, nil},
		{"what the node sends to a group it hears behind POSTROUTING", natRules("-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp [fd00::a00:1]:1000 > [ff02::1]:80"},
			{tuple: "udp [fd00::a00:1]:1000 > [ff01::1]:80"},
			{tuple: "icmp [fd00::a00:1]:8 > [ff02::1]:8"},
			{tuple: "udp [fd00::a00:1]:1000 > [ff02::5]:80"},
			{tuple: "udp [fd00::a00:1]:1000 > [ff0e::9]:80"},
		}, only6, nil},
		{"a rule resets no segment to a group", filterRules("-A INPUT -p tcp -j REJECT --reject-with tcp-reset", "-A INPUT -j REJECT --reject-with icmp6-port-unreachable"), []given{
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [ff02::1]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [ff02::1]:80"},
			{dev: "in0", tuple: "tcp [::]:1000 > [fd00::c0a8:101]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "udp [::]:1000 > [fd00::c0a8:101]:80"},
		}, only6, nil},
		{"what comes from a link stays on it", plain, []given{
			{dev: "pod0", tuple: "udp [fe80::9]:1000 > [fd00::a00:14]:80"},
			{dev: "in0", tuple: "udp [fe80::9]:1000 > [fd00::a00:14]:80"},
			{dev: "in0", tuple: "udp [fe80::9]:1000 > [fd00::c0a8:10a]:80"},
			{dev: "in0", tuple: "tcp [fe80::9]:1000 > [fd00::c0a8:101]:80", flags: 2, seq: 1000},
			{dev: "out0", tuple: "tcp [fe80::9]:1000 > [fd00::c0a8:101]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "icmp [fe80::9]:8 > [fd00::c0a8:101]:8"},
			{dev: "out0", tuple: "icmp [fe80::9]:8 > [fd00::c0a8:101]:8"},
		}, only6, nil},
		{"an address of the link is looked for on the link", natRules("-A INPUT -j SNAT --to-source 10.0.0.77"), []given{
			{dev: "in0", tuple: "icmp [fe80::9]:8 > [fd00::c0a8:101]:8"},
			{dev: "pod0", tuple: "icmp [fd00::c0a8:101]:7 > [fe80::9]:7", answers: true},
		}, only6, nil},
		{"no address is not forwarded, but on its own link", plain, []given{
			{dev: "in0", tuple: "udp [::]:1000 > [fd00::a00:14]:80"},
			{dev: "in0", tuple: "udp [::]:1000 > [fd00::c0a8:10a]:80"},
			{dev: "in0", tuple: "icmp [::]:8 > [fd00::c0a8:101]:8"},
			{dev: "in0", tuple: "tcp [::]:1000 > [fd00::c0a8:101]:80", flags: 2, seq: 1000},
		}, only6, nil},
		{"what is for no address is for the node itself", plain + natRules("-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp [fd00::c0a8:101]:1000 > [::]:80"},
			{tuple: "icmp [fd00::af4:1]:8 > [::]:8"},
			{tuple: "tcp [::1]:600 > [::]:30080", flags: 2, seq: 1000},
		}, only6, nil},
		{"::1 is of the node alone", natRules("-A OUTPUT -d 10.96.0.1/32 -j DNAT --to-destination 10.244.0.5", "-A POSTROUTING -o pod0 -j MASQUERADE"), []given{
			{dev: "in0", tuple: "udp [::1]:1000 > [fd00::c0a8:101]:80"},
			{tuple: "udp [::1]:1000 > [fd00::a60:1]:80"},
			{dev: "pod0", tuple: "udp [fd00::af4:5]:80 > [fd00::af4:1]:1000"},
			{dev: "in0", tuple: "udp [fd00::af4:5]:80 > [fd00::af4:1]:1000"},
		}, only6, nil},
		{"what is for a link or a site is not redirected to an address of neither", natRules("-A PREROUTING -p tcp -j REDIRECT --to-ports 8080"), []given{
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [ff02::5]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [ff0e::9]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [::a00:14]:80", flags: 2, seq: 1000},
		}, only6, nil},
	}
}
