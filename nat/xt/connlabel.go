package xt

import (
	"fmt"

	"natlab/nat/rules"
)

// ConnLabel is -m connlabel: a label of the connection (xt_connlabel.c).
type ConnLabel struct {
	Not   bool
	Named string // of the machine's connlabel.conf; "": Bit
	Bit   uint16
	Set   bool // a connection that does not have it gets it
}

// connLabelTop is the highest label (XT_CONNLABEL_MAXBIT).
const connLabelTop = 127

var connLabelRow = Extension{
	Name:     "connlabel",
	Options:  []Option{{Name: "--label", Values: 1, Not: true}, {Name: "--set"}},
	Examples: []string{`--label "40"`, `! --label "0"`, `--label "127" --set`, `! --label "41" --set`},
	Parse: func(a *Args) Value {
		var m ConnLabel
		a.Once()
		a.Need("--label")
		for g := range a.Options {
			if g.Name() == "--set" {
				m.Set = true
				continue
			}
			m.Not = g.Not
			bit, number := Number(g.Text(), 1<<63)
			switch {
			case g.Text() == "" || number && bit > connLabelTop:
				g.bad(0, fmt.Sprintf("a number from 0 to %d, or a name", connLabelTop))
			case number:
				m.Bit = uint16(bit)
			default:
				m.Named = g.Text()
			}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		if !l.Take("connlabel ") {
			return false
		}
		l.Give("--label", l.TakeWord("!"), l.Word())
		l.Flag("set", "--set")
		return true
	},
	// struct xt_connlabel_mtinfo { __u16 bit, options; };
	Layouts: layouts(layout(0, 4,
		func(d []byte, _ *Env) (ConnLabel, bool) {
			options := order.Uint16(d[2:])
			return ConnLabel{Bit: order.Uint16(d), Not: options&1 != 0, Set: options&2 != 0}, options < 4
		},
		func(m ConnLabel, d []byte, _ *Env) error {
			if m.Named != "" {
				return fmt.Errorf("the number of the label %q is in the connlabel.conf of the machine", m.Named)
			}
			order.PutUint16(d, m.Bit)
			order.PutUint16(d[2:], uint16(flagByte(m.Not))|uint16(flagByte(m.Set))<<1)
			return nil
		})),
	Tracks: true,
}

// Name is "connlabel".
func (ConnLabel) Name() string { return "connlabel" }

func (m ConnLabel) label() string {
	if m.Named != "" {
		return m.Named
	}
	return fmt.Sprint(m.Bit)
}

// Save prints the label, always in quotes.
func (m ConnLabel) Save(p *Printer) {
	p.Option(m.Not, "--label", `"`+m.label()+`"`)
	p.Flag(m.Set, "--set")
}

// List prints the label as iptables -L does.
func (m ConnLabel) List(p *Printer) {
	p.Text(" connlabel")
	p.Not(m.Not)
	p.Text(" ", m.label())
	p.Flag(m.Set, "set")
}

// Holds asks for the label, and sets it. Which number a name stands for is not known.
func (m ConnLabel) Holds(v *rules.Visit) rules.Answer {
	switch {
	case !v.Tracked():
		return rules.Is(false, m.Not)
	case m.Named != "" && m.Set:
		return rules.Is(true, m.Not)
	case m.Named != "":
		return rules.Unknown
	}
	has := v.Labels.Has(m.Bit)
	if m.Set {
		v.Labels.Set(m.Bit)
	}
	return rules.Is(has || m.Set, m.Not)
}

// Actual tells whether the connection has the label.
func (m ConnLabel) Actual(v *rules.Visit) string {
	switch {
	case !v.Tracked():
		return "no connection"
	case m.Not:
		return "the connection has the label " + m.label()
	}
	return "the connection does not have the label " + m.label()
}
