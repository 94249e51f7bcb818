package proxy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/lab/proxy"
	"natlab/topology"
)

// behaviour is the variable that makes the test's own program a kube-proxy, of that behaviour.
const behaviour = "NATLAB_TEST_PROXY"

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		fmt.Fprintln(os.Stderr, "E0101 a kube-proxy", how, "cannot go on:", standIn(how))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// counts are what a stand-in's metrics tell.
type counts struct {
	services, programmed, slow, failed, told, asked atomic.Int64
	changed                                         chan struct{}
}

// standIn does what a kube-proxy does toward its API server and in its metrics, and writes no rule.
func standIn(how string) error {
	if how == "dies" || slices.Contains(os.Args, "--v=13") {
		return fmt.Errorf("unknown mode")
	}
	var config struct {
		ClientConnection struct{ Kubeconfig string }
	}
	var kube struct {
		Clusters []struct{ Cluster struct{ Server string } }
	}
	for file, into := range map[string]any{strings.TrimPrefix(os.Args[1], "--config="): &config, "kubeconfig": &kube} {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return err
		}
	}
	api := kube.Clusters[0].Cluster.Server
	c := &counts{changed: make(chan struct{}, 1000)}
	c.slow.Store(map[string]int64{
		"slow":    1, // its first sync fails, and forgets what it was about
		"twice":   2,
		"refused": 1 << 40,
	}[how])
	began := time.Now()
	errs := make(chan error, 3)
	var list struct { // it programs nothing before it knows all Services
		Metadata struct{ ResourceVersion string }
		Items    []json.RawMessage
	}
	answer, err := http.Get(api + "/api/v1/services") //nolint:gosec,noctx // it is answered at once
	if err == nil {
		err = errors.Join(json.NewDecoder(answer.Body).Decode(&list), answer.Body.Close())
	}
	if err != nil {
		return err
	}
	c.services.Add(2 * int64(len(list.Items)))
	go func() {
		errs <- follow(api+"/api/v1/services?watch=true&resourceVersion="+list.Metadata.ResourceVersion, func(json.RawMessage) { c.services.Add(2) }) // both families
	}()
	go func() {
		errs <- follow(api+"/apis/discovery.k8s.io/v1/endpointslices?watch=true", func(o json.RawMessage) {
			var slice struct {
				Metadata struct{ Annotations map[string]string }
			}
			if json.Unmarshal(o, &slice) != nil {
				return
			}
			if how == "logs" {
				fmt.Fprintln(os.Stderr, "I0101 heard of an EndpointSlice")
			}
			at, err := time.Parse(time.RFC3339Nano, slice.Metadata.Annotations["endpoints.kubernetes.io/last-change-trigger-time"])
			switch {
			case err != nil || !at.After(began):
			case how == "behind":
				c.told.Add(1)
			case c.slow.Add(-1) < 0:
				c.programmed.Add(1)
			case how != "slow":
				fmt.Fprintln(os.Stderr, "E0101 nftables sync failed")
				c.failed.Add(1)
			}
		})
	}()
	go func() {
		errs <- http.ListenAndServe("127.0.0.1:10249", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { //nolint:gosec // for a test
			if how == "behind" { // it has programmed the first change when it has heard of the second, and that one much later
				if told := c.told.Load(); told > 1 && c.asked.Add(1) > 20 {
					c.programmed.Store(told)
				} else if told > 1 {
					c.programmed.Store(1)
				}
				_, _ = fmt.Fprintf(w, "told %d\n", c.told.Load())
			}
			_, _ = fmt.Fprintf(w, "# HELP\nkubeproxy_sync_proxy_rules_service_changes_total %d\n", c.services.Load())
			_, _ = fmt.Fprintf(w, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} %d\n", c.failed.Load())
			_, _ = fmt.Fprintf(w, "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} %d\n", c.programmed.Load())
		}))
	}()
	return <-errs
}

func follow(url string, each func(json.RawMessage)) error {
	answer, err := http.Get(url) //nolint:gosec,noctx // it ends with the program
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	in := json.NewDecoder(answer.Body)
	for {
		var e struct{ Object json.RawMessage }
		if err := in.Decode(&e); err != nil {
			return err
		}
		each(e.Object)
	}
}

// nodes are the namespaces of the first two nodes of the reference cluster, and the cluster with no other.
func nodes(t *testing.T) (topology.Cluster, map[string]netns.Handle) {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	c.Nodes = c.Nodes[:2]
	handles := map[string]netns.Handle{}
	for _, n := range c.Nodes {
		name := fmt.Sprintf("proxy-%d-%s-%d", os.Getpid(), n.Name, time.Now().UnixNano()%1e9)
		h, err := netns.CreateLeased(name)
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, h.Close())
			require.NoError(t, netns.Delete(name))
		})
		require.NoError(t, exec.CommandContext(t.Context(), "ip", "-n", name, "link", "set", "lo", "up").Run())
		handles[n.Name] = h
	}
	return c, handles
}

func options(t *testing.T, how string) proxy.Options {
	t.Helper()
	t.Setenv(behaviour, how)
	self, err := os.Executable()
	require.NoError(t, err)
	return proxy.Options{Binary: self, Backend: "legacy", Dir: t.TempDir()}
}

