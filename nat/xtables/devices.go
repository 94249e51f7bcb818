package xtables

import (
	"net/netip"
)

// deviceName prints a device pattern: as much of the name as the mask counts, and "+" where the closing zero does not.
func deviceName(name, mask []byte) string {
	n := 0
	for n < len(mask) && mask[n] != 0 {
		n++
	}
	s := text(name[:n])
	if n > 0 && n < len(mask) && len(s) == n {
		s += "+"
	}
	return s
}

// maskBits is the prefix length of a netmask, and whether it has one.
func maskBits(m netip.Addr) (int, bool) {
	n, end := 0, false
	for _, b := range m.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			if b&(1<<bit) == 0 {
				end = true
			} else if end {
				return 0, false
			} else {
				n++
			}
		}
	}
	return n, true
}
