//go:build kubeproxy

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/labtest"
	"natlab/lab/proxy"
	"natlab/lab/traffic"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/scenarios"
	"natlab/topology"
)

// kubeProxies are the programs and releases of NATLAB_KUBE_PROXY.
func kubeProxies(t *testing.T) []string {
	t.Helper()
	all := strings.Fields(os.Getenv("NATLAB_KUBE_PROXY"))
	if len(all) == 0 {
		t.Fatal("NATLAB_KUBE_PROXY names no kube-proxy: make test-kube-proxy")
	}
	return all
}

// eachKubeProxy runs a test for each of them, in a lab whose kube-proxies look for their canary every second.
func eachKubeProxy(t *testing.T, c topology.Cluster, body func(t *testing.T, l *lab.Lab)) {
	t.Helper()
	c.KubeProxy.SyncPeriod = time.Second
	for _, what := range kubeProxies(t) {
		t.Run(filepath.Base(what), func(t *testing.T) { body(t, labtest.New(t, c, labtest.KubeProxy(what))) })
	}
}

// TestKubeProxyIsProvedInBothFamilies proves the dual-stack cluster on real kube-proxies, each of which programs both families, and it after a change of one.
func TestKubeProxyIsProvedInBothFamilies(t *testing.T) {
	c, err := topology.DualStack()
	require.NoError(t, err)
	eachKubeProxy(t, c, func(t *testing.T, l *lab.Lab) {
		t.Helper()
		require.Equal(t, []nat.Family{nat.IPv4, nat.IPv6}, l.Families())
		found, err := verify.Lab(t.Context(), l, verify.Options{Strict: true})
		require.NoError(t, err)
		require.Equal(t, proof.Proved, found.Outcome(), notProved(found))

		c := clone(t, l.Cluster())
		minio := service(t, &c, "minio6")
		minio.Ports[0].Endpoints = minio.Ports[0].Endpoints[:1]
		_, err = l.Apply(t.Context(), c, lab.Partial)
		require.NoError(t, err)
		found, err = verify.Lab(t.Context(), l, verify.Options{Strict: true, Selector: proof.Selector{Service: "velero/minio6"}})
		require.NoError(t, err)
		require.Equal(t, proof.Proved, found.Outcome(), notProved(found))
	})
}

// TestKubeProxyIsProved proves the reference cluster on real kube-proxies: the Services work, by the very rules that natlab's copy of the release
// has, and so they do after each change of the cluster.
func TestKubeProxyIsProved(t *testing.T) {
	eachKubeProxy(t, reference(t), func(t *testing.T, l *lab.Lab) {
		t.Helper()
		found, err := verify.Lab(t.Context(), l, verify.Options{Strict: true})
		require.NoError(t, err)
		require.Equal(t, proof.Proved, found.Outcome(), notProved(found))
		require.Len(t, found.Flows, 337)

		c := clone(t, l.Cluster())
		minio := service(t, &c, "minio")
		minio.Ports[1].NodePort = 30451
		minio.Ports[1].Endpoints = minio.Ports[1].Endpoints[:1]
		c.KubeProxy.Release, c.KubeProxy.Version = reference(t).KubeProxy.Release, "" // as the files have it
		before := started(t, l)
		applied, err := l.Apply(t.Context(), c, lab.Partial)
		require.NoError(t, err)
		require.Equal(t, []string{"velero/minio"}, applied.Services)
		require.Equal(t, before, started(t, l), "none was started anew for a change")
		found, err = verify.Lab(t.Context(), l, verify.Options{Strict: true, Selector: proof.Selector{Service: "velero/minio"}})
		require.NoError(t, err)
		require.Equal(t, proof.Proved, found.Outcome(), notProved(found))
	})
}

