package topology

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// plainAgrees holds what is read without the library against the library, and reports whether it was read.
func plainAgrees(t *testing.T, text string) bool {
	t.Helper()
	got, ok := plainYAML([]byte(text))
	if !ok {
		return false
	}
	want, err := yaml.YAMLToJSONStrict([]byte(text))
	require.NoError(t, err, "%q was read as %s", text, got)
	require.True(t, json.Valid(got), "%q: %s", text, got)
	require.JSONEq(t, string(want), string(got), "%q", text)
	return true
}

func TestPlainYAML(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text string
		read bool
	}{
		{"a: b\nc:\n- d\n- e: 1\n  f: [x, z]\n-   g:\n      h: true\nk: {}\n", true},
		{"{a: b, c: [1, 2], d: {e: \"f\"}, g: 10.0.0.0/8}\n", true},
		{"# what it is\na: 'it says \"b\"'\n\nb: \"\"\nc: |\n  one\n\n   two\nd: |-\n  three\n\ne: fd00::1\n", true},
		{" a: b\n c: d\n", true},
		{"kind: List\nitems:\n- metadata:\n    name: x\n  spec: {}\n- metadata:\n    name: z\n", true},
		// left to the library
		{"a: b\na: c\n", false},        // stands twice
		{"a: 010\n", false},            // eight
		{"a: yes\nb: 1\n", false},      // true
		{"a: 2020-01-01\n", false},     // a date
		{"a: b: c\n", false},           // an error
		{"a: b\n  c\n", false},         // one scalar of two lines
		{"a: b # c\n", false},          // a comment behind a value
		{"a: &x b\nc: *x\n", false},    // an alias
		{"a:\n  b: c\n d: e\n", false}, // an error
		{"a: \"b\\tc\"\n", false},      // an escape
		{"a:\nb: c\n", false},          // null
		{"a: 1e3\n", false},
		{"a: 0x1f\n", false},
		{"a: ~\n", false},
		{"- a\n", false}, // no mapping
		{"a: \u00e4\n", false},
		{"", false},
	} {
		require.Equal(t, row.read, plainAgrees(t, row.text), "%q", row.text)
	}
}

// Drawn documents, plain and not quite: what is read without the library is what the library reads.
func TestPlainYAMLDrawn(t *testing.T) {
	t.Parallel()
	pieces := []string{
		"a", "b", "key", "n", "yes", "true", "1", "0", "01", "1e3", "-", "- ", "  ", "    ", "\n", "\n", "\n  ", "\n- ", ": ", ": ", ": ", ":", "{", "}", "[", "]", ", ", ",", "\"", "'", "|", "|-", "\n\n", "#", " #",
		"10.0.0.1", "fd00::1", "x=y", "&", "*", "a: b", "\nc: d", "\n  e: f", "\n- g: h", "\n  - i", "a:b", "2020-01-01", "..", "_", "~", "null", "<<", "? ", "!x", "%", "+1", "\\n", "3s", "1.5",
	}
	seed := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 60_000 {
		var b strings.Builder
		b.WriteString("a: b\n"[:5*seed.IntN(2)])
		for range 1 + seed.IntN(12) {
			b.WriteString(pieces[seed.IntN(len(pieces))])
		}
		if plainAgrees(t, b.String()) {
			read++
		}
	}
	require.Greater(t, read, 500, "documents that were read without the library")
}

// The documents of the tests are read without the library, but for a few.
func TestPlainYAMLOfTests(t *testing.T) {
	t.Parallel()
	read := 0
	files, err := filepath.Glob("reference/*.yaml")
	require.NoError(t, err)
	more, err := filepath.Glob("../test/testdata/verify/*.yaml")
	require.NoError(t, err)
	for _, name := range append(files, more...) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, c := range split(text) {
			if plainAgrees(t, string(c.unmarked())) {
				read++
			}
		}
	}
	require.Greater(t, read, 50)
}

func FuzzPlainYAML(f *testing.F) {
	for _, text := range []string{"a: b\nc:\n- d\n- e: 1\n  f: [x, z]\n", "{a: b, c: [1, 2]}", "a: |\n  b\n\n  c\nd: 'e'\n", "a:\n  b:\n    c: 10.0.0.1\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { plainAgrees(t, text) })
}
