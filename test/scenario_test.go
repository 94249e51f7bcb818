package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/doctor"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/scenarios"
	"natlab/topology"
)

// Both variants of every scenario end as they say, on each backend that it is for.
func TestScenarios(t *testing.T) { //nolint:tparallel // what is run beside one another are the scenarios; the subtests tell of them
	t.Parallel()
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	all, err := scenarios.List()
	require.NoError(t, err)
	results := scenarios.Run(t.Context(), all, scenarios.Options{Parallel: scenarios.DefaultParallel, Prefix: fmt.Sprintf("st%d", os.Getpid())})
	require.Len(t, results, runs(all), "each variant of each scenario on each backend that it is for")
	skipped := 0
	for _, r := range results {
		if r.Outcome == scenarios.Skipped {
			skipped++
		}
		t.Run(fmt.Sprintf("%s/%s/%s", r.Scenario, r.Variant, r.Backend), func(t *testing.T) {
			if r.Outcome == scenarios.Skipped {
				requireLacking(t, r)
			}
			require.NotEqual(t, scenarios.Failed, r.Outcome, r.Log)
		})
	}
	t.Logf("%d runs, %d skipped", len(results), skipped)
}

// Scenarios that are not about the kernel's own NAT end as they say where NAT is natlab's own, by both ways to carry a verdict out.
func TestScenariosOnUserspace(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	all, err := scenarios.List()
	require.NoError(t, err)
	for _, apply := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
		t.Run(apply.String(), func(t *testing.T) {
			t.Parallel()
			onUserspace(t, all, apply)
		})
	}
}

func onUserspace(t *testing.T, all []scenarios.Scenario, apply userspace.Apply) {
	t.Helper()
	results := scenarios.Run(t.Context(), all, scenarios.Options{
		Backends: []string{string(dataplane.Userspace)}, Apply: apply, Parallel: scenarios.DefaultParallel, Prefix: fmt.Sprintf("su%d%.1s", os.Getpid(), apply),
	})
	passed := 0
	for _, r := range results {
		of := all[slices.IndexFunc(all, func(s scenarios.Scenario) bool { return s.Name == r.Scenario })]
		t.Run(fmt.Sprintf("%s/%s", r.Scenario, r.Variant), func(t *testing.T) {
			switch {
			case of.Kernel != "":
				require.Equal(t, scenarios.Skipped, r.Outcome)
				require.Equal(t, of.Kernel, r.Why)
			case r.Outcome == scenarios.Skipped:
				requireLacking(t, r)
			default:
				require.Equal(t, scenarios.Passed, r.Outcome, r.Log)
				passed++
			}
		})
	}
	require.Greater(t, passed, len(results)/2, "most scenarios are not about the kernel's NAT")
}

// Scenarios that expect something else of kube-proxy's nftables mode find it there.
func TestScenariosInNFTablesMode(t *testing.T) { //nolint:tparallel // as above
	t.Parallel()
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	all, err := scenarios.List()
	require.NoError(t, err)
	all = slices.DeleteFunc(all, func(s scenarios.Scenario) bool {
		return s.IPTables == "" && !strings.Contains(string(s.Text), "\n[nftables] ") && !strings.Contains(string(s.Text), "] [nftables] ")
	})
	results := scenarios.Run(t.Context(), all, scenarios.Options{
		Backends: []string{scenarios.NFTables}, Parallel: scenarios.DefaultParallel, Prefix: fmt.Sprintf("sn%d", os.Getpid()),
	})
	passed := 0
	for _, r := range results {
		of := all[slices.IndexFunc(all, func(s scenarios.Scenario) bool { return s.Name == r.Scenario })]
		t.Run(fmt.Sprintf("%s/%s", r.Scenario, r.Variant), func(t *testing.T) {
			if of.IPTables != "" {
				require.Equal(t, scenarios.Skipped, r.Outcome)
				return
			}
			require.Equal(t, scenarios.Passed, r.Outcome, r.Log)
			passed++
		})
	}
	require.Greater(t, passed, 20)
}