// A Set's kube-proxies have heard of all when it is open, and after each change; stopped ones are not waited for, and none outlives it.
func TestSet(t *testing.T) {
	for _, how := range []string{"works", "slow", "twice"} {
		t.Run(how, func(t *testing.T) {
			c, handles := nodes(t)
			s, err := proxy.Open(t.Context(), c, handles, options(t, how))
			require.NoError(t, err)
			defer s.Close() //nolint:errcheck // for a test that failed
			all := s.Running()
			require.Len(t, all, 2)

			c.Services = c.Services[1:]
			require.NoError(t, s.Set(t.Context(), c))
			require.Equal(t, all, s.Running())

			first := c.Nodes[0].Name
			require.NoError(t, s.Stop(first))
			require.NoError(t, s.Stop(first))
			require.NotContains(t, s.Running(), first)
			c.Services = c.Services[1:]
			require.NoError(t, s.Set(t.Context(), c))
			require.NoError(t, s.Restart(t.Context(), first))
			require.NotEqual(t, all[first], s.Running()[first])
			require.Equal(t, all[c.Nodes[1].Name], s.Running()[c.Nodes[1].Name])

			c.KubeProxy.MasqueradeAll = true // another configuration is another process
			require.NoError(t, s.Set(t.Context(), c))
			require.NotEqual(t, all[c.Nodes[1].Name], s.Running()[c.Nodes[1].Name])
			require.ErrorContains(t, s.Stop("nowhere"), `"nowhere"`)

			last := s.Running()
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
			for _, pid := range last {
				_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		})
	}
}

// A kube-proxy that was told of a second change before it had programmed the first has programmed both when the Set is open.
func TestSetWaitsForAllChanges(t *testing.T) {
	c, handles := nodes(t)
	s, err := proxy.Open(t.Context(), c, handles, options(t, "behind"))
	require.NoError(t, err)
	defer s.Close() //nolint:errcheck // for a test that failed
	for name, h := range handles {
		_, text, err := proxy.Get(t.Context(), proxy.Client(h), "http://127.0.0.1:10249/metrics")
		require.NoError(t, err)
		told := regexp.MustCompile(`told (\d+)`).FindStringSubmatch(text)
		require.NotEmpty(t, told, text)
		require.Contains(t, text, "programming_duration_seconds_count{ip_family=\"IPv4\"} "+told[1], name)
	}
	require.NoError(t, s.Close())
}

// A kube-proxy whose log is read at a pace halts where it is to, hears of changes and programs none meanwhile, and goes on.
func TestSetHalts(t *testing.T) {
	c, handles := nodes(t)
	s, err := proxy.Open(t.Context(), c, handles, options(t, "logs"))
	require.NoError(t, err)
	defer s.Close() //nolint:errcheck // for a test that failed
	first, line := c.Nodes[0].Name, regexp.MustCompile("heard of")
	require.ErrorContains(t, s.Halt(first, proxy.Pace{Halt: line}), "start it anew for that")
	require.ErrorContains(t, s.RestartPaced(t.Context(), "nowhere", proxy.Pace{}), `"nowhere"`)

	require.NoError(t, s.RestartPaced(t.Context(), first, proxy.Pace{Halt: line}), "it halts as it starts")
	require.NoError(t, s.Go(t.Context(), first))
	require.ErrorContains(t, s.Halted(t.Context(), first), "no line is there")

	require.NoError(t, s.RestartPaced(t.Context(), first, proxy.Pace{Verbosity: 4}), "no line stops it")
	require.NoError(t, s.Halt(first, proxy.Pace{Halt: line}))
	c.Services = c.Services[1:]
	s.Tell(c)
	require.NoError(t, s.Halted(t.Context(), first))
	require.NoError(t, s.Go(t.Context(), first))

	require.NoError(t, s.Halt(first, proxy.Pace{Halt: line}))
	c.Services = c.Services[1:]
	s.Tell(c)
	require.NoError(t, s.Halted(t.Context(), first))
	require.NoError(t, s.Stop(first), "one that has halted, too")

	require.ErrorContains(t, s.RestartPaced(t.Context(), first, proxy.Pace{Halt: regexp.MustCompile("never"), Verbosity: 13}), "has ended")
}

// A kube-proxy that ends at once, or whose rules are refused, is told with what it logged last, and nothing is left.
func TestOpenFails(t *testing.T) {
	c, handles := nodes(t)
	o := options(t, "dies")
	_, err := proxy.Open(t.Context(), c, handles, o)
	require.ErrorContains(t, err, "has ended")
	require.ErrorContains(t, err, "unknown mode")
	o.Binary = filepath.Join(t.TempDir(), "none")
	_, err = proxy.Open(t.Context(), c, handles, o)
	require.ErrorContains(t, err, o.Binary)
	_, err = proxy.Open(t.Context(), c, handles, options(t, "refused"))
	require.ErrorContains(t, err, "cannot write its rules: E0101 nftables sync failed")
	o = options(t, "works") // the addresses are free again
	s, err := proxy.Open(t.Context(), c, handles, o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
