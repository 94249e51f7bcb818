package view

import (
	"fmt"
	"strconv"

	"natlab/nat"
)

// programProtos are the protocols that the program has names for without asking /etc/protocols (xtables_chain_protos), and
// the first versions that have them; where one had another name before, the newer one comes first.
var programProtos = []struct {
	number uint16
	name   string
	since  Version
}{
	{6, "tcp", Version{}},
	{132, "sctp", Version{}},
	{17, "udp", Version{}},
	{136, "udplite", Version{}},
	{1, "icmp", Version{}},
	{58, "ipv6-icmp", Version{1, 8, 8}},
	{58, "icmpv6", Version{}},
	{50, "esp", Version{}},
	{51, "ah", Version{}},
	{135, "mobility-header", Version{1, 8, 8}},
	{135, "ipv6-mh", Version{}},
	{33, "dccp", Version{1, 8, 11}},
	{108, "ipcomp", Version{1, 8, 11}},
	{0, "all", Version{}},
}

// programProto is the program's own name of a protocol, or the number where it has none.
func programProto(n uint16, v Version) string {
	for _, p := range programProtos {
		if p.number == n && !v.Before(p.since) {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}

// listedProtocol is the protocol's column of iptables -L -n, with what parts it from the next one.
func listedProtocol(n uint16, v Version) string {
	name := programProto(n, v)
	if knows(v, numericProtocols) {
		name = strconv.Itoa(int(n))
	}
	if knows(v, protocolBlank) {
		return fmt.Sprintf("%-4s ", name)
	}
	return fmt.Sprintf("%-5s", name)
}

// savedProtocol is a protocol as iptables-save prints it: by the name of /etc/protocols, since ownNamesOnly only where the
// program has it too. The header's field has room for more than the 256 that there are.
func savedProtocol(n uint16, v Version) string {
	switch {
	case n == 0 || n > 255:
		return strconv.Itoa(int(n))
	case knows(v, ownNamesOnly):
		return programProto(n, v)
	}
	return nat.Proto(n).RuleName()
}
