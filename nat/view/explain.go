package view

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// Field is one field of a struct laid over some bytes.
type Field struct {
	Offset, Length int
	Name           string // "range[1].flags"
	Value          string
	Past           bool // it lies past the bytes
}

func (f Field) String() string {
	return fmt.Sprintf("%3d +%-2d %-22s %s", f.Offset, f.Length, f.Name, f.Value)
}

// Reading is a struct laid over a target's payload.
type Reading struct {
	Struct string // "struct nf_nat_range2"
	Why    string
	Fields []Field
}

// Explain lays a NAT target's payload out: as the struct of its own revision, and, where an old iptables takes another
// struct for it, as that. It returns nothing for a target without such structs.
func Explain(f nat.Family, e xtables.Extension) []Reading {
	layout, ok := xt.NATStructOf(e.Name, e.Revision, f)
	if !ok || len(e.Data) < layout.Size() {
		return nil
	}
	own := layoutReading(f, layout, e.Data)
	own.Why = fmt.Sprintf("revision %d, as the kernel reads it", e.Revision)
	out := []Reading{own}
	if misreadsDNAT(f, e, 0) && len(e.Data) >= 4 {
		old := multiFields(e.Data, int(min(order.Uint32(e.Data), 64)))
		old.Why = "revision 0, as iptables up to 1.6.0 reads it: the flags are taken for the number of ranges"
		out = append(out, old)
	}
	return out
}

func layoutReading(f nat.Family, l xt.NATStruct, d []byte) Reading {
	if l == xt.MultiRange {
		return multiFields(d, int(min(order.Uint32(d), 64)))
	}
	r := l.Read(f, d)
	out := Reading{Struct: "struct nf_nat_range", Fields: []Field{
		{0, 4, "flags", natFlagNames(r.Flags), false},
		{4, 16, "min_addr", r.Min.String(), false},
		{20, 16, "max_addr", r.Max.String(), false},
		{36, 2, "min_proto", fmt.Sprint(r.MinPort), false},
		{38, 2, "max_proto", fmt.Sprint(r.MaxPort), false},
	}}
	if l == xt.ShiftedRange {
		out.Struct = "struct nf_nat_range2"
		out.Fields = append(out.Fields, Field{40, 2, "base_proto", fmt.Sprint(r.Base), false})
	}
	return out
}

// multiFields lays nf_nat_ipv4_multi_range_compat over the bytes, with count ranges.
func multiFields(d []byte, count int) Reading {
	out := Reading{Struct: "struct nf_nat_ipv4_multi_range_compat"}
	add := func(at, n int, name string, value func([]byte) string) {
		f := Field{Offset: at, Length: n, Name: name, Past: at+n > len(d)}
		if f.Past {
			f.Value = "past the rule's own bytes"
		} else {
			f.Value = value(d[at : at+n])
		}
		out.Fields = append(out.Fields, f)
	}
	number := func(b []byte) string { return fmt.Sprint(order.Uint32(b)) }
	flags := func(b []byte) string { return natFlagNames(order.Uint32(b)) }
	ip := func(b []byte) string { return netip.AddrFrom4([4]byte(b)).String() }
	port := func(b []byte) string { return fmt.Sprint(be16(b)) }
	add(0, 4, "rangesize", number)
	for i := range count {
		at, name := 4+i*xt.MultiRangeSize, fmt.Sprintf("range[%d].", i)
		add(at, 4, name+"flags", flags)
		add(at+4, 4, name+"min_ip", ip)
		add(at+8, 4, name+"max_ip", ip)
		add(at+12, 2, name+"min", port)
		add(at+14, 2, name+"max", port)
	}
	return out
}

// natFlags are the names of NF_NAT_RANGE_*, by bit.
var natFlags = []string{"MAP_IPS", "PROTO_SPECIFIED", "PROTO_RANDOM", "PERSISTENT", "PROTO_RANDOM_FULLY", "PROTO_OFFSET", "NETMAP"}

func natFlagNames(v uint32) string {
	names, known := bitNames(v, natFlags, []int{0, 1, 2, 3, 4, 5, 6})
	s := fmt.Sprintf("0x%x", v)
	if names != "" {
		s += " " + names
	}
	if v&^known != 0 {
		s += " (and bits without a name)"
	}
	return s
}

// Explain lays out the target of each rule whose payload is a NAT range, under the kernel's reading and, where it has
// one of its own, the version's; rules above it and below it are passed over.
func (v View) Explain(tables ...xtables.Table) string {
	var b strings.Builder
	for _, t := range tables {
		kernel, seen := newShow(View{Version: Newest, Sets: v.Sets}, t), newShow(v, t)
		for i, c := range t.Chains {
			for j, e := range c.Entries {
				readings := Explain(t.Family, e.Target)
				if len(readings) == 0 {
					continue
				}
				kernel.at, seen.at = ruleKey{i, j}, ruleKey{i, j}
				seen.notes = nil
				fmt.Fprintf(&b, "%s %s rule %d\n", t.Name, c.Name, j+1)
				fmt.Fprintf(&b, "  the kernel: %s\n  as %-7s: %s\n", kernel.rule(c.Name, e, ""), v.Version, seen.rule(c.Name, e, ""))
				for _, n := range seen.notes {
					fmt.Fprintf(&b, "    %s\n", n.Text)
				}
				if !v.misreads(t.Family, e.Target) {
					readings = readings[:1]
				}
				explainTarget(&b, e.Target, readings)
			}
		}
	}
	return b.String()
}

// misreads reports whether the version takes another struct for the target.
func (v View) misreads(f nat.Family, e xtables.Extension) bool {
	rev, changed := revision(v.Version, f, e.Name, xt.TargetKind)
	return changed && rev != e.Revision && !knows(v.Version, comparesRevisions)
}

func explainTarget(b *strings.Builder, e xtables.Extension, readings []Reading) {
	fmt.Fprintf(b, "  target %s revision %d, %d bytes:", e.Name, e.Revision, len(e.Data))
	for i, x := range e.Data {
		if i%16 == 0 {
			fmt.Fprintf(b, "\n    %02d ", i)
		}
		fmt.Fprintf(b, " %02x", x)
	}
	b.WriteByte('\n')
	for _, r := range readings {
		fmt.Fprintf(b, "  %s (%s)\n", r.Struct, r.Why)
		for _, f := range r.Fields {
			fmt.Fprintf(b, "    %s\n", f)
		}
	}
	b.WriteByte('\n')
}