// TestKubeProxyIsProvedInNFTablesMode proves the reference cluster on real kube-proxies in nftables mode: by the path through the very tables
// that natlab's copy of the release has. Before 1.31 the mode is alpha.
func TestKubeProxyIsProvedInNFTablesMode(t *testing.T) {
	for _, what := range kubeProxies(t) {
		c := reference(t)
		c.KubeProxy.Mode = topology.ModeNFTables
		program, err := proxy.Find(t.Context(), what, t.Output())
		require.NoError(t, err)
		require.True(t, program.Writes(&c))
		if _, err := kubeproxy.Tables(c, c.Nodes[0].Name, kubeproxy.Options{}); err != nil {
			require.ErrorContains(t, err, "there it is alpha")
			continue
		}
		t.Run(filepath.Base(what), func(t *testing.T) {
			found, err := verify.Lab(t.Context(), labtest.New(t, c, labtest.KubeProxy(what)), verify.Options{Strict: true})
			require.NoError(t, err)
			require.Equal(t, proof.Proved, found.Outcome(), notProved(found))
			require.Len(t, found.Flows, 325, "the node ports at loopback are not there")
			for _, note := range found.Notes { // those of a busy machine, and none of rules or settings that are others
				require.NotRegexp(t, "is not as the lab made it|the rules are not just kube-proxy's", note)
			}
		})
	}
}

// TestKubeProxyScenarios runs the scenarios of a real kube-proxy on all of them, in both families: each release has the bugs that are named of it, and none of
// those that are mended in it.
func TestKubeProxyScenarios(t *testing.T) {
	for _, family := range []topology.Family{topology.IPv4, topology.IPv6} {
		t.Run(family.String(), func(t *testing.T) { kubeProxyScenarios(t, family) })
	}
}

func kubeProxyScenarios(t *testing.T, family topology.Family) {
	t.Helper()
	all, err := scenarios.OfKubeProxy()
	require.NoError(t, err)
	var programs []proxy.Program
	want := 0
	for _, what := range kubeProxies(t) {
		p, err := proxy.Find(t.Context(), what, t.Output())
		require.NoError(t, err)
		programs = append(programs, p)
		for _, s := range all {
			want += len(s.On(p.Version))
		}
	}
	seen := map[string]map[scenarios.Variant]bool{}
	results := scenarios.Run(t.Context(), all, scenarios.Options{Programs: programs, Family: family, Parallel: 2, Prefix: fmt.Sprintf("kp%d", os.Getpid())})
	require.Len(t, results, want)
	for _, r := range results {
		if slices.Equal(r.Missing, []string{"feature:IPVS"}) { // in a VM: test/vm
			continue
		}
		if family == topology.IPv6 && r.Outcome == scenarios.Skipped {
			require.Regexp(t, `whose like IPv6 has not|^about IPv4: `, r.Why, r.Scenario)
			continue
		}
		require.Equal(t, scenarios.Passed, r.Outcome, "%s %s on %s: %s\n%s", r.Scenario, r.Variant, r.Program, r.Why, r.Log)
		if seen[r.Scenario] == nil {
			seen[r.Scenario] = map[scenarios.Variant]bool{}
		}
		seen[r.Scenario][r.Variant] = true
	}
	for _, s := range all {
		if s.Issue != "" {
			t.Logf("%s: buggy %v, fixed %v", s.Name, seen[s.Name][scenarios.Buggy], seen[s.Name][scenarios.Fixed])
		}
	}
}

