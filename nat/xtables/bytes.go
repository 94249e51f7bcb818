package xtables

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
)

// padded is n filled up to XT_ALIGN.
func padded(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// text reads a zero-terminated string; bytes behind its end are not looked at.
func text(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func inetAddr(f nat.Family, b []byte) netip.Addr {
	if f == nat.IPv6 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}

// pair prints "a" or "a<sep>b".
func pair[T uint16 | uint32](a, b T, sep string) string {
	if a == b {
		return strconv.FormatUint(uint64(a), 10)
	}
	return strconv.FormatUint(uint64(a), 10) + sep + strconv.FormatUint(uint64(b), 10)
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// names prints the set bits of v by name.
func bitNames(v uint32, names []string, order []int) (string, uint32) {
	var out []string
	var known uint32
	for _, bit := range order {
		known |= 1 << bit
		if v&(1<<bit) != 0 {
			out = append(out, names[bit])
		}
	}
	return strings.Join(out, ","), known
}
