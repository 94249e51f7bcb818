package test

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// unordered are the chains whose order kube-proxy leaves to chance: it ranges over maps.
var unordered = []string{"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"}

const lastRule = "must be the last rule"

// canonical puts the rules of unordered chains into an order of their own, those that must be last behind the others.
func canonical(t *testing.T, text string, family nat.Family) string {
	t.Helper()
	rs, err := iptables.ParseString(text, family)
	require.NoError(t, err)
	for _, table := range rs.Tables {
		for _, c := range table.Chains {
			if slices.Contains(unordered, c.Name) {
				requireLastIsLast(t, c)
				slices.SortFunc(c.Rules, func(a, b iptables.Rule) int { return strings.Compare(sortKey(a), sortKey(b)) })
			}
		}
	}
	return rs.String()
}

func sortKey(r iptables.Rule) string {
	spec := r.Spec()
	if strings.Contains(spec, lastRule) {
		return "~" + spec
	}
	return spec
}

func requireLastIsLast(t *testing.T, c iptables.Chain) {
	t.Helper()
	seen := false
	for _, r := range c.Rules {
		last := strings.Contains(r.Spec(), lastRule)
		require.False(t, seen && !last, "%s: a rule stands behind one that must be last: %s", c.Name, r.Spec())
		seen = seen || last
	}
}

// golden is one case: what a real kube-proxy was given, and what iptables-save printed after it had synced.
type golden struct {
	name, release string
	files         map[string][]byte
}

func goldens(t *testing.T) []golden {
	t.Helper()
	paths, err := filepath.Glob("testdata/goldens/*/*.txtar")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 289, "the goldens are not all there")
	var out []golden
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		g := golden{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), release: filepath.Base(filepath.Dir(path)), files: map[string][]byte{}}
		for _, f := range archive.Files {
			g.files[f.Name] = f.Data
		}
		out = append(out, g)
	}
	return out
}

func (g golden) cluster(t *testing.T) topology.Cluster {
	t.Helper()
	cluster, _, err := topology.LoadForRules(
		topology.Source{Name: "input.yaml", Reader: bytes.NewReader(g.files["input.yaml"])},
		topology.Source{Name: "config.yaml", Reader: bytes.NewReader(g.files["config.yaml"])})
	require.NoError(t, err)
	return cluster
}

// nodeAddresses are those that node.txt lists for the node's device.
func (g golden) nodeAddresses(t *testing.T) []netip.Addr {
	t.Helper()
	for line := range strings.Lines(string(g.files["node.txt"])) {
		rest, ok := strings.CutPrefix(line, "node addresses on eth0: ")
		if !ok {
			continue
		}
		var out []netip.Addr
		for word := range strings.FieldsSeq(rest) {
			out = append(out, netip.MustParsePrefix(word).Addr())
		}
		return out
	}
	t.Fatal("node.txt names no addresses")
	return nil
}

// families are the two, with the file that holds what was saved of each.
var families = map[nat.Family]string{nat.IPv4: "iptables-save.txt", nat.IPv6: "ip6tables-save.txt"}

// What natlab writes is what kube-proxy wrote.
func TestGoldens(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		t.Run(g.release+"/"+g.name, func(t *testing.T) {
			t.Parallel()
			cluster := g.cluster(t)
			for family, file := range families {
				o := kubeproxy.Options{Release: g.release, Family: family, NodeAddresses: g.nodeAddresses(t)}
				got, err := kubeproxy.Rules(cluster, "node-1", o)
				require.NoError(t, err)
				require.Equal(t, canonical(t, string(g.files[file]), family), canonical(t, got.String(), family), file)
			}
		})
	}
}

// What natlab prints of a saved rule set is the text it was parsed from.
func TestGoldensPrintAsTheyWereSaved(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t) {
		for family, file := range families {
			rs, err := iptables.ParseString(string(g.files[file]), family)
			require.NoError(t, err, "%s/%s", g.release, g.name)
			require.Equal(t, withoutComments(string(g.files[file])), rs.String(), "%s/%s %s", g.release, g.name, file)
		}
	}
}

func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
