package test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The reports of parts become one, in which each suite has a number of its own; what is no report is refused.
func TestReportsOfParts(t *testing.T) {
	t.Parallel()
	const report = "../nat/report/testdata/junit.xml"
	out, err := exec.CommandContext(t.Context(), "../.ci/junit", report, report, report).Output()
	require.NoError(t, err)
	var all struct {
		Suites []struct {
			ID    int        `xml:"id,attr"`
			Tests int        `xml:"tests,attr"`
			Cases []struct{} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal(out, &all))
	require.Len(t, all.Suites, 3)
	for i, s := range all.Suites {
		require.Equal(t, i, s.ID)
		require.Len(t, s.Cases, s.Tests)
		require.NotEmpty(t, s.Cases)
	}
	for _, args := range [][]string{{}, {report, "../Makefile"}} {
		out, err := exec.CommandContext(t.Context(), "../.ci/junit", args...).Output() // #nosec G204 -- the arguments are ours
		require.Error(t, err)
		require.Empty(t, out)
	}
}

// What workflows and jobs are told to run is there: targets of make, files, flags of natlab.
func TestWorkflowsRunWhatIsThere(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	manual, err := os.ReadFile("../cmd/natlab/README.md")
	require.NoError(t, err)
	var files []string
	for _, pattern := range []string{"workflows/*", "actions/*/*", "kubernetes/*"} {
		found, err := filepath.Glob("../.github/" + pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		files = append(files, found...)
	}
	target := regexp.MustCompile(`\bmake (?:-C "\$home" |GO="\$\(command -v go\)" )?([a-z-]+)`)
	flag := regexp.MustCompile(`(?:natlab |flags\+?=).*?(--[a-z-]+)`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, yaml.UnmarshalStrict(text, &document), name)
		code := regexp.MustCompile(`(?m)^ *#.*`).ReplaceAllString(string(text), "")
		for _, m := range target.FindAllStringSubmatch(code, -1) {
			require.Contains(t, string(makefile), "\n"+m[1]+":", "%s: make %s", name, m[1])
		}
		for _, m := range flag.FindAllStringSubmatch(code, -1) {
			require.Contains(t, string(manual), m[1], "%s: natlab %s", name, m[1])
		}
		for _, m := range regexp.MustCompile(`\.ci/[a-z]+`).FindAllString(code, -1) {
			require.FileExists(t, filepath.Join("..", m), name)
		}
		require.NotContains(t, code, "\t", name)
	}
}
