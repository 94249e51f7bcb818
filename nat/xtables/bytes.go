package xtables

import (
	"encoding/binary"
	"strings"
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

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
