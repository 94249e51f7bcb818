package test

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/audit"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/topology"
)

// nftGoldens are what real kube-proxies wrote in nftables mode, an archive a case: RELEASE/CASE.txtar, with the case's input.yaml or that of the
// golden of iptables mode of this name.
const nftGoldens = "testdata/goldens-nft"

// archived are the files of an archive, by name; none where there is no archive.
func archived(t *testing.T, path string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	archive, err := txtar.ParseFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	require.NoError(t, err)
	for _, f := range archive.Files {
		out[f.Name] = f.Data
	}
	return out
}

// nftGolden reads one case. What it has not of its own is that of the newest release's, or of iptables mode's.
func nftGolden(t *testing.T, path string) golden {
	t.Helper()
	base := filepath.Base(path)
	g := golden{name: strings.TrimSuffix(base, ".txtar"), release: filepath.Base(filepath.Dir(path)), files: map[string][]byte{}}
	for name, text := range archived(t, filepath.Join("testdata/goldens/v1.37.2", base)) {
		if name == "input.yaml" {
			g.files[name] = text
		}
	}
	for name, text := range archived(t, filepath.Join(nftGoldens, "v1.37.2", base)) {
		if name == "input.yaml" || name == "config.yaml" {
			g.files[name] = text
		}
	}
	maps.Copy(g.files, archived(t, path))
	return g
}

// blocks are the tables' sets and chains by name, each as its text. Which Service's come first is left to chance.
func blocks(t *testing.T, rs nftables.Ruleset) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, table := range rs.Tables {
		name := string(table.Family) + " " + table.Name
		out[name] = table.Comment
		for _, o := range table.Objects {
			out[name+" "+o.Kind+" "+o.Name] = ""
		}
		for _, s := range table.Sets {
			elements := make([]string, len(s.Elements))
			for i := range s.Elements {
				elements[i] = s.Elements[i].String()
			}
			slices.Sort(elements)
			s.Elements = nil
			one := nftables.Table{Sets: []nftables.Set{s}}
			out[name+" set "+s.Name] = one.String() + strings.Join(elements, "\n")
		}
		for _, c := range table.Chains {
			one := nftables.Table{Chains: []nftables.Chain{c}}
			out[name+" chain "+c.Name] = one.String()
		}
	}
	return out
}

// What natlab writes in nftables mode is what kube-proxy wrote, and what it hands to nft for that, line by line.
func TestNFTGoldens(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(nftGoldens, "v1.*", "*.txtar"))
	require.NoError(t, err)
	require.Len(t, paths, 199)
	for _, path := range paths {
		g := nftGolden(t, path)
		t.Run(g.release+"/"+g.name, func(t *testing.T) {
			t.Parallel()
			want, err := nftables.ParseText(string(g.files["nft.txt"]))
			require.NoError(t, err)
			cluster := g.cluster(t)
			var got nftables.Ruleset
			for file, family := range map[string]nat.Family{"tx4.txt": nat.IPv4, "tx6.txt": nat.IPv6} {
				o := kubeproxy.Options{Release: g.release, Family: family, NodeAddresses: g.nodeAddresses(t)}
				rs, err := kubeproxy.Tables(cluster, "node-1", o)
				if err != nil {
					require.ErrorIs(t, err, kubeproxy.ErrRefused)
					require.NotContains(t, string(g.files["node.txt"]), "transactions refused: none")
					continue
				}
				got.Tables = append(got.Tables, rs.Tables...)
				if text, ok := g.files[file]; ok {
					var process kubeproxy.Process
					all, err := process.Sync(cluster, "node-1", o, nftables.Table{}, time.Time{})
					require.NoError(t, err)
					require.Len(t, all, 1)
					require.Equal(t, sortedLines(string(text)), sortedLines(all[0].String()))
				}
			}
			require.Equal(t, blocks(t, want), blocks(t, got))
			audited(t, &g, cluster, want)
		})
	}
}

// audited finds no fault in what kube-proxy wrote, and one where one of its elements is gone.
func audited(t *testing.T, g *golden, c topology.Cluster, live nftables.Ruleset) {
	t.Helper()
	c.KubeProxy.Mode = topology.ModeNFTables
	for i := range live.Tables {
		n := audit.Node{Cluster: c, Name: "node-1", Options: kubeproxy.Options{Release: g.release, NodeAddresses: g.nodeAddresses(t)}, Native: live}
		if live.Tables[i].Family == nftables.IP6 {
			n.Options.Family = nat.IPv6
		}
		found, err := audit.Check(n)
		require.NoError(t, err)
		require.Empty(t, found)
		spoilt := live
		spoilt.Tables = slices.Clone(live.Tables)
		spoilt.Tables[i].Sets = slices.Clone(spoilt.Tables[i].Sets)
		at := slices.IndexFunc(spoilt.Tables[i].Sets, func(s nftables.Set) bool { return s.Name == "cluster-ips" && len(s.Elements) > 0 })
		if at < 0 {
			continue
		}
		spoilt.Tables[i].Sets[at].Elements = spoilt.Tables[i].Sets[at].Elements[1:]
		n.Native = spoilt
		found, err = audit.Check(n)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, audit.Missing, found[0].Kind)
	}
}

// sortedLines are the lines of a transaction: which Service's come first is left to chance.
func sortedLines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	slices.Sort(out)
	return out
}

