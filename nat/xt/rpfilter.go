package xt

import "natlab/nat/rules"

// RPFilter is -m rpfilter (ipt_rpfilter.c, ip6t_rpfilter.c).
type RPFilter struct {
	Loose, ValidMark, AcceptLocal, Invert bool
}

// Name is "rpfilter".
func (RPFilter) Name() string { return "rpfilter" }

// Save prints the flags.
func (m RPFilter) Save(p *Printer) {
	p.Flag(m.Loose, "--loose")
	p.Flag(m.ValidMark, "--validmark")
	p.Flag(m.AcceptLocal, "--accept-local")
	p.Flag(m.Invert, "--invert")
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
