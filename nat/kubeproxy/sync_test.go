package kubeproxy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/topology"
)

// kube-proxy's chains become what it wants, a Service that is gone loses its own, and other agents keep what is theirs.
func TestSync(t *testing.T) {
	t.Parallel()
	const live = `*nat
:PREROUTING ACCEPT [5:300]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-OLD - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-MARK-DROP - [0:0]
:OTHER - [0:0]
-A PREROUTING -j OTHER
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-OLD
-A KUBE-SVC-A -j RETURN
-A OTHER -j RETURN
COMMIT
`
	const want = `*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-NEW - [0:0]
-A PREROUTING -m comment --comment first -j KUBE-SERVICES
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-NEW
-A KUBE-SVC-NEW -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
`
	const after = `*nat
:PREROUTING ACCEPT [5:300]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-MARK-DROP - [0:0]
:OTHER - [0:0]
:KUBE-SVC-NEW - [0:0]
-A PREROUTING -m comment --comment first -j KUBE-SERVICES
-A PREROUTING -j OTHER
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A KUBE-SERVICES -j KUBE-SVC-NEW
-A OTHER -j RETURN
-A KUBE-SVC-NEW -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
`
	a, err := iptables.ParseString(live, nat.IPv4)
	require.NoError(t, err)
	b, err := iptables.ParseString(want, nat.IPv4)
	require.NoError(t, err)
	u := Update{Want: b, prefixes: []string{"KUBE-SVC-"}}
	got := u.Apply(a, DeleteStale)
	require.Equal(t, after, got.String())
	require.Equal(t, after, u.Apply(got, DeleteStale).String(), "a second sync changes nothing")
	require.Equal(t, live, a.String(), "what it was given is as it was")
}

// shops is a cluster of one node with Services a and b, each with endpoints at 10.1.x.1 and so on.
func shops(release string, a, b int) topology.Cluster {
	c := topology.Cluster{
		Nodes:     []topology.Node{{Name: "n", Labels: map[string]string{"zone": "z"}}},
		KubeProxy: topology.KubeProxy{Release: release, MasqueradeBit: -1},
	}
	for i, n := range []int{a, b} {
		s := topology.Service{Namespace: "shop", Name: string(rune('a' + i)), ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})}}
		port := topology.ServicePort{Protocol: "TCP", Port: 80}
		for j := range n {
			at := netip.AddrFrom4([4]byte{10, byte(i + 1), byte(j >> 8), byte(j)})
			port.Endpoints = append(port.Endpoints, topology.Endpoint{Addr: netip.AddrPortFrom(at, 80), Ready: true, Serving: true})
		}
		s.Ports = []topology.ServicePort{port}
		c.Services = append(c.Services, s)
	}
	return c
}

func update(t *testing.T, before *topology.Cluster, after topology.Cluster) Update {
	t.Helper()
	u, err := NewUpdate(before, after, "n", Options{})
	require.NoError(t, err)
	return u
}

// flush empties a chain as another agent would.
func flush(rs iptables.Ruleset, table, chain string) iptables.Ruleset {
	rs = rs.Clone()
	for i := range rs.Tables {
		for j := range rs.Tables[i].Chains {
			if c := &rs.Tables[i].Chains[j]; rs.Tables[i].Name == table && c.Name == chain {
				c.Rules = nil
			}
		}
	}
	return rs
}

// A sync after a change writes the chains of what changed, since 1.27; what somebody else did to the others stays until
// the next full one. The chains that all Services share are written each time.
func TestPartialSync(t *testing.T) {
	t.Parallel()
	svc := func(name string) string { return "KUBE-SVC-" + ServiceHash(PortName("shop", name, ""), "tcp") }
	for _, row := range []struct {
		name, release, table, chain string
		change                      func(*topology.Cluster) // beside another endpoint of b
		repaired                    bool
	}{
		{"of a Service that did not change", "v1.26", "nat", svc("a"), nil, true},
		{"of a Service that did not change", "v1.27", "nat", svc("a"), nil, false},
		{"of a Service that did not change", "v1.37", "nat", svc("a"), nil, false},
		{"of one that changed", "v1.37", "nat", svc("b"), nil, true},
		{"of all Services", "v1.37", "nat", "KUBE-SERVICES", nil, true},
		{"of all Services", "v1.37", "filter", "KUBE-FORWARD", nil, true},
		{"a built-in one", "v1.26", "nat", "PREROUTING", nil, true},
		{"a built-in one", "v1.27", "nat", "PREROUTING", nil, false},
		// what makes a sync a full one
		{"the gate is off", "v1.27", "nat", svc("a"), func(c *topology.Cluster) {
			c.KubeProxy.FeatureGates = map[string]bool{"MinimizeIPTablesRestore": false}
		}, true},
		{"the configuration is another", "v1.37", "nat", svc("a"), func(c *topology.Cluster) { c.KubeProxy.MasqueradeAll = true }, true},
		{"the node's labels are others", "v1.37", "nat", svc("a"), func(c *topology.Cluster) {
			c.Nodes = []topology.Node{{Name: "n", Labels: map[string]string{"zone": "y"}}}
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before, after := shops(row.release, 1, 1), shops(row.release, 1, 2)
			if row.change != nil {
				row.change(&after)
			}
			live := flush(update(t, nil, before).Want, row.table, row.chain)
			u := update(t, &before, after)
			got := u.Apply(live, DeleteStale)
			require.Equal(t, row.repaired, sorted(got).String() == u.Want.String(), "%s %s", row.release, row.name)
			full := update(t, nil, after)
			require.Equal(t, full.Want.String(), sorted(full.Apply(got, DeleteStale)).String(), "%s %s: a full sync repairs all", row.release, row.name)
		})
	}
}

