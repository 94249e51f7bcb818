package xtables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// loaded is a saved rule set as the kernel would hold it after iptables-restore of Newest: its tables in the order
// of /proc/net/ip_tables_names, the one loaded last first.
func loaded(t *testing.T, w Writer, text string) []Table {
	t.Helper()
	tables, err := w.ReadSave(text)
	require.NoError(t, err)
	var out []Table
	for _, table := range tables {
		blob, err := table.Complete().Encode()
		require.NoError(t, err)
		back, err := Decode(blob)
		require.NoError(t, err)
		out = append([]Table{back}, out...)
	}
	return out
}

// What real binaries print for the same rules. A line on which the old program printed ranges from behind the
// rule's own bytes is compared up to there: the rest differs from run to run.
func TestViewsAreThoseOfTheRealPrograms(t *testing.T) {
	sets, err := filepath.Glob("testdata/views/*")
	require.NoError(t, err)
	require.NotEmpty(t, sets)
	for _, dir := range sets {
		rules, err := os.ReadFile(filepath.Join(dir, "rules.txt"))
		require.NoError(t, err)
		tables := loaded(t, Writer{Family: nat.IPv4, Version: Newest}, string(rules))
		views, err := filepath.Glob(dir + "/as-*.txt")
		require.NoError(t, err)
		require.NotEmpty(t, views)
		for _, file := range views {
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "as-"), ".txt")
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				v, err := ParseVersion(name)
				require.NoError(t, err)
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				got, _ := View{Version: v}.Save(tables...)
				wantLines, gotLines := cutPast(string(want), got)
				if diff := cmp.Diff(wantLines, gotLines); diff != "" {
					t.Error("-real +ours\n" + diff)
				}
			})
		}
	}
}

// cutPast shortens the real lines where ours says that it does not know more.
func cutPast(want, got string) (w, g []string) {
	w, g = strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if known, _, past := strings.Cut(g[i], " ["); past && strings.Contains(g[i], "past the rule's own bytes]") && strings.HasPrefix(w[i], known) {
			n := strings.Count(known, "--to-destination")
			if strings.Count(w[i], "--to-destination") > n {
				w[i], g[i] = known, known
			}
		}
	}
	return w, g
}
