package test

// foundPrefixes are differences of addresses that NPT writes, and of the device that a packet came in by.
func foundPrefixes() []found {
	const forwarded, home = "udp 192.168.1.10:1000 > 10.0.0.20:80", "tcp 10.244.0.1:40001 > 192.168.1.1:80"
	tracked := natRules("-A PREROUTING -p tcp -m tcp --dport 82 -j DNAT --to-destination 10.0.0.20")
	away := " --src-pfx fd00::/64 --dst-pfx fd00:0:0:9::/64"
	return []found{
		{"DNPT at PREROUTING leaves what came back by lo its route, and at OUTPUT finds another one", mangleRules("-A PREROUTING -p tcp -j DNPT"+away, "-A PREROUTING -p ipv6-icmp -j DNPT"+away, "-A OUTPUT -p udp -j DNPT"+away), []given{
			{tuple: home, flags: 2, seq: 1000},
			{tuple: "icmp 10.244.0.1:8 > 192.168.1.1:8"},
			{tuple: "tcp 10.0.0.1:8080 > 10.0.0.0:80", flags: 2, seq: 1000},
			{tuple: "udp 10.0.0.1:1000 > 10.0.0.20:80"},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.0.0.20:80", flags: 2, seq: 1000},
		}, only6, nil},
		{"NAT finds another one where DNPT does not", mangleRules("-A PREROUTING -p tcp -j DNPT"+away) + natRules("-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.20"), []given{
			{tuple: "tcp 10.244.0.1:40001 > 192.168.1.1:81", flags: 2, seq: 1000},
			{tuple: home, flags: 2, seq: 1000},
		}, only6, nil},
		{"at OUTPUT it does so for a connection of two addresses, whatever DNPT wrote", mangleRules("-A OUTPUT -j DNPT"+away) + natRules("-A POSTROUTING -p udp -j SNAT --to-source 192.168.1.2:600"), []given{
			{tuple: "udp 192.168.1.2:8080 > 192.168.1.1:80"},
			{tuple: "udp 192.168.1.1:80 > 192.168.1.2:600"},
		}, only6, nil},
		{"the packet inside an error is translated the other way, and not in what a process writes", mangleRules("-A PREROUTING -j DNPT"+away, "-A OUTPUT -j DNPT"+away, "-A POSTROUTING -o in0 -j SNPT"+away), []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:0 > 10.0.0.20:0", kind: 3, about: "udp 10.0.0.20:1000 > 192.168.1.10:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{tuple: "icmp 192.168.1.1:0 > 10.244.0.5:0", kind: 3, about: "udp 10.244.0.5:1000 > 192.168.1.1:80"},
		}, only6, nil},
		{"NAT lets no error through whose checksum DNPT made wrong: its address had not the prefix", mangleRules("-A OUTPUT -j DNPT --src-pfx fd00::/48 --dst-pfx fd00:1::/48", "-A PREROUTING -i out0 -j DNPT --src-pfx fd01::/48 --dst-pfx fd00:2::/48") +
			natRules("-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.20"), []given{
			{dev: "in0", tuple: "tcp [fe80::9]:1000 > [fd00::af4:5]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "in0", tuple: forwarded, ttl: 1},
		}, only6, nil},
		{"REJECT believes the sum that conntrack found right, whatever DNPT has written since", mangleRules("-A PREROUTING -j DNPT --src-pfx fd00::/64 --dst-pfx fd00::/64") + tracked +
			filterRules("-A FORWARD -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset", "-A FORWARD -j REJECT --reject-with icmp6-addr-unreachable",
				"-A INPUT -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset", "-A INPUT -j REJECT --reject-with icmp6-port-unreachable"), []given{
			{dev: "in0", tuple: "icmp [fd00::c0a8:10a]:8 > [fd05::a00:14]:8"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [fd05::a00:14]:80"},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [fd05::a00:14]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [fd05::a00:14]:81", flags: 2, seq: 1000},
			{dev: "in0", tuple: "icmp [fd00::c0a8:10a]:9 > [fd05::c0a8:101]:9"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:1000 > [fd05::c0a8:101]:80"},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [fd05::c0a8:101]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "tcp [fd00::c0a8:10a]:1000 > [fd05::c0a8:101]:81", flags: 2, seq: 1000},
		}, only6, nil},
		{"an error to ::1 about what DNPT has drawn away from an address comes from the device that has that", mangleRules("-A PREROUTING -j DNPT --src-pfx fd00::/64 --dst-pfx fd00:0:0:9::/64") +
			filterRules("-A OUTPUT -s fd00::a00:0/120", "-A OUTPUT -s fd00::c0a8:100/120", "-A OUTPUT -s ::1"), []given{
			{tuple: "50 [::1]:0 > [fd00::a00:1]:0"},
			{tuple: "50 [::1]:0 > [fd00::c0a8:101]:0"},
			{tuple: "50 [fd00::a00:1]:0 > [fd00::c0a8:101]:0"},
			{tuple: "50 [::1]:0 > [::1]:0"},
		}, only6, nil},
		{"an error about TEE's copy to an address of the link is looked for where the copy leaves", mangleRules("-A FORWARD -j TEE --gateway 10.244.0.5") + filterRules("-A OUTPUT -j REJECT --reject-with icmp6-addr-unreachable"), []given{
			{dev: "in0", tuple: "tcp [fe80::9]:1000 > [fd00::a60:1]:80", flags: 2, seq: 1000},
			{dev: "in0", tuple: "udp [fe80::9]:1000 > [fd00::a00:14]:80"},
		}, only6, nil},
		{"an error with a wrong checksum, where conntrack does not look at it", natRules("-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.20"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80", spoiled: map[int]byte{22: 1}},
		}, only4, []string{"net/netfilter/nf_conntrack_checksum=0"}},
		{"an error with a wrong checksum, where conntrack does not look at it", natRules("-A PREROUTING -p tcp -m tcp --dport 81 -j DNAT --to-destination 10.0.0.20"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80"},
			{dev: "out0", tuple: "icmp 10.0.0.20:0 > 192.168.1.10:0", kind: 3, about: "udp 192.168.1.10:1000 > 10.0.0.20:80", spoiled: map[int]byte{42: 1}},
		}, only6, []string{"net/netfilter/nf_conntrack_checksum=0"}},
		{"at POSTROUTING a packet has the device that it came in by", mangleRules(":M1 - [0:0]", "-A POSTROUTING -j M1", "-A M1 -i in0", "-A M1 ! -i in0", "-A M1 -i p+", "-A M1 -j SET --add-set learntlinks src,src"), []given{
			{dev: "in0", tuple: forwarded},
			{dev: "pod0", tuple: "udp 10.244.0.5:1000 > 10.0.0.20:80"},
			{tuple: "udp 10.0.0.1:1000 > 10.0.0.20:80"},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 192.168.1.1:80", flags: 2, seq: 1000},
			{tuple: home, flags: 2, seq: 1000},
		}, both, nil},
	}
}
