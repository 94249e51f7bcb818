package view

import (
	"fmt"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// List is what "iptables -t TABLE -L -n" of the version prints of the tables, one after the other with the table's
// name in front of each, which the program itself does not print; with Counters it is -L -n -v.
func (v View) List(tables ...xtables.Table) (string, []Note) {
	var b strings.Builder
	var notes []Note
	for i, t := range tables {
		s := newShow(v, t)
		if len(tables) > 1 {
			if i > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "# table %s\n", t.Name)
		}
		s.list(&b)
		notes = append(notes, s.notes...)
	}
	return b.String(), notes
}

func (s *show) list(b *strings.Builder) {
	refs := references(s.table)
	shown := 0
	for i, c := range s.table.Chains {
		if !s.view.shows(c) {
			continue
		}
		if shown++; shown > 1 {
			b.WriteByte('\n')
		}
		s.listHead(b, c, refs[c.Name])
		for j, e := range c.Entries {
			s.at = ruleKey{i, j}
			if s.view.Numbers {
				fmt.Fprintf(b, "%-4d ", j+1)
			}
			s.listRule(b, e)
		}
	}
}

// references counts the rules that call each chain.
func references(t xtables.Table) map[string]int {
	refs := map[string]int{}
	for _, c := range t.Chains {
		for _, e := range c.Entries {
			if e.Jump != "" {
				refs[e.Jump]++
			}
		}
	}
	return refs
}

func (s *show) listHead(b *strings.Builder, c xtables.Chain, refs int) {
	switch {
	case !c.BuiltIn:
		fmt.Fprintf(b, "Chain %s (%d references)\n", c.Name, refs)
	case s.view.Counters:
		fmt.Fprintf(b, "Chain %s (policy %s %s packets, %s bytes)\n", c.Name, c.Policy(), s.view.total(c.Tail.Packets), s.view.total(c.Tail.Bytes))
	default:
		fmt.Fprintf(b, "Chain %s (policy %s)\n", c.Name, c.Policy())
	}
	if s.view.Numbers {
		fmt.Fprintf(b, "%-4s ", "num")
	}
	if s.view.Counters {
		bytes := "%5s %5s "
		if s.view.Exact {
			bytes = "%8s %10s "
		}
		fmt.Fprintf(b, bytes, "pkts", "bytes")
		fmt.Fprintf(b, "%-9s  prot opt %-6s %-6s  %-19s  %-19s \n", "target", "in", "out", "source", "destination")
		return
	}
	fmt.Fprintf(b, "%-9s  prot opt %-19s  %-19s \n", "target", "source", "destination")
}

// total is a counter in a chain's heading, column one of a rule (print_header and xtables_print_num).
func (v View) total(n uint64) string {
	if v.Exact {
		return strconv.FormatUint(n, 10)
	}
	return count(n)
}

func (v View) column(n uint64) string {
	if v.Exact {
		return fmt.Sprintf("%8d ", n)
	}
	return fmt.Sprintf("%5s ", count(n))
}

// count prints a counter in at most five digits, as xtables_print_num does.
func count(n uint64) string {
	for _, unit := range []string{"", "K", "M", "G", "T"} {
		if n <= 99999 && unit == "" || n <= 9999 || unit == "T" {
			return fmt.Sprintf("%d%s", n, unit)
		}
		n = (n + 500) / 1000
	}
	return ""
}

func (s *show) listRule(b *strings.Builder, e xtables.Entry) {
	h, family := e.Header, s.table.Family
	if s.view.Counters {
		b.WriteString(s.view.column(e.Packets) + s.view.column(e.Bytes))
	}
	fmt.Fprintf(b, "%-9s ", s.targetName(e))
	b.WriteString(bang(h.Inv&xtables.InvProto != 0, " ") + listedProtocol(h.Proto, s.view.Version))
	b.WriteString(s.opt(h))
	if s.view.Counters {
		fmt.Fprintf(b, " %-6s %-6s ", listDevice(h.In[:], h.Inv&xtables.InvIn != 0), listDevice(h.Out[:], h.Inv&xtables.InvOut != 0))
	}
	fmt.Fprintf(b, "%s%-19s ", bang(h.Inv&xtables.InvSrc != 0, " "), listAddr(family, h.Src.String(), addrMask(h.SrcMask)))
	fmt.Fprintf(b, "%s%-19s ", bang(h.Inv&xtables.InvDst != 0, " "), listAddr(family, h.Dst.String(), addrMask(h.DstMask)))
	if h.Goto(family) {
		b.WriteString("[goto] ")
	}
	for _, m := range e.Matches {
		b.WriteString(s.listExtension(m, xt.MatchKind))
	}
	if e.Target.Name != "" {
		b.WriteString(s.listExtension(e.Target, xt.TargetKind))
	}
	b.WriteByte('\n')
}

func bang(on bool, otherwise string) string {
	if on {
		return "!"
	}
	return otherwise
}

func (s *show) targetName(e xtables.Entry) string {
	switch {
	case e.Jump != "":
		return e.Jump
	case e.FallThrough:
		return ""
	case e.Target.Name == "":
		return e.VerdictName()
	}
	return e.Target.Name
}

// opt is the column of -f.
func (s *show) opt(h xtables.Header) string {
	if s.table.Family == nat.IPv6 {
		if knows(s.view.Version, optColumnInIPv6) {
			return "-- "
		}
		return "   "
	}
	return bang(h.Inv&xtables.InvFragment != 0, "-") + map[bool]string{true: "f", false: "-"}[h.Flags&xtables.FlagFragment != 0] + " "
}

func listDevice(name []byte, inv bool) string {
	n := text(name)
	if n == "" {
		n = "*"
	}
	return bang(inv, "") + n
}

func listAddr(f nat.Family, addr, mask string) string {
	if mask == "32" && f == nat.IPv4 || mask == "128" {
		return addr
	}
	return addr + "/" + mask
}

// listExtension is an extension as iptables -L -n prints it.
func (s *show) listExtension(e xtables.Extension, kind xt.Kind) string {
	rev, changed := revision(s.view.Version, s.table.Family, e.Name, kind)
	if changed && rev != e.Revision {
		if knows(s.view.Version, comparesRevisions) {
			s.note("%s is revision %d, iptables %s knows %d and does not look", e.Name, e.Revision, s.view.Version, rev)
			return " " + e.Name + " [unsupported revision]"
		}
		if misreadsDNAT(s.table.Family, e, rev) {
			return " to:" + s.multi(e).print("", " random", " persistent")
		}
		s.note("iptables %s reads revision %d of %s as revision %d", s.view.Version, e.Revision, e.Name, rev)
		e.Revision = rev
	}
	v, ok := s.value(e, kind, e.Revision)
	lister, lists := v.(xt.Lister)
	if !ok || !lists {
		s.note("natlab cannot list revision %d of %s: its bytes are shown", e.Revision, e.Name)
		return " " + e.Name + " " + e.Raw()
	}
	p := s.printer()
	lister.List(p)
	return p.String()
}
