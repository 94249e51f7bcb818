package xt

import (
	"natlab/nat"
	"natlab/nat/rules"
)

// RPFilter is -m rpfilter: whether the way back to the packet's source is right (ipt_rpfilter.c, ip6t_rpfilter.c).
type RPFilter struct {
	Loose, ValidMark, AcceptLocal, Invert bool
}

var rpfilterOptions = []string{"--loose", "--validmark", "--accept-local", "--invert"}

var rpfilterRow = Extension{
	Name: "rpfilter", Hooks: HooksOf(nat.PreRouting),
	Tables:   []string{"mangle", "raw"},
	Options:  []Option{{Name: "--loose"}, {Name: "--validmark"}, {Name: "--accept-local"}, {Name: "--invert"}},
	Examples: []string{"", "--invert", "--loose --validmark --accept-local --invert"},
	Parse: func(a *Args) Value {
		a.Once()
		return RPFilter{a.Has("--loose"), a.Has("--validmark"), a.Has("--accept-local"), a.Has("--invert")}
	},
	// struct xt_rpfilter_info { __u8 flags; }
	Layouts: layouts(layout(0, 1,
		func(d []byte, _ *Env) (RPFilter, bool) {
			return RPFilter{d[0]&1 != 0, d[0]&2 != 0, d[0]&4 != 0, d[0]&8 != 0}, d[0] < 16
		},
		func(m RPFilter, d []byte, _ *Env) error {
			for i, on := range m.flags() {
				d[0] |= flagByte(on) << i
			}
			return nil
		})),
	Listed: func(l *Listing) bool {
		return l.TakeWord("rpfilter") && (l.Options("") || true)
	},
}

// flags are the values of the options, in their order.
func (m RPFilter) flags() [4]bool { return [4]bool{m.Loose, m.ValidMark, m.AcceptLocal, m.Invert} }

// Name is "rpfilter".
func (RPFilter) Name() string { return "rpfilter" }

// Save prints the flags.
func (m RPFilter) Save(p *Printer) {
	for i, on := range m.flags() {
		p.Flag(on, rpfilterOptions[i])
	}
}

// List prints the flags as iptables -L does.
func (m RPFilter) List(p *Printer) {
	p.Text(" rpfilter")
	for i, on := range m.flags() {
		p.Flag(on, rpfilterOptions[i][2:])
	}
}

// Holds asks the World's routes for the way back.
func (m RPFilter) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.Router)
	if !ok {
		return rules.Unknown
	}
	return w.Back(v.Packet, rules.BackOptions{Loose: m.Loose, ValidMark: m.ValidMark, AcceptLocal: m.AcceptLocal}).Not(m.Invert)
}

// Actual tells whether the way back is right.
func (m RPFilter) Actual(v *rules.Visit) string {
	if m.Invert {
		return "the way back to " + v.Tuple.Src().Addr().String() + " is right"
	}
	return "the way back to " + v.Tuple.Src().Addr().String() + " is another one"
}
