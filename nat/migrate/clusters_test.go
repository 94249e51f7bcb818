package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// The reference clusters have no difference that is not documented, one way or the other, and the same page each time.
func TestReferences(t *testing.T) {
	t.Parallel()
	for name, load := range map[string]func() (topology.Cluster, error){"reference": topology.Reference, "dual stack": topology.DualStack} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := load()
			require.NoError(t, err)
			to, err := Check(c, Options{From: "iptables", To: "nftables"})
			require.NoError(t, err)
			documentedOnly(t, to)
			require.Positive(t, to.Broken())
			require.True(t, to.has("node-port-localhost"))
			back, err := Check(c, Options{From: "nftables", To: "iptables"})
			require.NoError(t, err)
			documentedOnly(t, back)
			require.Len(t, back.Differences, len(to.Differences))
			require.Less(t, back.Broken(), to.Broken())
			again, err := Check(c, Options{From: "iptables", To: "nftables"})
			require.NoError(t, err)
			require.Equal(t, page(t, to), page(t, again))
			var read Report
			require.NoError(t, json.Unmarshal([]byte(page(t, to)), &read))
			require.Len(t, read.Differences, len(to.Differences))
		})
	}
}

func page(t *testing.T, r Report) string {
	t.Helper()
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

// A move between alike modes has no difference; one of an old cluster is of the newest release, and says so.
func TestReleases(t *testing.T) {
	t.Parallel()
	c, err := topology.Reference()
	require.NoError(t, err)
	same, err := Check(c, Options{From: "iptables", To: "iptables"})
	require.NoError(t, err)
	require.Empty(t, same.Differences)
	require.Equal(t, "v1.25", same.Release)
	newest := kubeproxy.Releases()[len(kubeproxy.Releases())-1].Name
	to, err := Check(c, Options{From: "iptables", To: "nftables"})
	require.NoError(t, err)
	require.Equal(t, newest, to.Release)
	require.Contains(t, to.Notes[0], "kube-proxy v1.25 has no nftables mode")
	_, err = Check(c, Options{From: "iptables", To: "nftables", Release: "v1.30"})
	require.ErrorContains(t, err, "nftables mode since v1.31")
	_, err = Check(c, Options{From: "iptables", To: "ipvs"})
	require.ErrorContains(t, err, `mode "ipvs"`)
}

// Each node's objects that the goldens were written for, with the nodes that they name beside it: no difference that is not documented.
func TestGoldenObjects(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../test/testdata/goldens-nft/v1.*/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name, release := strings.TrimSuffix(filepath.Base(path), ".txtar"), filepath.Base(filepath.Dir(path))
		if release == "v1.36.0" || strings.HasPrefix(name, "large-cluster") { // it writes what v1.37.2 does, and 335 Services that are alike take minutes
			continue
		}
		t.Run(release+"/"+name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{}
			for _, from := range []string{"../../test/testdata/goldens/v1.37.2/" + name + ".txtar", "../../test/testdata/goldens-nft/v1.37.2/" + name + ".txtar", path} {
				if archive, err := txtar.ParseFile(from); err == nil {
					for _, f := range archive.Files {
						if f.Name == "input.yaml" || f.Name == "config.yaml" && !strings.Contains(from, "/goldens/") {
							files[f.Name] = f.Data
						}
					}
				}
			}
			sources := func() (out []topology.Source) {
				for _, file := range []string{"input.yaml", "config.yaml"} {
					out = append(out, topology.Source{Name: file, Reader: bytes.NewReader(files[file])})
				}
				return out
			}
			bare, _, err := topology.LoadForRules(sources()...)
			require.NoError(t, err)
			c, _, err := topology.Load(append(sources(), missingNodes(bare))...)
			require.NoError(t, err)
			r, err := Check(c, Options{From: "iptables", To: "nftables", Release: release})
			if err != nil {
				require.ErrorIs(t, err, kubeproxy.ErrRefused)
				return
			}
			documentedOnly(t, r)
			require.Positive(t, r.Asked)
		})
	}
}

// missingNodes are those that endpoints are on and that are not described.
func missingNodes(c topology.Cluster) topology.Source {
	var names []string
	for _, s := range c.Services {
		for _, p := range s.Ports {
			for _, e := range p.Endpoints {
				if _, known := c.Node(e.Node); !known && e.Node != "" && !slices.Contains(names, e.Node) {
					names = append(names, e.Node)
				}
			}
		}
	}
	var b strings.Builder
	for i, name := range names {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Node\nmetadata: {name: %s}\nspec:\n  podCIDRs: [%s]\nstatus:\n  addresses:\n", name, strings.Join(podRanges(c, i), ", "))
		for _, a := range []string{fmt.Sprintf("192.168.26.%d", 11+i), fmt.Sprintf("\"fd00:26::%d\"", 11+i)} {
			if family := map[bool]topology.Family{true: topology.IPv6}[strings.Contains(a, ":")]; c.Nodes[0].Address(family).IsValid() {
				fmt.Fprintf(&b, "  - {type: InternalIP, address: %s}\n", a)
			}
		}
	}
	return topology.Source{Name: "nodes.yaml", Reader: strings.NewReader(b.String())}
}

// podRanges are those of a further node, of the families of the first one's.
func podRanges(c topology.Cluster, i int) (out []string) {
	for _, p := range c.Nodes[0].PodCIDRs {
		if nat.FamilyOf(p.Addr()) == nat.IPv4 {
			out = append(out, fmt.Sprintf("10.244.%d.0/24", 2+i))
		} else {
			out = append(out, fmt.Sprintf("\"fd00:10:244:%d::/64\"", 2+i))
		}
	}
	return out
}

