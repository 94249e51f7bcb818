package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// completed are the words that the shell is given for a command line whose last word is to be completed.
func completed(t *testing.T, args ...string) []string {
	t.Helper()
	var out bytes.Buffer
	p := program{in: strings.NewReader(""), out: &out, err: io.Discard}
	require.Equal(t, exitOK, p.run(t.Context(), append([]string{"__complete"}, args...)))
	var words []string
	for line := range strings.Lines(out.String()) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); word != "" && word[0] != ':' {
			words = append(words, word)
		}
	}
	return words
}

// The shell completes what a command line is about.
func TestCompletion(t *testing.T) {
	t.Parallel()
	cluster := filepath.Join("..", "..", "topology", "reference", "cluster.yaml")
	rows := []struct {
		line, has string
	}{
		{"ver", "verify"},
		{"verify --o", "--output"},
		{"verify -o ", "junit"},
		{"rules -f " + cluster + " --node ", "vms100"},
		{"rules --release v1.3", "v1.31"},
		{"explain -f " + cluster + " --from ", "velero/minio-b6d98746c-lxt2c"},
		{"explain -f " + cluster + " --from out", "outside"},
		{"explain --code masq", "masquerade.missing"},
		{"scenario run --all --variant ", "buggy"},
		{"scenario show kubernetes-1145", "kubernetes-114537"},
		{"scenario run kubernetes-92315 kubernetes-1145", "kubernetes-114537"},
		{"ask outside ", "udp"},
		{"vm run --kernel ", "bookworm"},
		{"vm run --kernel 6.", "6.12"},
		{"vm run --kernel 7", "7.x"},
		{"vm run --iptables ", "bullseye"},
		{"explain --kernel 5", "5.10"},
		{"verify -f " + cluster + " --to ", "10.96.0.10:9153"},
		{"get pods -f " + cluster + " -n ", "velero"},
		{"get services -f " + cluster + " ", "minio"},
		{"view --as ", "1.4.21"},
		{"audit --as 1.8", "1.8.7"},
	}
	for _, row := range rows {
		t.Run(row.line, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, completed(t, strings.Split(row.line, " ")...), row.has)
		})
	}
}

// Each command has examples, and each example is a command line that natlab takes.
func TestExamples(t *testing.T) {
	t.Parallel()
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	seen := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && !sub.IsAdditionalHelpTopicCommand() {
				walk(sub)
			}
		}
		if cmd.HasSubCommands() {
			return
		}
		require.NotEmpty(t, cmd.Example, "%s", cmd.CommandPath())
		seen[cmd.CommandPath()] = true
		for line := range strings.Lines(cmd.Example) {
			_, line, _ = strings.Cut(line, "natlab ")
			line, _, _ = strings.Cut(line, " > collect.sh")
			root := p.root()
			found, args, err := root.Find(wordsOf(line))
			require.NoError(t, err, "%s", line)
			require.Equal(t, cmd.CommandPath(), found.CommandPath(), "%s", line)
			require.NoError(t, found.ParseFlags(args), "%s", line)
			if found.Args != nil {
				require.NoError(t, found.Args(found, found.Flags().Args()), "%s", line)
			}
		}
	}
	walk(p.root())
	for path := range examples {
		require.True(t, seen[path], "%s has examples and is no command", path)
	}
}

// wordsOf takes a command line apart; a word may stand in single quotes.
func wordsOf(line string) (words []string) {
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// There is a manual page for each command, with its examples and flags.
func TestManualPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man1")
	p := program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	require.Equal(t, exitOK, p.run(t.Context(), []string{"man", dir}))
	for name, has := range map[string]string{
		"natlab.1": "natlab-verify(1)", "natlab-verify.1": "fail-fast", "natlab-explain.1": "192.168.26.101:30450", "natlab-scenario-run.1": "shard",
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Contains(t, string(page), ".TH")
		require.Contains(t, strings.ReplaceAll(string(page), "\\", ""), has)
	}
	require.NoFileExists(t, filepath.Join(dir, "natlab-supervise.1"))
}
