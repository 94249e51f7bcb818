package lab

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/topology"
)

// What a change would have to make or take away besides rules and servers is named.
func TestWhatApplyRefuses(t *testing.T) {
	was := reference(t)
	plan, err := topology.NewPlan(was)
	require.NoError(t, err)
	const pod = "velero/minio-b6d98746c-lxt2c"
	at := func(c *topology.Cluster) *topology.Pod {
		c.Pods = slices.Clone(c.Pods)
		return &c.Pods[slices.IndexFunc(c.Pods, func(p topology.Pod) bool { return p.Member() == pod })]
	}
	for _, row := range []struct {
		name   string
		change func(*topology.Cluster)
		want   string
	}{
		{"nothing", func(*topology.Cluster) {}, ""},
		{"a Service", func(c *topology.Cluster) { c.Services = c.Services[1:] }, ""},
		{"a pod's labels and state", func(c *topology.Cluster) { at(c).HostPorts = nil }, ""},
		{"another pod", func(c *topology.Cluster) { at(c).Name = "other" }, "pod velero/other is new"},
		{"a pod less", func(c *topology.Cluster) {
			c.Pods = slices.DeleteFunc(slices.Clone(c.Pods), func(p topology.Pod) bool { return p.Member() == pod })
		}, "pod " + pod + " is gone"},
		{"a node less", func(c *topology.Cluster) { c.Nodes = c.Nodes[:len(c.Nodes)-1] }, "node vms106 is gone"},
		{"a pod moved", func(c *topology.Cluster) { at(c).Node = "vms101" }, "the route 10.244.38.178 via 192.168.26.101"},
		{"another MTU", func(c *topology.Cluster) { c.Underlay.MTU = 1400 }, "MTU 1400, the lab made it 1500"},
		{"a client's address", func(c *topology.Cluster) {
			c.Clients = slices.Clone(c.Clients)
			c.Clients[0].Addresses = []netip.Addr{c.Clients[0].Addresses[0].Next().Next().Next()}
		}, "client outside: the address"},
		{"a hostPort", func(c *topology.Cluster) { at(c).HostPorts = []topology.HostPort{{}} }, "pod " + pod + ": its hostPorts are others"},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := reference(t)
			now.Name = was.Name
			row.change(&now)
			other, err := topology.NewPlan(now)
			require.NoError(t, err)
			got := rewired(plan, other)
			if got == "" {
				got = otherHostPorts(was, now)
			}
			if row.want == "" {
				require.Empty(t, got)
			} else {
				require.Contains(t, got, row.want)
			}
		})
	}
}

// A lab that is being proved is not changed, and after a change it is the new cluster's, for whoever has it open.
func TestApply(t *testing.T) {
	l := raise(t, reference(t))
	without := reference(t)
	without.Services = slices.DeleteFunc(without.Services, func(s topology.Service) bool { return s.Namespace == "velero" })
	_, stop, err := l.Attend(t.Context())
	require.NoError(t, err)
	_, err = l.Apply(t.Context(), without, Partial)
	require.ErrorContains(t, err, "it is being proved at the moment")
	stop()
	for range 100 { // who lets go has let go: the next command is not refused
		require.False(t, l.own.control.proved())
		_, stop, err := l.Attend(t.Context())
		require.NoError(t, err)
		stop()
	}
	other, err := Open(t.Context(), l.Name())
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	require.False(t, l.own.control.proved())
	done, err := other.Apply(t.Context(), without, Partial)
	require.NoError(t, err)
	require.Contains(t, done.Services, "velero/minio")
	require.Empty(t, done.Started)
	require.Len(t, done.Stopped, 4, "%v", done.Stopped)
	for _, one := range []*Lab{l, other} {
		require.Equal(t, without.Services, one.Cluster().Services)
	}
	running, err := l.RunningServers(t.Context())
	require.NoError(t, err)
	want := serversOf(without)
	require.Equal(t, want, running)
	done, err = l.Apply(t.Context(), reference(t), Full)
	require.NoError(t, err)
	require.Len(t, done.Started, 4)
	other2 := reference(t)
	other2.KubeProxy.Backend = "iptables-nft"
	_, err = l.Apply(t.Context(), other2, Full)
	require.ErrorIs(t, err, ErrRewire)
}

// Files that name no mode, and whose nodes tell of another release, are those of a lab whose kube-proxies run in a mode and are of a release by a flag.
func TestFilesOfALabWhoseKubeProxiesAreChosen(t *testing.T) {
	files := reference(t)
	for _, row := range []struct {
		name, asked string // a mode in the files
		proxied     string
		want        topology.KubeProxy
	}{
		{"natlab's own copy follows the nodes", "", "", topology.KubeProxy{Mode: topology.ModeNFTables, Release: "v1.25", Version: "v1.25.1"}},
		{"a real one is what it is", "", "/bin/kube-proxy", topology.KubeProxy{Mode: topology.ModeNFTables, Release: "v1.37", Version: "v1.37.2"}},
		{"another mode is asked for", topology.ModeIPVS, "/bin/kube-proxy", topology.KubeProxy{Mode: topology.ModeIPVS, Release: "v1.37", Version: "v1.37.2"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := &Lab{cluster: files, record: record{KubeProxy: row.proxied}}
			l.cluster.Name, l.cluster.KubeProxy.Mode, l.cluster.KubeProxy.Release, l.cluster.KubeProxy.Version = "chosen", topology.ModeNFTables, "v1.37", "v1.37.2"
			asked := files
			asked.KubeProxy.Mode, asked.KubeProxy.Release, asked.KubeProxy.Version = row.asked, "v1.25", "v1.25.1"
			c := l.Here(asked)
			require.Equal(t, "chosen", c.Name)
			require.Equal(t, row.want, topology.KubeProxy{Mode: c.KubeProxy.Mode, Release: c.KubeProxy.Release, Version: c.KubeProxy.Version})
		})
	}
}
