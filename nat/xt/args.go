package xt

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
)

// Word is a word of a rule, without its quotes, and the column it begins at (1 for the line's first byte).
type Word struct {
	Text   string
	Column int
}

// ArgError is an option or a value that an extension does not take.
type ArgError struct {
	Column int // of the word; 0: of the extension
	Reason string
}

func (e *ArgError) Error() string { return e.Reason }

// Args are the options of one extension as a rule gives them. The first thing that is wrong with them is kept, and what
// is asked of them afterwards is zero.
type Args struct {
	Family nat.Family
	Alias  string  // the name that the rule calls the extension by
	Given  []Given // in order
	// Protocol is the one that the rule asks for by -p; 0 where it asks for none, or for all others.
	Protocol nat.Proto
	err      *ArgError
}

// Given is an option that a rule gives.
type Given struct {
	Option Option // of the row; Option.Name is its canonical spelling
	Not    bool
	Values []Word
	At     Word // the option's own word
	// Protocol is Args.Protocol as far as the rule's words in front of the option tell, and Excluded the one that ! -p excludes.
	Protocol, Excluded nat.Proto
	args               *Args
}

// Err is what is wrong, nil if nothing is.
func (a *Args) Err() error {
	if a.err == nil {
		return nil
	}
	return a.err
}

// Wrong is Err with its place.
func (a *Args) Wrong() *ArgError { return a.err }

// Fail notes what is wrong with the options as a whole.
func (a *Args) Fail(format string, v ...any) {
	if a.err == nil {
		a.err = &ArgError{Reason: fmt.Sprintf(format, v...)}
	}
}

// Give adds an option. It refuses one that is inverted and must not be.
func (a *Args) Give(g Given) {
	g.args = a
	if g.Not && !g.Option.Not {
		g.Fail("cannot be inverted")
	}
	a.Given = append(a.Given, g)
}

// Options yields the options in order, until one of them is wrong.
func (a *Args) Options(yield func(*Given) bool) {
	for i := range a.Given {
		if a.err != nil || !yield(&a.Given[i]) {
			return
		}
	}
}

// Has reports whether an option was given.
func (a *Args) Has(name string) bool {
	return slices.ContainsFunc(a.Given, func(g Given) bool { return g.Option.Name == name })
}

// Need notes that one of some options must be given.
func (a *Args) Need(names ...string) {
	if !slices.ContainsFunc(names, a.Has) {
		a.Fail("needs %s", strings.Join(names, " or "))
	}
}

// NeedProtocol notes that the rule must ask for a protocol by -p, which some options of the extension take for granted.
func (a *Args) NeedProtocol(p nat.Proto) {
	if a.Protocol != p {
		a.Fail("needs -p %s", p.RuleName())
	}
}

// Once notes an option that is given twice, which iptables refuses of all but some.
func (a *Args) Once(but ...string) {
	for i, g := range a.Given {
		again := slices.ContainsFunc(a.Given[:i], func(b Given) bool { return b.Option.Name == g.Option.Name })
		if again && !slices.Contains(but, g.Option.Name) {
			g.Fail("given twice")
		}
	}
}

// Exclusive notes two of some options that do not go together.
func (a *Args) Exclusive(names ...string) {
	first := ""
	for _, g := range a.Given {
		switch name := g.Option.Name; {
		case !slices.Contains(names, name) || name == first:
		case first == "":
			first = name
		default:
			g.Fail("does not go with %s", first)
		}
	}
}

// Name is the option's name.
func (g *Given) Name() string { return g.Option.Name }

// Fail notes what is wrong with an option: "--dport: ...".
func (g *Given) Fail(format string, v ...any) {
	if g.args.err == nil {
		g.args.err = &ArgError{g.At.Column, g.Option.Name + ": " + fmt.Sprintf(format, v...)}
	}
}

// bad notes a value that is not what was wanted.
func (g *Given) bad(i int, want string) {
	if g.args.err == nil {
		g.args.err = &ArgError{g.Values[i].Column, fmt.Sprintf("%s %s: want %s", g.Option.Name, g.Values[i].Text, want)}
	}
}

// Text is the option's first value.
func (g *Given) Text() string { return g.Values[0].Text }

// TextUpTo is the first value, of at most n bytes.
func (g *Given) TextUpTo(n int) string {
	if s := g.Text(); len(s) > n || strings.ContainsRune(s, 0) {
		g.bad(0, fmt.Sprintf("at most %d bytes", n))
	}
	return g.Text()
}

// Uint is the first value as a number of so many bits, in decimal, octal (0...) or hexadecimal (0x...).
func (g *Given) Uint(bits int) uint64 { return g.Within(0, 1<<bits-1) }

// Within is the first value as a number with bounds, both in.
func (g *Given) Within(low, high uint64) uint64 {
	n, ok := Number(g.Text(), high)
	if !ok || n < low {
		g.bad(0, fmt.Sprintf("a number from %d to %d", low, high))
		return 0
	}
	return n
}

