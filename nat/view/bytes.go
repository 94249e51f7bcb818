package view

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat/xt"
)

// order is the byte order of the kernel's structs, the machine's.
var order = binary.NativeEndian

// text reads a zero-terminated string; bytes behind its end are not looked at.
func text(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
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

// addrMask prints a mask as a length where it has one.
func addrMask(m netip.Addr) string {
	if n, whole := xt.MaskBits(m); whole {
		return strconv.Itoa(n)
	}
	return m.String()
}
