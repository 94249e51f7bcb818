package iptables

import (
	"net/netip"
	"slices"
	"strings"
)

// Place is a network that a rule tells to be behind a device.
type Place struct {
	Device  string
	Network netip.Prefix
	Line    int    // of the rule in its text
	Rule    string // the rule
}

// Places are the networks that rules tell to be behind devices, for a node of which no more is known: a network that is masqueraded unless it
// leaves by a device, as Docker and CNI's plugins do it, and one of which packets are accepted where they come or leave by a device. Of a
// network that rules tell to be behind two there is none.
func (rs Ruleset) Places() (out []Place) {
	rs.each(func(chain string, r *Rule) {
		device, network := r.place()
		if device == "" || strings.HasSuffix(device, "+") || !network.IsValid() || network.Bits() == 0 {
			return
		}
		out = append(out, Place{device, network, r.Line, r.Text(chain)})
	})
	all := slices.Clone(out)
	first := map[netip.Prefix]bool{}
	return slices.DeleteFunc(out, func(p Place) bool {
		again := first[p.Network]
		first[p.Network] = true
		return again || slices.ContainsFunc(all, func(o Place) bool { return o.Device != p.Device && o.Network == p.Network })
	})
}

// each calls f with every rule.
func (rs Ruleset) each(f func(chain string, r *Rule)) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for i := range c.Rules {
				f(c.Name, &c.Rules[i])
			}
		}
	}
}

// place is what one rule tells: "" where it is of no device.
func (r *Rule) place() (device string, network netip.Prefix) {
	var from, to netip.Prefix
	var in, out, notOut string
	for _, m := range r.Matches {
		switch m := m.(type) {
		case Source:
			if !m.Not {
				from = m.Prefix
			}
		case Destination:
			if !m.Not {
				to = m.Prefix
			}
		case InInterface:
			if !m.Not {
				in = m.Device
			}
		case OutInterface:
			if m.Not {
				notOut = m.Device
			} else {
				out = m.Device
			}
		}
	}
	if r.Target == nil {
		return "", netip.Prefix{}
	}
	switch name := r.Target.Name(); {
	case name == "MASQUERADE" || name == "SNAT":
		return notOut, from
	case name == "ACCEPT" && to.IsValid() && out != "":
		return out, to
	case name == "ACCEPT" && from.IsValid() && in != "":
		return in, from
	}
	return "", netip.Prefix{}
}

// Devices are those that rules name by -i and -o, but for lo and patterns, in the order of the rules.
func (rs Ruleset) Devices() (out []string) {
	rs.each(func(_ string, r *Rule) {
		for _, m := range r.Matches {
			device := ""
			switch m := m.(type) {
			case InInterface:
				device = m.Device
			case OutInterface:
				device = m.Device
			}
			if device != "" && device != "lo" && !strings.HasSuffix(device, "+") && !slices.Contains(out, device) {
				out = append(out, device)
			}
		}
	})
	return out
}