// The page names each class with what to do, and the flows by Service.
func TestText(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := scene{objects: web(nodePort, "p1")}.move(t).reported(t)
	require.NoError(t, r.Text(&b, 0))
	text := b.String()
	for _, want := range []string{
		"kube-proxy v1.37: from iptables to nftables mode", "0 of them are not documented", "1. node-port-address: ", "that worked and no longer do",
		"set nodePortAddresses", "* d/web:h: NodePort tcp", "asked:  127.0.0.1:30080, 127.0.0.5:30080", "by:     n1, n2, n3",
		"before: answered by 10.244.1.5:8080, which sees ", "after:  refused by n1", "Besides:",
	} {
		require.Contains(t, text, want)
	}
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, len(line), 112, line)
	}
	b.Reset()
	require.NoError(t, scene{}.move(t).reported(t).Text(&b, 0))
	require.Contains(t, b.String(), "all end alike")
}

// Words of JSON are read back.
func TestAspects(t *testing.T) {
	t.Parallel()
	for i := range aspectNames {
		text, err := Aspect(i).MarshalText()
		require.NoError(t, err)
		var back Aspect
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, Aspect(i), back)
	}
	var a Aspect
	require.ErrorContains(t, a.UnmarshalText([]byte("x")), "want one of port")
	require.Equal(t, "aspect(99)", Aspect(99).String())
}

// The manual has each class, in its order.
func TestManual(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../cmd/natlab/README.md")
	require.NoError(t, err)
	for i, c := range classes {
		require.Contains(t, string(text), fmt.Sprintf("\n| %d | `%s` |", i+1, c.name))
		for _, words := range []string{c.changes, c.whom, c.do, c.back} {
			require.NotEmpty(t, words, c.name)
		}
	}
}

// What packets showed is held against what was predicted.
func TestShown(t *testing.T) {
	t.Parallel()
	at := func(text string) (a netip.AddrPort) { return netip.MustParseAddrPort(text) }
	client, node := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.1")
	answer := Ending{End: nat.EndAnswered, Endpoint: at("10.244.1.5:80"), As: client}
	masqueraded := answer
	masqueraded.As = node
	for _, row := range []struct {
		name string
		seen Sight
		all  []Ending
		want bool
	}{
		{"answered", Sight{End: nat.EndAnswered, Endpoint: answer.Endpoint, As: client}, []Ending{answer}, true},
		{"answered by one of two", Sight{End: nat.EndAnswered, Endpoint: answer.Endpoint, As: client}, []Ending{{End: nat.EndLost}, answer}, true},
		{"by another endpoint", Sight{End: nat.EndAnswered, Endpoint: at("10.244.1.6:80"), As: client}, []Ending{answer}, false},
		{"masqueraded", Sight{End: nat.EndAnswered, Endpoint: answer.Endpoint, As: netip.MustParseAddr("10.244.1.0")}, []Ending{masqueraded}, true},
		{"not masqueraded", Sight{End: nat.EndAnswered, Endpoint: answer.Endpoint, As: client}, []Ending{masqueraded}, false},
		{"masqueraded against the prediction", Sight{End: nat.EndAnswered, Endpoint: answer.Endpoint, As: node}, []Ending{answer}, false},
		{"a rule's refusal", Sight{End: nat.EndRefused}, []Ending{{End: nat.EndRejected}}, true},
		{"a host's refusal", Sight{End: nat.EndRefused}, []Ending{{End: nat.EndRefused}}, true},
		{"lost", Sight{End: nat.EndLost}, []Ending{{End: nat.EndLost}}, true},
		{"lost, not refused", Sight{End: nat.EndLost}, []Ending{{End: nat.EndRejected}}, false},
		{"not let out", Sight{End: nat.EndLost, Barred: true}, []Ending{{End: nat.EndRejected}}, true},
		{"no neighbour answers", Sight{End: nat.EndUnreachable}, []Ending{{End: nat.EndLost}}, true},
		{"unreachable, not dropped", Sight{End: nat.EndUnreachable}, []Ending{{End: nat.EndLost, Dropped: true}}, false},
		{"not let out, but sent on", Sight{End: nat.EndLost, Barred: true}, []Ending{{End: nat.EndLost}}, false},
	} {
		require.Equal(t, row.want, row.seen.foretold(row.all, client), row.name)
	}
	m := scene{objects: web(nodePort, "p1")}.move(t)
	r, err := m.report(7)
	require.NoError(t, err)
	require.Len(t, r.Sample, 7)
	var from, to []Sight
	for _, d := range r.Askable() {
		from = append(from, Sight{End: d.From[0].End, Endpoint: d.From[0].Endpoint, As: d.From[0].As})
		to = append(to, Sight{End: d.To[0].End, Endpoint: d.To[0].Endpoint, As: d.To[0].As})
		for _, s := range []*Sight{&from[len(from)-1], &to[len(to)-1]} {
			if s.End == nat.EndRejected {
				s.End = nat.EndRefused
			}
		}
	}
	r.Show(from, to)
	require.Zero(t, r.Otherwise())
	var b strings.Builder
	require.NoError(t, r.Text(&b, 0))
	require.Contains(t, b.String(), "7 of those that end alike; 0 ended otherwise than predicted")
	to[0] = Sight{End: nat.EndUnreachable}
	r.Show(from, to)
	require.Equal(t, 1, r.Otherwise())
	b.Reset()
	require.NoError(t, r.Text(&b, 0))
	require.Contains(t, b.String(), "1 ended otherwise than predicted\n   * "+r.Differences[0].String())
}
