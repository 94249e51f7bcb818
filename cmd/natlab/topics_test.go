package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"natlab/nat/gateway"
	"natlab/nat/report"
	"natlab/topology"
)

// codeOf is the first block of code of a section of the manual.
func codeOf(t *testing.T, section string) string {
	t.Helper()
	_, after, ok := strings.Cut(sectionOf(page, section), "\n```")
	require.True(t, ok, section)
	_, after, _ = strings.Cut(after, "\n")
	code, _, _ := strings.Cut(after, "\n```")
	return code
}

// Each help topic is a text without markdown's marks, that fits, and natlab help shows it.
func TestTopics(t *testing.T) {
	t.Parallel()
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	topics := p.topics()
	require.Len(t, topics, 7)
	for _, topic := range topics {
		if topic.Name() == "schema" { // for programs
			continue
		}
		var out strings.Builder
		p := program{in: strings.NewReader(""), out: &out, err: io.Discard}
		require.Zero(t, p.run(t.Context(), []string{"help", topic.Name()}))
		require.Greater(t, strings.Count(out.String(), "\n"), 8, topic.Name())
		require.NotRegexp(t, "```|`|\\]\\(|\\|--", out.String(), topic.Name())
		for line := range strings.SplitSeq(plainText(topic.Long, report.Style{Width: 60}), "\n") {
			require.True(t, utf8.RuneCountInString(line) <= 60 || len(strings.Fields(line)) == 1, "%s: %s", topic.Name(), line)
		}
	}
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	const text = "### A `heading`\n\nTwo lines\nof [a link](to#it) and **bold**.\n\n- one\n  more\n- two\n\n| field | |\n|---|---|\n| `a`? | what \\| it is |\n| `bc` | x |\n\n```sh\nls  -l\n```\n"
	want := "A heading\n\nTwo lines of a link and bold.\n\n- one more\n- two\n\n  a?  what | it is\n  bc  x\n\n    ls  -l\n"
	require.Equal(t, want, plainText(text, report.Style{}))
}

// The examples of the topics are read.
func TestTopicsExamples(t *testing.T) {
	t.Parallel()
	for line := range strings.SplitSeq(codeOf(t, "Packets"), "\n") {
		_, err := gateway.ParseSpec(line)
		require.NoError(t, err, line)
	}
	const node = "\n---\napiVersion: v1\nkind: Node\nmetadata: {name: a}\nstatus: {addresses: [{type: InternalIP, address: 192.168.1.2}]}\n"
	c, _, err := topology.Load(topology.Source{Name: "page", Reader: strings.NewReader(codeOf(t, "The Lab document") + node)})
	require.NoError(t, err)
	require.Equal(t, topology.VXLAN, c.PodNetwork.Overlay)
	require.Equal(t, "outside", c.Clients[0].Name)
}

// The manual has every environment variable that a source file asks for.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	asks := regexp.MustCompile(`(?:Getenv|getenv|LookupEnv|forced)\("([A-Z_]+)"\)|\b(?:[a-zA-Z]+Variable|Env[A-Z][a-zA-Z]*) = "([A-Z_]+)"`)
	section := sectionOf(page, "Environment")
	found := map[string]bool{}
	for _, dir := range []string{".", "../../lab", "../../scenarios"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range asks.FindAllStringSubmatch(string(text), -1) {
				name := m[1] + m[2]
				found[name] = true
				require.Contains(t, section, "`"+name+"`", path)
			}
			return err
		}))
	}
	require.Greater(t, len(found), 8)
	for _, m := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(section, -1) {
		require.True(t, found[m[1]], "nothing reads %s", m[1])
	}
}
