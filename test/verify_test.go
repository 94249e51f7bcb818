package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// referenceLab is the reference cluster, up for the length of the test.
func referenceLab(t *testing.T, backend dataplane.Backend) *lab.Lab {
	t.Helper()
	return labOf(t, reference(t), backend)
}

func reference(t *testing.T) topology.Cluster {
	t.Helper()
	c, err := topology.Reference()
	require.NoError(t, err)
	return c
}

// clusterOf reads a cluster of testdata/verify.
func clusterOf(t *testing.T, name string) topology.Cluster {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "verify", name))
	require.NoError(t, err)
	c, _, err := topology.Load(topology.Source{Name: name, Reader: bytes.NewReader(text)})
	require.NoError(t, err)
	return c
}

// labs is how many labs this process made.
var labs atomic.Int64

// labOf is a cluster, up for the length of the test.
func labOf(t *testing.T, c topology.Cluster, backend dataplane.Backend) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a lab needs root: sudo make test")
	}
	l, err := lab.Up(t.Context(), c, lab.Options{Name: fmt.Sprintf("t%d-%d", os.Getpid(), labs.Add(1)), Backend: backend})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// TestReferenceLabIsProved proves every flow of the reference lab in each combination of data plane and overlay, and
// holds the proof against facts.md.
func TestReferenceLabIsProved(t *testing.T) {
	t.Parallel()
	for _, backend := range append(dataplane.Backends(), dataplane.Userspace) {
		for _, overlay := range []topology.Overlay{topology.IPIP, topology.VXLAN, topology.None} {
			t.Run(string(backend)+" "+overlay.String(), func(t *testing.T) {
				t.Parallel()
				c := reference(t)
				c.PodNetwork.Overlay = overlay
				holdAgainstFacts(t, proveAll(t, c, backend))
			})
		}
	}
}

func proveAll(t *testing.T, c topology.Cluster, backend dataplane.Backend) proof.Report {
	t.Helper()
	return proveFrom(t, c, backend, "")
}

// proveFrom proves the flows of one client, "" for all.
func proveFrom(t *testing.T, c topology.Cluster, backend dataplane.Backend, client string) proof.Report {
	t.Helper()
	l := labOf(t, c, backend)
	start := time.Now()
	r, err := verify.Lab(t.Context(), l, verify.Options{Selector: proof.Selector{From: client}})
	require.NoError(t, err)
	t.Logf("%d certificates in %v; %d of %d rules met", len(r.Flows), time.Since(start).Round(time.Millisecond), r.Coverage.Met, r.Coverage.Rules)
	for _, note := range r.Notes {
		t.Log(note)
	}
	for _, c := range r.Flows {
		if c.Verdict != proof.Proved {
			t.Errorf("%s by %s: %s: %+v", c.Name, c.Endpoint, c.Verdict, *c.Wrong)
		}
	}
	return r
}

// TestWhatKubeProxyDecidesIsProved proves clusters with a Service for each thing that kube-proxy decides, and that each
// ends as it has to: answered, rejected, dropped, refused.
func TestWhatKubeProxyDecidesIsProved(t *testing.T) {
	t.Parallel()
	rows := []struct {
		cluster, release string
		backend          dataplane.Backend
		overlay          topology.Overlay
		ends             map[nat.End]int
	}{
		{"policies.yaml", "v1.25", dataplane.Legacy, topology.None, policyEnds},
		{"policies.yaml", "v1.28", dataplane.NFT, topology.VXLAN, policyEnds},
		{"policies.yaml", "v1.28", dataplane.Userspace, topology.IPIP, policyEnds},
		{"policies.yaml", "v1.37", dataplane.Legacy, topology.IPIP, policyEnds},
		{"flat.yaml", "v1.28", dataplane.NFT, topology.None, map[nat.End]int{nat.EndAnswered: 42, nat.EndRefused: 2}},
		// 1.25 sends nothing to endpoints that are going away, 1.28 does where there are no others.
		{"affinity.yaml", "v1.25", dataplane.NFT, topology.IPIP, map[nat.End]int{nat.EndAnswered: 76, nat.EndRejected: 16, nat.EndRefused: 2}},
		{"affinity.yaml", "v1.28", dataplane.Legacy, topology.None, affinityEnds},
		{"affinity.yaml", "v1.37", dataplane.NFT, topology.VXLAN, affinityEnds},
		{"affinity.yaml", "v1.28", dataplane.Userspace, topology.None, affinityEnds},
		{"sctp.yaml", "v1.37", dataplane.NFT, topology.IPIP, sctpEnds},
		{"sctp.yaml", "v1.28", dataplane.Legacy, topology.VXLAN, sctpEnds},
		{"hostports.yaml", "v1.35", dataplane.Legacy, topology.None, hostPortEnds},
		{"hostports.yaml", "v1.37", dataplane.NFT, topology.IPIP, hostPortEnds},
	}
	for _, row := range rows {
		t.Run(row.cluster+" "+row.release+" "+string(row.backend), func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, row.cluster)
			c.KubeProxy.Release, c.PodNetwork.Overlay = row.release, row.overlay
			ends := map[nat.End]int{}
			for _, cert := range proveAll(t, c, row.backend).Flows {
				ends[cert.End]++
				assert.Equal(t, cert.Expect, cert.End, cert.Name)
			}
			assert.Equal(t, row.ends, ends)
		})
	}
}

var (
	policyEnds   = map[nat.End]int{nat.EndAnswered: 289, nat.EndLost: 24, nat.EndRefused: 3, nat.EndRejected: 66}
	hostPortEnds = map[nat.End]int{nat.EndAnswered: 56, nat.EndRefused: 2}
	sctpEnds     = map[nat.End]int{nat.EndAnswered: 172, nat.EndLost: 4, nat.EndRefused: 4, nat.EndRejected: 8}
	affinityEnds = map[nat.End]int{nat.EndAnswered: 92, nat.EndRefused: 2}
)

