package test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
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

// make compiles tests as they compile what they run, so that in a clean checkout all is compiled once.
func TestAllIsCompiledOnce(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	require.Contains(t, string(makefile), "\nexport CGO_ENABLED ?= 0\n")
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

// The Kubernetes Job is one, and its pods have the capabilities that rootless.txtar shows to be enough.
func TestJobsCapabilities(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../.github/kubernetes/job.yaml")
	require.NoError(t, err)
	var job batchv1.Job
	require.NoError(t, yaml.UnmarshalStrict(text, &job))
	script, err := os.ReadFile("testdata/cli/rootless.txtar")
	require.NoError(t, err)
	enough := regexp.MustCompile(`setpriv --bounding-set=-all,(\S+) "\$@"`).FindSubmatch(script)
	require.NotNil(t, enough)
	with := job.Spec.Template.Spec.Containers[0].SecurityContext
	require.Nil(t, with.Privileged)
	require.Equal(t, []corev1.Capability{"ALL"}, with.Capabilities.Drop)
	var wanted []corev1.Capability
	for one := range strings.SplitSeq(string(enough[1]), ",") {
		wanted = append(wanted, corev1.Capability(strings.ToUpper(strings.TrimPrefix(one, "+"))))
	}
	require.ElementsMatch(t, wanted, with.Capabilities.Add)
}
