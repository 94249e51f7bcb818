package xt

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// String is -m string: a text in the packet's bytes, from the first one of the IP header on (xt_string.c, lib/ts_bm.c,
// lib/ts_kmp.c).
type String struct {
	Not       bool
	Pattern   string
	Algorithm string // "bm" or "kmp": they find the same
	From, To  uint16 // where the text may begin, and where it has to have ended
	Fold      bool   // --icase: case does not count
}

const (
	stringPattern   = 128 // XT_STRING_MAX_PATTERN_SIZE
	stringAlgorithm = 16  // XT_STRING_MAX_ALGO_NAME_SIZE
)

var stringRow = Extension{
	Name: "string",
	Options: []Option{
		{Name: "--from", Values: 1},
		{Name: "--to", Values: 1},
		{Name: "--algo", Values: 1},
		{Name: "--string", Values: 1, Not: true},
		{Name: "--hex-string", Values: 1, Not: true},
		{Name: "--icase"},
	},
	Examples: []string{
		`--string "test" --algo kmp`, `! --string "GET /a \"b\" \\ c'" --algo bm --from 40 --to 200 --icase`,
		`--hex-string "|00ff7f|" --algo bm`, `! --hex-string "|615c|" --algo kmp --to 0`,
	},
	Parse:  parseString,
	Listed: listedString,
	// struct xt_string_info { __u16 from_offset, to_offset; char algo[16], pattern[128]; __u8 patlen, flags; struct ts_config
	// *config; }
	Layouts: layouts(layout(1, 160, decodeString, encodeString)),
}

func parseString(a *Args) Value {
	m := String{To: math.MaxUint16}
	a.Need("--string", "--hex-string")
	a.Need("--algo")
	a.Exclusive("--string", "--hex-string")
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--from":
			m.From = uint16(g.Uint(16))
		case "--to":
			m.To = uint16(g.Uint(16))
		case "--algo":
			m.Algorithm = []string{"bm", "kmp"}[g.Choice(false, "bm", "kmp")]
		case "--icase":
			m.Fold = true
		case "--string":
			m.Not, m.Pattern = g.Not, g.TextUpTo(stringPattern)
		case "--hex-string":
			m.Not, m.Pattern = g.Not, g.hexString()
		}
	}
	if m.Pattern == "" {
		a.Fail("the text is empty")
	}
	if m.From > m.To {
		a.Fail("--from %d is behind --to %d", m.From, m.To)
	}
	return m
}

// hexString is the first value with the text between two bars as pairs of hexadecimal digits, which may have blanks between
// them, and with a backslash in front of what is to be taken as it is. What stands right behind a bar is taken as it is, too.
func (g *Given) hexString() string {
	var out []byte
	s, hex := g.Text(), false
	for i := 0; i < len(s); {
		if len(out) == stringPattern {
			g.bad(0, fmt.Sprintf("at most %d bytes, a closing bar not behind the last", stringPattern))
			return ""
		}
		switch {
		case s[i] == '\\' && hex:
			g.bad(0, "no backslash between two bars")
			return ""
		case s[i] == '\\':
			if i+1 == len(s) {
				g.bad(0, "something behind the backslash")
				return ""
			}
			out = append(out, s[i+1])
			i += 2
			continue
		case s[i] == '|':
			if hex = !hex; hex {
				i += len(s[i+1:]) - len(strings.TrimLeft(s[i+1:], " "))
			}
			if i++; i == len(s) {
				return string(out)
			}
		}
		if !hex {
			out = append(out, s[i])
			i++
			continue
		}
		if i+2 >= len(s) || !hexDigit(s[i]) || !hexDigit(s[i+1]) {
			g.bad(0, "pairs of hexadecimal digits between two bars")
			return ""
		}
		n, _ := Number("0x"+s[i:i+2], math.MaxUint8) // of two digits
		out = append(out, byte(n))
		if i += 2; s[i] == ' ' {
			i++
		}
	}
	return string(out)
}

