package dump

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// archived is a tar archive of files, each a name and its text.
func archived(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "logs/", Typeflag: tar.TypeDir, Mode: 0o755}))
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := w.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.String()
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// A bundle is found in whatever it was sent in, and what is not one is named.
func TestArchives(t *testing.T) {
	t.Parallel()
	const text = "=== natlab bundle 1\n=== hostname\nn1\n\n=== exit 0\n=== end\n"
	want := Bundle{Whole: true, Sections: []Section{{Name: "hostname", Line: 3, Text: "n1\n"}}}
	for _, row := range []struct{ name, input, problem string }{
		{"a text", text, ""},
		{"compressed", zipped(t, text), ""},
		{"in an archive", archived(t, "logs/journal", "x\n", "n1.bundle", text), ""},
		{"in a compressed archive", zipped(t, archived(t, "n1.bundle", text, "empty", "")), ""},
		{"two of them", archived(t, "a", text, "b", text), "the archive has 2 bundles, a, b"},
		{"none", archived(t, "a", "x"), "no file in the archive is a bundle"},
		{"compressed and cut off", zipped(t, strings.Repeat(text, 9))[:40], "unexpected EOF"},
		{"an archive that is cut off", archived(t, "a", text)[:1030], "unexpected EOF"},
		{"no more than its magic", "\x1f\x8bx", "not what gzip made"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(strings.NewReader(row.input))
			if row.problem != "" {
				require.ErrorContains(t, err, row.problem)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
