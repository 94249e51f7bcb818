package nat

import (
	"strconv"
	"strings"
)

// ParseMAC reads six octets of one or two hexadecimal digits, with colons between them.
func ParseMAC(s string) (mac [6]byte, ok bool) {
	octets := strings.Split(s, ":")
	if len(octets) != len(mac) {
		return mac, false
	}
	for i, octet := range octets {
		n, err := strconv.ParseUint(octet, 16, 8)
		if err != nil || len(octet) > 2 {
			return mac, false
		}
		mac[i] = byte(n)
	}
	return mac, true
}
