package xt

import (
	"errors"
	"fmt"
	"strings"

	"natlab/nat/rules"
)

// ConnMark is -m connmark: connection mark & Mask == Value (xt_connmark.c, connmark_mt).
type ConnMark struct {
	Not         bool
	Value, Mask uint32
}

var connMarkRow = Extension{
	Listed:   listedValue("connmark match", "--mark"),
	Name:     "connmark",
	Options:  []Option{{Name: "--mark", Values: 1, Not: true}},
	Examples: []string{"--mark 0x4000/0x4000", "! --mark 0x1", "--mark 0xffffffff/0x0"},
	Parse: func(a *Args) Value {
		var m ConnMark
		a.Need("--mark")
		a.Once()
		for g := range a.Options {
			m.Not = g.Not
			m.Value, m.Mask = g.Masked()
		}
		return m
	},
	// struct xt_connmark_mtinfo1, which is struct xt_mark_mtinfo1
	Layouts: layouts(layout(1, markSize,
		func(d []byte, _ *Env) (ConnMark, bool) { return ConnMark(decodeMark(d)), true },
		func(m ConnMark, d []byte, _ *Env) error { encodeMark(Mark(m), d); return nil })),
	Tracks: true,
}

// Name is "connmark".
func (ConnMark) Name() string { return "connmark" }

// Save prints --mark.
func (m ConnMark) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" --mark")
	p.Mark(m.Value, m.Mask)
}

// List prints "connmark match", with two blanks behind it where it is not inverted.
func (m ConnMark) List(p *Printer) {
	p.Text(" connmark match ", bang(m.Not))
	p.Mark(m.Value, m.Mask)
}

// Holds compares the connection's mark; without a connection there is none to ask for.
func (m ConnMark) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(v.Tracked() && (v.ConnMark&m.Mask == m.Value) != m.Not, false)
}

// Actual is the connection's mark.
func (ConnMark) Actual(v *rules.Visit) string {
	if !v.Tracked() {
		return "no connection"
	}
	return fmt.Sprintf("connection mark %#x", v.ConnMark)
}

// SetConnMark is -j CONNMARK (xt_connmark.c, connmark_tg_shift).
type SetConnMark struct {
	Action         ConnMarkAction
	Value, Mask    uint32 // of --set-xmark
	NFMask, CTMask uint32 // of --save-mark and --restore-mark
	Right          bool   // --right-shift-mark; else --left-shift-mark
	Shift          uint8  // by so many bits, up to 32; 0: not at all
}

// ConnMarkAction is what a SetConnMark does.
type ConnMarkAction uint8

// The actions (XT_CONNMARK_*).
const (
	ConnMarkSet     ConnMarkAction = iota // --set-xmark
	ConnMarkSave                          // --save-mark: packet to connection
	ConnMarkRestore                       // --restore-mark: connection to packet
)

var setConnMarkRow = Extension{
	Listed: listedSetConnMark,
	Name:   "CONNMARK", Kind: TargetKind,
	Options: append(markOptions(),
		Option{Name: "--save-mark"}, Option{Name: "--restore-mark"}, Option{Name: "--nfmask", Values: 1}, Option{Name: "--ctmask", Values: 1},
		Option{Name: "--mask", Values: 1}, Option{Name: "--left-shift-mark", Values: 1}, Option{Name: "--right-shift-mark", Values: 1}),
	Examples: []string{
		"--set-xmark 0x4000/0x4000", "--set-xmark 0x0/0xffffffff", "--set-xmark 0x1/0x3 --left-shift-mark 4",
		"--save-mark --nfmask 0xffffffff --ctmask 0xffffffff", "--restore-mark --nfmask 0xff --ctmask 0xff",
		"--save-mark --nfmask 0xff --ctmask 0xff00 --left-shift-mark 8", "--restore-mark --nfmask 0xff --ctmask 0xff00 --right-shift-mark 31",
	},
	Parse: parseSetConnMark,
	Layouts: layouts(
		layout(2, 15, decodeSetConnMark2, encodeSetConnMark2).since(Version{1, 8, 0}), // came in the spring of 2018, before 1.8.0 was tagged
		layout(1, 13, decodeSetConnMark1, encodeSetConnMark1),
	),
	Tracks: true,
}

func parseSetConnMark(a *Args) Value {
	t := SetConnMark{Mask: ^uint32(0), NFMask: ^uint32(0), CTMask: ^uint32(0)}
	actions := append(markOptionNames(), "--save-mark", "--restore-mark")
	a.Need(actions...)
	a.Exclusive(actions...)
	a.Exclusive("--mask", "--ctmask")
	a.Exclusive("--mask", "--nfmask")
	a.Once()
	for g := range a.Options {
		switch g.Name() {
		case "--save-mark":
			t.Action = ConnMarkSave
		case "--restore-mark":
			t.Action = ConnMarkRestore
		case "--nfmask":
			t.NFMask = uint32(g.Uint(32))
		case "--ctmask":
			t.CTMask = uint32(g.Uint(32))
			t.Mask = t.CTMask
		case "--mask":
			t.CTMask = uint32(g.Uint(32))
			t.NFMask, t.Mask = t.CTMask, t.CTMask
		case "--left-shift-mark", "--right-shift-mark":
			t.Right, t.Shift = g.Name() == "--right-shift-mark", uint8(g.Within(0, 32))
		default:
			t.Value, t.Mask = xmark(g)
		}
	}
	return t.plain()
}

// plain is the target without what its action does not use.
func (t SetConnMark) plain() SetConnMark {
	if t.Action == ConnMarkSet {
		t.NFMask, t.CTMask = 0, 0
	} else {
		t.Value, t.Mask = 0, 0
	}
	t.Right = t.Right && t.Shift != 0
	return t
}

