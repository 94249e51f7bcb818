package xt

import "natlab/nat/rules"

// Conntrack is -m conntrack as far as it asks for states, and -m state (xt_conntrack.c).
type Conntrack struct {
	Not    bool
	States rules.State
	Legacy bool // -m state --state
}

// Name is "conntrack", or "state" for the old match.
func (m Conntrack) Name() string {
	if m.Legacy {
		return "state"
	}
	return "conntrack"
}

// Save prints the states.
func (m Conntrack) Save(p *Printer) {
	option := "--ctstate"
	if m.Legacy {
		option = "--state"
	}
	p.Option(m.Not, option, m.States.String())
}

// Holds asks for the connection's state.
func (m Conntrack) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(v.State&m.States != 0, m.Not)
}

// Actual is the connection's state.
func (Conntrack) Actual(v *rules.Visit) string { return "state " + v.State.String() }
