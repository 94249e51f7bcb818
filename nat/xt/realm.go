package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// Realm is -m realm: the realm of the packet's route (xt_realm.c). Realms are numbers that routes are given; what a number
// is called stands in the node's own /etc/iproute2/rt_realms.
type Realm struct {
	Not      bool
	ID, Mask uint32
}

var realmRow = Extension{
	Name: "realm", Families: IPv4Only, Hooks: HooksOf(nat.Input, nat.Forward, nat.Output, nat.PostRouting),
	Options:  []Option{{Name: "--realm", Values: 1, Not: true}},
	Examples: []string{"--realm 0x1/0x2a", "! --realm 0x2a"},
	Parse: func(a *Args) Value {
		var m Realm
		a.Need("--realm")
		a.Once()
		for g := range a.Options {
			m.Not = g.Not
			m.ID, m.Mask = g.named("realm", "/etc/iproute2/rt_realms")
		}
		return m
	},
	Listed: func(l *Listing) bool {
		not := l.Bang()
		taken := l.TakeWord("realm")
		l.Give("--realm", not, l.Word())
		return taken
	},
	// struct xt_realm_info { __u32 id, mask; __u8 invert; }
	Layouts: layouts(layout(0, 9,
		func(d []byte, _ *Env) (Realm, bool) {
			return Realm{d[8] != 0, order.Uint32(d), order.Uint32(d[4:])}, d[8] <= 1
		},
		func(m Realm, d []byte, _ *Env) error {
			order.PutUint32(d, m.ID)
			order.PutUint32(d[4:], m.Mask)
			d[8] = flagByte(m.Not)
			return nil
		})),
	Undecided: "the realms of the node's routes are not known",
}

// named is the first value as VALUE[/MASK]. A name is one of a file of the node, which is not at hand.
func (g *Given) named(what, file string) (value, mask uint32) {
	if s := g.Text(); s == "" || s[0] < '0' || s[0] > '9' {
		g.Fail("%q is the name of a %s in %s of the node, which is not at hand: give its number", s, what, file)
		return 0, 0
	}
	return g.Masked()
}

// Name is "realm".
func (Realm) Name() string { return "realm" }

// Save prints the realm.
func (m Realm) Save(p *Printer) {
	p.Not(m.Not)
	p.Text(" --realm")
	p.Mark(m.ID, m.Mask)
}

// List prints the realm as iptables -L does.
func (m Realm) List(p *Printer) {
	p.Not(m.Not)
	p.Text(" realm")
	p.Mark(m.ID, m.Mask)
}

// Holds is not known.
func (Realm) Holds(*rules.Visit) rules.Answer { return rules.Unknown }

// Actual tells that the realm is not known.
func (Realm) Actual(*rules.Visit) string { return realmRow.Undecided }
