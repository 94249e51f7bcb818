package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// ConnMark is -m connmark: connection mark & Mask == Value (xt_connmark.c, connmark_mt).
type ConnMark struct {
	Not         bool
	Value, Mask uint32
}

// Name is "connmark".
func (ConnMark) Name() string { return "connmark" }

// Save prints --mark.
func (m ConnMark) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" --mark")
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

// SetConnMark is -j CONNMARK (xt_connmark.c, connmark_tg).
type SetConnMark struct {
	Action         ConnMarkAction
	Value, Mask    uint32 // of --set-xmark
	NFMask, CTMask uint32 // of --save-mark and --restore-mark
}

// ConnMarkAction is what a SetConnMark does.
type ConnMarkAction uint8

// The actions (XT_CONNMARK_*).
const (
	ConnMarkSet     ConnMarkAction = iota // --set-xmark
	ConnMarkSave                          // --save-mark: packet to connection
	ConnMarkRestore                       // --restore-mark: connection to packet
)

// Name is "CONNMARK".
func (SetConnMark) Name() string { return "CONNMARK" }

// Save prints the action with its masks.
func (t SetConnMark) Save(p *Printer) {
	if t.Action == ConnMarkSet {
		saveXMark(p, t.Value, t.Mask)
		return
	}
	option := map[ConnMarkAction]string{ConnMarkSave: "save", ConnMarkRestore: "restore"}[t.Action]
	p.Textf(" --%s-mark --nfmask 0x%x --ctmask 0x%x", option, t.NFMask, t.CTMask)
}

// Act sets one of the marks; without a connection it does nothing.
func (t SetConnMark) Act(v *rules.Visit) rules.Action {
	if v.Tracked() {
		switch t.Action {
		case ConnMarkSet:
			v.ConnMark = v.ConnMark&^t.Mask ^ t.Value
		case ConnMarkSave:
			v.ConnMark = v.ConnMark&^t.CTMask ^ v.Mark&t.NFMask
		case ConnMarkRestore:
			v.Mark = v.Mark&^t.NFMask ^ v.ConnMark&t.CTMask
		}
	}
	return rules.Continue()
}