// Both structs begin with ctmark, ctmask and nfmask, of 32 bits each.
func decodeSetConnMark(d []byte, mode byte) (SetConnMark, bool) {
	ct := order.Uint32(d[4:])
	t := SetConnMark{Action: ConnMarkAction(mode), Value: order.Uint32(d), Mask: ct, CTMask: ct, NFMask: order.Uint32(d[8:])}
	return t, t.Action <= ConnMarkRestore
}

func encodeSetConnMark(t SetConnMark, d []byte) {
	order.PutUint32(d, t.Value)
	order.PutUint32(d[4:], t.Mask|t.CTMask)
	order.PutUint32(d[8:], t.NFMask)
	if t.Action == ConnMarkSet { // as the program begins it
		order.PutUint32(d[8:], ^uint32(0))
	}
}

// struct xt_connmark_tginfo1 { ...; __u8 mode; }
func decodeSetConnMark1(d []byte, _ *Env) (SetConnMark, bool) {
	t, ok := decodeSetConnMark(d, d[12])
	return t.plain(), ok
}

func encodeSetConnMark1(t SetConnMark, d []byte, _ *Env) error {
	encodeSetConnMark(t, d)
	d[12] = byte(t.Action)
	if t.Shift != 0 {
		return errors.New("a shift needs revision 2 of CONNMARK")
	}
	return nil
}

// struct xt_connmark_tginfo2 { ...; __u8 shift_dir, shift_bits, mode; }
func decodeSetConnMark2(d []byte, _ *Env) (SetConnMark, bool) {
	t, ok := decodeSetConnMark(d, d[14])
	t.Right, t.Shift = d[12] == 1, d[13]
	return t.plain(), ok && d[12] <= 1
}

func encodeSetConnMark2(t SetConnMark, d []byte, _ *Env) error {
	encodeSetConnMark(t, d)
	d[12], d[13], d[14] = flagByte(t.Right), t.Shift, byte(t.Action)
	return nil
}

// Name is "CONNMARK".
func (SetConnMark) Name() string { return "CONNMARK" }

// Save prints the action with its masks and its shift.
func (t SetConnMark) Save(p *Printer) {
	switch t.Action {
	case ConnMarkSet:
		saveXMark(p, t.Value, t.Mask)
	case ConnMarkSave, ConnMarkRestore:
		p.Textf(" --%s --nfmask 0x%x --ctmask 0x%x", [...]string{ConnMarkSave: "save-mark", ConnMarkRestore: "restore-mark"}[t.Action], t.NFMask, t.CTMask)
	}
	t.printShift(p, " --")
}

func (t SetConnMark) printShift(p *Printer, dashes string) {
	if t.Shift != 0 {
		p.Textf("%s%s-shift-mark %d", dashes, map[bool]string{false: "left", true: "right"}[t.Right], t.Shift)
	}
}

// List prints the action as iptables -L does: no masks that are full, and one where both are the same.
func (t SetConnMark) List(p *Printer) {
	switch t.Action {
	case ConnMarkSet:
		listXMark(p, "CONNMARK", t.Value, t.Mask)
	case ConnMarkSave:
		listCopy(p, "save", "nfmask", t.NFMask, "ctmask", t.CTMask)
	case ConnMarkRestore:
		listCopy(p, "restore", "ctmask", t.CTMask, "nfmask", t.NFMask)
	}
	t.printShift(p, " ")
}

func listedSetConnMark(l *Listing) bool {
	if !l.TakeWord("CONNMARK") {
		return false
	}
	verb := ""
	for _, v := range []string{"save", "restore"} {
		if l.TakeWord(v) {
			verb = v
		}
	}
	if verb == "" {
		if !l.giveXMark() {
			return false
		}
	} else {
		l.Give("--"+verb+"-mark", false)
		for _, mask := range []string{"mask", "nfmask", "ctmask", "nfmask"} {
			if l.TakeWord(mask) {
				l.Give("--"+mask, false, strings.TrimPrefix(l.Word(), "~"))
			}
		}
	}
	for _, shift := range []string{"left-shift-mark", "right-shift-mark"} {
		if l.TakeWord(shift) {
			l.Give("--"+shift, false, l.Word())
		}
	}
	return true
}

func listCopy(p *Printer, verb, from string, fromMask uint32, to string, toMask uint32) {
	p.Text(" CONNMARK ", verb)
	switch {
	case fromMask == ^uint32(0) && toMask == ^uint32(0):
	case fromMask == toMask:
		p.Textf(" mask 0x%x", fromMask)
	default:
		p.Textf(" %s 0x%x %s ~0x%x", from, fromMask, to, toMask)
	}
}

// Act sets one of the marks; without a connection it does nothing.
func (t SetConnMark) Act(v *rules.Visit) rules.Action {
	if v.Tracked() {
		switch t.Action {
		case ConnMarkSet:
			v.ConnMark = t.shifted(v.ConnMark&^t.Mask ^ t.Value)
		case ConnMarkSave:
			v.ConnMark = v.ConnMark&^t.CTMask ^ t.shifted(v.Mark&t.NFMask)
		case ConnMarkRestore:
			v.Mark = v.Mark&^t.NFMask ^ t.shifted(v.ConnMark&t.CTMask)
		}
	}
	return rules.Continue()
}

// shifted is a mark after the shift. Kernels that take a shift by 32 leave it to the machine, which counts modulo 32; Linux 6.18
// refuses the rule.
func (t SetConnMark) shifted(mark uint32) uint32 {
	if t.Right {
		return mark >> (t.Shift & 31)
	}
	return mark << (t.Shift & 31)
}
