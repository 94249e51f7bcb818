package xtables

import (
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// View says how rules are to be shown.
type View struct {
	Version  Version
	Sets     map[uint16]string // names of ipsets by number; a set without one is shown by its bytes
	Counters bool              // -c of iptables-save, -v of iptables -L
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
func (v View) Save(tables ...Table) (string, []Note) {
	var b strings.Builder
	var notes []Note
	for _, t := range tables {
		s := newShow(v, t)
		s.save(&b)
		notes = append(notes, s.notes...)
	}
	return b.String(), notes
}

// show renders one table.
type show struct {
	view     View
	table    Table
	registry *registry
	behind   map[ruleKey][]byte
	notes    []Note
	at       ruleKey
	raw      bool // print what cannot be printed as raw bytes: for reading back, not for looking at
}

func newShow(v View, t Table) *show {
	return &show{view: v, table: t, registry: newRegistry(t.Family)}
}

func (s *show) note(format string, args ...any) {
	s.notes = append(s.notes, Note{s.table.Name, s.table.Chains[s.at.chain].Name, s.at.rule + 1, fmt.Sprintf(format, args...)})
}

func (s *show) save(b *strings.Builder) {
	fmt.Fprintf(b, "*%s\n", s.table.Name)
	for _, c := range s.table.Chains {
		fmt.Fprintf(b, ":%s %s [%d:%d]\n", c.Name, c.Policy(), c.policyPackets(), c.policyBytes())
	}
	for i, c := range s.table.Chains {
		for j, e := range c.Entries {
			s.at = ruleKey{i, j}
			if s.view.Counters {
				fmt.Fprintf(b, "[%d:%d] ", e.Packets, e.Bytes)
			}
			b.WriteString(s.rule(c.Name, e))
			b.WriteByte('\n')
		}
	}
	b.WriteString("COMMIT\n")
}

// Policy is ACCEPT or DROP for a built-in chain, and "-" for another.
func (c Chain) Policy() string {
	if !c.BuiltIn {
		return "-"
	}
	return verdictName(c.Tail)
}

// The counters of a policy are those of its entry; a user chain shows none.
func (c Chain) policyPackets() uint64 {
	if !c.BuiltIn {
		return 0
	}
	return c.Tail.Packets
}

func (c Chain) policyBytes() uint64 {
	if !c.BuiltIn {
		return 0
	}
	return c.Tail.Bytes
}

var verdictNames = map[int32]string{VerdictDrop: "DROP", VerdictAccept: "ACCEPT", VerdictQueue: "QUEUE", VerdictReturn: "RETURN"}

// Verdict is what a standard target that jumps nowhere says.
func (e Entry) Verdict() int32 { return int32(order.Uint32(e.Target.Data)) }

func verdictName(e Entry) string {
	if name, ok := verdictNames[e.Verdict()]; ok {
		return name
	}
	return fmt.Sprintf("verdict(%d)", e.Verdict())
}

// rule is one line of iptables-save.
func (s *show) rule(chain string, e Entry) string {
	var b strings.Builder
	b.WriteString("-A " + chain)
	b.WriteString(s.headerText(e.Header))
	for _, m := range e.Matches {
		name, options := s.extension(m, false)
		b.WriteString(" -m " + name + options)
	}
	switch {
	case e.Jump != "" && e.Header.Goto(s.table.Family):
		b.WriteString(" -g " + e.Jump)
	case e.Jump != "":
		b.WriteString(" -j " + e.Jump)
	case e.FallThrough:
	case e.Target.Name == standardTarget:
		b.WriteString(" -j " + verdictName(e))
	default:
		name, options := s.extension(e.Target, true)
		b.WriteString(" -j " + name + options)
	}
	return b.String()
}

// extension is a match's or target's name and options as the version prints them.
func (s *show) extension(e Extension, target bool) (name, options string) {
	rev, changed := revision(s.view.Version, s.table.Family, e.Name, target)
	if s.raw || !changed || rev == e.Revision {
		return s.faithful(e, target)
	}
	if knows(s.view.Version, comparesRevisions) {
		s.note("%s is revision %d, iptables %s knows %d and does not look", e.Name, e.Revision, s.view.Version, rev)
		return e.Name, " [unsupported revision]"
	}
	return s.misread(e, rev, target)
}

// faithful prints an extension by its own revision.
func (s *show) faithful(e Extension, target bool) (name, options string) {
	c := s.registry.find(e, target)
	if c == nil || len(e.Data) < padded(c.size) {
		return e.Name, s.unprintable(e)
	}
	p := s.printer()
	c.save(p, e.Data)
	if p.unsaid {
		return e.Name, s.unprintable(e)
	}
	name = e.Name
	if c.alias != nil {
		name = c.alias(p, e.Data)
	}
	return name, p.String()
}

func (s *show) unprintable(e Extension) string {
	s.note("natlab cannot say revision %d of %s in options and shows its bytes", e.Revision, e.Name)
	return rawText(e)
}

func (s *show) printer() *printer {
	return &printer{family: s.table.Family, version: s.view.Version, sets: s.view.Sets, exact: s.raw}
}

// misread prints an extension by another revision than its own, as versions did that do not compare.
func (s *show) misread(e Extension, rev uint8, target bool) (name, options string) {
	if misreadsDNAT(s.table.Family, e, rev) {
		return e.Name, s.misreadDNAT(e)
	}
	wrong := s.registry.exact[extKey{e.Name, target, rev}]
	if wrong == nil || wrong.size > len(e.Data) {
		s.note("iptables %s reads revision %d of %s as revision %d, which natlab cannot show", s.view.Version, e.Revision, e.Name, rev)
		return e.Name, fmt.Sprintf(" [revision %d read as %d]", e.Revision, rev)
	}
	p := s.printer()
	wrong.save(p, e.Data)
	if right := s.registry.find(e, target); right != nil {
		q := s.printer()
		right.save(q, e.Data)
		if q.String() == p.String() {
			return e.Name, p.String()
		}
	}
	s.note("iptables %s reads revision %d of %s as revision %d; the kernel's rule is right", s.view.Version, e.Revision, e.Name, rev)
	return e.Name, p.String()
}

// misreadDNAT prints nf_nat_range2 as the multi-range of revision 0.
func (s *show) misreadDNAT(e Extension) string {
	var b strings.Builder
	r := s.multi(e)
	for _, m := range r.ranges {
		b.WriteString(" --to-destination " + m.text())
		if m.Flags&xt.NATRandom != 0 {
			b.WriteString(" --random")
		}
		if m.Flags&xt.NATPersistent != 0 {
			b.WriteString(" --persistent")
		}
	}
	b.WriteString(r.rest())
	return b.String()
}

// multi reads a DNAT target as the old program does and notes what it cannot know.
func (s *show) multi(e Extension) multiReading {
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

// origin says where the bytes of ports past the rule come from.
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

// Text is one rule as the newest iptables-save prints it; where that cannot say it, by its bytes.
func (t Table) text(sets map[uint16]string) string {
	s := newShow(View{Version: Newest, Sets: sets, Counters: true}, t)
	s.raw = true
	var b strings.Builder
	s.save(&b)
	return b.String()
}

// headerText is what a rule asks without any extension.
func (s *show) headerText(h Header) string {
	var p printer
	for _, side := range []struct {
		option     string
		addr, mask string
		any        bool
		inv        uint8
	}{
		{"-s", h.Src.String(), addrMask(h.SrcMask), h.Src.IsUnspecified() && h.SrcMask.IsUnspecified(), InvSrc},
		{"-d", h.Dst.String(), addrMask(h.DstMask), h.Dst.IsUnspecified() && h.DstMask.IsUnspecified(), InvDst},
	} {
		if inv := h.Inv&side.inv != 0; inv || !side.any {
			p.not(inv)
			p.f(" %s %s/%s", side.option, side.addr, side.mask)
		}
	}
	for _, side := range []struct {
		option string
		name   []byte
		mask   []byte
		inv    uint8
	}{{"-i", h.In[:], h.InMask[:], InvIn}, {"-o", h.Out[:], h.OutMask[:], InvOut}} {
		if side.mask[0] != 0 {
			p.not(h.Inv&side.inv != 0)
			p.f(" %s %s", side.option, deviceName(side.name, side.mask))
		}
	}
	if h.Proto != 0 {
		p.not(h.Inv&InvProto != 0)
		p.f(" -p %s", savedProtocol(h.Proto, s.view.Version))
	}
	if s.table.Family == nat.IPv4 && h.Flags&FlagFragment != 0 {
		p.not(h.Inv&InvFragment != 0)
		p.WriteString(" -f")
	}
	return p.String()
}
