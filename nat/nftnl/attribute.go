package nftnl

import (
	"encoding/binary"
	"errors"
)

// attrs are netlink attributes on their way to the kernel. Numbers are big-endian, as nf_tables has them.
type attrs []byte

const (
	headSize   = 4
	nested     = 1 << 15 // NLA_F_NESTED
	maxAttrLen = 1<<16 - 1
)

func (a attrs) put(kind uint16, data []byte) attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(min(headSize+len(data), maxAttrLen))) //nolint:gosec // bounded, and held to it in fits
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, data...)
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

func (a attrs) u32(kind uint16, n uint32) attrs {
	return a.put(kind, binary.BigEndian.AppendUint32(nil, n))
}

func (a attrs) u64(kind uint16, n uint64) attrs {
	return a.put(kind, binary.BigEndian.AppendUint64(nil, n))
}

// text is with a zero byte at its end.
func (a attrs) text(kind uint16, s string) attrs { return a.put(kind, append([]byte(s), 0)) }

func (a attrs) nest(kind uint16, inner attrs) attrs { return a.put(kind|nested, inner) }

// fields are the attributes of a message or of a nested attribute, by their kinds; nil where it has none. Of one that is there twice the last
// counts.
type fields [32][]byte

var errCut = errors.New("an attribute is cut short")

func parse(b []byte) (out fields, err error) {
	err = each(b, func(kind uint16, data []byte) {
		if int(kind) < len(out) {
			out[kind] = data
		}
	})
	return out, err
}

// each hands on one attribute after the other.
func each(b []byte, f func(kind uint16, data []byte)) error {
	for len(b) >= headSize {
		n := int(binary.NativeEndian.Uint16(b))
		if n < headSize || n > len(b) {
			return errCut
		}
		f(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[headSize:n:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// list are the elements of a list attribute.
func list(b []byte) (out [][]byte, err error) {
	err = each(b, func(_ uint16, data []byte) { out = append(out, data) })
	return out, err
}

func (f *fields) has(kind uint16) bool { return f[kind] != nil }

// u32 is a number, 0 where it is not there.
func (f *fields) u32(kind uint16) uint32 {
	if b := f[kind]; len(b) >= 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) u64(kind uint16) uint64 {
	if b := f[kind]; len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) text(kind uint16) string { return textOf(f[kind]) }

func textOf(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// note is one value of user data, which only programs read: a kind, a length and bytes (nftnl_udata).
func note(kind byte, data []byte) []byte { return append([]byte{kind, byte(len(data))}, data...) }

// noted is a value of user data; nil where it has none.
func noted(b []byte, kind byte) []byte {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == kind {
			return b[2 : 2+int(b[1])]
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

// noteText is a comment as user data, none for "".
func noteText(a attrs, at uint16, comment string) attrs {
	if comment == "" {
		return a
	}
	return a.put(at, note(noteComment, append([]byte(comment), 0)))
}
