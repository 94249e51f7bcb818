package nftables

import (
	"fmt"
	"slices"
)

// Unread are the parts of a rule that natlab keeps as they are written, and does not read.
func Unread(r Rule) (out []string) {
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Opaque:
			out = append(out, s.Text)
		case Compat:
			if s.Kind != "target" || !slices.Contains(passing, s.Name) {
				out = append(out, s.String())
			}
		case Match, VMap, *Verdict, Assign, NAT, Reject, Counter, Limit, Quota, Log, Update, ObjectRef, NoTrack, Queue:
		}
	}
	return out
}

// Unread tells of each rule of which natlab does not read a part, by its line.
func (rs Ruleset) Unread() (out []string) {
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for _, c := range t.Chains {
			for n, r := range c.Rules {
				for _, text := range Unread(r) {
					out = append(out, fmt.Sprintf("line %d: %s %s:%d: natlab does not read %q", r.Line, t.FullName(), c.Name, n+1, text))
				}
			}
		}
	}
	return out
}

// ReadsContent reports whether a packet's headers are not enough for the rules: they read bits by their place, or hand the whole packet to a program.
func (rs Ruleset) ReadsContent() bool {
	for i := range rs.Tables {
		for _, c := range rs.Tables[i].Chains {
			for _, r := range c.Rules {
				if slices.ContainsFunc(r.Statements, readsContent) {
					return true
				}
			}
		}
	}
	return false
}

func readsContent(s Statement) bool {
	if _, queued := s.(Queue); queued {
		return true
	}
	return asks(s, func(e Expr) bool { _, raw := e.(Raw); return raw })
}

// And is a rule set with the tables of another one, whose base chains were registered later.
func (rs Ruleset) And(o Ruleset) Ruleset {
	last := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				last = max(last, c.Base.Registered)
			}
		}
	}
	out := Ruleset{Tables: slices.Clone(rs.Tables)}
	for _, t := range o.Tables {
		t.Chains = slices.Clone(t.Chains)
		for i := range t.Chains {
			if b := t.Chains[i].Base; b != nil {
				later := *b
				later.Registered += last
				t.Chains[i].Base = &later
			}
		}
		out.Tables = append(out.Tables, t)
	}
	return out
}

// Without is a rule set without some tables.
func (rs Ruleset) Without(is func(t *Table) bool) Ruleset {
	var out Ruleset
	for i := range rs.Tables {
		if !is(&rs.Tables[i]) {
			out.Tables = append(out.Tables, rs.Tables[i])
		}
	}
	return out
}

// Devices are the names of the devices that rules ask for, each once; of those that stand for several, none.
func (rs Ruleset) Devices() (out []string) {
	add := func(c Constant) {
		if (c.Type == IfName || c.Type == IfIndex) && c.Single() && !slices.Contains(out, c.Low.name()) {
			out = append(out, c.Low.name())
		}
	}
	for i := range rs.Tables {
		t := &rs.Tables[i]
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, e := range t.elements(r) {
					for _, k := range e.Key {
						add(k)
					}
				}
			}
		}
	}
	return out
}

// elements are what a rule compares with and looks up in, as elements: a constant is one of them.
func (t *Table) elements(r Rule) (out []Element) {
	in := func(in *In) {
		if s, ok := t.Set(in.Name); ok && in.Name != "" {
			out = append(out, s.Elements...)
		}
		out = append(out, in.Elements...)
	}
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Match:
			switch right := s.Right.(type) {
			case Constant:
				out = append(out, Element{Key: []Constant{right}})
			case *In:
				in(right)
			case Concat, Selector, Operation, MapOf, Fib, NumGen, Hash, Raw, Other:
			}
		case VMap:
			in(s.Map)
		case *Verdict, Assign, NAT, Reject, Counter, Limit, Quota, Log, Update, ObjectRef, NoTrack, Queue, Compat, Opaque:
		}
	}
	return out
}
