package nftables

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
)

// Field is where a header field stands that a selector names: its header as nft calls it, and bits from the header's first; false for what is
// no header field.
func (s Selector) Field() (header string, at, bits int, ok bool) {
	f, ok := fieldIndex()[string(s)]
	return f.header, f.at, f.bits, ok
}

var fieldIndex = sync.OnceValue(func() map[string]field {
	out := make(map[string]field, len(fields))
	for _, f := range fields {
		out[f.header+" "+f.name] = f
	}
	return out
})

// FieldAt is the selector of the field that begins at a bit of a header and is at least so long; false where it has none.
func FieldAt(header string, at, bits int) (Selector, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.header == header && f.at == at && f.bits >= bits })
	if i < 0 {
		return "", false
	}
	return Selector(header + " " + fields[i].name), true
}

// FieldNumber is the selector of a header's field by its place among the header's fields, from 1; false where it has none.
func FieldNumber(header string, n int) (Selector, bool) {
	for _, f := range fields {
		if f.header == header {
			if n--; n == 0 {
				return Selector(header + " " + f.name), true
			}
		}
	}
	return "", false
}

// HeaderProto is the protocol behind the IP header that a header's fields are asked of; 0 for any, and for a header of another layer.
func HeaderProto(header string) uint8 { return uint8(transports[header]) }

// Transport is the header that packets of a protocol have behind the IP header; "th" for one without a name.
func Transport(proto uint8) string {
	for _, name := range []string{"tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "esp", "ah", "comp", "igmp"} {
		if uint8(transports[name]) == proto && proto != 0 {
			return name
		}
	}
	return "th"
}

// TypesOf are the types of an expression's parts.
func TypesOf(e Expr) []Type { return typesOf(e) }

// Bits is how long values of the type are.
func (t Type) Bits() int { return t.row().bits }

// Flags reports whether the type's values are sets of bits, each with a name: `ct state new` holds where one of them is there.
func (t Type) Flags() bool { return t.row().mask }

// ReadConstant reads a word as a value of a type; one that is none is Raw.
func ReadConstant(t Type, word string) Constant { return parseConstant(t, word) }

// Wild is how many low bits are free in the constant, where its values are exactly a prefix's; false where they are none.
func (c Constant) Wild() (free int, ok bool) { return wild(c.Low, c.High) }

// KeyOf is a text that stands for an element's key: of two keys of one set it is the same where they are.
func KeyOf(key []Constant) string {
	var room [64]byte
	b := room[:0]
	for i := range key {
		switch c := &key[i]; {
		case c.Any || c.Raw != "" || c.Low != c.High:
			text := c.String()
			b = append(binary.BigEndian.AppendUint32(append(b, 2), uint32(len(text))), text...) // #nosec G115 -- of one word
		case c.Low.High == 0:
			b = binary.BigEndian.AppendUint64(append(b, 0), c.Low.Low)
		default:
			b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(append(b, 1), c.Low.High), c.Low.Low)
		}
	}
	return string(b)
}

// SortElements puts elements in the order in which nft 1.0.6 lists those of a set without ranges: single values by number; the parts of a
// concatenation are read as one number whose last byte counts most (concat_expr_msort_value on a little-endian machine).
func SortElements(list []Element) {
	type keyed struct{ from, to, place int }
	var text []byte // of all keys
	all := make([]keyed, len(list))
	for i := range list {
		from := len(text)
		text = appendSortKey(text, list[i].Key)
		all[i] = keyed{from, len(text), i}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(bytes.Compare(text[a.from:a.to], text[b.from:b.to]), cmp.Compare(a.place, b.place))
	})
	sorted := make([]Element, len(list))
	for i := range all {
		sorted[i] = list[all[i].place]
	}
	copy(list, sorted)
}

func appendSortKey(text []byte, key []Constant) []byte {
	from := len(text)
	for i := range key {
		c := &key[i]
		var wide [16]byte
		binary.BigEndian.PutUint64(wide[:], c.Low.High)
		binary.BigEndian.PutUint64(wide[8:], c.Low.Low)
		text = append(text, wide[16-(c.Type.Bits()+7)/8:]...)
	}
	if len(key) > 1 {
		slices.Reverse(text[from:])
	}
	return text
}
