package report

import (
	"io"

	"natlab/nat/proof"
)

// JSON writes the report as one JSON document; cmd/natlab/README.md documents its fields.
func JSON(w io.Writer, r proof.Report) error { return Document(w, KindProof, r) }
