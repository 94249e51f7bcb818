package nftnl

import (
	"encoding/binary"

	"natlab/nat/nftables"
)

// Kinds of expressions in what nft notes of a set that was declared by typeof (enum expr_types).
const (
	ofPayload, ofMeta, ofCT, ofConcat = 7, 9, 12, 13
)

// ofHeaders are the headers by nft's numbers (enum proto_desc_id).
var ofHeaders = []string{"", "ah", "esp", "comp", "icmp", "igmp", "udp", "udplite", "tcp", "dccp", "sctp", "th", "ip", "ip6", "icmpv6", "arp", "vlan", "ether"}

// typeofOf is the expression that a set was declared by; false for one of types, and for what is not known here. nft notes concatenations of types,
// too, without parts.
func typeofOf(b []byte) (nftables.Expr, bool) {
	kind, known := noteNumber(b, 0)
	data := noted(b, 1)
	if !known || len(data) == 0 {
		return nil, false
	}
	number, known := noteNumber(data, 0)
	switch {
	case kind == ofConcat:
		var parts nftables.Concat
		for i := range byte(8) {
			part := noted(data, i)
			if part == nil {
				break
			}
			one, is := typeofOf(part)
			if !is {
				return nil, false
			}
			parts = append(parts, one)
		}
		return parts, len(parts) > 1
	case !known:
	case kind == ofPayload:
		index, is := noteNumber(data, 1)
		if !is || int(number) >= len(ofHeaders) {
			return nil, false
		}
		return nftables.FieldNumber(ofHeaders[number], int(index))
	case kind == ofMeta:
		s, _, is := selectorOf("meta", number, 0)
		return s, is
	case kind == ofCT:
		side := int8(0)
		if dir, is := noteNumber(data, 1); is && dir <= 1 {
			side = int8(dir) + 1 //nolint:gosec // 0 or 1
		}
		s, _, is := selectorOf("ct", number, side)
		return s, is
	}
	return nil, false
}

// noteNumber is a number in user data, which is as the machine has it.
func noteNumber(b []byte, kind byte) (uint32, bool) {
	n := noted(b, kind)
	if len(n) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(n), true
}
