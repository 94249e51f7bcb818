package xt

import (
	"strings"

	"natlab/nat/rules"
)

// PhysDev is -m physdev (xt_physdev.c); its options are kept as printed.
type PhysDev struct{ Options string }

// Name is "physdev".
func (PhysDev) Name() string { return "physdev" }

// Save prints the options.
func (m PhysDev) Save(p *Printer) { p.Flag(m.Options != "", m.Options) }

// Holds answers for packets that no bridge carries: only what is inverted holds.
func (m PhysDev) Holds(v *rules.Visit) rules.Answer {
	if _, ok := v.World.(rules.Router); !ok {
		return rules.Unknown
	}
	return rules.Is(strings.HasPrefix(m.Options, "!"), false)
}

// Actual tells that no bridge carries the packet.
func (PhysDev) Actual(*rules.Visit) string { return "no bridge carries the packet" }