// Tables that somebody flushed come back when kube-proxy misses its canaries, and a rule that was deleted when kube-proxy starts.
func TestKubeProxyRepairs(t *testing.T) {
	eachKubeProxy(t, reference(t), func(t *testing.T, l *lab.Lab) {
		t.Helper()
		const node = "vms100"
		count := func() int { return strings.Count(printed(t, l, "iptables-legacy-save", "-t", "nat"), "-A KUBE-") }
		whole := count()
		require.Positive(t, whole)
		// It waits until its canaries are gone from all tables (pkg/util/iptables: Monitor), as after a firewall's restart.
		printed(t, l, "sh", "-c", `printf '*%s\nCOMMIT\n' mangle nat filter | iptables-legacy-restore`) // each at once: a sync may come between a flush and the next word
		require.Eventually(t, func() bool { return count() == whole }, time.Minute, 50*time.Millisecond, "the flushed tables")

		printed(t, l, "iptables-legacy", "-t", "nat", "-F", "KUBE-MARK-MASQ")
		require.Less(t, count(), whole)
		require.NoError(t, l.Sync(t.Context(), l.Cluster(), node))
		require.Equal(t, whole, count())
	})
}

// What a UDP client of an endpoint that is gone has in connection tracking is forgotten when the change is in force.
func TestKubeProxyForgetsConnections(t *testing.T) {
	eachKubeProxy(t, reference(t), func(t *testing.T, l *lab.Lab) {
		t.Helper()
		const node = "vms100"
		h, err := l.Handle(node)
		require.NoError(t, err)
		dns := netip.MustParseAddrPort("10.96.0.10:53")
		var gone netip.AddrPort
		translated := func() (to []netip.AddrPort) {
			entries, err := l.Entries(node)
			require.NoError(t, err)
			for _, e := range entries {
				if e.Original.Proto() == nat.UDP && e.Original.Dst() == dns {
					to = append(to, e.Reply.Src())
				}
			}
			return to
		}
		for range 20 { // until both endpoints were met
			_, err := traffic.Ask(t.Context(), h, nat.TupleOf(nat.UDP, netip.AddrPort{}, dns))
			require.NoError(t, err)
		}
		before := translated()
		require.Len(t, before, 20)
		c := clone(t, l.Cluster())
		port := &service(t, &c, "kube-dns").Ports[0]
		gone, port.Endpoints = port.Endpoints[0].Addr, port.Endpoints[1:]
		require.Contains(t, before, gone)
		_, err = l.Apply(t.Context(), c, lab.Partial)
		require.NoError(t, err)
		require.NotContains(t, translated(), gone)
		require.NotEmpty(t, translated())
	})
}

// A Service with externalTrafficPolicy Local has a health check port in each node, which tells whether the node has an endpoint.
func TestKubeProxyHealthChecks(t *testing.T) {
	c := reference(t)
	s := service(t, &c, "release-name-grafana")
	s.ExternalPolicy, s.HealthCheckNodePort = topology.PolicyLocal, 32123
	eachKubeProxy(t, c, func(t *testing.T, l *lab.Lab) {
		t.Helper()
		local := s.Ports[0].Endpoints[0].Node
		for _, node := range l.Nodes() {
			want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[node == local]
			got, text := get(t, l, node, "http://127.0.0.1:32123/")
			require.Equal(t, want, got, "%s: %s", node, text)
			healthy, _ := get(t, l, node, "http://127.0.0.1:10256/healthz")
			require.Equal(t, http.StatusOK, healthy, node)
			_, metrics := get(t, l, node, "http://127.0.0.1:10249/metrics")
			require.Contains(t, metrics, "kubeproxy_sync_proxy_rules_duration_seconds_count")
		}
	})
}

// BenchmarkKubeProxyUp brings the reference lab up with real kube-proxies, which takes no more than three seconds, and they hold no more than 400 MiB.
func BenchmarkKubeProxyUp(b *testing.B) {
	c, err := topology.Reference()
	require.NoError(b, err)
	program, err := proxy.Find(b.Context(), strings.Fields(os.Getenv("NATLAB_KUBE_PROXY"))[0], os.Stderr)
	require.NoError(b, err)
	require.True(b, program.Writes(&c))
	c.Name = fmt.Sprintf("b%d", os.Getpid())
	most := 0.0
	for b.Loop() {
		l, err := lab.Up(b.Context(), c, lab.Options{KubeProxy: program.Path})
		require.NoError(b, err)
		b.StopTimer()
		most = max(most, residentOf(b, program.Path))
		require.NoError(b, l.Close())
		b.StartTimer()
	}
	b.ReportMetric(most, "MiB")
	require.LessOrEqual(b, most, 400.0)
	require.LessOrEqual(b, b.Elapsed()/time.Duration(b.N), 3*time.Second)
}

