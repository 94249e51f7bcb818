package dataplane

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is what this machine cannot do: a program that is not installed, a kernel without the feature.
var ErrUnsupported = errors.New("not supported here")

// RefusedError is a rule set that iptables-restore or the kernel refused. The old rules are in place.
type RefusedError struct {
	Program string // "iptables-nft-restore"
	Line    int    // of the input, from 1; 0 where it is not known
	Text    string // that line
	Table   string // the table it is in; "" where it is not known
	Reason  string // the program's own words, on one line
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	b.WriteString(e.Program)
	if e.Line > 0 {
		fmt.Fprintf(&b, ": line %d", e.Line)
		if e.Table != "" {
			fmt.Fprintf(&b, " (table %s)", e.Table)
		}
		fmt.Fprintf(&b, ": %q", e.Text)
	}
	fmt.Fprintf(&b, ": refused: %s; the old rules are still in place", e.Reason)
	return b.String()
}
