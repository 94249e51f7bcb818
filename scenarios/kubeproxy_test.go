package scenarios

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/proxy"
)

// Which variants are run on a kube-proxy is what the page has of its releases.
func TestVariantsByRelease(t *testing.T) {
	t.Parallel()
	both, buggy, fixed := []Variant{Buggy, Fixed}, []Variant{Buggy}, []Variant{Fixed}
	for _, row := range []struct {
		affected, version string
		want              []Variant
	}{
		{"v1.32.0 to v1.32.2", "v1.31.14", nil},
		{"v1.32.0 to v1.32.2", "v1.32.0", buggy},
		{"v1.32.0 to v1.32.2", "v1.32.2+k3s1", buggy},
		{"v1.32.0 to v1.32.2", "v1.32.3", fixed},
		{"v1.32.0 to v1.32.2", "v0.0.0-master+$Format:%H$", fixed},
		{"v1.31.0 to v1.33.5, v1.34.0", "v1.32.13", buggy},
		{"v1.31.0 to v1.33.5, v1.34.0", "v1.33.6", fixed},
		{"v1.31.0 to v1.33.5, v1.34.0", "v1.34.0", buggy},
		{"v1.31.0 to v1.33.5, v1.34.0", "v1.34.1", fixed},
		{"every release", "v1.25.1", both},
		{"every release since v1.31.0", "v1.30.14", nil},
		{"every release since v1.31.0", "v1.31.0", both},
		{"every release since v1.31.0", "v1.38.0-alpha.1", both},
		{"", "v1.25.1", both},
	} {
		s := Scenario{Issue: "kubernetes/kubernetes#1", Affected: row.affected}
		require.Equal(t, row.want, s.On(row.version), "%s on %s", row.affected, row.version)
	}
	for _, bad := range []string{"1.32", "v1.32.2 to v1.32.0", "v1.33.0, v1.32.0", "every release ever", "every release since ever", "v1.32.0 to v1.32.2 to v1.33.0"} {
		_, err := Parse("x", []byte("# title: t\n# what: w\n# kube-proxy: "+bad+"\nlab\n"))
		require.ErrorContains(t, err, "scenario x: kube-proxy:", bad)
	}
}

// A scenario is run on each kube-proxy, in the variants that are that release's; without one the script's first line tells what it needs.
func TestPlanOfKubeProxies(t *testing.T) {
	t.Parallel()
	s, err := Find("kubernetes-130484")
	require.NoError(t, err)
	jobs := plan([]Scenario{s}, Options{Programs: []proxy.Program{{Path: "/a", Version: "v1.31.0"}, {Path: "/b", Version: "v1.32.2"}, {Path: "/c", Version: "v1.33.0"}}})
	require.Len(t, jobs, 2)
	for i, want := range []struct {
		path    string
		variant Variant
	}{{"/b", Buggy}, {"/c", Fixed}} {
		require.Equal(t, want.path, jobs[i].program.Path)
		require.Equal(t, want.variant, jobs[i].variant)
		require.Equal(t, "iptables-legacy", jobs[i].backend)
	}
	r := plan([]Scenario{s}, Options{Variants: []Variant{Fixed}})[0].do(t.Context(), false)
	require.Equal(t, Failed, r.Outcome)
	require.Contains(t, r.Log, "the scenario needs a real kube-proxy: --kube-proxy RELEASE (it is about v1.32.0 to v1.32.2)")
}

// Each bug of releases is named with those that have it, and each scenario of a real kube-proxy has its page's line of them.
func TestScenariosOfKubeProxy(t *testing.T) {
	t.Parallel()
	all, err := OfKubeProxy()
	require.NoError(t, err)
	bugs := 0
	for _, s := range all {
		require.NotEmpty(t, s.Affected, s.Name)
		if s.Issue != "" {
			bugs++
		}
	}
	require.GreaterOrEqual(t, bugs, 10)
}
