//go:build !core

package report_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is written is valid by the schemas of Ant and Jenkins, where NATLAB_JUNIT_XSD names a folder of them, by xmllint.
func TestJUnitIsValidByXMLLint(t *testing.T) {
	t.Parallel()
	schemas, err := filepath.Glob(filepath.Join(os.Getenv("NATLAB_JUNIT_XSD"), "*.xsd"))
	require.NoError(t, err)
	for _, xsd := range schemas {
		for _, text := range documents(t) {
			lint := exec.CommandContext(t.Context(), "xmllint", "--noout", "--schema", xsd, "-")
			lint.Stdin = strings.NewReader(text)
			out, err := lint.CombinedOutput()
			require.NoError(t, err, "%s: %s", xsd, out)
		}
	}
}
