package report

import (
	"fmt"
	"strings"

	"natlab/nat/proof"
)

// writeAllowed names the rules of others by which flows are otherwise than their Services call for, and may be, each with how many.
func writeAllowed(b *strings.Builder, flows []proof.Certificate, st Style) {
	var order []proof.Allowance
	by := map[proof.Allowance][]string{}
	for _, c := range flows {
		for _, a := range c.AllowedBy {
			if by[a] == nil {
				order = append(order, a)
			}
			by[a] = append(by[a], c.Name)
		}
	}
	if len(order) == 0 {
		return
	}
	b.WriteString("allowed, though no Service calls for it:\n")
	for _, a := range order {
		flows := "1 flow: " + by[a][0]
		if n := len(by[a]); n > 1 {
			flows = fmt.Sprintf("%d flows; the first: %s", n, by[a][0])
		}
		b.WriteString("  " + st.Fold(fmt.Sprintf("by %s  %s", a, st.paint(quiet, flows)), "    ") + "\n")
	}
	b.WriteByte('\n')
}
