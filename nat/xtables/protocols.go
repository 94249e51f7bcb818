package xtables

import (
	"strconv"

	"natlab/nat"
)

// protoName is a protocol as iptables-save prints it. The header's field has room for more than the 256 that there are.
func protoName(n uint16) string {
	if n == 0 || n > 255 {
		return strconv.Itoa(int(n))
	}
	return nat.Proto(n).RuleName()
}

func protoNumber(a *args, s string) uint16 {
	p, ok := nat.ParseRuleProto(s)
	if !ok {
		a.fail("protocol %q is not known", s)
	}
	return uint16(p)
}
