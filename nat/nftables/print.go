package nftables

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// String is the rule set as nft 1.0.6 lists it; Parse of it is the rule set.
func (rs Ruleset) String() string {
	var b strings.Builder
	_ = rs.Write(&b) // a strings.Builder takes everything
	return b.String()
}

// Write is String into a writer.
func (rs Ruleset) Write(w io.Writer) error {
	for i := range rs.Tables {
		if _, err := io.WriteString(w, rs.Tables[i].String()); err != nil {
			return err
		}
	}
	return nil
}

// String is the table's block.
func (t *Table) String() string {
	l := &listing{}
	if t.Managed {
		l.line(0, "# Warning: table %s %s is managed by iptables-nft, do not touch!", t.Family, t.Name)
	}
	l.line(0, "table %s %s {", t.Family, t.Name)
	if len(t.Flags) > 0 {
		l.line(1, "flags %s", strings.Join(t.Flags, ","))
	}
	if t.Comment != "" {
		l.line(1, "comment %s", quote(t.Comment))
	}
	for _, o := range t.Objects {
		l.object(o)
	}
	for i := range t.Sets {
		l.set(&t.Sets[i])
	}
	for i := range t.Chains {
		l.chain(t, &t.Chains[i])
	}
	l.line(0, "}")
	return l.String()
}

// listing is the text of a table.
type listing struct {
	strings.Builder
	blocks int
}

func (l *listing) line(depth int, format string, args ...any) {
	l.WriteString(strings.Repeat("\t", depth) + fmt.Sprintf(format, args...) + "\n")
}

// open begins a block of the table; an empty line is between two.
func (l *listing) open(format string, args ...any) {
	if l.blocks++; l.blocks > 1 {
		l.line(0, "")
	}
	l.line(1, format, args...)
}

func (l *listing) object(o Object) {
	l.open("%s %s {", o.Kind, o.Name)
	for _, text := range o.Lines {
		l.line(2, "%s", text)
	}
	l.line(1, "}")
}

func (l *listing) set(s *Set) {
	word := "set"
	if s.Map {
		word = "map"
	}
	l.open("%s %s {", word, s.Name)
	l.line(2, "%s", s.declaration())
	if s.Memory {
		l.line(2, "policy memory")
	}
	if s.Size > 0 {
		l.line(2, "size %d", s.Size)
	}
	if len(s.Flags) > 0 {
		l.line(2, "flags %s", strings.Join(s.Flags, ","))
	}
	if len(s.Statements) > 0 {
		l.line(2, "%s", strings.TrimSpace(strings.ReplaceAll(joinStatements(s.Statements), " packets 0 bytes 0", "")))
	}
	if s.Timeout > 0 {
		l.line(2, "timeout %s", printDuration(s.Timeout))
	}
	if s.GCInterval > 0 {
		l.line(2, "gc-interval %s", printDuration(s.GCInterval))
	}
	if s.AutoMerge {
		l.line(2, "auto-merge")
	}
	if s.Comment != "" {
		l.line(2, "comment %s", quote(s.Comment))
	}
	if len(s.Elements) > 0 {
		l.line(2, "elements = { %s }", joinElements(s.Elements, s.perLine()))
	}
	l.line(1, "}")
}

// Head is the set without elements and comment in one line, "set x { type ipv4_addr flags interval }".
func (s *Set) Head() string {
	l, bare := &listing{}, *s
	bare.Elements, bare.Comment = nil, ""
	l.set(&bare)
	return strings.Join(strings.Fields(l.String()), " ")
}

// declaration is "type ipv4_addr . inet_service : verdict", or what was given for typeof.
func (s *Set) declaration() string {
	out := "type " + joinTypes(s.Key)
	if s.Typeof != "" {
		out = "typeof " + s.Typeof
	}
	switch {
	case s.DataTypeof != "":
		out += " : " + s.DataTypeof
	case s.Object != "":
		out += " : " + s.Object
	case s.Map && s.DataInterval:
		out += " : interval " + joinTypes(s.Data)
	case s.Map:
		out += " : " + joinTypes(s.Data)
	}
	return out
}

func joinTypes(types []Type) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = string(t)
	}
	return strings.Join(out, " . ")
}

// perLine is how many elements nft prints on a line: several where the key is one value of some types.
func (s *Set) perLine() int {
	if len(s.Key) == 1 && s.Key[0] == Untold {
		return 5 // as of integers
	}
	if len(s.Key) == 1 {
		return max(s.Key[0].row().perLine, 1)
	}
	return 1
}

// joinElements puts commas between elements, and begins a line after so many; 0: none.
func joinElements(all []Element, perLine int) string {
	var b strings.Builder
	for i := range all {
		switch {
		case i == 0:
		case perLine > 0 && i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(all[i].String())
	}
	return b.String()
}

// String is the element as nft prints it.
func (e *Element) String() string {
	out := joinConstants(e.Key) + joinStatements(e.Statements)
	if e.Timeout > 0 {
		out += " timeout " + printDuration(e.Timeout)
	}
	if e.Expires > 0 {
		out += " expires " + printDuration(e.Expires)
	}
	if e.Comment != "" {
		out += " comment " + quote(e.Comment)
	}
	switch {
	case e.Verdict != nil:
		out += " : " + e.Verdict.String()
	case e.Object != "":
		out += " : " + quote(e.Object)
	case len(e.Data) > 0:
		out += " : " + joinConstants(e.Data)
	}
	return out
}

// joinStatements prints statements, each with a blank in front.
func joinStatements(all []Statement) string {
	var b strings.Builder
	for _, st := range all {
		b.WriteString(" " + st.String())
	}
	return b.String()
}

func joinConstants(parts []Constant) string {
	out := make([]string, len(parts))
	for i, c := range parts {
		if out[i] = c.String(); c.severalBits() {
			out[i] = c.text(" | ")
		}
	}
	return strings.Join(out, " . ")
}

func (l *listing) chain(t *Table, c *Chain) {
	l.open("chain %s {", c.Name)
	if c.Comment != "" {
		l.line(2, "comment %s", quote(c.Comment))
	}
	if c.Base != nil {
		l.line(2, "%s", c.Base.text(t.Family))
	}
	for i := range c.Rules {
		l.line(2, "%s", c.Rules[i].String())
	}
	l.line(1, "}")
}

// text is "type filter hook input priority filter; policy accept;".
func (b *Base) text(f Family) string {
	out := "type " + string(b.Type) + " hook " + b.Hook
	switch len(b.Devices) {
	case 0:
	case 1:
		out += " device " + strconv.Quote(b.Devices[0])
	default:
		out += " devices = { " + strings.Join(b.Devices, ", ") + " }"
	}
	policy := "accept"
	if b.Drop {
		policy = "drop"
	}
	return out + " priority " + printPriority(b.Priority, b.Hook, f) + "; policy " + policy + ";"
}
