package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/topology"
)

func TestPages(t *testing.T) {
	t.Parallel()
	all, err := List()
	require.NoError(t, err)
	more, err := OfKubeProxy()
	require.NoError(t, err)
	for _, s := range append(all, more...) {
		var page bytes.Buffer
		require.NoError(t, Page(&page, s, 0))
		require.Contains(t, page.String(), s.Title)
		found, err := Find(s.Name)
		require.NoError(t, err)
		require.Equal(t, s, found)
	}
	_, err = Find("114537")
	require.ErrorContains(t, err, "did you mean kubernetes-114537?")
	_, err = Find("no-such-bug")
	require.ErrorIs(t, err, ErrUnknown)
	_, err = Parse("x", []byte("lab\n"))
	require.ErrorContains(t, err, `has to begin with "# title: ..."`)
	_, err = Parse("x", []byte("# title: a\n# what: b\n# issue: c\nlab\n"))
	require.ErrorContains(t, err, "tell-tale")
	_, err = Parse("x", []byte("# title: a\n# what: b\nlab\n-- --\n"))
	require.ErrorContains(t, err, `line 4: "-- --": a file needs a name`)
}

// The page's tables are the scenarios: each with its title, and what it is restricted to.
func TestPageHasTheLibrary(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	tables := strings.Split(string(page), "|---|---|---|\n")
	require.Len(t, tables, 3)
	all, err := List()
	require.NoError(t, err)
	more, err := OfKubeProxy()
	require.NoError(t, err)
	for i, of := range [][]Scenario{more, all} {
		var want []string
		for _, s := range of {
			only := s.Needs
			if s.Affected != "" {
				only = append([]string{s.Affected}, only...)
			} else if len(s.Backends) == 1 {
				only = append([]string{s.Backends[0]}, only...)
			}
			want = append(want, fmt.Sprintf("| `%s` | %s | %s |", s.Name, s.Title, strings.Join(only, ", ")))
		}
		table, _, _ := strings.Cut(tables[i+1], "\n\n")
		require.Equal(t, strings.Join(want, "\n"), strings.TrimSpace(table))
	}
}

// remedies are the verbs by which a remedy is given; whatever else stands behind [buggy] or [fixed] is an expectation.
var remedies = regexp.MustCompile(`^(sync|iptables|apply|flush|sysctl|run|server|lab|cp|env)\b`)

// The two variants of a scenario differ by the remedy and by what is expected: what is done to the cluster in the buggy
// one is done in the fixed one too.
func TestVariantsDifferByTheRemedy(t *testing.T) {
	t.Parallel()
	all, err := List()
	require.NoError(t, err)
	more, err := OfKubeProxy()
	require.NoError(t, err)
	for _, s := range append(all, more...) {
		for line := range strings.Lines(string(txtar.Parse(s.Text).Comment)) {
			rest, buggy := strings.CutPrefix(strings.TrimSpace(line), "[buggy] ")
			if buggy && remedies.MatchString(rest) {
				require.Contains(t, string(s.Text), "[fixed] "+strings.Fields(rest)[0], "%s: %s has no counterpart in the fixed variant", s.Name, line)
			}
		}
		if s.Issue != "" {
			require.Contains(t, string(s.Text), "[buggy] ", s.Name)
			require.Contains(t, string(s.Text), "[fixed] ", s.Name)
		}
	}
}

// A skip names what the machine lacks, and the page lists it.
func TestSkips(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, script, needs, want string }{
		{"none", "lab", "", ""},
		{"kernel", "[!kernel:6.12] skip 'older'", "kernel:6.12", ""},
		{"two", "[!kernel:6.12] [!feature:netem] skip\n[legacy] [!exec:tc] skip\n", "kernel:6.12 feature:netem exec:tc", ""},
		{"bare", "lab\nskip 'no time'", "", "line 4: a skip has to name what the machine lacks"},
		{"not negated", "[kernel:6.12] skip", "", "line 3: a skip"},
		{"not the machine's", "[!buggy] skip", "", "line 3: a skip"},
		{"an argument is no skip", "run n1 skip", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, err := Parse("x", []byte("# title: t\n# what: w\n"+row.script))
			if row.want != "" {
				require.ErrorContains(t, err, row.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.needs, strings.Join(s.Needs, " "))
		})
	}
}

