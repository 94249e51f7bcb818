package xt

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// order is the byte order of the structs' numbers, the machine's.
var order = binary.NativeEndian

// alignment is XT_ALIGN.
const alignment = 8

// Padded is n filled up to XT_ALIGN.
func Padded(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// cString reads a zero-terminated string; bytes behind its end are not looked at.
func cString(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// putString writes a string with room for its closing zero.
func putString(d []byte, s string) error {
	if len(s) >= len(d) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%q: at most %d bytes", s, len(d)-1)
	}
	copy(d, s)
	return nil
}

func flagByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}
