package xtables

import (
	"fmt"
	"net/netip"

	"natlab/nat"
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
func Explain(f nat.Family, e Extension) []Reading {
	layout, ok := natLayoutOf(f, e)
	if !ok {
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

// natLayoutOf is the struct of a NAT target's revision.
func natLayoutOf(f nat.Family, e Extension) (natLayout, bool) {
	for _, c := range natTargets() {
		if c.name == e.Name && c.revision == e.Revision && c.only.has(f) && len(e.Data) >= c.size {
			for _, l := range []natLayout{multiLayout, rangeLayout, range2Layout} {
				if l.size() == c.size {
					return l, true
				}
			}
		}
	}
	return 0, false
}

func layoutReading(f nat.Family, l natLayout, d []byte) Reading {
	if l == multiLayout {
		return multiFields(d, int(min(order.Uint32(d), 64)))
	}
	r := l.read(f, d)
	out := Reading{Struct: "struct nf_nat_range", Fields: []Field{
		{0, 4, "flags", natFlagNames(r.flags), false},
		{4, 16, "min_addr", r.min.String(), false},
		{20, 16, "max_addr", r.max.String(), false},
		{36, 2, "min_proto", fmt.Sprint(r.minPort), false},
		{38, 2, "max_proto", fmt.Sprint(r.maxPort), false},
	}}
	if l == range2Layout {
		out.Struct = "struct nf_nat_range2"
		out.Fields = append(out.Fields, Field{40, 2, "base_proto", fmt.Sprint(r.base), false})
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
		at, name := 4+i*multiRangeSize, fmt.Sprintf("range[%d].", i)
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
