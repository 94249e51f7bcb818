package xtables

import (
	"net/netip"
	"strings"
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

// putDevice writes a device pattern and its mask, as xtables_parse_interface does: the "+" stays in the name.
func putDevice(a *args, s string, name, mask []byte) {
	if s == "" || len(s) >= len(name) {
		a.fail("device %q: want 1 to %d bytes", s, len(name)-1)
		return
	}
	copy(name, s)
	full := len(s) + 1 // the closing zero counts, too
	if strings.HasSuffix(s, "+") {
		full = len(s) - 1
	}
	for i := range full {
		mask[i] = 0xff
	}
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
