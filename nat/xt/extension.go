package xt

import (
	"cmp"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Extension is a row of the list: everything there is to know of one -m NAME or -j NAME.
type Extension struct {
	Name     string   // as -m or -j has it, and as x_tables knows it
	Kind     Kind     //
	Families Families // of which iptables takes it
	Aliases  []string // further names that iptables takes and x_tables does not know: "state", "NOTRACK"
	Needs    string   // what a rule must have before the kernel takes it: "-p tcp"
	// Protocols are those of which the rule has to ask for one by -p (xt_check_match); none: it need not.
	Protocols []nat.Proto
	Tables    []string // the tables that it is restricted to; none: all
	Hooks     Hooks    // the hooks that it is restricted to, and with it all chains that they lead to; none: all
	Native    bool     // with nf_tables it goes anywhere nevertheless
	Options   []Option
	Examples  []string // options that are printed as they are written here; they are tried on the kernel by a test
	Before    []string // rules without which the kernel takes no example
	Machine   string   // what the machine must have before it does: "SELinux"

	// Parse makes a value of the options that were given. It is called once the rule's words are at an end.
	Parse func(a *Args) Value
	// Layouts are the structs that x_tables has for it, the newest revision first. None: it has no bytes.
	Layouts []Layout
	// Listed takes from l what iptables -L -n prints of it behind the columns, and gives l the options that mean the same,
	// the inverse of List. It reports false for the text of another extension; what it took and gave does not count then.
	Listed func(l *Listing) bool

	// Misprint reports whether options are what some iptables prints that takes another struct for the kernel's: they tell
	// nothing of the rule, and are kept as they are written. nil: none does.
	Misprint func(options []string, f nat.Family) bool

	Tracks    bool   // a rule with it makes the kernel track connections (nf_ct_netns_get)
	Counts    bool   // a rule with it makes the kernel count what connections carry (nf_ct_set_acct)
	Remembers bool   // it keeps something between packets, so it has to see every packet that comes to it
	Undecided string // why natlab cannot decide it whatever it knows; "" if it can
}

// Kind tells a match from a target.
type Kind uint8

// The kinds.
const (
	MatchKind Kind = iota
	TargetKind
)

// Families is for which address families an extension or a struct holds.
type Families uint8

// The families.
const (
	Both Families = iota
	IPv4Only
	IPv6Only
)

// Has reports whether a family is among them.
func (f Families) Has(family nat.Family) bool {
	return f == Both || (f == IPv6Only) == (family == nat.IPv6)
}

// Value is an extension as a rule has it: options with their values. Values are never changed once they are made.
type Value interface {
	// Name is what stands behind -m or -j; "" for the conditions that need no -m.
	Name() string
	// Save prints the options as iptables-save does, each with a blank in front.
	Save(p *Printer)
}

// Match is one condition of a rule.
type Match interface {
	Value
	// Holds answers the condition for a packet.
	Holds(v *rules.Visit) rules.Answer
	// Actual is what the packet has instead where the condition does not hold, in words: "in device eth1".
	Actual(v *rules.Visit) string
}

// Target is what a rule does to a packet that matched.
type Target interface {
	Value
	// Act carries the target out as far as it concerns the packet's bytes and marks, and tells the verdict.
	Act(v *rules.Visit) rules.Action
}

// Lister is a Value that iptables -L -n prints; with a blank in front.
type Lister interface{ List(p *Printer) }

// Option is one option of an extension, as getopt_long knows it.
type Option struct {
	Name   string   // "--dport"
	Also   []string // other spellings: "--destination-port"
	Values int      // how many words follow it
	// Maybe: one word more follows it, where that does not begin with "-" or "!".
	Maybe bool
	Not   bool // it may be inverted by a "!" in front
}

// Is reports whether a word is one of the option's names.
func (o Option) Is(word string) bool { return word == o.Name || slices.Contains(o.Also, word) }

// Takes reports whether a word, which is the next behind the option and its values, is a value that may be left out.
func (o Option) Takes(word string) bool {
	return o.Maybe && (word == "" || word[0] != '-' && word[0] != '!')
}

// Layout is one revision of an extension's struct in the kernel.
type Layout struct {
	Revision uint8
	Size     int      // of the struct, before padding to XT_ALIGN
	Families Families //
	Since    Version  // the first iptables that writes it; zero: older than Oldest
	Name     string   // as x_tables knows it, where that is not the row's name
	// Decode reads the struct; ok is false where its bytes hold what no option prints.
	Decode func(d []byte, e *Env) (v Value, ok bool)
	// Encode fills a zeroed struct; an error names what the struct cannot hold.
	Encode func(v Value, d []byte, e *Env) error
}

// Env is what turning bytes into a value needs besides the bytes.
type Env struct {
	Family   nat.Family
	SetNames map[uint16]string // of ipsets, by the kernel's number
	SetIndex map[string]uint16 // the other way round
}

// layout is a Layout of a value's own type.
func layout[T Value](revision uint8, size int, decode func(d []byte, e *Env) (T, bool), encode func(v T, d []byte, e *Env) error) Layout {
	return Layout{
		Revision: revision, Size: size,
		Decode: func(d []byte, e *Env) (Value, bool) { v, ok := decode(d, e); return v, ok },
		Encode: func(v Value, d []byte, e *Env) error { return encode(v.(T), d, e) },
	}
}

// since is the layout with the first version that writes it.
func (l Layout) since(v Version) Layout { l.Since = v; return l }

// named is the layout of an extension of another name, which the row's has taken the place of.
func (l Layout) named(name string) Layout { l.Name = name; return l }

// only is the layout for one family.
func (l Layout) only(f Families) Layout { l.Families = f; return l }

// layouts is a row's list of one layout.
func layouts(l ...Layout) []Layout { return l }

// Layout is the struct of a revision.
func (x *Extension) Layout(f nat.Family, revision uint8) (Layout, bool) {
	for _, l := range x.Layouts {
		if l.Revision == revision && l.Families.Has(f) {
			return l, true
		}
	}
	return Layout{}, false
}

// Written is the struct that a version of iptables writes, and with which it reads what is in the kernel.
func (x *Extension) Written(f nat.Family, v Version) (Layout, bool) {
	for _, l := range x.Layouts {
		if l.Families.Has(f) && !v.Before(l.Since) {
			return l, true
		}
	}
	return Layout{}, false
}

// Changed reports whether the struct that iptables writes has changed since Oldest.
func (x *Extension) Changed(f nat.Family) bool {
	for _, l := range x.Layouts {
		if l.Families.Has(f) && l.Since != (Version{}) {
			return true
		}
	}
	return false
}

// Read makes a value of the options that a rule gives, or tells what is wrong with them.
func (x *Extension) Read(a *Args) (Value, *ArgError) {
	v := x.Parse(a)
	if a.err == nil && len(x.Protocols) > 0 && !slices.Contains(x.Protocols, a.Protocol) {
		names := make([]string, len(x.Protocols))
		for i, p := range x.Protocols {
			names[i] = "-p " + p.RuleName()
		}
		a.Fail("needs %s", strings.Join(names, " or "))
	}
	if a.err != nil {
		return nil, a.err
	}
	return v, nil
}

// Struct is the row and the struct of what x_tables knows by a name, in a revision of it.
func Struct(name string, kind Kind, f nat.Family, revision uint8) (*Extension, Layout, bool) {
	for _, x := range byName[name] {
		if x.Kind != kind || !x.Families.Has(f) {
			continue
		}
		for _, l := range x.Layouts {
			if cmp.Or(l.Name, x.Name) == name && l.Revision == revision && l.Families.Has(f) {
				return x, l, true
			}
		}
	}
	return nil, Layout{}, false
}

// Find is the row of a name, or of an alias.
func Find(name string, kind Kind, f nat.Family) (*Extension, bool) {
	for _, x := range byName[name] {
		if x.Kind == kind && x.Families.Has(f) {
			return x, true
		}
	}
	return nil, false
}

// Tracks reports whether a rule with the value makes the kernel track connections (nf_ct_netns_get). Of some extensions
// that depends on the options; such a value has a method of this name.
func Tracks(v Value, f nat.Family) bool {
	if t, ok := v.(interface{ Tracks() bool }); ok {
		return t.Tracks()
	}
	kind := MatchKind
	if _, ok := v.(Target); ok {
		kind = TargetKind
	}
	x, ok := Find(v.Name(), kind, f)
	return ok && x.Tracks
}

// Extensions are all rows, matches and targets.
func Extensions() []*Extension { return rows }

// byName are the rows by name and alias.
var byName = func() map[string][]*Extension {
	out := map[string][]*Extension{}
	for _, x := range rows {
		for _, name := range append([]string{x.Name}, x.Aliases...) {
			out[name] = append(out[name], x)
		}
	}
	return out
}()
