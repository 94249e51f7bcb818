package xt

import (
	"errors"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// The targets that choose from a range (xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c).
type (
	// DNAT is -j DNAT.
	DNAT struct{ Range rules.NATRange }
	// SNAT is -j SNAT.
	SNAT struct{ Range rules.NATRange }
	// Masquerade is -j MASQUERADE: SNAT to the out device's address.
	Masquerade struct{ Range rules.NATRange }
	// Redirect is -j REDIRECT: DNAT to the in device's address, or to loopback in OUTPUT.
	Redirect struct{ Range rules.NATRange }
)

var dnatRow = Extension{
	Name: "DNAT", Kind: TargetKind, Tables: []string{"nat"}, Hooks: HooksOf(nat.PreRouting, nat.Output), Tracks: true, Needs: "-p tcp",
	Options: natOptions("--to-destination", "--random", "--persistent"),
	Examples: []string{
		"--to-destination 10.0.0.1", "--to-destination 10.0.0.1-10.0.0.9:80 --random", "--to-destination :1000-2000/3000 --persistent",
		"--to-destination fd00::1-fd00::9", "--to-destination [fd00::1]:80-90", "--to-destination 10.0.0.1:1024-2048/65535",
	},
	Parse: func(a *Args) Value {
		a.Need("--to-destination")
		return DNAT{natRange(a)}
	},
	// Revision 2 came in the spring of 2018, before 1.8.0 was tagged.
	Layouts: layouts(
		natLayout(2, ShiftedRange, func(r rules.NATRange) DNAT { return DNAT{r} }, DNAT.natRange).since(Version{1, 8, 0}),
		natLayout(1, SingleRange, func(r rules.NATRange) DNAT { return DNAT{r} }, DNAT.natRange).only(IPv6Only),
		natLayout(0, MultiRange, func(r rules.NATRange) DNAT { return DNAT{r} }, DNAT.natRange).only(IPv4Only),
	),
	Misprint: dnatMisprint,
	Listed:   listedNAT("to:", "--to-destination"),
}

// iptables writes revisions 0 and 1, though the kernel has 2.
var snatRow = Extension{
	Name: "SNAT", Kind: TargetKind, Tables: []string{"nat"}, Hooks: HooksOf(nat.Input, nat.PostRouting), Tracks: true, Needs: "-p tcp",
	Options: natOptions("--to-source", "--random", "--random-fully", "--persistent"),
	Examples: []string{
		"--to-source 10.0.0.1 --random --random-fully --persistent", "--to-source 10.0.0.1-10.0.0.9:1024-2048", "--to-source fd00::1",
		"--to-source [fd00::1-fd00::9]:1-2 --random-fully", "--to-source :7",
	},
	Parse: func(a *Args) Value {
		a.Need("--to-source")
		return SNAT{unshifted(a)}
	},
	Layouts: layouts(
		natLayout(1, SingleRange, func(r rules.NATRange) SNAT { return SNAT{r} }, SNAT.natRange).only(IPv6Only),
		natLayout(0, MultiRange, func(r rules.NATRange) SNAT { return SNAT{r} }, SNAT.natRange).only(IPv4Only),
		natLayout(2, ShiftedRange, func(r rules.NATRange) SNAT { return SNAT{r} }, SNAT.natRange),
	),
	Listed: listedNAT("to:", "--to-source"),
}

var masqueradeRow = Extension{
	Name: "MASQUERADE", Kind: TargetKind, Tables: []string{"nat"}, Hooks: HooksOf(nat.PostRouting), Tracks: true, Needs: "-p udp",
	Options:  natOptions("--to-ports", "--random", "--random-fully"),
	Examples: []string{"", "--to-ports 1024-65535", "--to-ports 0 --random --random-fully"},
	Parse:    func(a *Args) Value { return Masquerade{unshifted(a)} },
	Layouts: layouts(
		natLayout(0, MultiRange, func(r rules.NATRange) Masquerade { return Masquerade{r} }, Masquerade.natRange).only(IPv4Only),
		natLayout(0, SingleRange, func(r rules.NATRange) Masquerade { return Masquerade{r} }, Masquerade.natRange).only(IPv6Only),
	),
	Listed: listedNAT("masq ports: ", "--to-ports"),
}

var redirectRow = Extension{
	Name: "REDIRECT", Kind: TargetKind, Tables: []string{"nat"}, Hooks: HooksOf(nat.PreRouting, nat.Output), Tracks: true, Needs: "-p tcp",
	Options:  natOptions("--to-ports", "--random"),
	Examples: []string{"", "--to-ports 15001", "--to-ports 42-1234 --random", "--to-ports 0"},
	Parse:    func(a *Args) Value { return Redirect{unshifted(a)} },
	Layouts: layouts(
		natLayout(0, MultiRange, func(r rules.NATRange) Redirect { return Redirect{r} }, Redirect.natRange).only(IPv4Only),
		natLayout(0, SingleRange, func(r rules.NATRange) Redirect { return Redirect{r} }, Redirect.natRange).only(IPv6Only),
	),
	Listed: listedNAT("redir ports ", "--to-ports"),
}

// listedNAT takes a range behind a text, and flags; one of them has to be there.
func listedNAT(text, option string) func(*Listing) bool {
	return func(l *Listing) bool {
		some := l.Value(text, option, false)
		for _, flag := range []string{"random", "random-fully", "persistent"} {
			l.Flag(flag, "--"+flag)
			some = some || l.Gave("--"+flag)
		}
		return some
	}
}

// natOptions are the options of one of these targets: the one that names the range, and flags.
func natOptions(to string, flags ...string) []Option {
	out := []Option{{Name: to, Values: 1}}
	for _, name := range flags {
		out = append(out, Option{Name: name})
	}
	return out
}

// natRange reads the options of one of these targets.
func natRange(a *Args) (r rules.NATRange) {
	a.Once()
	var random, fully, persistent bool
	for g := range a.Options {
		switch g.Name() {
		case "--random":
			random = true
		case "--random-fully":
			fully = true
		case "--persistent":
			persistent = true
		case "--to-ports":
			r = g.natPorts(g.Text())
		default:
			r = g.natTo()
		}
	}
	r.Random, r.FullyRandom, r.Persistent = random, fully, persistent
	return r
}

// unshifted is natRange of a target that takes no base port.
func unshifted(a *Args) rules.NATRange {
	r := natRange(a)
	if r.BasePort != 0 {
		a.Fail("a base port (/%d) goes with DNAT only", r.BasePort)
	}
	return r
}

// natLayout is a struct of a target that holds a range.
func natLayout[T Target](revision uint8, s NATStruct, value func(rules.NATRange) T, of func(T) rules.NATRange) Layout {
	return layout(revision, s.Size(),
		func(d []byte, e *Env) (T, bool) {
			r, ok := s.Read(e.Family, d).natRange()
			if s == MultiRange && order.Uint32(d) != 1 {
				ok = false
			}
			v := value(r)
			return v, ok && sayable(v, r)
		},
		func(v T, d []byte, _ *Env) error {
			r := of(v)
			if s != ShiftedRange && r.BasePort != 0 {
				return errors.New("a base port needs revision 2")
			}
			s.write(fieldsOf(r), d)
			return nil
		})
}

// sayable reports whether a target's options can tell a range.
func sayable(t Target, r rules.NATRange) bool {
	switch t.(type) {
	case DNAT:
		return (r.MinAddr.IsValid() || r.HasPorts()) && !r.FullyRandom
	case SNAT:
		return (r.MinAddr.IsValid() || r.HasPorts()) && r.BasePort == 0
	case Masquerade:
		return !r.MinAddr.IsValid() && !r.Persistent && r.BasePort == 0
	case Redirect:
		return !r.MinAddr.IsValid() && !r.Persistent && !r.FullyRandom && r.BasePort == 0
	}
	return true
}

// NATStructOf is the struct of a revision of DNAT, SNAT, MASQUERADE, REDIRECT or NETMAP.
func NATStructOf(name string, revision uint8, f nat.Family) (NATStruct, bool) {
	x, known := Find(name, TargetKind, f)
	if !known || !slices.Contains([]string{"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"}, name) {
		return 0, false
	}
	l, ok := x.Layout(f, revision)
	for _, s := range []NATStruct{MultiRange, SingleRange, ShiftedRange} {
		if ok && s.Size() == l.Size {
			return s, true
		}
	}
	return 0, false
}

// dnatMisprint reports whether options are what iptables up to 1.6.0 prints of DNAT revision 2 in IPv4, which it takes for
// as many ranges as the flags are as a number. The first one's address and ports lie where the kernel's struct is zero.
func dnatMisprint(options []string, f nat.Family) bool {
	if f == nat.IPv6 || len(options) == 0 || options[0] != "--to-destination" {
		return false
	}
	for i, word := range options {
		value := i > 0 && options[i-1] == "--to-destination" && !strings.HasPrefix(word, "--")
		if !value && !slices.Contains([]string{"--to-destination", "--random", "--persistent"}, word) {
			return false
		}
	}
	return len(options) == 1 || slices.Contains([]string{"--to-destination", "--random", "--persistent", ":0", "0.0.0.0", "0.0.0.0:0"}, options[1])
}

func (t DNAT) natRange() rules.NATRange       { return t.Range }
func (t SNAT) natRange() rules.NATRange       { return t.Range }
func (t Masquerade) natRange() rules.NATRange { return t.Range }
func (t Redirect) natRange() rules.NATRange   { return t.Range }

// Name is "DNAT".
func (DNAT) Name() string { return "DNAT" }

// Name is "SNAT".
func (SNAT) Name() string { return "SNAT" }

// Name is "MASQUERADE".
func (Masquerade) Name() string { return "MASQUERADE" }

// Name is "REDIRECT".
func (Redirect) Name() string { return "REDIRECT" }

// Save prints where to.
func (t DNAT) Save(p *Printer) { printNAT(p, " --to-destination ", "--", t.Range, Version{}) }

// Save prints as whom.
func (t SNAT) Save(p *Printer) { printNAT(p, " --to-source ", "--", t.Range, snatFully) }

// Save prints the ports.
func (t Masquerade) Save(p *Printer) {
	printNATPorts(p, " --to-ports ", "--", t.Range, masqueradeFully)
}

// Save prints the ports.
func (t Redirect) Save(p *Printer) { printNATPorts(p, " --to-ports ", "--", t.Range, Version{}) }

// List prints where to.
func (t DNAT) List(p *Printer) { printNAT(p, " to:", "", t.Range, Version{}) }

// List prints as whom.
func (t SNAT) List(p *Printer) { printNAT(p, " to:", "", t.Range, snatFully) }

// List prints the ports.
func (t Masquerade) List(p *Printer) {
	printNATPorts(p, " masq ports: ", "", t.Range, masqueradeFully)
}

// List prints the ports.
func (t Redirect) List(p *Printer) { printNATPorts(p, " redir ports ", "", t.Range, Version{}) }

// The first iptables that print --random-fully of SNAT and of MASQUERADE.
var snatFully, masqueradeFully = Version{1, 6, 0}, Version{1, 6, 2}

func printNAT(p *Printer, option, dashes string, r rules.NATRange, fully Version) {
	p.Text(option, fieldsOf(r).To())
	printNATFlags(p, dashes, r, fully)
}

func printNATPorts(p *Printer, option, dashes string, r rules.NATRange, fully Version) {
	if r.HasPorts() {
		p.Text(option, fieldsOf(r).Ports())
	}
	printNATFlags(p, dashes, r, fully)
}

func printNATFlags(p *Printer, dashes string, r rules.NATRange, fully Version) {
	p.Flag(r.Random, dashes+"random")
	p.Flag(r.FullyRandom && (p.Exact || !p.Version.Before(fully)), dashes+"random-fully")
	p.Flag(r.Persistent, dashes+"persistent")
}

func translation(kind rules.TranslationKind, r rules.NATRange) rules.Action {
	return rules.Action{Verdict: nat.Accept, Effect: &rules.Translation{Kind: kind, Range: r}}
}

// Act translates the destination.
func (t DNAT) Act(*rules.Visit) rules.Action { return translation(rules.DNAT, t.Range) }

// Act translates the source.
func (t SNAT) Act(*rules.Visit) rules.Action { return translation(rules.SNAT, t.Range) }

// Act translates the source to the out device's address.
func (t Masquerade) Act(*rules.Visit) rules.Action { return translation(rules.Masquerade, t.Range) }

// Act translates the destination to the in device's address.
func (t Redirect) Act(*rules.Visit) rules.Action { return translation(rules.Redirect, t.Range) }
