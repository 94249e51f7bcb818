package xt

import "natlab/nat/rules"

// Checksum is -j CHECKSUM: a checksum that the network card was to fill in is filled in now (xt_CHECKSUM.c).
type Checksum struct{}

var checksumRow = Extension{
	Name: "CHECKSUM", Kind: TargetKind, Tables: []string{"mangle"},
	Options:  []Option{{Name: "--checksum-fill"}},
	Examples: []string{"--checksum-fill"},
	Parse: func(a *Args) Value {
		a.Need("--checksum-fill")
		a.Once()
		return Checksum{}
	},
	Listed: func(l *Listing) bool {
		taken := l.Take("CHECKSUM fill")
		l.Give("--checksum-fill", false)
		return taken
	},
	// struct xt_CHECKSUM_info { __u8 operation; }: XT_CHECKSUM_OP_FILL
	Layouts: layouts(layout(0, 1,
		func(d []byte, _ *Env) (Checksum, bool) { return Checksum{}, d[0] == 1 },
		func(_ Checksum, d []byte, _ *Env) error { d[0] = 1; return nil })),
}

// Name is "CHECKSUM".
func (Checksum) Name() string { return "CHECKSUM" }

// Save prints --checksum-fill.
func (Checksum) Save(p *Printer) { p.Flag(true, "--checksum-fill") }

// List prints "fill".
func (Checksum) List(p *Printer) { p.Text(" CHECKSUM fill") }

// Act goes on: here checksums are always there.
func (Checksum) Act(*rules.Visit) rules.Action { return rules.Continue() }
