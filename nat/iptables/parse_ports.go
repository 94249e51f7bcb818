package iptables

import (
	"strconv"
	"strings"

	"natlab/nat/xt"
)

func parsePortRange(text, separator string) (xt.PortRange, bool) {
	low, high, both := strings.Cut(text, separator)
	if !both {
		high = low
	} else if low == "" {
		low = "0"
	}
	if both && high == "" {
		high = "65535"
	}
	l, err1 := strconv.ParseUint(low, 10, 16)
	h, err2 := strconv.ParseUint(high, 10, 16)
	return xt.PortRange{Low: uint16(l), High: uint16(h)}, err1 == nil && err2 == nil && l <= h
}
