package xt

import "natlab/nat/rules"

// NFAcct is -m nfacct: it counts the packet in a named object and always holds (xt_nfacct.c).
type NFAcct struct{ Object string }

// Name is "nfacct".
func (NFAcct) Name() string { return "nfacct" }

// Save prints the object's name, behind two blanks as iptables-save does.
func (m NFAcct) Save(p *Printer) { p.Text(" --nfacct-name  ", m.Object) }

// Holds is always Yes.
func (NFAcct) Holds(*rules.Visit) rules.Answer { return rules.Yes }

// Actual is empty: it never fails.
func (NFAcct) Actual(*rules.Visit) string { return "" }
