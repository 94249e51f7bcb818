package xt

import "natlab/nat/rules"

// Helper is -m helper: the connection was expected by a helper, of a name or of any (xt_helper.c).
type Helper struct {
	Not     bool
	Pattern string // the names that it begins with; "": any
}

// helperNameSize is that of xt_helper_info.name.
const helperNameSize = 30

var helperRow = Extension{
	Name:     "helper",
	Options:  []Option{{Name: "--helper", Values: 1, Not: true}},
	Examples: []string{"--helper ftp", "! --helper ftp-2121", `--helper ""`, `! --helper "a b"`},
	Parse: func(a *Args) Value {
		var m Helper
		a.Once()
		a.Need("--helper")
		for g := range a.Options {
			m.Not, m.Pattern = g.Not, g.Cut(helperNameSize-1)
		}
		return m
	},
	Listed: func(l *Listing) bool {
		if !l.Take("helper match ") {
			return false
		}
		not := l.TakeWord("!")
		if !l.Take(`"`) {
			return false
		}
		name, ok := l.Through(`"`)
		l.Give("--helper", not, name)
		return ok
	},
	// struct xt_helper_info { int invert; char name[30]; };
	Layouts: layouts(layout(0, 36,
		func(d []byte, _ *Env) (Helper, bool) {
			return Helper{order.Uint32(d) != 0, cString(d[4 : 4+helperNameSize])}, true
		},
		func(m Helper, d []byte, _ *Env) error {
			order.PutUint32(d, uint32(flagByte(m.Not)))
			return putString(d[4:4+helperNameSize], m.Pattern)
		})),
	Tracks: true,
}

// Name is "helper".
func (Helper) Name() string { return "helper" }

// Save prints --helper.
func (m Helper) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" --helper")
	p.Quoted(m.Pattern)
}

// List prints the helper's name, in quotes as it is.
func (m Helper) List(p *Printer) {
	p.Text(" helper match ")
	if m.Not {
		p.Text("! ")
	}
	p.Text(`"`, m.Pattern, `"`)
}

// Holds is No unless it is inverted: what helpers expect is not modelled, so no connection here has been expected by one. A
// RELATED packet is an error about a connection, or the node's answer.
func (m Helper) Holds(*rules.Visit) rules.Answer { return rules.Is(false, m.Not) }

// Actual tells that no helper expected the connection.
func (Helper) Actual(*rules.Visit) string { return "no helper expected the connection" }
