package test

import "slices"

// foundRoutes are differences of packets that come from or go to odd addresses, and of the settings of routing.
func foundRoutes() []found {
	const toAll, toNet, hosts = "udp 192.168.1.10:1000 > 255.255.255.255:137", "udp 192.168.1.10:1000 > 192.168.1.255:137", "udp 192.168.1.10:1000 > 224.0.0.1:137"
	plain := filterRules("-A FORWARD -m mark --mark 0x1")
	reject := filterRules("-A INPUT -j REJECT --reject-with icmp-port-unreachable", "-A OUTPUT -d 10.244.0.5/32 -j REJECT --reject-with icmp-host-unreachable")
	marking := mangleRules("-A OUTPUT -m conntrack --ctstate NEW -j MARK --set-xmark 0x1/0x1") + natRules("-A POSTROUTING -j MASQUERADE")
	const rawOutput = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -s 192.168.1.0/24 -j ACCEPT\nCOMMIT\n"
	return []found{
		{"0.0.0.0/8 is unicast but for its first address", plain, []given{
			{dev: "in0", tuple: "udp 0.1.2.3:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 0.1.2.3:80"},
			{dev: "in0", tuple: "udp 0.0.0.0:1000 > 192.168.1.1:80"},
		}, only4, nil},
		{"the last address of a network, 255.255.255.255 and 224.0.0.1 are for the node too", plain, []given{
			{dev: "in0", tuple: toAll},
			{dev: "in0", tuple: toNet},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.255:137"},
			{dev: "in0", tuple: hosts},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 224.0.0.5:137"},
			{dev: "in0", tuple: "udp 0.0.0.0:68 > 255.255.255.255:67"},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 192.168.1.255:80", flags: 2, seq: 1000},
		}, only4, nil},
		{"nobody is told what became of a packet for many", reject, []given{
			{dev: "in0", tuple: toAll},
			{dev: "in0", tuple: toNet},
			{dev: "in0", tuple: hosts},
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 192.168.1.255:0", payload: make([]byte, 8)},
		}, only4, nil},
		{"a ping to many is answered from the node's address where it is wanted", plain, []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:8 > 192.168.1.255:8"},
			{dev: "out0", tuple: "icmp 10.0.0.20:8 > 224.0.0.1:8"},
		}, only4, []string{"net/ipv4/icmp_echo_ignore_broadcasts=0"}},
		{"the node answers a ping to many that it hears itself, whatever its checksum", plain, []given{
			{tuple: "icmp 192.168.1.1:7 > 10.0.0.255:7", spoiled: map[int]byte{31: 0x66}, payload: []byte("ping")},
			{tuple: "icmp 192.168.1.1:7 > 192.168.1.1:7", spoiled: map[int]byte{31: 0x66}, payload: []byte("ping")},
		}, only4, []string{"net/ipv4/icmp_echo_ignore_broadcasts=0"}},
		{"a ping is not answered where it is not wanted", plain, []given{
			{dev: "in0", tuple: "icmp 192.168.1.10:8 > 192.168.1.1:8"},
		}, only4, []string{"net/ipv4/icmp_echo_ignore_all=1"}},
		{"what the node sends to many it hears itself, before anybody else", natRules("-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp 10.0.0.1:1000 > 10.0.0.255:137"},
			{tuple: "udp 192.168.1.1:1000 > 224.0.0.1:137", ttl: 1},
			{tuple: "udp 192.168.1.1:1000 > 224.0.0.5:137", ttl: 1},
			{tuple: "udp 192.168.1.1:1000 > 255.255.255.255:137"},
			{tuple: "udp 127.0.0.1:1000 > 127.255.255.255:137"},
		}, only4, nil},
		{"what is sent to many has its connection translated by what the node hears itself of it", mangleRules("-A POSTROUTING -m conntrack --ctstate SNAT -j MARK --set-xmark 0x4000/0x4000") + natRules("-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp 192.168.1.1:1000 > 10.0.0.255:137"},
			{tuple: "udp 192.168.1.1:1000 > 224.0.0.1:137", ttl: 1},
		}, only4, nil},
		{"what is broadcast beyond the link is forwarded, whatever the device forwards", plain, []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.255:137"},
			{dev: "pod0", tuple: "udp 10.244.0.5:1000 > 10.0.0.255:137"},
		}, only4, []string{"net/ipv4/conf/all/bc_forwarding=1", "net/ipv4/conf/in0/bc_forwarding=1", "net/ipv4/conf/in0/forwarding=0"}},
		{"what the node hears itself of an answer to many takes no mark back", mangleRules("-A POSTROUTING -m statistic --mode nth --every 2 --packet 0 -j RETURN", "-A POSTROUTING -j CONNMARK --set-xmark 0x8000/0x8000") +
			filterRules("-A FORWARD -i out0 -j REJECT --reject-with icmp-port-unreachable"), []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.255:8080"},
			{dev: "out0", tuple: "udp 10.0.0.255:8080 > 192.168.1.10:1000"},
		}, only4, []string{"net/ipv4/conf/all/bc_forwarding=1"}},
		{"an RST of a rule about what was for no address comes from none", rawOutput + filterRules("-A INPUT -p tcp -m tcp ! --dport 443:1443 -j REJECT --reject-with tcp-reset"), []given{
			{tuple: "tcp 192.168.1.1:40001 > 0.0.0.0:30080", flags: 3, seq: 1000},
			{tuple: "tcp 192.168.1.1:40001 > 0.0.0.0:443", flags: 3, seq: 1000},
			{tuple: "udp 192.168.1.1:40001 > 0.0.0.0:30080"},
		}, only4, nil},
		{"what lo brings back is for nobody where no process has joined its group", mangleRules("-A OUTPUT -j MARK --set-xmark 0x4000/0x4000"), []given{
			{tuple: "icmp 127.9.9.9:8 > 224.0.0.5:8"},
			{tuple: "icmp 127.9.9.9:8 > 224.0.0.1:8"},
			{tuple: "udp 127.9.9.9:8 > 224.0.0.5:8"},
		}, only4, nil},
		{"a source is told five times at once that there is no way", plain, slices.Repeat([]given{{dev: "in0", tuple: "udp 203.0.113.25:1000 > 10.94.0.1:137"}}, 7), only4, nil},
		{"a device that does not forward", plain, []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:137"},
			{dev: "pod0", tuple: "udp 10.244.0.5:1000 > 10.0.0.20:137"},
		}, only4, []string{"net/ipv4/conf/in0/forwarding=0"}},
		{"a route can be unreachable, prohibited or thrown", plain, []given{
			{dev: "in0", tuple: "udp 203.0.113.21:1000 > 10.98.0.1:137"},
			{dev: "in0", tuple: "udp 203.0.113.22:1000 > 10.97.0.1:137"},
			{dev: "in0", tuple: "udp 203.0.113.23:1000 > 10.94.0.1:137"},
			{dev: "in0", tuple: "udp 203.0.113.24:1000 > 10.99.0.1:137"},
		}, both, nil},
		{"a broadcast address is a source where nobody looks, and no address of the node", plain, []given{
			{dev: "in0", tuple: "udp 10.0.0.255:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "udp 127.0.0.1:1000 > 192.168.1.1:80"},
		}, only4, []string{"net/ipv4/conf/in0/route_localnet=1"}},
		{"a broadcast address is none where sources are looked at", plain, []given{
			{dev: "in0", tuple: "udp 10.0.0.255:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "udp 127.0.0.9:1000 > 192.168.1.1:80"},
		}, only4, []string{"net/ipv4/conf/in0/rp_filter=2", "net/ipv4/conf/in0/route_localnet=1"}},
		{"an error comes from the device that the packet came in by", plain, []given{
			{dev: "pod0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", ttl: 1},
		}, only4, []string{"net/ipv4/icmp_errors_use_inbound_ifaddr=1"}},
		{"an error of IPv6 comes from the device that the packet came in by", plain, []given{
			{dev: "pod0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:80", ttl: 1},
		}, only6, nil},
		{"an error to one of the node's further addresses comes from the first", filterRules("-A OUTPUT -s 192.168.1.1/32 -p icmp", "-A OUTPUT -d 10.244.0.5/32 -j REJECT --reject-with icmp-host-unreachable"), []given{
			{tuple: "udp 192.168.1.2:1000 > 10.244.0.5:80"},
		}, only4, nil},
		{"an answer has the node's TTL, and the mark of what it answers", mangleRules("-A PREROUTING -j MARK --set-xmark 0x7/0xff", "-A OUTPUT -m mark --mark 0x7/0xff") + reject, []given{
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 192.168.1.1:80"},
			{dev: "in0", tuple: "icmp 192.168.1.10:8 > 192.168.1.1:8"},
			{dev: "in0", tuple: "tcp 192.168.1.10:1000 > 10.0.0.1:80", flags: 2},
		}, only4, []string{"net/ipv4/ip_default_ttl=33", "net/ipv4/fwmark_reflect=1"}},
		{"what is for no address is for the node, and answered from its address", plain, []given{
			{tuple: "icmp 10.244.0.1:8 > 0.0.0.0:8"},
			{tuple: "udp 10.244.0.1:1000 > 0.0.0.0:80"},
			{tuple: "udp 10.244.0.1:1000 > 127.0.0.9:80"},
		}, only4, nil},
		{"a packet that mangle marks finds its route again, with its source", mangleRules("-A OUTPUT -p udp -j MARK --set-xmark 0x1/0x1"), []given{
			{tuple: "udp 127.0.0.1:1000 > 10.0.0.20:80"},
			{tuple: "gre 127.0.0.1:0 > 10.0.0.20:0", payload: make([]byte, 8)},
			{tuple: "udp 10.244.0.1:1000 > 224.0.0.5:80"},
		}, only4, nil},
		{"a packet finds its route again though mangle takes back the mark that raw gave it", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j MARK --set-xmark 0x1/0x1\nCOMMIT\n" + mangleRules("-A OUTPUT -j MARK --set-xmark 0x0/0x1"), []given{
			{tuple: "tcp 10.244.0.1:80 > 255.255.255.255:30080", flags: 4},
			{tuple: "gre 10.244.0.1:0 > 224.0.0.5:0", payload: make([]byte, 8)},
		}, only4, nil},
		{"a connection that was masqueraded ends when it leaves by another device", marking, []given{
			{tuple: "gre 10.244.0.1:0 > 224.0.0.5:0", payload: make([]byte, 8)},
			{dev: "in0", tuple: "gre 224.0.0.5:0 > 10.244.0.1:0", payload: make([]byte, 8)},
			{tuple: "gre 10.244.0.1:0 > 224.0.0.5:0", payload: make([]byte, 8)},
		}, only4, nil},
		{"an error about what is not tracked is no part of a connection", filterRules("-A INPUT -m conntrack --ctstate RELATED", "-A OUTPUT -m conntrack --ctstate RELATED"), []given{
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0, 0, 8, 0, 0, 0, 0, 0}},
			{dev: "in0", tuple: "gre 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0x30, 1, 8, 0, 0, 0, 0, 0}},
		}, both, nil},
	}
}
