package nat

import (
	"fmt"
	"strconv"
	"strings"
)

// Proto is an IP protocol number as IANA assigns them and as the IPv4 header carries them.
type Proto uint8

// The protocols that natlab knows more of than their name.
const (
	ICMP    Proto = 1
	IPIP    Proto = 4
	TCP     Proto = 6
	UDP     Proto = 17
	DCCP    Proto = 33
	GRE     Proto = 47
	ESP     Proto = 50
	AH      Proto = 51
	ICMPv6  Proto = 58
	SCTP    Proto = 132
	UDPLite Proto = 136
)

// ruleNames are the names of /etc/protocols, as Debian's netbase has it: what the iptables programs print for a number and
// take for it.
var ruleNames = [256]string{
	1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp", 20: "hmp",
	22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
	43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
	58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
	94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
	132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "hip",
	140: "shim6", 141: "wesp", 142: "rohc", 143: "ethernet",
}

// tupleNames are the names that tuples have instead: those of conntrack and tcpdump. 94 has none, so that "ipip" is one
// protocol.
var tupleNames = map[Proto]string{ICMPv6: "icmpv6", IPIP: "ipip", 94: ""}

// byRuleName are the protocols by ruleNames and by the further names that the iptables programs take (xtables_chain_protos);
// 0 is any protocol.
var byRuleName = func() map[string]Proto {
	names := map[string]Proto{"all": 0, "ip": 0, "hopopt": 0, "icmpv6": ICMPv6, "ipv6-mh": 135, "mh": 135}
	for n, name := range ruleNames {
		if name != "" {
			names[name] = Proto(n)
		}
	}
	return names
}()

// String is the protocol's name in a tuple ("tcp", "icmpv6", "esp"), or the number for a protocol without one.
func (p Proto) String() string {
	name, other := tupleNames[p]
	if !other {
		name = ruleNames[p]
	}
	if name == "" {
		return strconv.Itoa(int(p))
	}
	return name
}

// HasPorts reports whether the protocol's header begins with a source and a destination port.
func (p Proto) HasPorts() bool {
	return p == TCP || p == UDP || p == UDPLite || p == SCTP || p == DCCP
}

// RuleName is the protocol as iptables-save prints it behind -p: the name of /etc/protocols ("ipv6-icmp", "ipencap"), or the
// number for a protocol without one; "all" for 0.
func (p Proto) RuleName() string {
	switch {
	case p == 0:
		return "all"
	case ruleNames[p] == "":
		return strconv.Itoa(int(p))
	}
	return ruleNames[p]
}

// ParseProto reads a name that String or RuleName prints, in any case, or a number of 0 to 255. "ipip" is what String
// prints it for.
func ParseProto(s string) (Proto, error) {
	for p, name := range tupleNames {
		if name != "" && strings.EqualFold(s, name) {
			return p, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return Proto(n), nil
	}
	if p, ok := ParseRuleProto(s); ok && p != 0 {
		return p, nil
	}
	return 0, fmt.Errorf("protocol %q: want a name of /etc/protocols, such as tcp or esp, or a number of 0 to 255", s)
}

// ParseRuleProto reads what the iptables programs take behind -p: a name of /etc/protocols or another one of theirs, in any
// case, or a number of 0 to 255, decimal, octal or hexadecimal. 0 is any protocol; ok is false for what they refuse.
func ParseRuleProto(s string) (p Proto, ok bool) {
	s = strings.ToLower(s)
	if p, ok = byRuleName[s]; ok {
		return p, true
	}
	goOnly := strings.Contains(s, "_") || strings.HasPrefix(s, "0b") || strings.HasPrefix(s, "0o") // strtoul has no such numbers
	n, err := strconv.ParseUint(s, 0, 8)
	return Proto(n), err == nil && !goOnly
}

// MarshalText makes a protocol its name in JSON.
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Proto) UnmarshalText(b []byte) (err error) { *p, err = ParseProto(string(b)); return err }
