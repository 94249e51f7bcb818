package xtables

import "strconv"

// protocols are the names that the iptables program gets from /etc/protocols, as Debian has it.
var protocols = map[uint16]string{
	1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp", 20: "hmp",
	22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
	43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
	58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
	94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
	132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "hip",
	140: "shim6", 141: "wesp", 142: "rohc",
}

// protoAliases are further names that are taken.
var protoAliases = map[string]uint16{"all": 0, "icmpv6": 58, "ipv6-mh": 135, "mh": 135}

func protoName(n uint16) string {
	if name, ok := protocols[n]; ok {
		return name
	}
	return strconv.Itoa(int(n))
}

func protoNumber(a *args, s string) uint16 {
	for n, name := range protocols {
		if name == s {
			return n
		}
	}
	if n, ok := protoAliases[s]; ok {
		return n
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		a.fail("protocol %q is not known", s)
	}
	return uint16(n)
}
