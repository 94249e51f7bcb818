package xtables

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
)

// codec is one revision of one extension: its struct, and the options that iptables prints and takes for it.
type codec struct {
	name     string
	revision uint8
	target   bool
	only     families
	size     int                               // of the struct, before padding
	aliases  []string                          // further names under which iptables takes it: "state", "NOTRACK"
	alias    func(p *printer, d []byte) string // the name under which it is printed, where that depends on the bytes
	save     func(p *printer, d []byte)        // as iptables-save prints the options, each with a blank in front
	list     func(p *printer, d []byte)        // as iptables -L -n prints them, with a blank in front
	parse    func(a *args, d []byte)           // fills a zeroed struct from the options that save prints
}

// families says for which address family a codec holds.
type families uint8

const (
	bothFamilies families = iota
	onlyIPv4
	onlyIPv6
)

func (f families) has(family nat.Family) bool {
	return f == bothFamilies || (f == onlyIPv6) == (family == nat.IPv6)
}

// codecs is every extension natlab can read, newest revision first.
func codecs() []codec {
	return rowCodecs()
}

// registry finds codecs.
type registry struct {
	family nat.Family
	exact  map[extKey]*codec
	newest map[extKey]*codec // by name alone: key.revision is 0
	asked  map[extKey]*codec // by name or alias, for parsing
}

type extKey struct {
	name     string
	target   bool
	revision uint8
}

func newRegistry(f nat.Family) *registry {
	r := &registry{family: f, exact: map[extKey]*codec{}, newest: map[extKey]*codec{}, asked: map[extKey]*codec{}}
	all := codecs()
	for i := range all {
		c := &all[i]
		if !c.only.has(f) {
			continue
		}
		r.exact[extKey{c.name, c.target, c.revision}] = c
		for _, name := range append([]string{c.name}, c.aliases...) {
			key := extKey{name: name, target: c.target}
			if r.newest[key] == nil {
				r.newest[key] = c
			}
		}
	}
	return r
}

func (r *registry) find(e Extension, target bool) *codec {
	return r.exact[extKey{e.Name, target, e.Revision}]
}

// padded is n filled up to XT_ALIGN.
func padded(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// printer collects the text of one extension.
type printer struct {
	strings.Builder
	family  nat.Family
	version Version
	sets    map[uint16]string // ipset index -> name
	exact   bool              // the text is for natlab to read (xt.Printer.Exact)
	unsaid  bool              // the bytes say something that the options cannot
}

func (p *printer) f(format string, args ...any) { _, _ = fmt.Fprintf(p, format, args...) }

// not prints " !" if on.
func (p *printer) not(on bool) {
	if on {
		p.WriteString(" !")
	}
}

// text reads a zero-terminated string; bytes behind its end are not looked at.
func text(b []byte) string {
	if i := strings.IndexByte(string(b), 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func inetAddr(f nat.Family, b []byte) netip.Addr {
	if f == nat.IPv6 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}

// pair prints "a" or "a<sep>b".
func pair[T uint16 | uint32](a, b T, sep string) string {
	if a == b {
		return strconv.FormatUint(uint64(a), 10)
	}
	return strconv.FormatUint(uint64(a), 10) + sep + strconv.FormatUint(uint64(b), 10)
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// names prints the set bits of v by name.
func bitNames(v uint32, names []string, order []int) (string, uint32) {
	var out []string
	var known uint32
	for _, bit := range order {
		known |= 1 << bit
		if v&(1<<bit) != 0 {
			out = append(out, names[bit])
		}
	}
	return strings.Join(out, ","), known
}

// args are the options of one extension, being parsed.
type args struct {
	family nat.Family
	sets   map[string]uint16
	words  []string
	err    error
	not    bool   // the option came behind a "!"
	alias  string // the name that the rule calls the extension by
	// protocol is that of the rule's -p, 0 for none and for a negated one.
	protocol nat.Proto

	general bool // stop in front of an option of the rule itself
}

var errOption = errors.New("option")

func (a *args) fail(format string, v ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, v...)
	}
}

// next takes one option's name, and notes a "!" in front of it.
func (a *args) next() (string, bool) {
	if a.err != nil || len(a.words) == 0 || a.general && a.atGeneral() {
		return "", false
	}
	a.not = a.words[0] == "!"
	if a.not {
		a.words = a.words[1:]
	}
	if len(a.words) == 0 {
		a.fail("%w: nothing behind !", errOption)
		return "", false
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w, true
}

// atGeneral reports whether the next option is one of the rule itself.
func (a *args) atGeneral() bool {
	if a.words[0] == "!" {
		return len(a.words) > 1 && general(a.words[1])
	}
	return general(a.words[0])
}

// unknown refuses an option.
func (a *args) unknown(option string) { a.fail("%w %s: not known here", errOption, option) }

// value takes one word.
func (a *args) value() string {
	if len(a.words) == 0 {
		a.fail("%w: a value is missing", errOption)
		return ""
	}
	w := a.words[0]
	a.words = a.words[1:]
	return w
}

func (a *args) number(bits int) uint64 {
	s := a.value()
	n, err := strconv.ParseUint(s, 0, bits)
	if err != nil {
		a.fail("%q is no number of %d bits", s, bits)
	}
	return n
}

// addr writes an address of the family.
func (a *args) addr(s string, dst []byte) {
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Is6() != (a.family == nat.IPv6) || ip.Zone() != "" {
		a.fail("%q is no %s address", s, a.family)
		return
	}
	copy(dst, ip.AsSlice())
}

// rawOption carries an extension that has no codec through text: "--raw REVISION:HEX".
const rawOption = "--raw"

func rawText(e Extension) string {
	return fmt.Sprintf(" %s %d:%s", rawOption, e.Revision, hex.EncodeToString(e.Data))
}

// rawExtension reads what rawText printed.
func rawExtension(name string, words []string) (Extension, bool) {
	if len(words) != 2 || words[0] != rawOption {
		return Extension{}, false
	}
	rev, data, ok := strings.Cut(words[1], ":")
	n, err1 := strconv.ParseUint(rev, 10, 8)
	b, err2 := hex.DecodeString(data)
	if !ok || err1 != nil || err2 != nil || len(b)%alignment != 0 {
		return Extension{}, false
	}
	return Extension{Name: name, Revision: uint8(n), Data: b}, true
}