func hexDigit(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// Bits of xt_string_info.u.v1.flags (XT_STRING_FLAG_*), and where the struct's fields are.
const (
	stringInvert = 1 << 0
	stringFold   = 1 << 1

	stringPatternAt = 4 + stringAlgorithm
	stringLengthAt  = stringPatternAt + stringPattern
	stringFlagsAt   = stringLengthAt + 1
)

func decodeString(d []byte, _ *Env) (String, bool) {
	n, flags := int(d[stringLengthAt]), d[stringFlagsAt]
	if n == 0 || n > stringPattern || flags&^(stringInvert|stringFold) != 0 {
		return String{}, false
	}
	m := String{
		Not: flags&stringInvert != 0, Fold: flags&stringFold != 0, From: order.Uint16(d), To: order.Uint16(d[2:]),
		Algorithm: cString(d[4:stringPatternAt]), Pattern: string(d[stringPatternAt:][:n]),
	}
	return m, m.Algorithm == "bm" || m.Algorithm == "kmp"
}

func encodeString(m String, d []byte, _ *Env) error {
	order.PutUint16(d, m.From)
	order.PutUint16(d[2:], m.To)
	copy(d[stringPatternAt:stringLengthAt], m.Pattern)
	d[stringLengthAt] = uint8(len(m.Pattern))
	d[stringFlagsAt] = flagByte(m.Not)*stringInvert | flagByte(m.Fold)*stringFold
	return putString(d[4:stringPatternAt], m.Algorithm)
}

// Name is "string".
func (String) Name() string { return "string" }

// asHex reports whether iptables prints the text in hexadecimal.
func (m String) asHex() bool {
	return strings.ContainsFunc(m.Pattern, func(r rune) bool { return r < ' ' || r > '~' }) || strings.HasSuffix(m.Pattern, `\`)
}

// quoted is the text in quotes.
func (m String) quoted() string {
	if m.asHex() {
		return fmt.Sprintf(`"|%x|"`, m.Pattern)
	}
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(m.Pattern) + `"`
}

// silentTo is the iptables that prints no --to that asks for nothing.
var silentTo = Version{1, 8, 9}

func (m String) showsTo(p *Printer) bool {
	if p.Version.Before(silentTo) && !p.Exact {
		return m.To != 0
	}
	return m.To != math.MaxUint16
}

// Save prints the text and where it is looked for.
func (m String) Save(p *Printer) {
	p.Option(m.Not, map[bool]string{false: "--string", true: "--hex-string"}[m.asHex()], m.quoted())
	p.Option(false, "--algo", m.Algorithm)
	if m.From != 0 {
		p.Number("--from", uint64(m.From))
	}
	if m.showsTo(p) {
		p.Number("--to", uint64(m.To))
	}
	p.Flag(m.Fold, "--icase")
}

// List prints the text and where it is looked for as iptables -L does.
func (m String) List(p *Printer) {
	p.Text(" STRING match ", bang(m.Not), " ", m.quoted(), " ALGO name ", m.Algorithm)
	if m.From != 0 {
		p.Textf(" FROM %d", m.From)
	}
	if m.showsTo(p) {
		p.Textf(" TO %d", m.To)
	}
	p.Flag(m.Fold, "ICASE")
}

func listedString(l *Listing) bool {
	if !l.Take("STRING match") {
		return false
	}
	not, option := l.Bang(), "--string"
	text, ok := l.Quoted()
	g := Given{Values: []Word{{Text: text}}, args: &Args{}}
	if s := (String{Pattern: g.hexString()}); g.args.Err() == nil && strings.HasPrefix(text, "|") && s.asHex() {
		option = "--hex-string"
	}
	l.Give(option, not, text)
	if !ok || !l.Take("ALGO name ") {
		return false
	}
	l.Give("--algo", false, l.Word())
	for _, word := range [][2]string{{"FROM", "--from"}, {"TO", "--to"}} {
		if l.TakeWord(word[0]) {
			l.Give(word[1], false, l.Word())
		}
	}
	l.Flag("ICASE", "--icase")
	return true
}

// Holds looks for the text. Before Linux 6.7 it has to have begun at To, and not ended (nat.TextEndsAtTo).
func (m String) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	room := int(m.To) - int(m.From)
	if w, ok := v.World.(rules.Versioned); ok && !w.Kernel().Has(nat.TextEndsAtTo) && room > 0 {
		room += len(m.Pattern)
	}
	text := v.Wire.Bytes()
	text = text[min(int(m.From), len(text)):]
	pattern := []byte(m.Pattern)
	if m.Fold {
		text, pattern = upper(text), upper(pattern)
	}
	return rules.Is(bytes.Contains(text[:min(len(text), room)], pattern), m.Not)
}

// upper is a text in capitals, as the kernel has them: those of Latin-1, where sharp s and y with diaeresis turn into what
// stands in their place.
func upper(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		if c >= 'a' && c <= 'z' || c >= 0xdf && c != 0xf7 {
			out[i] = c - ('a' - 'A')
		}
	}
	return out
}

// Actual tells whether the text is there.
func (m String) Actual(*rules.Visit) string {
	if m.Not {
		return "the text is there"
	}
	return "the text is not there"
}
