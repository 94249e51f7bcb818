package nftables

import (
	"net/netip"
	"strconv"
	"strings"
)

// Constant is a value in a rule or a set, or all values from Low to High. It is comparable.
type Constant struct {
	Type      Type
	Low, High Number // both included; of a sum of bits, and of most values, the same
	Any       bool   // "*": what no other element of the set is
	Raw       string // what natlab cannot read as a value of the type; "" for all others
}

// Value is a single value.
func Value(t Type, n uint64) Constant { return Constant{Type: t, Low: number(n), High: number(n)} }

// Addr is an address.
func Addr(a netip.Addr) Constant {
	n := addrNumber(a)
	if a.Is4() {
		return Constant{Type: IPv4Addr, Low: n, High: n}
	}
	return Constant{Type: IPv6Addr, Low: n, High: n}
}

// Prefix is the addresses of a network.
func Prefix(p netip.Prefix) Constant {
	c := Addr(p.Masked().Addr())
	c.High = c.Low.or(ones(p.Addr().BitLen() - p.Bits()))
	return c
}

// Name is a device's name, a helper's, or another text; a "*" at its end stands for any that go on from there.
func Name(t Type, name string) Constant {
	if begin, wild := strings.CutSuffix(name, "*"); wild && t == IfName && begin != "" {
		return Constant{Type: t, Low: nameNumber(begin), High: nameNumber(begin).or(ones(128 - 8*len(begin)))}
	}
	if len(name) > 16 {
		return Constant{Type: t, Raw: quote(name)}
	}
	return Constant{Type: t, Low: nameNumber(name), High: nameNumber(name)}
}

// Range is the values from one to another.
func Range(low, high Constant) Constant {
	if low.Raw+high.Raw != "" {
		return Constant{Type: low.Type, Raw: low.String() + "-" + high.String()}
	}
	return Constant{Type: low.Type, Low: low.Low, High: high.High}
}

// parseConstant reads a word as a value of a type.
func parseConstant(t Type, word string) Constant {
	row := t.row()
	if word == "*" {
		return Constant{Type: t, Any: true}
	}
	if n, ok := row.value(word); ok {
		return Constant{Type: t, Low: n, High: n}
	}
	if row.address() {
		if p, err := netip.ParsePrefix(word); err == nil && p.Addr().BitLen() == row.bits {
			return Prefix(p)
		}
	}
	for i := range word { // names have dashes in them, too
		if word[i] != '-' || i == 0 {
			continue
		}
		low, ok := row.value(word[:i])
		if high, ok2 := row.value(word[i+1:]); ok && ok2 && !high.less(low) {
			return Constant{Type: t, Low: low, High: high}
		}
	}
	return Constant{Type: t, Raw: word}
}

// value reads a single value, or for a sum of bits one bit.
func (d *datatype) value(word string) (Number, bool) {
	if n, ok := d.symbol(word); ok {
		return n, true
	}
	if d.form == nil || d.form == quoted {
		return Number{}, false
	}
	n, ok := d.form.parse(word)
	return n, ok && (d.bits >= 64 || n.Low>>d.bits == 0)
}

// Single reports whether the constant is one value.
func (c Constant) Single() bool { return c.Low == c.High && !c.Any && c.Raw == "" }

// Has reports whether a value is among the constant's; of what is Raw it cannot be told, and of Any it is not asked.
func (c Constant) Has(n Number) bool { return !n.less(c.Low) && !c.High.less(n) }

// String is the constant as nft prints it.
func (c Constant) String() string { return c.text(",") }

func (c Constant) text(sep string) string {
	row := c.Type.row()
	switch {
	case c.Any:
		return "*"
	case c.Raw != "" || row.form == nil:
		return c.Raw
	case c.Low == c.High:
		return row.print(c.Low, sep)
	}
	free, prefix := wild(c.Low, c.High)
	switch {
	case prefix && row.address():
		return row.form.print(c.Low) + "/" + strconv.Itoa(row.bits-free)
	case prefix && row.form == quoted:
		return quote(c.Low.name() + "*")
	}
	return row.form.print(c.Low) + "-" + row.form.print(c.High) // a range has no names (range_expr_print)
}