// A few scenarios in IPv6; the rest is on demand: natlab scenario run --all --family ipv6.
func TestScenariosInIPv6(t *testing.T) { //nolint:tparallel // as above
	t.Parallel()
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	var some []scenarios.Scenario
	for _, name := range []string{"feature-types", "feature-rollout", "feature-sizes", "feature-options", "kubernetes-90258", "feature-clients", "feature-affinity", "feature-fragments", "kubernetes-38802", "kubernetes-74839", "kubernetes-84254", "kubernetes-57922"} {
		s, err := scenarios.Find(name)
		require.NoError(t, err)
		some = append(some, s)
	}
	for _, r := range scenarios.Run(t.Context(), some, scenarios.Options{
		Family: topology.IPv6, Backends: []string{string(dataplane.NFT)}, Parallel: scenarios.DefaultParallel, Prefix: fmt.Sprintf("s6%d", os.Getpid()),
	}) {
		t.Run(fmt.Sprintf("%s/%s", r.Scenario, r.Variant), func(t *testing.T) {
			if r.Scenario == "kubernetes-57922" { // IPv6 has no route_localnet
				require.Equal(t, scenarios.Skipped, r.Outcome, r.Log)
				require.Contains(t, r.Why, "::1")
				return
			}
			require.Equal(t, scenarios.Passed, r.Outcome, r.Log)
		})
	}
}

// runs is how many runs a full run of the library makes: a bug is run with and without its remedy, a feature once.
func runs(all []scenarios.Scenario) (n int) {
	for _, s := range all {
		variants := 1
		if s.Issue != "" {
			variants = 2
		}
		n += variants * len(s.Backends)
	}
	return n
}

// requireLacking holds a skip against the machine: the kernel's version and natlab doctor's findings are asked by other
// code than the run's own.
func requireLacking(t *testing.T, r scenarios.Result) {
	t.Helper()
	require.NotEmpty(t, r.Missing, "a skip names what is missing")
	for _, missing := range r.Missing {
		kind, name, _ := strings.Cut(missing, ":")
		switch kind {
		case "kernel":
			version, err := nat.ParseKernel(name)
			require.NoError(t, err)
			running, err := dataplane.Kernel()
			require.NoError(t, err)
			require.True(t, running.Before(version.Major, version.Minor), "skipped for want of %s, and this is %s", missing, running)
		case "feature":
			for _, f := range doctor.Examine(t.Context()) {
				require.False(t, f.Name == name && f.Have == doctor.Yes, "skipped for want of %s, and it is there", missing)
			}
		}
	}
}

// A script that goes wrong fails, says where, and leaves nothing behind. One that is not for this machine is skipped.
func TestScenarioThatFails(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "scenarios make network namespaces: run as root")
	for i, row := range []struct {
		name, script string
		end          scenarios.Outcome
		want         string
	}{
		{"answered and not lost", "lab\nask cl tcp 192.168.0.1:30080 end=lost\n", scenarios.Failed, "x.txtar:4: ask: want end=lost, got answered"},
		{"answered and not lost, with taps", "lab\nwatch\nask cl tcp 192.168.0.1:30080 end=lost\n", scenarios.Failed, "x.txtar:5: ask: want end=lost, got answered"},
		{"lost and not answered", "lab\niptables n1 -t nat -F KUBE-MARK-MASQ\nask cl tcp 192.168.0.1:30080\n", scenarios.Failed, "n1 postrouting eth0"},
		{"no lab", "ask cl tcp 192.168.0.1:30080\n", scenarios.Failed, "the first verb is lab"},
		{"no entry", "lab\nconntrack n1 dst=1.2.3.4\n", scenarios.Failed, "no entry in n1 fits dst=1.2.3.4"},
		{"an entry", "lab\nwatch\nask cl tcp 192.168.0.1:30080\n! conntrack n1 dst=192.168.0.1:30080\n", scenarios.Failed, "x.txtar:6: conntrack: is there, and must not be"},
		{"an entry of a request under way", "lab\nwatch\nopen c default/client-1 udp 10.96.0.10:53\nsend c\n! conntrack n2 src=10.244.1.9\n", scenarios.Failed, "x.txtar:7: conntrack: is there, and must not be"},
		{"no such verb", "lab\nnonsense\n", scenarios.Failed, "unknown command"},
		{"no such file", "lab nowhere.yaml\n", scenarios.Failed, "nowhere.yaml"},
		{"not for this kernel", "[!kernel:99.1] skip 'too old'\nlab\n", scenarios.Skipped, "too old"},
		{"for this kernel", "[!kernel:4.0] skip 'too old'\nlab\nnonsense\n", scenarios.Failed, "unknown command"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, err := scenarios.Parse("x", []byte("# title: t\n# what: w\n"+row.script))
			require.NoError(t, err)
			s.Backends = s.Backends[:1]
			results := scenarios.Run(t.Context(), []scenarios.Scenario{s}, scenarios.Options{Prefix: fmt.Sprintf("sf%d-%d", os.Getpid(), i)})
			require.Len(t, results, 1)
			require.Equal(t, row.end, results[0].Outcome, results[0].Log)
			require.Contains(t, results[0].Log+results[0].Why, row.want)
		})
	}
}