// A run that was skipped has failed on a machine that lacks nothing of what the scenario needs.
func TestSkipIsEarned(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		needs   []string
		outcome Outcome
		missing []string
		log     string
	}{
		{"lacks the kernel", []string{"kernel:99.1"}, Skipped, []string{"kernel:99.1"}, ""},
		{"lacks one of two", []string{"kernel:4.0", "exec:no-such-program"}, Skipped, []string{"exec:no-such-program"}, ""},
		{"lacks nothing", []string{"kernel:4.0", "exec:sh"}, Failed, nil, "has all that the scenario needs: kernel:4.0 exec:sh"},
		{"not known", []string{"kernel:new"}, Failed, nil, "is not known"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := &stage{job: job{scenario: Scenario{Needs: row.needs}}}
			r, log := Result{Outcome: Skipped}, &recorder{}
			s.earn(&r, log)
			require.Equal(t, row.outcome, r.Outcome)
			require.Equal(t, row.missing, r.Missing)
			require.Contains(t, log.log.String(), row.log)
		})
	}
}

func FuzzParse(f *testing.F) {
	all, err := List()
	require.NoError(f, err)
	for _, s := range all {
		f.Add(string(s.Text))
	}
	f.Add("# title: a\n# what: b\n-- --\n")
	f.Add("# title: a\n#  b\n# what: c\n# issue: d\n# tell-tale: e\n# fix: f\n# backends: iptables-nft\n[!kernel:6.12] skip\n-- f --\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("x", []byte(text))
		if err != nil {
			require.Equal(t, Scenario{}, s)
			return
		}
		require.Equal(t, text, string(s.Text))
		require.NotEmpty(t, s.Title)
		require.NotEmpty(t, s.What)
		var page bytes.Buffer
		require.NoError(t, Page(&page, s, 0))
		require.Contains(t, page.String(), s.Title)
		again, err := Parse("x", s.Text)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

func TestMergePatch(t *testing.T) {
	t.Parallel()
	base, err := parseObjects([]byte("kind: Service\nmetadata: {name: web}\nspec: {a: 1, b: {c: 2, d: 3}}\n---\nkind: Node\nmetadata: {name: n1}\n"))
	require.NoError(t, err)
	patch, err := parseObjects([]byte("kind: Service\nmetadata: {name: web, namespace: default}\nspec: {a: null, b: {c: 4}}\n---\nkind: Node\nmetadata: {name: n1}\n$delete: true\n---\nkind: Node\nmetadata: {name: n2}\n"))
	require.NoError(t, err)
	got, err := base.merge(patch)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, map[string]any{"b": map[string]any{"c": 4.0, "d": 3.0}}, got[0]["spec"])
	require.Equal(t, "Node <nil>/n2", got.key(1))
	require.Len(t, base, 2, "the original is as it was")
	_, err = got.merge(objects{{"kind": "Node", "metadata": map[string]any{"name": "n9"}, "$delete": true}})
	require.ErrorContains(t, err, "is not there to be deleted")
}

func TestConnMatch(t *testing.T) {
	t.Parallel()
	original, err := nat.ParseTuple("udp 10.244.1.9:40030 > 10.96.0.10:53")
	require.NoError(t, err)
	reply, err := nat.ParseTuple("udp 10.244.2.2:8080 > 10.244.1.9:40030")
	require.NoError(t, err)
	c := nat.Conn{Original: original, Reply: reply, Status: nat.Confirmed | nat.DstNAT}
	for _, row := range []struct {
		args string
		want bool
	}{
		{"", true},
		{"proto=udp src=10.244.1.9 dst=10.96.0.10:53 reply-src=10.244.2.2:8080 reply-dst=:40030", true},
		{"proto=tcp", false},
		{"src=10.244.1.9:40031", false},
		{"dst=:54", false},
		{"status=CONFIRMED|DST_NAT not=SRC_NAT|SEEN_REPLY", true},
		{"status=SEEN_REPLY", false},
		{"not=DST_NAT", false},
	} {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			fits, err := connMatch(strings.Fields(row.args))
			require.NoError(t, err, row.args)
			require.Equal(t, row.want, fits(c), row.args)
		})
	}
	for _, bad := range []string{"colour=red", "src=nowhere", "status=WEIRD", "proto"} {
		_, err := connMatch(strings.Fields(bad))
		require.ErrorIs(t, err, errUsage, bad)
	}
}

