package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// Mark is -m mark: skb mark & Mask == Value (xt_mark.c, mark_mt).
type Mark struct {
	Not         bool
	Value, Mask uint32
}

var markRow = Extension{
	Name:     "mark",
	Options:  []Option{{Name: "--mark", Values: 1, Not: true}},
	Examples: []string{"--mark 0x4000/0x4000", "! --mark 0x1"},
	Parse: func(a *Args) Value {
		var m Mark
		a.Need("--mark")
		for g := range a.Options {
			m.Not = g.Not
			m.Value, m.Mask = g.Masked()
		}
		return m
	},
	Listed: listedValue("mark match", "--mark"),
	Layouts: layouts(layout(1, markSize,
		func(d []byte, _ *Env) (Mark, bool) { return decodeMark(d), true },
		func(m Mark, d []byte, _ *Env) error { encodeMark(m, d); return nil })),
}

// struct xt_mark_mtinfo1 { __u32 mark, mask; __u8 invert; }, and xt_connmark_mtinfo1
const markSize = 9

func decodeMark(d []byte) Mark {
	return Mark{Not: d[8] != 0, Value: order.Uint32(d), Mask: order.Uint32(d[4:])}
}

func encodeMark(m Mark, d []byte) {
	order.PutUint32(d, m.Value)
	order.PutUint32(d[4:], m.Mask)
	d[8] = flagByte(m.Not)
}

// Name is "mark".
func (Mark) Name() string { return "mark" }

// Save prints --mark.
func (m Mark) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" --mark")
	p.Mark(m.Value, m.Mask)
}

// List prints "mark match".
func (m Mark) List(p *Printer) {
	p.Text(" mark match")
	p.Not(m.Not)
	p.Mark(m.Value, m.Mask)
}

// Holds compares the packet's mark.
func (m Mark) Holds(v *rules.Visit) rules.Answer { return rules.Is(v.Mark&m.Mask == m.Value, m.Not) }

// Actual is the packet's mark.
func (Mark) Actual(v *rules.Visit) string { return fmt.Sprintf("mark %#x", v.Mark) }

// SetMark is -j MARK: mark = mark &^ Mask ^ Value (xt_mark.c, mark_tg).
type SetMark struct{ Value, Mask uint32 }

var setMarkRow = Extension{
	Name:     "MARK",
	Kind:     TargetKind,
	Options:  markOptions(),
	Examples: []string{"--set-xmark 0x4000/0x4000", "--set-xmark 0x0/0xffffffff"},
	Parse: func(a *Args) Value {
		var t SetMark
		a.Need(markOptionNames()...)
		for g := range a.Options {
			t.Value, t.Mask = xmark(g)
		}
		return t
	},
	Listed: func(l *Listing) bool { return l.TakeWord("MARK") && l.giveXMark() },
	// struct xt_mark_tginfo2 { __u32 mark, mask; }
	Layouts: layouts(layout(2, 8,
		func(d []byte, _ *Env) (SetMark, bool) { return SetMark{order.Uint32(d), order.Uint32(d[4:])}, true },
		func(t SetMark, d []byte, _ *Env) error {
			order.PutUint32(d, t.Value)
			order.PutUint32(d[4:], t.Mask)
			return nil
		})),
}

// markOptions are the options by which MARK and CONNMARK set a mark.
func markOptions() (out []Option) {
	for _, name := range markOptionNames() {
		out = append(out, Option{Name: name, Values: 1})
	}
	return out
}

func markOptionNames() []string {
	return []string{"--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark"}
}

// xmark is what one of these options sets, as --set-xmark VALUE/MASK has it.
func xmark(g *Given) (value, mask uint32) {
	switch g.Name() {
	case "--set-xmark":
		return g.Masked()
	case "--set-mark":
		value, mask = g.Masked()
		return value, mask | value
	case "--and-mark":
		return 0, ^uint32(g.Uint(32))
	case "--or-mark":
		value = uint32(g.Uint(32))
		return value, value
	}
	return uint32(g.Uint(32)), 0
}

// Name is "MARK".
func (SetMark) Name() string { return "MARK" }

// Save prints --set-xmark.
func (t SetMark) Save(p *Printer) { saveXMark(p, t.Value, t.Mask) }

func saveXMark(p *Printer, value, mask uint32) {
	p.Text(" --set-xmark ")
	p.Hex(value)
	p.Text("/")
	p.Hex(mask)
}

// List prints what the mark becomes.
func (t SetMark) List(p *Printer) { listXMark(p, "MARK", t.Value, t.Mask) }

// listXMark prints the shortest of the options that set a mark alike.
func listXMark(p *Printer, name string, value, mask uint32) {
	p.Text(" ", name, " ")
	switch {
	case value == 0:
		p.Textf("and 0x%x", ^mask)
	case value == mask:
		p.Textf("or 0x%x", value)
	case mask == 0:
		p.Textf("xor 0x%x", value)
	case mask == 0xffffffff:
		p.Textf("set 0x%x", value)
	default:
		p.Textf("xset 0x%x/0x%x", value, mask)
	}
}

// giveXMark gives the option of what listXMark prints.
func (l *Listing) giveXMark() bool {
	switch verb, value := l.Word(), l.Word(); verb {
	case "and", "or", "xor":
		l.Give("--"+verb+"-mark", false, value)
	case "set", "xset":
		l.Give("--set-xmark", false, value)
	default:
		return false
	}
	return true
}

// Act sets the packet's mark.
func (t SetMark) Act(v *rules.Visit) rules.Action {
	v.Mark = v.Mark&^t.Mask ^ t.Value
	return rules.Continue()
}