// BenchmarkKubeProxyVerify proves the reference lab with real kube-proxies, which takes no more than twice as long as with natlab's own copy of their rules. The two
// take turns, so that what else the machine does falls on both.
func BenchmarkKubeProxyVerify(b *testing.B) {
	c, err := topology.Reference()
	require.NoError(b, err)
	what := strings.Fields(os.Getenv("NATLAB_KUBE_PROXY"))[0]
	program, err := proxy.Find(b.Context(), what, os.Stderr)
	require.NoError(b, err)
	require.True(b, program.Writes(&c))
	labs := []*lab.Lab{labtest.New(b, c), labtest.New(b, c, labtest.KubeProxy(what))}
	took := make([]time.Duration, len(labs))
	for b.Loop() {
		for range 3 {
			for i, l := range labs {
				began := time.Now()
				found, err := verify.Lab(b.Context(), l, verify.Options{})
				require.NoError(b, err)
				require.Equal(b, proof.Proved, found.Outcome())
				if d := time.Since(began); took[i] == 0 || d < took[i] {
					took[i] = d
				}
			}
		}
	}
	ratio := took[1].Seconds() / took[0].Seconds()
	b.ReportMetric(ratio, "ratio")
	require.LessOrEqual(b, ratio, 2.0)
}

// residentOf adds the memory of the processes that run a program, in MiB.
func residentOf(tb testing.TB, program string) (sum float64) {
	tb.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(tb, err)
	for _, exe := range all {
		if to, err := os.Readlink(exe); err != nil || to != program {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(exe), "status"))
		require.NoError(tb, err)
		for line := range strings.Lines(string(text)) {
			var kib float64
			if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
				sum += kib / 1024
			}
		}
	}
	return sum
}

func notProved(found proof.Report) string {
	var out strings.Builder
	for _, f := range found.Flows {
		if f.Verdict != proof.Proved {
			out.WriteString(report.Way(f, report.Style{}))
		}
	}
	return out.String()
}

// clone is a cluster that can be changed without the other.
func clone(t *testing.T, c topology.Cluster) (out topology.Cluster) {
	t.Helper()
	b, err := json.Marshal(c)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

func service(t *testing.T, c *topology.Cluster, name string) *topology.Service {
	t.Helper()
	at := slices.IndexFunc(c.Services, func(s topology.Service) bool { return s.Name == name })
	require.GreaterOrEqual(t, at, 0)
	return &c.Services[at]
}

// printed is what a program prints in vms100.
func printed(t *testing.T, l *lab.Lab, argv ...string) string {
	t.Helper()
	var out strings.Builder
	status, err := l.Exec(t.Context(), "vms100", argv, lab.Streams{Out: &out, Err: t.Output()})
	require.NoError(t, err)
	require.Zero(t, status, argv)
	return out.String()
}

// get asks a page inside a node.
func get(t *testing.T, l *lab.Lab, node, url string) (status int, text string) {
	t.Helper()
	h, err := l.Handle(node)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = h.Do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}}}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := client.Do(q)
	require.NoError(t, err)
	defer answer.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(b)
}

// started tells when each node's kube-proxy started.
func started(t *testing.T, l *lab.Lab) (out []string) {
	t.Helper()
	const metric = "\nprocess_start_time_seconds "
	for _, node := range l.Nodes() {
		_, text := get(t, l, node, "http://127.0.0.1:10249/metrics")
		_, value, found := strings.Cut(text, metric)
		require.True(t, found)
		value, _, _ = strings.Cut(value, "\n")
		out = append(out, value)
	}
	return out
}