func TestNetCounter(t *testing.T) {
	t.Parallel()
	const text = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 1 7\nIp: Forwarding InAddrErrors\nIp: 1 2\n"
	n, ok := netCounter(text, "IPReversePathFilter")
	require.True(t, ok)
	require.EqualValues(t, 7, n)
	n, ok = netCounter(text, "InAddrErrors")
	require.True(t, ok)
	require.EqualValues(t, 2, n)
	_, ok = netCounter(text, "Nothing")
	require.False(t, ok)
}

func TestChanceOfRuns(t *testing.T) {
	t.Parallel()
	bug := Scenario{Name: "bug", Issue: "x#1", Text: []byte("[buggy] stop"), Backends: []string{"iptables-legacy", "iptables-nft"}}
	feature := Scenario{Name: "feature", Backends: []string{"iptables-nft"}}
	require.Len(t, plan([]Scenario{bug, feature}, Options{}), 5)
	require.Len(t, plan([]Scenario{bug, feature}, Options{Repeat: 3}), 15)
	require.Len(t, plan([]Scenario{bug, feature}, Options{Variants: []Variant{Buggy}}), 2)
	require.Len(t, plan([]Scenario{bug, feature}, Options{Backends: []string{"iptables-nft"}}), 3)
	require.Len(t, plan([]Scenario{bug, feature}, Options{Shard: 2, Shards: 2}), 1)
	require.Len(t, plan([]Scenario{bug, feature}, Options{Backends: []string{"userspace"}}), 3, "each variant, whatever backends of the kernel's it is for")
	require.Len(t, plan([]Scenario{bug, feature}, Options{Backends: []string{"nftables"}}), 3, "and in nftables mode")
}

// A command of iptables changes one table, as iptables would, and what that would refuse is refused.
func TestEdited(t *testing.T) {
	t.Parallel()
	rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n:X - [0:0]\n-A FORWARD -j X\nCOMMIT\n*nat\n:OUTPUT ACCEPT [0:0]\n:Y - [0:0]\n-A Y -j RETURN\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct{ args, table, has, hasNot, refused string }{
		{"-A X -j DROP", "filter", "-A X -j DROP", "", ""},
		{"-P FORWARD DROP", "filter", ":FORWARD DROP", "", ""},
		{"-D FORWARD 1", "filter", ":X", "-A FORWARD", ""},
		{"-t nat -F Y", "nat", ":Y", "-A Y", ""},
		{"-t nat -I Y 1 -m comment --comment two_words -j ACCEPT", "nat", "--comment \"two words\" -j ACCEPT\n-A Y -j RETURN", "", ""},
		{"-t mangle -A OUTPUT -j MARK --set-mark 1", "mangle", "-A OUTPUT -j MARK", "", ""},
		{"-t nat -A X -j RETURN", "", "", "", "table nat has no chain X"},
		{"-D FORWARD 2", "", "", "", "rule number 2"},
	} {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(row.args)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "_", " ")
			}
			got, err := edited(rs, args)
			if row.refused != "" {
				require.ErrorContains(t, err, row.refused)
				return
			}
			require.NoError(t, err)
			require.Len(t, got.Tables, 1)
			require.Equal(t, row.table, string(got.Tables[0].Name))
			require.Contains(t, got.String(), row.has)
			require.True(t, row.hasNot == "" || !strings.Contains(got.String(), row.hasNot), got.String())
		})
	}
}

