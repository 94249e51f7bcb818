package nftables

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
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

// opaqueStep is a statement that natlab does not read. What the packet becomes by one that writes, translates or answers is not known; one that sends
// a copy lets it go on, and of any other it is not known whether it does.
func opaqueStep(s Opaque) step {
	word, rest, _ := strings.Cut(s.Text, " ")
	switch {
	case (word == "jump" || word == "goto") && strings.HasPrefix(rest, "{"):
		return func(r *run) flow { return r.lost("what the chain in the rule makes of the packet") }
	case slices.Contains(natWords[:], word):
		return func(r *run) flow { return r.lost("where " + s.Text + " leads") }
	case word == "dup":
		return func(*run) flow { return goesOn }
	case word == "synproxy":
		return func(r *run) flow {
			if r.visit.Tuple.Proto() != nat.TCP { // nft_synproxy_do_eval
				return breaks
			}
			return r.lost("what " + s.Text + " answers")
		}
	case strings.Contains(" "+rest, " set "):
		return func(r *run) flow { return r.lost("what " + s.Text + " makes of the packet") }
	}
	return openStep(s.Text)
}

// passing are the targets of x_tables behind which a packet goes on as it was, for all that rules ask.
var passing = []string{
	"AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "DSCP", "ECN", "HL", "IDLETIMER", "LED", "LOG", "NFLOG", "RATEEST", "SECMARK", "TCPMSS", "TCPOPTSTRIP", "TEE",
	"TOS", "TRACE", "TTL", "ULOG",
}

// compatStep is an extension of x_tables without its options. A match is open; what a target makes of the packet is known where that hangs on no option.
func (c *Compiled) compatStep(s Compat) step {
	switch {
	case s.Kind != "target":
		return openStep(s.String())
	case slices.Contains(passing, s.Name):
		return func(*run) flow { return goesOn }
	case s.Name == "REJECT":
		return rejectStep(Reject{}, c.family)
	case s.Name == "MASQUERADE":
		return c.natStep(NAT{Kind: rules.Masquerade})
	case s.Name == "NOTRACK":
		return noTrack
	}
	return func(r *run) flow {
		return r.lost("what " + s.String() + " does, whose options iptables-save prints and nft does not,")
	}
}
