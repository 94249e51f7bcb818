package xt

import (
	"fmt"
	"strings"

	"natlab/nat/rules"
)

// TTL is -m ttl, and -m hl in IPv6 (xt_hl.c).
type TTL struct {
	Limit bool // hl: the hop limit of IPv6
	Mode  TTLMode
	Value uint8
}

// TTLMode is how a TTL is compared (IPT_TTL_*, IP6T_HL_*).
type TTLMode uint8

// The modes.
const (
	TTLEqual TTLMode = iota
	TTLNotEqual
	TTLLess
	TTLGreater
)

var ttlRow, hlRow = ttlMatch("ttl", IPv4Only), ttlMatch("hl", IPv6Only)

func ttlMatch(name string, f Families) Extension {
	limit := f == IPv6Only
	equal, less, greater := "--"+name+"-eq", "--"+name+"-lt", "--"+name+"-gt"
	return Extension{
		Name: name, Families: f,
		Options:  []Option{{Name: equal, Also: []string{"--" + name}, Values: 1, Not: true}, {Name: less, Values: 1}, {Name: greater, Values: 1}},
		Examples: []string{equal + " 64", "! " + equal + " 1", less + " 5", greater + " 200"},
		Parse: func(a *Args) Value {
			m := TTL{Limit: limit}
			a.Need(equal, less, greater)
			a.Exclusive(equal, less, greater)
			a.Once()
			for g := range a.Options {
				m.Value = uint8(g.Uint(8))
				switch g.Name() {
				case less:
					m.Mode = TTLLess
				case greater:
					m.Mode = TTLGreater
				default:
					m.Mode = TTLMode(flagByte(g.Not))
				}
			}
			return m
		},
		Listed: func(l *Listing) bool {
			upper := strings.ToUpper(name)
			if !l.Take(upper + " match " + upper) {
				return false
			}
			operator := l.Word()
			option := map[string]string{"==": equal, "!=": equal, "<": less, ">": greater}[operator]
			l.Give(option, operator == "!=", l.Word())
			return true
		},
		// struct ipt_ttl_info, struct ip6t_hl_info { __u8 mode, ttl; }
		Layouts: layouts(layout(0, 2,
			func(d []byte, _ *Env) (TTL, bool) {
				return TTL{limit, TTLMode(d[0]), d[1]}, TTLMode(d[0]) <= TTLGreater
			},
			func(m TTL, d []byte, _ *Env) error { d[0], d[1] = uint8(m.Mode), m.Value; return nil })),
	}
}

// Name is "ttl" or "hl".
func (m TTL) Name() string { return map[bool]string{false: "ttl", true: "hl"}[m.Limit] }

// Save prints the comparison.
func (m TTL) Save(p *Printer) {
	option := [...]string{"eq", "eq", "lt", "gt"}[m.Mode]
	p.Not(m.Mode == TTLNotEqual)
	p.Textf(" --%s-%s %d", m.Name(), option, m.Value)
}

// List prints the comparison as iptables -L does.
func (m TTL) List(p *Printer) {
	name := map[bool]string{false: "TTL", true: "HL"}[m.Limit]
	p.Textf(" %s match %s %s %d", name, name, [...]string{"==", "!=", "<", ">"}[m.Mode], m.Value)
}

// Holds compares the packet's TTL or hop limit.
func (m TTL) Holds(v *rules.Visit) rules.Answer {
	if v.Wire == nil {
		return rules.Unknown
	}
	switch m.Mode {
	case TTLLess:
		return rules.Is(v.TTL < m.Value, false)
	case TTLGreater:
		return rules.Is(v.TTL > m.Value, false)
	case TTLEqual, TTLNotEqual:
	}
	return rules.Is(v.TTL == m.Value, m.Mode == TTLNotEqual)
}

// Actual is the packet's TTL.
func (TTL) Actual(v *rules.Visit) string { return fmt.Sprintf("TTL %d", v.TTL) }

// SetTTL is -j TTL, and -j HL in IPv6 (xt_HL.c).
type SetTTL struct {
	Limit bool // HL: the hop limit of IPv6
	Mode  SetTTLMode
	Value uint8
}

// SetTTLMode is what becomes of a TTL (IPT_TTL_SET, _INC, _DEC).
type SetTTLMode uint8

// The modes.
const (
	TTLSet SetTTLMode = iota
	TTLIncrement
	TTLDecrement
)

var setTTLRow, setHLRow = ttlTarget("TTL", "--ttl", IPv4Only), ttlTarget("HL", "--hl", IPv6Only)

func ttlTarget(name, option string, f Families) Extension {
	set, inc, dec := option+"-set", option+"-inc", option+"-dec"
	return Extension{
		Name: name, Kind: TargetKind, Families: f, Tables: []string{"mangle"},
		Options:  []Option{{Name: set, Values: 1}, {Name: inc, Values: 1}, {Name: dec, Values: 1}},
		Examples: []string{set + " 64", inc + " 1", dec + " 2"},
		Parse: func(a *Args) Value {
			t := SetTTL{Limit: f == IPv6Only}
			a.Need(set, inc, dec)
			a.Exclusive(set, inc, dec)
			a.Once()
			for g := range a.Options {
				t.Value = uint8(g.Uint(8))
				switch g.Name() {
				case inc:
					t.Mode = TTLIncrement
				case dec:
					t.Mode = TTLDecrement
				}
				if g.Name() != set && t.Value == 0 {
					g.Fail("must not be 0")
				}
			}
			return t
		},
		Listed: func(l *Listing) bool {
			for verb, o := range map[string]string{" set to ": set, " increment by ": inc, " decrement by ": dec} {
				if l.Take(name + verb) {
					l.Give(o, false, l.Word())
					return true
				}
			}
			return false
		},
		// struct ipt_TTL_info, struct ip6t_HL_info { __u8 mode, ttl; }
		Layouts: layouts(layout(0, 2,
			func(d []byte, _ *Env) (SetTTL, bool) {
				return SetTTL{f == IPv6Only, SetTTLMode(d[0]), d[1]}, SetTTLMode(d[0]) <= TTLDecrement
			},
			func(t SetTTL, d []byte, _ *Env) error { d[0], d[1] = uint8(t.Mode), t.Value; return nil })),
	}
}

// Name is "TTL" or "HL".
func (t SetTTL) Name() string { return map[bool]string{false: "TTL", true: "HL"}[t.Limit] }

// Save prints what becomes of the TTL.
func (t SetTTL) Save(p *Printer) {
	option := map[bool]string{false: "ttl", true: "hl"}[t.Limit]
	p.Textf(" --%s-%s %d", option, [...]string{"set", "inc", "dec"}[t.Mode], t.Value)
}

// List prints what becomes of the TTL as iptables -L does.
func (t SetTTL) List(p *Printer) {
	p.Textf(" %s %s %d", t.Name(), [...]string{"set to", "increment by", "decrement by"}[t.Mode], t.Value)
}

// Act changes the packet's TTL, within 0 and 255.
func (t SetTTL) Act(v *rules.Visit) rules.Action {
	ttl := int(v.TTL)
	switch t.Mode {
	case TTLSet:
		ttl = int(t.Value)
	case TTLIncrement:
		ttl = min(ttl+int(t.Value), 255)
	case TTLDecrement:
		ttl = max(ttl-int(t.Value), 0)
	}
	v.SetTTL(uint8(ttl))
	return rules.Continue()
}