// A script that is about the kernel's own NAT is skipped where that is natlab's, with the verbs that make it so; nothing is run.
func TestScriptOfTheKernel(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ what, script, why string }{
		{"none", "lab\nask cl tcp 192.168.0.1:30080", ""},
		{"two", "lab\nstat n1 reset\n[fixed] counter n1 nat x\n! stat n1 Invalid", "about the kernel's own NAT: counter, stat"},
		{"an edit", "lab\niptables n1 -F", ""},
		{"negated", "lab\n! audit n1", "about the kernel's own NAT: audit"},
		{"for the kernel's alone", "lab\n[!userspace] ! audit n1\n[legacy] view n1 1.8.7\n[buggy] [nft] counter n1 nat x", ""},
		{"an argument", "lab\nrun n1 echo counter", ""},
		{"a file", "lab\n-- x --\ncounter n1", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			s, err := Parse("x", []byte("# title: a\n# what: b\n"+row.script+"\n"))
			require.NoError(t, err)
			require.Equal(t, row.why, s.Kernel)
			if row.why == "" {
				return
			}
			all := Run(t.Context(), []Scenario{s}, Options{Backends: []string{"userspace"}})
			require.NotEmpty(t, all)
			for _, r := range all {
				require.Equal(t, Skipped, r.Outcome)
				require.Equal(t, row.why, r.Why)
			}
		})
	}
	for backend, yes := range map[string]string{"userspace": "userspace", "nftables": "nftables", "iptables-nft": "nft"} {
		s := &stage{job: job{backend: backend}}
		for _, word := range []string{"userspace", "legacy", "nft", "nftables"} {
			got, err := s.condition(word)
			require.NoError(t, err)
			require.Equal(t, word == yes, got, "%s on %s", word, backend)
		}
	}
}

// In nftables mode a script that is about iptables mode is skipped for its reason, and a cluster whose release has no such mode gets the newest.
func TestScriptInNFTablesMode(t *testing.T) {
	t.Parallel()
	s, err := Parse("x", []byte("# title: a\n# what: b\n# iptables: how it\n#   lists\nlab\n"))
	require.NoError(t, err)
	require.Equal(t, "how it lists", s.IPTables)
	all := Run(t.Context(), []Scenario{s}, Options{Backends: []string{NFTables}})
	require.Len(t, all, 1)
	require.Equal(t, Skipped, all[0].Outcome)
	require.Equal(t, "about kube-proxy's iptables mode: how it lists", all[0].Why)
	for _, row := range []struct{ patch, release string }{
		{"", "v1.37"},
		{"apiVersion: natlab/v1alpha1\nkind: Lab\nspec: {kubeProxy: {release: v1.33}}", "v1.33"},
		{"apiVersion: natlab/v1alpha1\nkind: Lab\nspec: {kubeProxy: {release: v1.30}}", "v1.37"},
	} {
		o, err := parseObjects(small)
		require.NoError(t, err)
		patch, err := parseObjects([]byte(row.patch))
		require.NoError(t, err)
		o, err = o.merge(patch)
		require.NoError(t, err)
		o, err = o.inNFTables()
		require.NoError(t, err)
		c, err := o.cluster("small")
		require.NoError(t, err)
		require.Equal(t, topology.ModeNFTables, c.KubeProxy.Mode)
		require.Equal(t, row.release, c.KubeProxy.Release, row.patch)
		require.Equal(t, "10.244.0.0/16", c.KubeProxy.ClusterCIDRs[0].String())
	}
}

// A release is asked for by any of its versions.
func TestReleaseCondition(t *testing.T) {
	t.Parallel()
	s := &stage{cluster: topology.Cluster{KubeProxy: topology.KubeProxy{Release: "v1.28"}}}
	for word, want := range map[string]bool{"release:v1.28": true, "release:1.28": true, "release:v1.28.15": true, "release:v1.2": false, "release:v1.29": false} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			got, err := s.condition(word)
			if word == "release:v1.2" {
				require.EqualError(t, err, "condition [release:v1.2]: want v1.25 to v1.37, or a patch release of one")
				return
			}
			require.NoError(t, err, word)
			require.Equal(t, want, got, word)
		})
	}
}
