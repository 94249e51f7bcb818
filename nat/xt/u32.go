package xt

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"natlab/nat/rules"
)

// U32 is -m u32: words of the packet that meet tests, all of them (xt_u32.c).
type U32 struct {
	Not   bool
	Tests []U32Test
}

// U32Test is one test: a word is read and worked on, and the result is in one of the ranges.
type U32Test struct {
	Start  uint32 // the word's first byte, from the IP header's first on
	Steps  []U32Step
	Ranges []U32Range
}

// U32Range is results from Low to High, both in.
type U32Range struct{ Low, High uint32 }

// U32Step is one operation on the word.
type U32Step struct {
	Op     U32Op
	Number uint32
}

// U32Op is an operation (enum xt_u32_ops).
type U32Op uint8

// The operations.
const (
	U32And        U32Op = iota
	U32ShiftLeft        //
	U32ShiftRight       //
	U32At               // the word moves where words are counted from; the next one is read there
)

var u32Ops = []string{"&", "<<", ">>", "@"}

// Bounds of the struct: tests, steps with their start, and ranges (XT_U32_MAXSIZE).
const u32Max = 10

var u32Row = Extension{
	Name:    "u32",
	Options: []Option{{Name: "--u32", Values: 1, Not: true}},
	Examples: []string{
		`--u32 "0x0=0x0&&0x0=0x1"`, `! --u32 "0x6&0xff=0x6&&0x4&0x1fff=0x0&&0x0>>0x16&0x3c@0x0>>0x10=0x50,0x1bb,0x400:0xffff"`, `--u32 "0x0<<0x2=0x1:0x2"`,
	},
	Parse: func(a *Args) Value {
		var m U32
		a.Need("--u32")
		a.Once()
		for g := range a.Options {
			r := u32Reader{rest: g.Text()}
			if m = (U32{g.Not, r.tests()}); r.wrong != "" {
				g.Fail("at character %d: %s", len(g.Text())-len(r.rest)+1, r.wrong)
			}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken, not := l.TakeWord("u32"), l.TakeWord("!")
		text, ok := l.Quoted()
		l.Give("--u32", not, text)
		return taken && ok
	},
	Layouts: layouts(layout(0, 1984, decodeU32, encodeU32)),
}

// u32Reader reads the text of tests. The first thing that is wrong stays, and ends it.
type u32Reader struct {
	rest  string
	wrong string
}

// tests reads LOCATION=VALUES, joined by &&.
func (r *u32Reader) tests() (tests []U32Test) {
	for {
		t := U32Test{Start: r.number()}
		for !r.take("=") && r.wrong == "" {
			if t.Steps = append(t.Steps, r.step()); len(t.Steps) == u32Max {
				r.fail("at most %d numbers in a location", u32Max)
			}
		}
		for more := true; more && r.wrong == ""; more = r.take(",") {
			if t.Ranges = append(t.Ranges, r.values()); len(t.Ranges) > u32Max {
				r.fail("at most %d values", u32Max)
			}
		}
		tests = append(tests, t)
		switch end := !r.take("&&"); {
		case r.wrong != "":
			return nil
		case end && r.rest == "" && len(tests) <= u32Max:
			return tests
		case end && r.rest == "" || len(tests) > u32Max:
			r.fail("at most %d tests", u32Max)
			return nil
		case end:
			r.fail(`want "," or "&&"`)
			return nil
		}
	}
}

func (r *u32Reader) fail(format string, v ...any) {
	if r.wrong == "" {
		r.wrong = fmt.Sprintf(format, v...)
	}
}

// blanks passes white space by.
func (r *u32Reader) blanks() { r.rest = strings.TrimLeft(r.rest, " \t\n\v\f\r") }

// take takes a word if it comes next.
func (r *u32Reader) take(word string) (taken bool) {
	r.blanks()
	r.rest, taken = strings.CutPrefix(r.rest, word)
	return taken
}

// number takes a number as strtoul does, which ends where no digit follows.
func (r *u32Reader) number() uint32 {
	r.blanks()
	digits, from := "01234567", 0
	switch {
	case strings.HasPrefix(strings.ToLower(r.rest), "0x") && len(r.rest) > 2 && hexDigit(r.rest[2]):
		digits, from = "0123456789abcdefABCDEF", 2
	case !strings.HasPrefix(r.rest, "0"):
		digits = "0123456789"
	}
	end := from + len(r.rest[from:]) - len(strings.TrimLeft(r.rest[from:], digits))
	n, ok := Number(r.rest[:end], math.MaxUint32)
	if !ok {
		r.fail("want a number of 32 bits")
		return 0
	}
	r.rest = r.rest[end:]
	return uint32(n)
}

func (r *u32Reader) step() U32Step {
	for op, word := range u32Ops {
		if r.take(word) {
			return U32Step{U32Op(op), r.number()}
		}
	}
	r.fail(`want "=", "&", "<<", ">>" or "@"`)
	return U32Step{}
}

func (r *u32Reader) values() U32Range {
	low := r.number()
	if r.take(":") {
		return U32Range{low, r.number()}
	}
	return U32Range{low, low}
}

// Where things are in struct xt_u32 { struct xt_u32_test tests[11]; __u8 ntests, invert; }, in struct xt_u32_test { struct
// xt_u32_location_element location[11]; struct xt_u32_value_element value[11]; __u8 nnums, nvalues; }, and in its elements,
// { __u32 number; __u8 nextop; } and { __u32 min, max; }.
const (
	u32Element  = 8
	u32Values   = (u32Max + 1) * u32Element
	u32Counts   = 2 * u32Values
	u32TestSize = u32Counts + 4
	u32Tests    = (u32Max + 1) * u32TestSize
)

func decodeU32(d []byte, _ *Env) (U32, bool) {
	m := U32{Not: d[u32Tests+1] != 0}
	count := int(d[u32Tests])
	if count == 0 || count > u32Max+1 {
		return m, false
	}
	for i := range count {
		at := d[i*u32TestSize:]
		numbers, values := int(at[u32Counts]), int(at[u32Counts+1])
		if numbers == 0 || numbers > u32Max || values == 0 || values > u32Max {
			return m, false
		}
		t := U32Test{Start: order.Uint32(at)}
		for j := 1; j < numbers; j++ {
			op := U32Op(at[j*u32Element+4])
			if op > U32At {
				return m, false
			}
			t.Steps = append(t.Steps, U32Step{op, order.Uint32(at[j*u32Element:])})
		}
		for j := range values {
			t.Ranges = append(t.Ranges, U32Range{order.Uint32(at[u32Values+j*u32Element:]), order.Uint32(at[u32Values+j*u32Element+4:])})
		}
		m.Tests = append(m.Tests, t)
	}
	return m, true
}

func encodeU32(m U32, d []byte, _ *Env) error {
	d[u32Tests], d[u32Tests+1] = uint8(len(m.Tests)), flagByte(m.Not)
	for i, t := range m.Tests {
		at := d[i*u32TestSize:]
		order.PutUint32(at, t.Start)
		for j, s := range t.Steps {
			order.PutUint32(at[(j+1)*u32Element:], s.Number)
			at[(j+1)*u32Element+4] = uint8(s.Op)
		}
		for j, r := range t.Ranges {
			order.PutUint32(at[u32Values+j*u32Element:], r.Low)
			order.PutUint32(at[u32Values+j*u32Element+4:], r.High)
		}
		at[u32Counts], at[u32Counts+1] = uint8(len(t.Steps)+1), uint8(len(t.Ranges))
	}
	return nil
}

// Name is "u32".
func (U32) Name() string { return "u32" }

// Save prints the tests.
func (m U32) Save(p *Printer) { p.Option(m.Not, "--u32", `"`+m.text()+`"`) }

// List prints the tests as iptables -L does.
func (m U32) List(p *Printer) {
	p.Text(" u32")
	p.Not(m.Not)
	p.Text(` "`, m.text(), `"`)
}

func (m U32) text() string {
	var b strings.Builder
	for i, t := range m.Tests {
		fmt.Fprintf(&b, "%s0x%x", map[bool]string{true: "&&"}[i > 0], t.Start)
		for _, s := range t.Steps {
			fmt.Fprintf(&b, "%s0x%x", u32Ops[s.Op], s.Number)
		}
		sep := "="
		for _, r := range t.Ranges {
			if fmt.Fprintf(&b, "%s0x%x", sep, r.Low); r.Low != r.High {
				fmt.Fprintf(&b, ":0x%x", r.High)
			}
			sep = ","
		}
	}
	return b.String()
}

// Holds makes the tests. A word that is not all in the packet fails its test.
func (m U32) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	for _, t := range m.Tests {
		if n, ok := t.word(v.Wire.Bytes()); !ok || !t.meets(n) {
			return rules.Is(m.Not, false)
		}
	}
	return rules.Is(m.Not, true)
}