// In a cluster of more than 1,000 endpoints what no rule calls any more stays for a while, and is known for what it is.
func TestStaleChains(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"v1.25", "v1.28", "v1.37"} {
		for _, row := range []struct {
			endpoints int
			large     bool
		}{{1000, false}, {1001, true}} {
			before, after := shops(release, 2, row.endpoints-1), shops(release, 0, row.endpoints)
			live := update(t, nil, before).Want
			u := update(t, &before, after)
			require.Equal(t, row.large, u.Large, "%s %d", release, row.endpoints)
			require.Equal(t, u.Want.String(), sorted(u.Apply(live, DeleteStale)).String(), release)

			got := u.Apply(live, KeepStale)
			nat, _ := got.Table("nat")
			stale := u.StaleChains(nat)
			require.Len(t, stale, 3, "%s: KUBE-SVC and two KUBE-SEP of a", release)
			for name := range stale {
				kept, _ := nat.Chain(name)
				require.NotEmpty(t, kept.Rules, "%s: as they were", release)
			}
			// Called from a chain that is not stale, neither it nor what it calls is.
			svc := "KUBE-SVC-" + ServiceHash("shop/a", "tcp")
			for i := range nat.Chains {
				if nat.Chains[i].Name == "KUBE-SERVICES" {
					nat.Chains[i].Rules = append(slices.Clone(nat.Chains[i].Rules), iptables.Rule{Target: xt.Jump{Chain: svc}})
				}
			}
			require.Empty(t, u.StaleChains(nat), release)
		}
	}
}

// sorted puts chains in the order of their names, the built-in ones first.
func sorted(rs iptables.Ruleset) iptables.Ruleset {
	rs = rs.Clone()
	for _, t := range rs.Tables {
		key := func(c iptables.Chain) string {
			if c.BuiltIn() {
				return ""
			}
			return c.Name
		}
		slices.SortStableFunc(t.Chains, func(a, b iptables.Chain) int { return strings.Compare(key(a), key(b)) })
	}
	return rs
}

// What kubelet has in KUBE-FIREWALL stays where kube-proxy has no rule for it, and what a canary got from somebody.
func TestSyncMakesSureOfChains(t *testing.T) {
	t.Parallel()
	c := shops("v1.28", 1, 1)
	u := update(t, nil, c)
	live, err := iptables.ParseString("*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\n-A KUBE-FIREWALL -j DROP\n-A KUBE-PROXY-CANARY -j RETURN\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	got := u.Apply(live, DeleteStale).String()
	require.Contains(t, got, "-A KUBE-FIREWALL -j DROP\n")
	require.Contains(t, got, "-A KUBE-PROXY-CANARY -j RETURN\n")
	c.KubeProxy.LocalhostNodePorts = true
	require.NotContains(t, update(t, nil, c).Apply(live, DeleteStale).String(), "-A KUBE-FIREWALL -j DROP\n", "its own rule is written anew, and alone")
}

// KUBE-XLB- chains of releases before 1.24 go with the first sync, until 1.27.
func TestSyncDeletesOldChains(t *testing.T) {
	t.Parallel()
	live, err := iptables.ParseString("*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-XLB-OLD - [0:0]\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	for _, r := range Releases() {
		got := update(t, nil, shops(r.Name, 1, 1)).Apply(live, DeleteStale).String()
		require.Equal(t, r.minor >= 28, strings.Contains(got, "KUBE-XLB-OLD"), r.Name)
	}
}
