package report

import (
	"encoding/json"
	"io"

	"natlab/nat/proof"
)

// JSON writes the report as one JSON object; cmd/natlab/README.md documents its fields. A list is never null.
func JSON(w io.Writer, r proof.Report) error {
	flows := make([]proof.Certificate, len(r.Flows))
	for i, c := range r.Flows {
		c.Request, c.Reply = list(c.Request), list(c.Reply)
		c.Checks, c.Hops, c.Met = list(c.Checks), list(c.Hops), list(c.Met)
		c.Conntrack = list(c.Conntrack)
		flows[i] = c
	}
	r.Flows = flows
	r.Coverage.Unmet = list(r.Coverage.Unmet)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // a tuple has a ">"
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// list is s, or the empty list where s is nil.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
