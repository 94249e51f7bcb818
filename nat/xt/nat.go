package xt

import (
	"net/netip"
	"strconv"

	"natlab/nat"
	"natlab/nat/rules"
)

// The NAT targets (xt_nat.c, xt_MASQUERADE.c, xt_REDIRECT.c, xt_NETMAP.c).
type (
	// DNAT is -j DNAT.
	DNAT struct{ Range rules.NATRange }
	// SNAT is -j SNAT.
	SNAT struct{ Range rules.NATRange }
	// Masquerade is -j MASQUERADE: SNAT to the out device's address.
	Masquerade struct{ Range rules.NATRange }
	// Redirect is -j REDIRECT: DNAT to the in device's address, or to loopback in OUTPUT.
	Redirect struct{ Range rules.NATRange }
	// NetMap is -j NETMAP.
	NetMap struct{ To netip.Prefix }
)

// Name is "DNAT".
func (DNAT) Name() string { return "DNAT" }

// Name is "SNAT".
func (SNAT) Name() string { return "SNAT" }

// Name is "MASQUERADE".
func (Masquerade) Name() string { return "MASQUERADE" }

// Name is "REDIRECT".
func (Redirect) Name() string { return "REDIRECT" }

// Name is "NETMAP".
func (NetMap) Name() string { return "NETMAP" }

// Save prints where to.
func (t DNAT) Save(p *Printer) { saveNAT(p, " --to-destination ", t.Range) }

// Save prints as whom.
func (t SNAT) Save(p *Printer) { saveNAT(p, " --to-source ", t.Range) }

// Save prints the ports.
func (t Masquerade) Save(p *Printer) { savePorts(p, t.Range) }

// Save prints the ports.
func (t Redirect) Save(p *Printer) { savePorts(p, t.Range) }

// Save prints the network.
func (t NetMap) Save(p *Printer) {
	p.Text(" --to ")
	p.Prefix(t.To)
}

func saveNAT(p *Printer, option string, r rules.NATRange) {
	p.Text(option)
	port := r.MinPort != 0
	if r.MinAddr.IsValid() {
		brackets := port && r.MinAddr.Is6() // around the whole range
		if brackets {
			p.Text("[")
		}
		p.Addr(r.MinAddr)
		if r.MaxAddr.IsValid() && r.MaxAddr != r.MinAddr {
			p.Text("-")
			p.Addr(r.MaxAddr)
		}
		if brackets {
			p.Text("]")
		}
	}
	if port {
		p.Text(":", span(r.MinPort, r.MaxPort, "-"))
		if r.BasePort != 0 {
			p.Text("/", strconv.Itoa(int(r.BasePort)))
		}
	}
	saveNATFlags(p, r)
}

func savePorts(p *Printer, r rules.NATRange) {
	if r.MinPort != 0 {
		p.Option(false, "--to-ports", span(r.MinPort, r.MaxPort, "-"))
	}
	saveNATFlags(p, r)
}

func saveNATFlags(p *Printer, r rules.NATRange) {
	p.Flag(r.Random, "--random")
	p.Flag(r.FullyRandom, "--random-fully")
	p.Flag(r.Persistent, "--persistent")
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

// Act replaces the network part of an address.
func (t NetMap) Act(*rules.Visit) rules.Action {
	return rules.Action{Verdict: nat.Accept, Effect: &rules.Translation{Kind: rules.NetMap, To: t.To}}
}