// word is what a test makes of the packet. Shifts are by the number's low five bits, as machines do them.
func (t *U32Test) word(b []byte) (n uint32, ok bool) {
	const size, shifts = 4, 31
	base := uint64(0)
	if n, ok = wordAt(b, uint64(t.Start)); !ok {
		return 0, false
	}
	for _, s := range t.Steps {
		switch s.Op {
		case U32And:
			n &= s.Number
		case U32ShiftLeft:
			n <<= s.Number & shifts
		case U32ShiftRight:
			n >>= s.Number & shifts
		case U32At:
			if base += uint64(n); base+size > uint64(len(b)) {
				return 0, false
			}
			if n, ok = wordAt(b, base+uint64(s.Number)); !ok {
				return 0, false
			}
		}
	}
	return n, true
}

func wordAt(b []byte, at uint64) (uint32, bool) {
	const size = 4
	if at+size > uint64(len(b)) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[at:]), true
}

func (t *U32Test) meets(n uint32) bool {
	for _, r := range t.Ranges {
		if r.Low <= n && n <= r.High {
			return true
		}
	}
	return false
}

// Actual is what the first test that fails makes of the packet.
func (m U32) Actual(v *rules.Visit) string {
	for i, t := range m.Tests {
		n, ok := t.word(v.Wire.Bytes())
		switch {
		case !ok:
			return fmt.Sprintf("test %d reads behind the packet's end", i+1)
		case !t.meets(n):
			return fmt.Sprintf("test %d gives 0x%x", i+1, n)
		}
	}
	return "all tests are met"
}
