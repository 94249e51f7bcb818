package xt

import "natlab/nat/rules"

// SetSecMark is -j SECMARK: the packet gets a security context, which no rule asks for (xt_SECMARK.c).
type SetSecMark struct{ Context string }

// secContextSize is SECMARK_SECCTX_MAX.
const secContextSize = 256

// secMarkModeSELinux is SECMARK_MODE_SEL.
const secMarkModeSELinux = 1

var setSecMarkRow = Extension{
	Name: "SECMARK", Kind: TargetKind, Tables: []string{"security", "mangle"}, Machine: "SELinux",
	Options:  []Option{{Name: "--selctx", Values: 1}},
	Examples: []string{"--selctx system_u:object_r:firewalld_exec_t:s0"},
	Parse: func(a *Args) Value {
		var t SetSecMark
		a.Once()
		a.Need("--selctx")
		for g := range a.Options {
			t.Context = g.Cut(secContextSize - 1)
		}
		return t
	},
	Listed: func(l *Listing) bool { return l.Value("SECMARK selctx ", "--selctx", false) },
	// struct xt_secmark_target_info_v1 { __u8 mode; char secctx[256]; __u32 secid; }; in revision 0 secid is in front of secctx.
	Layouts: layouts(
		layout(1, 264, decodeSecMark(1), encodeSecMark(1)).since(Version{1, 8, 8}),
		layout(0, 264, decodeSecMark(8), encodeSecMark(8))),
}

func decodeSecMark(at int) func(d []byte, _ *Env) (SetSecMark, bool) {
	return func(d []byte, _ *Env) (SetSecMark, bool) {
		return SetSecMark{cString(d[at:][:secContextSize])}, d[0] == secMarkModeSELinux
	}
}

func encodeSecMark(at int) func(t SetSecMark, d []byte, _ *Env) error {
	return func(t SetSecMark, d []byte, _ *Env) error {
		d[0] = secMarkModeSELinux
		return putString(d[at:][:secContextSize], t.Context)
	}
}

// Name is "SECMARK".
func (SetSecMark) Name() string { return "SECMARK" }

// Save prints the context.
func (t SetSecMark) Save(p *Printer) { p.Option(false, "--selctx", t.Context) }

// List prints the context as iptables -L does.
func (t SetSecMark) List(p *Printer) { p.Text(" SECMARK selctx ", t.Context) }

// Act goes on: security marks are not modelled.
func (SetSecMark) Act(*rules.Visit) rules.Action { return rules.Continue() }

// CopySecMark is -j CONNSECMARK: the security mark is copied from the packet to its connection or back
// (xt_CONNSECMARK.c).
type CopySecMark struct{ Restore bool }

var copySecMarkRow = Extension{
	Name: "CONNSECMARK", Kind: TargetKind, Tables: []string{"mangle", "security"},
	Options:  []Option{{Name: "--save"}, {Name: "--restore"}},
	Examples: []string{"--save", "--restore"},
	Parse: func(a *Args) Value {
		a.Once()
		a.Need("--save", "--restore")
		a.Exclusive("--save", "--restore")
		return CopySecMark{a.Has("--restore")}
	},
	Listed: func(l *Listing) bool {
		l.Flag("CONNSECMARK save", "--save")
		l.Flag("CONNSECMARK restore", "--restore")
		return l.Gave("--save") || l.Gave("--restore")
	},
	// struct xt_connsecmark_target_info { __u8 mode; }: CONNSECMARK_SAVE 1, CONNSECMARK_RESTORE 2
	Layouts: layouts(layout(0, 1,
		func(d []byte, _ *Env) (CopySecMark, bool) { return CopySecMark{d[0] == 2}, d[0] == 1 || d[0] == 2 },
		func(t CopySecMark, d []byte, _ *Env) error { d[0] = 1 + flagByte(t.Restore); return nil })),
	Tracks: true,
}

// Name is "CONNSECMARK".
func (CopySecMark) Name() string { return "CONNSECMARK" }

func (t CopySecMark) verb() string {
	if t.Restore {
		return "restore"
	}
	return "save"
}

// Save prints --save or --restore.
func (t CopySecMark) Save(p *Printer) { p.Text(" --", t.verb()) }

// List prints the same as iptables -L does.
func (t CopySecMark) List(p *Printer) { p.Text(" CONNSECMARK ", t.verb()) }

// Act goes on: security marks are not modelled.
func (CopySecMark) Act(*rules.Visit) rules.Action { return rules.Continue() }
