package test

// foundCopies are differences of the copies that TEE makes.
func foundCopies() []found {
	const forwarded, home = "udp 192.168.1.10:1000 > 10.244.0.5:80", "udp 192.168.1.10:1000 > 192.168.1.1:80"
	each := []given{
		{dev: "in0", tuple: forwarded},
		{dev: "in0", tuple: forwarded, ttl: 1},
		{dev: "in0", tuple: home, ttl: 1},
		{dev: "in0", tuple: home, ttl: 0xff},
		{tuple: "udp 10.0.0.1:1000 > 10.244.0.5:80"},
		{tuple: "tcp 10.0.0.1:1000 > 192.168.1.1:80", flags: 2, seq: 1000},
		{dev: "in0", tuple: "icmp 192.168.1.10:8 > 192.168.1.1:8"},
	}
	long := []given{
		{dev: "out0", tuple: "tcp 10.0.0.21:8080 > 10.244.0.5:53", flags: 3, seq: 1000, payload: make([]byte, 1270)},
		{dev: "out0", tuple: "udp 10.0.0.21:8080 > 10.244.0.5:53", payload: make([]byte, 1270)},
	}
	teeAtLast, invalid := mangleRules("-A POSTROUTING -j TEE --gateway 10.0.0.20 --oif out0"), filterRules("-A FORWARD -m conntrack --ctstate INVALID")
	return []found{
		{"TEE sends a copy without a connection by OUTPUT and POSTROUTING, with a TTL less one where the packet came in", mangleRules("-A PREROUTING -j TEE --gateway 10.0.0.20", "-A INPUT -j TEE --gateway 10.0.0.20", "-A FORWARD -j TEE --gateway 10.0.0.20",
			"-A OUTPUT -m conntrack ! --ctstate UNTRACKED -j TEE --gateway 203.0.113.9", "-A POSTROUTING -j TEE --gateway 10.0.0.20 --oif out0") + natRules("-A POSTROUTING -o out0 -j MASQUERADE"), each, both, nil},
		{"what a node hears of what it sends to many has no process", mangleRules("-A POSTROUTING -m owner --uid-owner 0 -j MARK --set-xmark 0x1/0x1", "-A POSTROUTING -m owner ! --socket-exists -j MARK --set-xmark 0x2/0x2"), []given{{tuple: "udp 10.244.0.1:53 > 10.0.0.255:30080"}, {tuple: "udp 10.244.0.1:53 > 224.0.0.251:5353"}}, both, nil},
		{"a copy has no process, and makes no other one", filterRules("-A OUTPUT -m owner --socket-exists -j TEE --gateway 10.0.0.20", "-A OUTPUT -m owner ! --socket-exists -j TEE --gateway 10.0.0.21", "-A OUTPUT -o out0 -j REJECT"), each, both, nil},
		{"there is no copy where there is no way to the neighbour", mangleRules("-A PREROUTING -j TEE --gateway 10.99.0.1", "-A OUTPUT -j TEE --gateway 10.97.0.1"), each, both, nil},
		{"a copy by a device has its neighbour on the link", mangleRules("-A PREROUTING -j TEE --gateway 10.0.0.20 --oif pod0"), each, only4, nil},
		{"a copy by a device goes by another where OUTPUT marks it", mangleRules("-A OUTPUT -j MARK --set-xmark 0x1/0x1", "-A PREROUTING -j TEE --gateway 10.0.0.20 --oif pod0"), each, only4, nil},
		{"a copy that OUTPUT marks may be for the node itself, and comes in", mangleRules("-A PREROUTING -i lo -m mark --mark 0x0 -j TEE --gateway 10.0.0.20 --oif out0", "-A PREROUTING -i lo -m mark --mark 0x1 -j TEE --gateway 10.0.0.21 --oif out0",
			"-A OUTPUT -o out0 -m mark --mark 0x0 -j MARK --set-xmark 0x1/0x1"), []given{{tuple: "udp 10.244.0.1:1000 > 10.0.0.1:80"}}, both, nil},
		{"what a copy meets is counted before its packet goes on", mangleRules(":M1 - [0:0]", "-A OUTPUT -j M1", "-A OUTPUT -j M1", "-A POSTROUTING -j M1", "-A M1 -m statistic --mode nth --every 2 --packet 0 -j TEE --gateway 10.0.0.20"), each, both, nil},
		{"what answers a copy knows no connection that is not confirmed yet", mangleRules("-A INPUT -j TEE --gateway 10.0.0.20") + natRules("-A PREROUTING -p udp -j DNAT --to-destination 192.168.1.1:5024") + filterRules("-A OUTPUT -m conntrack --ctstate UNTRACKED -j REJECT"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:80 > 10.96.0.2:40001"},
			{dev: "in0", tuple: "udp 192.168.1.10:80 > 10.96.0.2:40001"},
		}, only4, nil},
		{"a copy may come from nowhere", mangleRules("-A PREROUTING -j TEE --gateway 10.0.0.20", "-A POSTROUTING -j TTL --ttl-set 9"), []given{
			{dev: "in0", tuple: "udp 0.0.0.0:68 > 10.244.0.5:67"},
			{dev: "in0", tuple: "icmp 0.0.0.0:7 > 10.244.0.5:7"},
		}, only4, nil},
		{"a copy may come from nowhere where nothing is called when it leaves", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -j TEE --gateway 10.0.0.20\nCOMMIT\n", []given{
			{dev: "in0", tuple: "udp 0.0.0.0:68 > 10.244.0.5:67"},
		}, only4, nil},
		{"a copy that is too long is told of, from where the copy's route is", mangleRules("-A PREROUTING -j TEE --gateway 10.0.0.20"), []given{
			{dev: "in0", tuple: forwarded, payload: make([]byte, 1300)},
			{dev: "pod0", tuple: "udp 10.244.0.5:1000 > 192.168.1.1:80", payload: make([]byte, 1300)},
		}, both, nil},
		{"what tells of a copy is not copied, where nothing is tracked", teeAtLast, long, both, nil},
		{"what tells of a copy is not copied, with a connection or without", teeAtLast + invalid, long, both, nil},
		{"a copy of what a process writes is told of, too", mangleRules("-A OUTPUT -j TEE --gateway 10.0.0.20"), []given{
			{tuple: "udp 10.244.0.1:1000 > 10.244.0.5:80", payload: make([]byte, 1350)},
		}, only4, nil}, // of IPv6 it would learn
		{"the packet inside an error that a process writes is not translated in a copy either", mangleRules("-A OUTPUT -j TEE --gateway 10.0.0.20", "-A POSTROUTING -o out0 -j SNPT --src-pfx fd00::/64 --dst-pfx fd00:0:0:9::/64"), []given{
			{tuple: "icmp 192.168.1.1:0 > 10.244.0.5:0", kind: 3, about: "udp 10.244.0.5:1000 > 192.168.1.1:80"},
		}, only6, nil},
		{"what comes back to a process of the copy comes before its packet has a connection", mangleRules("-A PREROUTING -i lo -j CONNMARK --set-xmark 0x8000/0x8000", "-A OUTPUT -j TEE --gateway 10.0.0.20") +
			filterRules("-A OUTPUT -m conntrack --ctstate UNTRACKED -j REJECT"), each, both, nil},
		{"REJECT answers a copy of what conntrack has summed, right or wrong", mangleRules("-A PREROUTING -p udp -j TEE --gateway 10.0.0.20 --oif out0", "-A INPUT -p tcp -j TEE --gateway 10.0.0.20 --oif out0") +
			filterRules("-A OUTPUT -o out0 -j REJECT", "-A INPUT -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: "tcp 10.244.0.5:80 > 192.168.1.1:40001", flags: 2, seq: 1000, spoiled: map[int]byte{36: 1}},
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 192.168.1.1:40001", spoiled: map[int]byte{26: 1}},
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 192.168.1.1:40001"},
		}, only4, nil},
		{"REJECT sums a copy of what conntrack does not sum", mangleRules("-A PREROUTING -p dccp -j TEE --gateway 10.0.0.20 --oif out0") +
			filterRules("-A OUTPUT -o out0 -j REJECT", "-A INPUT -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: "dccp 10.244.0.5:80 > 192.168.1.1:40001", spoiled: map[int]byte{26: 1}},
		}, only4, nil},
		{"a copy that was made before conntrack is summed", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -j TEE --gateway 10.0.0.20 --oif out0\nCOMMIT\n" + filterRules("-A OUTPUT -o out0 -j REJECT", "-A INPUT -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 192.168.1.1:40001", spoiled: map[int]byte{26: 1}},
		}, only4, nil},
		{"at POSTROUTING a copy came by the device that it leaves by", mangleRules(":M1 - [0:0]", "-A PREROUTING -j TEE --gateway 10.0.0.20", "-A POSTROUTING -j M1", "-A M1 -i in0", "-A M1 -i out0"), each, both, nil},
	}
}