// The paths of the request that facts.md names, with the Service's suffix as X.
var factPaths = map[string]string{
	"outside -> NodePort vms100:30450 tcp velero/minio:console":                                  "PREROUTING KUBE-SERVICES KUBE-NODEPORTS KUBE-EXT-K6NOPV6C6M2DHO7B KUBE-SVC-K6NOPV6C6M2DHO7B",
	"velero/minio-b6d98746c-m7rzc -> ClusterIP 10.96.0.10:9153 tcp kube-system/kube-dns:metrics": "PREROUTING KUBE-SERVICES KUBE-SVC-JD5MR3NA4I4DYORP",
	"outside -> LoadBalancer 192.168.26.223:80 tcp default/release-name-grafana:http-web":        "PREROUTING KUBE-SERVICES KUBE-EXT-XR6NUEPTVOUAGEC3 KUBE-SVC-XR6NUEPTVOUAGEC3",
	"vms101 -> ClusterIP 10.98.180.238:9099 tcp velero/minio:console":                            "OUTPUT KUBE-SERVICES KUBE-SVC-K6NOPV6C6M2DHO7B",
}

// The endpoints' chains of facts.md.
var factEndpoints = map[string]string{
	"10.244.169.89:9090":  "KUBE-SEP-OLNIRCQFCXAN5USW",
	"10.244.38.178:9090":  "KUBE-SEP-DB3JUIMGX6LERFY3",
	"10.244.239.129:9153": "KUBE-SEP-DYDOGONVKJMXNXZO",
	"10.244.239.132:9153": "KUBE-SEP-PURVZ5VLWID76HVQ",
	"10.244.31.123:3000":  "KUBE-SEP-RLRDAS77BUJVWRRK",
}

func holdAgainstFacts(t *testing.T, r proof.Report) {
	t.Helper()
	seen := map[string][]string{}
	for _, c := range r.Flows {
		path, ok := factPaths[c.Name]
		if !ok {
			continue
		}
		seen[c.Name] = append(seen[c.Name], c.Endpoint.String())
		want := path + " " + factEndpoints[c.Endpoint.String()] + " DNAT POSTROUTING KUBE-POSTROUTING"
		if c.Masqueraded {
			want += " MASQUERADE"
		}
		assert.Equal(t, want, strings.Join(c.Request, " "), c.Name)
		fromPod := strings.Contains(c.Client, "/")
		assert.Equal(t, !fromPod, c.Masqueraded, "%s: what does not come from the pods is masqueraded", c.Name)
	}
	for name := range factPaths {
		want := 2
		if strings.Contains(name, "grafana") {
			want = 1
		}
		assert.Len(t, seen[name], want, "%s: every endpoint is seen: %v", name, seen[name])
	}
	for _, access := range []proof.Access{proof.ByClusterIP, proof.ByNodePort, proof.ByLoadBalancer, proof.ByNothing} {
		assert.True(t, slices.ContainsFunc(r.Flows, func(c proof.Certificate) bool { return c.Type == access }), access.String())
	}
	for _, p := range []nat.Proto{nat.TCP, nat.UDP} {
		assert.True(t, slices.ContainsFunc(r.Flows, func(c proof.Certificate) bool { return c.Protocol == p }), p.String())
	}
}

// TestVerdictsDoNotWaver proves the reference lab again and again: NATLAB_RUNS times, 3 where it is not set.
func TestVerdictsDoNotWaver(t *testing.T) {
	t.Parallel()
	runs, err := strconv.Atoi(os.Getenv("NATLAB_RUNS"))
	if err != nil {
		runs = 3
	}
	l := referenceLab(t, dataplane.Legacy)
	var longest time.Duration
	for i := range runs {
		start := time.Now()
		r, err := verify.Lab(t.Context(), l, verify.Options{})
		require.NoError(t, err)
		longest = max(longest, time.Since(start))
		for _, note := range r.Notes {
			t.Logf("run %d: %s", i+1, note)
		}
		require.Equal(t, proof.Proved, r.Outcome(), "run %d: %s", i+1, firstWrong(r))
	}
	t.Logf("%d runs, the longest %v", runs, longest.Round(time.Millisecond))
}

// A Service that kube-proxy's own rules do not serve as its objects call for is disproved, although each node does what its rules
// tell it to: by the release that is known to do so, and by no later one.
func TestKubeProxysOwnFaultIsDisproved(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ release, wrongAt string }{{"v1.35", "a"}, {"v1.36", ""}} {
		t.Run(row.release, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, "reused.yaml")
			c.KubeProxy.Release = row.release
			r, err := verify.Lab(t.Context(), labOf(t, c, dataplane.Legacy), verify.Options{})
			require.NoError(t, err)
			wrong := 0
			for _, cert := range r.Flows {
				if cert.Verdict == proof.Proved {
					continue
				}
				wrong++
				require.Equal(t, proof.Disproved, cert.Verdict, "%s: %+v", cert.Name, cert.Wrong)
				require.Equal(t, nat.EndAnswered, cert.Expect)
				require.Equal(t, nat.EndRejected, cert.End)
				require.Equal(t, row.wrongAt, cert.Node, cert.Name)
				require.Equal(t, proof.FaultRules, cert.Wrong.Fault)
				require.Contains(t, cert.Wrong.Why, "kube-proxy's own rules do not do what the objects call for")
			}
			require.Equal(t, row.wrongAt != "", wrong > 0)
			require.NotZero(t, r.Count(proof.Proved), "b serves its own pod in every release")
		})
	}
}
