package xt

import "natlab/nat/rules"

// NFAcct is -m nfacct: it counts the packet in a named object and always holds (xt_nfacct.c).
type NFAcct struct{ Object string }

var nfacctRow = Extension{
	Name:     "nfacct",
	Options:  []Option{{Name: "--nfacct-name", Values: 1}},
	Examples: []string{"--nfacct-name  ct_state_invalid_dropped_pkts"},
	Listed:   func(l *Listing) bool { return l.Options("") },
	Parse: func(a *Args) Value {
		var m NFAcct
		a.Need("--nfacct-name")
		a.Once()
		for g := range a.Options {
			if m.Object = g.Cut(31); m.Object == "" {
				g.Fail("want a name")
			}
		}
		return m
	},
	// struct xt_nfacct_match_info { char name[32]; struct nf_acct *nfacct; }; revision 1 differs on 32-bit machines only.
	// It came late in 2019: 1.6.1 to 1.8.3 refuse to show the matches that kube-proxy 1.29 and later write.
	Layouts: layouts(layout(1, 40, decodeNFAcct, encodeNFAcct).since(Version{1, 8, 4}), layout(0, 40, decodeNFAcct, encodeNFAcct)),
}

func decodeNFAcct(d []byte, _ *Env) (NFAcct, bool) { return NFAcct{cString(d[:32])}, true }

func encodeNFAcct(m NFAcct, d []byte, _ *Env) error { return putString(d[:32], m.Object) }

// Name is "nfacct".
func (NFAcct) Name() string { return "nfacct" }

// Save prints the object's name, behind two blanks as iptables-save does.
func (m NFAcct) Save(p *Printer) {
	p.Text(" --nfacct-name ")
	p.Quoted(m.Object)
}

// List prints the object's name, behind two blanks too.
func (m NFAcct) List(p *Printer) {
	p.Text(" nfacct-name ")
	p.Quoted(m.Object)
}

// Holds is always Yes.
func (NFAcct) Holds(*rules.Visit) rules.Answer { return rules.Yes }

// Actual is empty: it never fails.
func (NFAcct) Actual(*rules.Visit) string { return "" }
