package xt

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
)

// Printer collects the text of a rule, as one version of iptables prints it.
type Printer struct {
	Family  nat.Family
	Version Version
	// Exact: what is printed is for natlab to read, so that what iptables-save leaves out of a rule's meaning is printed
	// too. For every other rule it prints what the version prints.
	Exact bool
	// Unsaid is set by a value that no options tell exactly, though iptables-save prints some.
	Unsaid bool
	buf    []byte
}

// NewPrinter is a Printer that appends to b, as the newest iptables and exactly.
func NewPrinter(b []byte, f nat.Family) *Printer {
	return &Printer{Family: f, Version: Newest, Exact: true, buf: b}
}

// Reset takes away what was printed, and keeps its room.
func (p *Printer) Reset() { p.buf = p.buf[:0] }

// Bytes is what was printed.
func (p *Printer) Bytes() []byte { return p.buf }

// String is what was printed.
func (p *Printer) String() string { return string(p.buf) }

// Text prints words as they are.
func (p *Printer) Text(words ...string) {
	for _, w := range words {
		p.buf = append(p.buf, w...)
	}
}

// Textf prints by a format.
func (p *Printer) Textf(format string, args ...any) { p.buf = fmt.Appendf(p.buf, format, args...) }

// Not prints " !" if on.
func (p *Printer) Not(on bool) {
	if on {
		p.buf = append(p.buf, " !"...)
	}
}

// Flag prints an option without a value if on, with a blank in front.
func (p *Printer) Flag(on bool, option string) {
	if on {
		p.buf = append(append(p.buf, ' '), option...)
	}
}

// Option prints " ! --option value".
func (p *Printer) Option(not bool, option, value string) {
	p.Not(not)
	p.buf = append(append(append(append(p.buf, ' '), option...), ' '), value...)
}

// Number prints " --option n".
func (p *Printer) Number(option string, n uint64) {
	p.buf = strconv.AppendUint(append(append(append(p.buf, ' '), option...), ' '), n, 10)
}

// Hex prints n as "0x4000".
func (p *Printer) Hex(n uint32) { p.buf = strconv.AppendUint(append(p.buf, "0x"...), uint64(n), 16) }

// Mark prints " 0x4000/0xc000", and no mask that is full.
func (p *Printer) Mark(value, mask uint32) {
	p.buf = append(p.buf, ' ')
	p.Hex(value)
	if mask != 0xffffffff {
		p.buf = append(p.buf, '/')
		p.Hex(mask)
	}
}

// Addr prints an address as the C library's inet_ntop does, by which iptables prints.
func (p *Printer) Addr(a netip.Addr) {
	if a.Is6() && !a.Is4In6() {
		raw := a.As16()
		if compatible := [12]byte(raw[:12]) == [12]byte{} && (raw[12] != 0 || raw[13] != 0); compatible {
			p.buf = netip.AddrFrom4([4]byte(raw[12:])).AppendTo(append(p.buf, "::"...))
			return
		}
	}
	p.buf = a.AppendTo(p.buf)
}

// Quoted prints " text" as xtables_save_string does: bare where it is plain, else in double quotes.
func (p *Printer) Quoted(s string) { p.buf = appendQuoted(append(p.buf, ' '), s) }

const plainChars = "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func appendQuoted(b []byte, s string) []byte {
	if s != "" && strings.Trim(s, plainChars) == "" {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' || c == '\'' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// bang is "!" if on.
func bang(on bool) string {
	if on {
		return "!"
	}
	return ""
}

// span prints "a", or "a<sep>b" where they differ.
func span[T uint8 | uint16 | uint32 | uint64](a, b T, sep string) string {
	s := strconv.FormatUint(uint64(a), 10)
	if a == b {
		return s
	}
	return s + sep + strconv.FormatUint(uint64(b), 10)
}

// bitNames is the names of the set bits, joined by commas, in the order given.
func bitNames(v uint32, names []string, order []int) string {
	var out []string
	for _, bit := range order {
		if v&(1<<bit) != 0 {
			out = append(out, names[bit])
		}
	}
	return strings.Join(out, ",")
}

// AddrMask prints an address with its mask: none where it is full, as a length where it has one.
func (p *Printer) AddrMask(m AddrMask) {
	p.Addr(m.Addr)
	switch bits, whole := MaskBits(m.Mask); {
	case !whole:
		p.Text("/")
		p.Addr(m.Mask)
	case bits != m.Addr.BitLen():
		p.buf = strconv.AppendInt(append(p.buf, '/'), int64(bits), 10)
	}
}

// Options is a value's options as the newest iptables-save prints them, without the blank in front.
func Options(v Value, f nat.Family) string {
	p := NewPrinter(nil, f)
	v.Save(p)
	return strings.TrimPrefix(p.String(), " ")
}

// Prefix prints an address with its length.
func (p *Printer) Prefix(x netip.Prefix) {
	p.Addr(x.Addr())
	p.buf = strconv.AppendInt(append(p.buf, '/'), int64(x.Bits()), 10)
}
