package view

import (
	"fmt"
	"strings"

	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// View is how rules are to be shown.
type View struct {
	Version  Version
	Sets     map[uint16]string // names of ipsets by number; a set without one is shown by its bytes
	Counters bool              // -c of iptables-save, -v of iptables -L and -S
	Exact    bool              // -x of iptables -L: counters to the last digit
	Numbers  bool              // --line-numbers of iptables -L
	Chain    string            // of iptables -L and -S: this chain alone; "" for all
}

// Note is something a reader of the output must know: what is not the rule's own bytes, or was misread.
type Note struct {
	Table string
	Chain string
	Rule  int // from 1
	Text  string
}

func (n Note) String() string { return fmt.Sprintf("%s %s:%d: %s", n.Table, n.Chain, n.Rule, n.Text) }

// Save is what iptables-save of the version prints of the tables, without the lines that begin with "#".
func (v View) Save(tables ...xtables.Table) (string, []Note) { return v.each((*show).save, tables) }

// Rules is what "iptables -t TABLE -S" of the version prints of the tables, one after the other.
func (v View) Rules(tables ...xtables.Table) (string, []Note) { return v.each((*show).rules, tables) }

// each prints tables one after the other.
func (v View) each(write func(*show, *strings.Builder), tables []xtables.Table) (string, []Note) {
	var b strings.Builder
	var notes []Note
	for _, t := range tables {
		s := newShow(v, t)
		write(s, &b)
		notes = append(notes, s.notes...)
	}
	return b.String(), notes
}

// shows reports whether a chain is asked for.
func (v View) shows(c xtables.Chain) bool { return v.Chain == "" || v.Chain == c.Name }

// show renders one table.
type show struct {
	view   View
	table  xtables.Table
	behind map[ruleKey][]byte
	notes  []Note
	at     ruleKey
}

func newShow(v View, t xtables.Table) *show {
	return &show{view: v, table: t}
}

func (s *show) note(format string, args ...any) {
	s.notes = append(s.notes, Note{s.table.Name, s.table.Chains[s.at.chain].Name, s.at.rule + 1, fmt.Sprintf(format, args...)})
}

func (s *show) save(b *strings.Builder) {
	fmt.Fprintf(b, "*%s\n", s.table.Name)
	for _, c := range s.table.Chains {
		packets, bytes := c.Counters()
		fmt.Fprintf(b, ":%s %s [%d:%d]\n", c.Name, c.Policy(), packets, bytes)
	}
	for i, c := range s.table.Chains {
		for j, e := range c.Entries {
			s.at = ruleKey{i, j}
			if s.view.Counters {
				fmt.Fprintf(b, "[%d:%d] ", e.Packets, e.Bytes)
			}
			b.WriteString(s.rule(c.Name, e, ""))
			b.WriteByte('\n')
		}
	}
	b.WriteString("COMMIT\n")
}

// rules prints a table as commands, the chains first (iptables.c, list_rules).
func (s *show) rules(b *strings.Builder) {
	for _, c := range s.table.Chains {
		switch {
		case !s.view.shows(c):
		case c.BuiltIn:
			fmt.Fprintf(b, "-P %s %s%s\n", c.Name, c.Policy(), s.counted(c.Counters()))
		default:
			fmt.Fprintf(b, "-N %s\n", c.Name)
		}
	}
	for i, c := range s.table.Chains {
		if !s.view.shows(c) {
			continue
		}
		for j, e := range c.Entries {
			s.at = ruleKey{i, j}
			b.WriteString(s.rule(c.Name, e, s.counted(e.Packets, e.Bytes)))
			b.WriteByte('\n')
		}
	}
}

// counted is -c of a line of -S.
func (s *show) counted(packets, bytes uint64) string {
	if !s.view.Counters {
		return ""
	}
	return fmt.Sprintf(" -c %d %d", packets, bytes)
}

// rule is one line of iptables-save; counters stand before the target.
func (s *show) rule(chain string, e xtables.Entry, counters string) string {
	var b strings.Builder
	b.WriteString("-A " + chain)
	b.WriteString(s.headerText(e.Header))
	for _, m := range e.Matches {
		name, options := s.extension(m, xt.MatchKind)
		b.WriteString(" -m " + name + options)
	}
	b.WriteString(counters)
	switch {
	case e.Jump != "" && e.Header.Goto(s.table.Family):
		b.WriteString(" -g " + e.Jump)
	case e.Jump != "":
		b.WriteString(" -j " + e.Jump)
	case e.FallThrough:
	case e.Target.Name == "":
		b.WriteString(" -j " + e.VerdictName())
	default:
		name, options := s.extension(e.Target, xt.TargetKind)
		b.WriteString(" -j " + name + options)
	}
	return b.String()
}

// extension is a match's or target's name and options as the version prints them.
func (s *show) extension(e xtables.Extension, kind xt.Kind) (name, options string) {
	rev, changed := revision(s.view.Version, s.table.Family, e.Name, kind)
	if !changed || rev == e.Revision {
		return s.faithful(e, kind)
	}
	if knows(s.view.Version, comparesRevisions) {
		s.note("%s is revision %d, iptables %s knows %d and does not look", e.Name, e.Revision, s.view.Version, rev)
		return e.Name, " [unsupported revision]"
	}
	return s.misread(e, rev, kind)
}

// faithful prints an extension by its own revision.
func (s *show) faithful(e xtables.Extension, kind xt.Kind) (name, options string) {
	if v, ok := s.value(e, kind, e.Revision); ok {
		return v.Name(), s.options(v)
	}
	s.note("no option prints what revision %d of %s holds: its bytes are shown", e.Revision, e.Name)
	return e.Name, " " + e.Raw()
}

// value is an extension's options by a revision; ok is false where no option prints what the bytes hold.
func (s *show) value(e xtables.Extension, kind xt.Kind, revision uint8) (xt.Value, bool) {
	e.Revision = revision
	return e.Value(kind, &xt.Env{Family: s.table.Family, SetNames: s.view.Sets})
}

func (s *show) options(v xt.Value) string {
	p := s.printer()
	v.Save(p)
	return p.String()
}

func (s *show) printer() *xt.Printer {
	return &xt.Printer{Family: s.table.Family, Version: s.view.Version}
}

// misread prints an extension by another revision than its own, as versions did that do not compare.
func (s *show) misread(e xtables.Extension, rev uint8, kind xt.Kind) (name, options string) {
	if misreadsDNAT(s.table.Family, e, rev) {
		return e.Name, s.misreadDNAT(e)
	}
	wrong, ok := s.value(e, kind, rev)
	if !ok {
		s.note("iptables %s reads revision %d of %s as revision %d, which natlab cannot show", s.view.Version, e.Revision, e.Name, rev)
		return e.Name, fmt.Sprintf(" [revision %d read as %d]", e.Revision, rev)
	}
	shown := s.options(wrong)
	if right, ok := s.value(e, kind, e.Revision); ok && s.options(right) == shown {
		return e.Name, shown
	}
	s.note("iptables %s reads revision %d of %s as revision %d; the kernel's rule is right", s.view.Version, e.Revision, e.Name, rev)
	return e.Name, shown
}

// misreadDNAT prints nf_nat_range2 as the multi-range of revision 0, as iptables-save does.
func (s *show) misreadDNAT(e xtables.Extension) string {
	return s.multi(e).print(" --to-destination ", " --random", " --persistent")
}

// print prints each range behind a word, with words for its flags.
func (r multiReading) print(to, random, persistent string) string {
	var b strings.Builder
	for _, m := range r.ranges {
		b.WriteString(to + m.text())
		if m.Flags&xt.NATRandom != 0 {
			b.WriteString(random)
		}
		if m.Flags&xt.NATPersistent != 0 {
			b.WriteString(persistent)
		}
	}
	b.WriteString(r.rest())
	return b.String()
}

// multi reads a DNAT target as the old program does and notes what it cannot know.
func (s *show) multi(e xtables.Extension) multiReading {
	if s.behind == nil {
		s.behind = behind(s.table)
	}
	next := s.behind[s.at]
	r := readAsMulti(e.Data, next)
	s.note("the kernel's rule is right: DNAT revision 2; iptables %s reads it as %d ranges of revision 0", s.view.Version, r.count)
	for i, m := range r.ranges {
		if m.past && m.Flags&xt.NATPorts != 0 {
			s.note("the ports of range %d lie past the rule's own bytes, in the heap of iptables: %s", i+1, m.origin())
		}
	}
	if missing := int(r.count) - len(r.ranges); missing > 0 {
		s.note("%d more ranges lie past the rule's own bytes: what iptables %s prints of them differs from run to run", missing, s.view.Version)
	}
	return r
}

// text prints one range of the old reading.
func (m multiElement) text() string {
	if m.Flags&xt.NATPorts != 0 && !m.portsKnown {
		r := m.NATFields
		r.Flags &^= xt.NATPorts
		return r.To() + ":[past the rule]"
	}
	r := m.NATFields
	r.Flags &^= xt.NATOffset // revision 0 has no base port
	return r.To()
}

// origin is where the bytes of ports past the rule come from.
func (m multiElement) origin() string {
	switch {
	case !m.portsKnown:
		return "not to be told"
	case m.MinPort == 0 && m.MaxPort == 0:
		return "fresh memory, zero"
	default:
		return "the size field of the next object"
	}
}

// rest stands for the ranges whose bytes natlab does not have.
func (r multiReading) rest() string {
	n := int(r.count) - len(r.ranges)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" [%d more past the rule's own bytes]", n)
}

// headerText is what a rule asks without any extension.
func (s *show) headerText(h xtables.Header) string {
	p := s.printer()
	for _, m := range h.Matches(s.table.Family) {
		if proto, ok := m.(iptables.Protocol); ok {
			proto.Protocol = savedProtocol(h.Proto, s.view.Version)
			m = proto
		}
		m.Save(p)
	}
	return p.String()
}
