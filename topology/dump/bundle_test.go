package dump

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, text string
		want       Bundle
	}{
		{"nothing gathered", "=== natlab bundle 1\n=== end\n", Bundle{Whole: true}},
		{
			"a section", "=== natlab bundle 1\n=== hostname\nn1\n\n=== exit 0\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "hostname", Line: 3, Text: "n1\n"}}},
		},
		{
			"a text without a newline at its end", "=== natlab bundle 1\n=== cat x\n{}\n=== exit 0\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "cat x", Line: 3, Text: "{}"}}},
		},
		{
			"no text", "=== natlab bundle 1\n=== ipset save\n\n=== exit 0\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "ipset save", Line: 3}}},
		},
		{
			"empty lines of a text stay", "=== natlab bundle 1\n=== x\n\na\n\n\n=== exit 0\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "x", Line: 3, Text: "\na\n\n"}}},
		},
		{
			"a program that is missing", "=== natlab bundle 1\n=== ipset save\n\n=== ! sh: 1: ipset: not found\n=== exit 127\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "ipset save", Line: 3, Errors: []string{"sh: 1: ipset: not found"}, Exit: 127}}},
		},
		{
			"what looks like a mark", "=== natlab bundle 1\n=== x\n\\=== end\n\\\\=== y\n\\a\n\n=== exit 0\n=== end\n",
			Bundle{Whole: true, Sections: []Section{{Name: "x", Line: 3, Text: "=== end\n\\=== y\n\\a\n"}}},
		},
		{
			"cut off in a text", "=== natlab bundle 1\n=== ip rule\n0:\tfrom all\n",
			Bundle{Sections: []Section{{Name: "ip rule", Line: 3, Text: "0:\tfrom all\n", Exit: -1}}},
		},
		{
			"by way of Windows, with a prompt", "\ufeff$ sh collect.sh\r\n=== natlab bundle 1\r\n=== x\r\na\r\n\r\n=== exit 1\r\n=== end\r\n$ \r\n",
			Bundle{Whole: true, Sections: []Section{{Name: "x", Line: 4, Text: "a\n", Exit: 1}}},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(strings.NewReader(row.text))
			require.NoError(t, err)
			require.Equal(t, row.want, got)
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", "not a bundle"},
		{"something else", "*nat\nCOMMIT\n", "not a bundle"},
		{"something else, long", strings.Repeat("-A INPUT\n", 200), "line 101: not a bundle"},
		{"another version", "=== natlab bundle 2\n", `line 1: a bundle of version "2": this natlab reads version 1`},
		{"two bundles", "=== natlab bundle 1\n=== natlab bundle 1\n", "line 2: a second bundle begins"},
		{"between two sections", "=== natlab bundle 1\n=== x\n\n=== exit 0\nwho\n", `line 5: "who" stands between two sections`},
		{"behind the text", "=== natlab bundle 1\n=== x\n\n=== ! no\nwho\n", `line 5, section "x": "who" stands behind the end of the section's text`},
		{"an exit status of nothing", "=== natlab bundle 1\n=== exit 0\n", "line 2: \"=== exit 0\" is of no section"},
		{"no exit status", "=== natlab bundle 1\n=== x\n\n=== exit 256\n", `line 4, section "x": "=== exit 256": want an exit status, 0 to 255`},
		{"sections without end", "=== natlab bundle 1\n" + strings.Repeat("=== x\n\n=== exit 0\n", MaxSections+1), "more than 4096 sections"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(strings.NewReader(row.text))
			require.ErrorContains(t, err, row.want)
			require.Zero(t, got)
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	const text = "=== natlab bundle 1\n=== x\na\n"
	_, err := read(strings.NewReader(text), int64(len(text)-1))
	require.ErrorContains(t, err, "larger than 27 bytes")
	_, err = read(strings.NewReader(text), int64(len(text)))
	require.NoError(t, err)
}

func TestAtLine(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\n\na\n", Section{Line: 3, Text: "a\n"}.AtLine())
	require.Equal(t, "a", Section{Text: "a"}.AtLine())
}

func FuzzRead(f *testing.F) {
	f.Add("=== natlab bundle 1\n=== x\na\n\n=== ! no\n=== exit 1\n=== end\n")
	f.Add("=== natlab bundle 1\n=== x\n\\\\=== a")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := Read(strings.NewReader(text))
		if err != nil {
			require.Zero(t, b)
			return
		}
		for _, s := range b.Sections {
			require.Positive(t, s.Line)
			require.LessOrEqual(t, len(s.Text), len(text)+1)
		}
	})
}
