package iptables

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/xt"
)

// String is the rule set as iptables-save prints it, without its comment lines and without the rules' counters.
func (rs Ruleset) String() string {
	return rs.text(false)
}

// Counted is String with every rule's counters, as iptables-save -c prints it.
func (rs Ruleset) Counted() string {
	return rs.text(true)
}

// Restore is input for iptables-restore that makes a node hold the tables of rs, and of them exactly what rs holds.
func (rs Ruleset) Restore() string { return rs.String() }

// text prints by way of one line's buffer, so that the whole is written once.
func (rs Ruleset) text(counters bool) string {
	var out strings.Builder
	out.Grow(rs.size())
	line := make([]byte, 0, 512)
	p := xt.NewPrinter(make([]byte, 0, 512), nat.IPv4)
	for _, t := range rs.Tables {
		out.WriteString("*" + t.Name + "\n")
		for _, c := range t.Chains {
			line = append(append(append(line[:0], ':'), c.Name...), ' ')
			line = append(append(line, c.Policy...), ' ')
			line = oneLine(appendCounters(line, c.Packets, c.Bytes))
			out.Write(line)
		}
		for _, c := range t.Chains {
			for i := range c.Rules {
				if counters {
					line = append(appendCounters(line[:0], c.Rules[i].Packets, c.Rules[i].Bytes), ' ')
					out.Write(line)
				}
				p.Reset()
				p.Text("-A ", c.Name)
				c.Rules[i].print(p)
				line = oneLine(append(line[:0], p.Bytes()...))
				out.Write(line)
			}
		}
		out.WriteString("COMMIT\n")
	}
	return out.String()
}

// oneLine ends a line. What would end it sooner for iptables-restore, a name or comment not from a parsed text may
// have it, becomes a question mark.
func oneLine(b []byte) []byte {
	for _, end := range []byte{'\n', 0} {
		for i := bytes.IndexByte(b, end); i >= 0; i = bytes.IndexByte(b, end) {
			b[i] = '?'
		}
	}
	return append(b, '\n')
}

// size guesses the length of the text, for one allocation to do.
func (rs Ruleset) size() int {
	const chain, rule = 48, 128 // bytes a line, of kube-proxy's
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += chain + rule*len(c.Rules)
		}
	}
	return n
}

func appendCounters(b []byte, packets, bytes uint64) []byte {
	b = strconv.AppendUint(append(b, '['), packets, 10)
	b = strconv.AppendUint(append(b, ':'), bytes, 10)
	return append(b, ']')
}

// print prints the rule's conditions and its target, with a blank in front.
func (r *Rule) print(p *xt.Printer) {
	for _, m := range r.Matches {
		printMatch(p, m)
	}
	if t := r.Target; t != nil {
		call := " -j "
		if _, goes := t.(xt.Goto); goes {
			call = " -g "
		}
		p.Text(call, t.Name())
		t.Save(p)
	}
}

// Text is the rule as iptables-save prints it: "-A CHAIN ...".
func (r Rule) Text(chain string) string {
	p := xt.NewPrinter([]byte("-A "+chain), nat.IPv4)
	r.print(p)
	return p.String()
}

// Met is the rule as a trace has it.
func (r Rule) Met(chain string) nat.Met {
	met := nat.Met{Text: r.Text(chain)}
	var brief []byte
	protocol := ""
	for _, m := range r.Matches {
		switch m := m.(type) {
		case xt.Comment:
			continue
		case Protocol:
			protocol = m.Protocol
		case xt.Recent:
			met.Remembers = met.Remembers || m.Action == xt.RecentCheck || m.Action == xt.RecentUpdate
		}
		before := len(brief)
		brief = appendOptions(brief, m)
		if len(brief) == before && m.Name() != protocol { // the match alone asks something
			brief = append(append(brief, " -m "...), m.Name()...)
		}
	}
	met.Brief = strings.TrimPrefix(string(brief), " ")
	if r.Target == nil {
		return met
	}
	if ct, ok := r.Target.(xt.CT); ok {
		met.Untracks = ct.NoTrack
	}
	met.Target, met.Action = r.Target.Name(), string(appendOptions([]byte(r.Target.Name()), r.Target))
	if to, ok := r.Target.(xt.DNAT); ok && (!to.Range.MaxAddr.IsValid() || to.Range.MaxAddr == to.Range.MinAddr) && to.Range.MaxPort == to.Range.MinPort {
		met.To = netip.AddrPortFrom(to.Range.MinAddr, to.Range.MinPort)
	}
	return met
}

func appendOptions(b []byte, v xt.Value) []byte {
	p := xt.NewPrinter(b, nat.IPv4)
	v.Save(p)
	return p.Bytes()
}

// Spec is the rule without its chain: what follows "-A CHAIN " in Text.
func (r Rule) Spec() string { return strings.TrimLeft(strings.TrimPrefix(r.Text(""), "-A"), " ") }

// matchText is a condition as iptables-save prints it, without a blank in front.
func matchText(m xt.Match) string {
	p := xt.NewPrinter(nil, nat.IPv4)
	printMatch(p, m)
	return strings.TrimPrefix(p.String(), " ")
}

func printMatch(p *xt.Printer, m xt.Match) {
	if name := m.Name(); name != "" {
		p.Text(" -m ", name)
	}
	m.Save(p)
}
