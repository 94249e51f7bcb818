package xtables

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
