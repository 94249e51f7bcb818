package nftables

import "slices"

// Known are the selectors whose values natlab has of a packet, and Unknown the others, in the list's order.
func Known() (known, unknown []string) {
	for i := range selectors {
		if row := &selectors[i]; row.read != nil {
			known = append(known, row.name)
		} else {
			unknown = append(unknown, row.name)
		}
	}
	return known, unknown
}

// Words are those that statements begin with.
func Words() (out []string) {
	for _, row := range statementRows() {
		out = append(out, row.word)
	}
	return out
}

// Expressions are those of a statement, each with its parts.
func Expressions(s Statement) (out []Expr) {
	note := func(e Expr) bool {
		out = append(out, e)
		return false
	}
	asks(s, note)
	switch s := s.(type) {
	case Match:
		contains(s.Right, note)
	case VMap:
		contains(s.Map, note)
	}
	for _, e := range slices.Clone(out) {
		if m, is := e.(MapOf); is {
			out = append(out, m.Map)
		}
	}
	return out
}
