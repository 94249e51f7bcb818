package report_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/report"
)

// A document has its kind in front, a list is never null, and what has a text of its own keeps it.
func TestDocument(t *testing.T) {
	t.Parallel()
	type inner struct {
		Names []string `json:"names"`
	}
	type outer struct {
		inner
		Deep    *inner         `json:"deep"`
		All     []inner        `json:"all"`
		At      netip.AddrPort `json:"at"`
		Raw     []byte         `json:"raw,omitempty"`
		Left    []int          `json:"left,omitempty"`
		Any     any            `json:"any,omitempty"`
		private []int
	}
	const head = `"apiVersion":"natlab/v1alpha1","kind":"Thing"`
	at := netip.MustParseAddrPort("192.0.2.1:80")
	for _, row := range []struct {
		name string
		of   any
		want string
	}{
		{"no fields", struct{}{}, `{` + head + `}`},
		{"a list", []int{1}, `{` + head + `,"items":[1]}`},
		{"no list", []int(nil), `{` + head + `,"items":[]}`},
		{"a list in a list", []inner{{}}, `{` + head + `,"items":[{"names":[]}]}`},
		{"marks", struct{ A string }{"a > b & <c>"}, `{` + head + `,"A":"a > b & <c>"}`},
		{"below a pointer", outer{Deep: &inner{}, At: at, private: []int{1}}, `{` + head + `,"names":null,"deep":{"names":[]},"all":[],"at":"192.0.2.1:80"}`},
		{"below any", outer{All: []inner{{}}, At: at, Any: inner{}}, `{` + head + `,"names":null,"deep":null,"all":[{"names":[]}],"at":"192.0.2.1:80","any":{"names":[]}}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var indented bytes.Buffer
			require.NoError(t, report.Document(&indented, "Thing", row.of))
			require.JSONEq(t, row.want, indented.String())
			require.NotContains(t, indented.String(), `\u003e`)
			require.Equal(t, byte('\n'), indented.Bytes()[indented.Len()-1])
		})
	}
	require.Error(t, report.Document(&bytes.Buffer{}, "Thing", func() {}))
}