// Number reads a number as xtables_strtoul does: decimal, octal or hexadecimal, at most high.
func Number(s string, high uint64) (uint64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' { // without making an error of it
		return 0, false
	}
	if strings.ContainsAny(s, "_oObB") && !strings.HasPrefix(s, "0x") && !strings.HasPrefix(s, "0X") || strings.Contains(s, "_") {
		return 0, false // Go takes these, strtoul does not
	}
	n, err := strconv.ParseUint(s, 0, 64)
	return n, err == nil && n <= high
}

// Span is the first value as "a", "a<sep>b", "a<sep>" or "<sep>b", of numbers of so many bits; a is not above b.
func (g *Given) Span(sep string, bits int) (low, high uint64) {
	top := uint64(math.MaxUint64)
	if bits < 64 {
		top = 1<<bits - 1
	}
	low, high, ok := readSpan(g.Text(), sep, top)
	if !ok {
		g.bad(0, fmt.Sprintf("a number up to %d, or LOW%sHIGH", top, sep))
	}
	return low, high
}

func readSpan(s, sep string, top uint64) (low, high uint64, ok bool) {
	low, high, ok = boundsOf(s, sep, top)
	return low, high, ok && low <= high
}

// boundsOf reads "a", "a<sep>b", "a<sep>" or "<sep>b"; a may be above b.
func boundsOf(s, sep string, top uint64) (low, high uint64, ok bool) {
	first, second, two := strings.Cut(s, sep)
	low, high = 0, top
	ok = first != "" || two
	if first != "" {
		low, ok = Number(first, top)
	}
	switch {
	case !two:
		return low, low, ok
	case second != "":
		var good bool
		high, good = Number(second, top)
		ok = ok && good
	}
	return low, high, ok
}

// Masked is the first value as VALUE[/MASK] of 32 bits.
func (g *Given) Masked() (value, mask uint32) {
	v, m, has := strings.Cut(g.Text(), "/")
	x, ok := Number(v, math.MaxUint32)
	y, ok2 := uint64(math.MaxUint32), true
	if has {
		y, ok2 = Number(m, math.MaxUint32)
	}
	if !ok || !ok2 {
		g.bad(0, "VALUE[/MASK] of 32 bits")
		return 0, 0
	}
	return uint32(x), uint32(y)
}

// Addr is the first value as an address of the rule's family (XTTYPE_HOST).
func (g *Given) Addr() netip.Addr {
	a, ok := g.args.host(g.Text())
	if !ok {
		g.bad(0, "an address of "+g.args.Family.String())
	}
	return a
}

// host is an address of the rule's family as iptables takes one where it would look a name up.
func (a *Args) host(s string) (netip.Addr, bool) { return HostAddr(s, a.Family) }

// mask is a mask of the rule's family as an address, which a number alone is not.
func (a *Args) mask(s string) (netip.Addr, bool) {
	ip, ok := a.host(s)
	return ip, ok && strings.ContainsAny(s, ".:")
}

// addr is an address of the rule's family as inet_pton reads it.
func (a *Args) addr(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s)
	return ip, err == nil && ip.Zone() == "" && ip.Is6() == (a.Family == nat.IPv6)
}

// AddrMask is the first value as ADDRESS, ADDRESS/LENGTH or ADDRESS/MASK; bits of the address outside the mask are
// cleared, as iptables does.
func (g *Given) AddrMask() AddrMask {
	text, m, has := strings.Cut(g.Text(), "/")
	a, ok := g.args.host(text)
	if !ok {
		g.bad(0, "ADDRESS[/MASK] of "+g.args.Family.String())
		return AddrMask{}
	}
	mask := maskOfBits(a.BitLen(), g.args.Family)
	if has {
		if n, isLength := Number(m, uint64(a.BitLen())); isLength {
			mask = maskOfBits(int(n), g.args.Family)
		} else if mask, ok = g.args.mask(m); !ok {
			g.bad(0, "a mask as a length or an address")
			return AddrMask{}
		}
	}
	return AddrMask{maskedBy(a, mask), mask}
}

// Choice is the place of the first value among some words; case does not count where fold is set.
func (g *Given) Choice(fold bool, words ...string) int {
	for i, w := range words {
		if w == g.Text() || fold && strings.EqualFold(w, g.Text()) {
			return i
		}
	}
	g.bad(0, "one of "+strings.Join(words, ", "))
	return 0
}

// Bits is value i as a list of names, joined by commas; case does not count.
func (g *Given) Bits(i int, names []string) (bits uint32) {
next:
	for w := range strings.SplitSeq(g.Values[i].Text, ",") {
		for bit, name := range names {
			if name != "" && strings.EqualFold(w, name) {
				bits |= 1 << bit
				continue next
			}
		}
		g.bad(i, "some of "+strings.Join(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" }), ","))
		return 0
	}
	return bits
}