// What kube-proxy wrote as objects changed, one after the other, on one node.
func TestNFTChanges(t *testing.T) {
	t.Parallel()
	written := archived(t, filepath.Join(nftGoldens, "changes.txtar"))
	var process kubeproxy.Process
	var live nftables.Table
	at := time.Unix(0, 0)
	c := changing()
	for i, change := range changes() {
		if at = at.Add(time.Minute); change.restart {
			process = kubeproxy.Process{}
		}
		change.edit(&c)
		all, err := process.Sync(c, "node-1", kubeproxy.Options{Release: "v1.37.2", Family: nat.IPv4}, live, at)
		require.NoError(t, err)
		var got []string
		for _, tx := range all {
			live = tx.Apply(live)
			got = append(got, sortedLines(tx.String())...)
		}
		var want []string
		for _, line := range sortedLines(string(changeFile(t, written, change.file))) {
			if !strings.Contains(line, "ip6 kube-proxy") {
				want = append(want, line)
			}
		}
		slices.Sort(got)
		require.Equal(t, want, got, "%d: %s", i, change.file)
	}
	want, err := nftables.ParseText(string(written["final-nft.txt"]))
	require.NoError(t, err)
	wanted := blocks(t, want)
	maps.DeleteFunc(wanted, func(name, _ string) bool { return strings.HasPrefix(name, "ip6 ") })
	require.Equal(t, wanted, blocks(t, nftables.Ruleset{Tables: []nftables.Table{live}}))
}

// changeFile is what was written at a step, "01", whose file's name goes on with what was changed.
func changeFile(t *testing.T, written map[string][]byte, step string) []byte {
	t.Helper()
	for name, text := range written {
		if strings.HasPrefix(name, step+"-") {
			return text
		}
	}
	require.FailNow(t, "no file of step "+step)
	return nil
}

// changed is one step of the changes.
type changed struct {
	file    string
	restart bool
	edit    func(*topology.Cluster)
}

// changing is the cluster before all changes, and changes are those that were made to it.
func changing() topology.Cluster {
	c := topology.Cluster{
		Nodes:     []topology.Node{{Name: "node-1", Labels: map[string]string{}, Addresses: addrs("192.168.26.10")}},
		KubeProxy: topology.KubeProxy{MasqueradeBit: -1, ClusterCIDRs: prefixes("10.244.0.0/16")},
	}
	c.Services = []topology.Service{
		changingService("other", "10.96.1.11", 30080, "10.244.0.6"),
		changingService("web", "10.96.1.10", 0, "10.244.0.5", "10.244.2.7"),
	}
	return c
}

func changingService(name, ip string, nodePort uint16, endpoints ...string) topology.Service {
	s := topology.Service{Namespace: "default", Name: name, ClusterIPs: addrs(ip)}
	if nodePort != 0 {
		s.Type = topology.NodePort
	}
	s.Ports = []topology.ServicePort{{Name: "p", Protocol: "TCP", Port: 80, NodePort: nodePort}}
	backed(&s, endpoints...)
	return s
}

// backed gives a Service's port ready endpoints: those of 10.244.0 are on node-1.
func backed(s *topology.Service, endpoints ...string) {
	s.Ports = slices.Clone(s.Ports)
	s.Ports[0].Endpoints = nil
	for _, a := range addrs(endpoints...) {
		e := topology.Endpoint{Addr: netip.AddrPortFrom(a, 8080), Node: "node-2", Ready: true, Serving: true}
		if a.As4()[2] == 0 {
			e.Node = "node-1"
		}
		s.Ports[0].Endpoints = append(s.Ports[0].Endpoints, e)
	}
}

func changes() []changed {
	service := func(at int, edit func(*topology.Service)) func(*topology.Cluster) {
		return func(c *topology.Cluster) {
			c.Services = slices.Clone(c.Services)
			edit(&c.Services[at])
		}
	}
	web := func(endpoints ...string) func(*topology.Cluster) {
		return service(1, func(s *topology.Service) { backed(s, endpoints...) })
	}
	sticky := func(seconds int32) func(*topology.Cluster) {
		return service(1, func(s *topology.Service) { s.AffinitySeconds = seconds })
	}
	added := func(c *topology.Cluster) {
		c.Services = append(slices.Clone(c.Services), changingService("np", "10.96.1.12", 30090, "10.244.0.5", "10.244.0.6"))
	}
	same := func(*topology.Cluster) {}
	return []changed{
		{"00", false, same},
		{"01", false, web("10.244.0.5", "10.244.0.6", "10.244.2.7")},
		{"02", false, web("10.244.0.5", "10.244.2.7")},
		{"03", false, web("10.244.2.7")},
		{"04", false, web()},
		{"05", false, web("10.244.0.5", "10.244.2.7")},
		{"06", false, sticky(60)},
		{"07", false, sticky(0)},
		{"08", false, added},
		{"09", false, service(2, func(s *topology.Service) { s.Ports = slices.Clone(s.Ports); s.Ports[0].NodePort = 30091 })},
		{"10", false, service(2, func(s *topology.Service) { s.ExternalPolicy = topology.PolicyLocal })},
		{"11", false, func(c *topology.Cluster) { c.Services = c.Services[:2:2] }},
		{"12", false, same},
		{"13", false, func(c *topology.Cluster) { c.ServiceCIDRs = prefixes("10.96.0.0/12") }},
		{"14", false, service(0, func(s *topology.Service) { backed(s, "10.244.0.5") })},
		{"15", false, func(c *topology.Cluster) {
			c.Nodes = slices.Clone(c.Nodes)
			c.Nodes[0].Labels = map[string]string{"topology.kubernetes.io/zone": "z"}
		}},
		{"16", true, same},
		{"17", true, web("10.244.0.6")},
	}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
