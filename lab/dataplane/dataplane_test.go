package dataplane_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/iptables"
)

var names atomic.Int32

// namespace is one that ends with the test.
func namespace(tb testing.TB) netns.Handle {
	tb.Helper()
	require.Zero(tb, os.Geteuid(), "network namespaces need root")
	name := fmt.Sprintf("natlab-dataplane-%d-%d", os.Getpid(), names.Add(1))
	h, err := netns.CreateLeased(name)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, h.Close())
		require.NoError(tb, netns.Delete(name))
	})
	return h
}

func parse(tb testing.TB, family nat.Family, text string) iptables.Ruleset {
	tb.Helper()
	rs, err := iptables.Parse(strings.NewReader(text), family)
	require.NoError(tb, err)
	return rs
}

// plain is a rule set without what differs from dump to dump: counters and line numbers.
func plain(rs iptables.Ruleset) string {
	rs = rs.Clone()
	for _, t := range rs.Tables {
		for i := range t.Chains {
			t.Chains[i].Packets, t.Chains[i].Bytes = 0, 0
			for j := range t.Chains[i].Rules {
				r := &t.Chains[i].Rules[j]
				r.Packets, r.Bytes, r.Line = 0, 0, 0
			}
		}
	}
	return rs.String()
}

// each runs a test with each backend in a fresh namespace.
func each(t *testing.T, f func(t *testing.T, d dataplane.Dataplane, ns netns.Handle)) {
	t.Helper()
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			d, err := dataplane.New(b)
			require.NoError(t, err)
			f(t, d, namespace(t))
		})
	}
}

const first = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.2:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
`

func TestInstallDumpRemove(t *testing.T) {
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		ctx := t.Context()
		empty, err := d.Dump(ctx, ns, nat.IPv4)
		require.NoError(t, err)
		require.Empty(t, empty.Tables)

		want := parse(t, nat.IPv4, first)
		require.NoError(t, d.Install(ctx, ns, want))
		got, err := d.Dump(ctx, ns, nat.IPv4)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(byTable(want), byTable(got)))

		// A table that is listed is replaced whole, one that is not is left alone.
		filter := parse(t, nat.IPv4, "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n")
		require.NoError(t, d.Install(ctx, ns, filter))
		got, err = d.Dump(ctx, ns, nat.IPv4)
		require.NoError(t, err)
		wanted := byTable(want)
		wanted["filter"] = byTable(filter)["filter"]
		require.Empty(t, cmp.Diff(wanted, byTable(got)))

		for range 2 {
			require.NoError(t, d.Remove(ctx, ns))
		}
		got, err = d.Dump(ctx, ns, nat.IPv4)
		require.NoError(t, err)
		for _, table := range got.Tables {
			for _, c := range table.Chains {
				require.Empty(t, c.Rules, "%s %s", table.Name, c.Name)
				require.Equal(t, "ACCEPT", c.Policy, "%s %s", table.Name, c.Name)
			}
		}
	})
}

// byTable is each table's text: the programs list the tables in orders of their own.
func byTable(rs iptables.Ruleset) map[string]string {
	out := map[string]string{}
	for _, t := range rs.Tables {
		out[t.Name] = plain(iptables.Ruleset{Family: rs.Family, Tables: []iptables.Table{t}})
	}
	return out
}

func TestIPv6(t *testing.T) {
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		want := parse(t, nat.IPv6, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"+
			"-A INPUT -s fd00::/8 -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n")
		require.NoError(t, d.Install(t.Context(), ns, want))
		got, err := d.Dump(t.Context(), ns, nat.IPv6)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(byTable(want), byTable(got)))
		four, err := d.Dump(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		require.Empty(t, four.Tables)
	})
}

// nowhere is a rule that natlab takes and the kernel refuses: nobody has made the estimator that it asks.
const nowhere = "-m rateest --rateest nowhere --rateest-lt --rateest-bps 8bit -j ACCEPT"

// Each refusal names the line, its table and its text, and leaves both tables as they were, whichever of them it is in.
func TestRefused(t *testing.T) {
	const nat1, nat2 = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n", "COMMIT\n"
	const filter1, filter2 = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n", "COMMIT\n"
	rows := []struct{ name, text, line, table string }{
		{"an unknown match", nat1 + "-A PREROUTING -m nosuchmatch --foo -j ACCEPT\n" + nat2, "-A PREROUTING -m nosuchmatch --foo -j ACCEPT", "nat"},
		{"the second table", nat1 + nat2 + filter1 + "-A INPUT -m nosuchmatch -j DROP\n" + filter2, "-A INPUT -m nosuchmatch -j DROP", "filter"},
		{"an estimator that is not there", nat1 + nat2 + filter1 + "-A INPUT -j ACCEPT\n-A FORWARD " + nowhere + "\n-A FORWARD -j ACCEPT\n" + filter2, "-A FORWARD " + nowhere, "filter"},
		{"an estimator that is not there, in the first table", nat1 + "-A PREROUTING " + nowhere + "\n" + nat2 + filter1 + filter2, "-A PREROUTING " + nowhere, "nat"},
	}
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv4, first)))
		before, err := d.Dump(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		for _, row := range rows {
			t.Run(row.name, func(t *testing.T) {
				err := d.Install(t.Context(), ns, parse(t, nat.IPv4, row.text))
				refused := (*dataplane.RefusedError)(nil)
				require.ErrorAs(t, err, &refused)
				require.Equal(t, row.line, strings.Join(strings.Fields(refused.Text), " "))
				require.Equal(t, row.table, refused.Table)
				require.Contains(t, err.Error(), fmt.Sprintf("line %d", refused.Line))
				require.NotEmpty(t, refused.Reason)
				after, err := d.Dump(t.Context(), ns, nat.IPv4)
				require.NoError(t, err)
				require.Empty(t, cmp.Diff(byTable(before), byTable(after)))
			})
		}
	})
}

// A rule set that is refused where nothing was before leaves nothing.
func TestRefusedInAnEmptyNamespace(t *testing.T) {
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		err := d.Install(t.Context(), ns, parse(t, nat.IPv4, first+"*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT "+nowhere+"\nCOMMIT\n"))
		require.Error(t, err)
		after, err := d.Dump(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		for _, table := range after.Tables {
			for _, c := range table.Chains {
				require.Empty(t, c.Rules, "%s %s", table.Name, c.Name)
			}
		}
	})
}

func TestAccountingObjectsAreMade(t *testing.T) {
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		const rule = "-A INPUT -m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP\n"
		text := "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" + rule + "COMMIT\n"
		for range 2 { // the second time it is there
			require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv4, text)))
		}
		got, err := d.Dump(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		require.Contains(t, got.String(), "ct_state_invalid_dropped_pkts")
	})
}

// The counters of a dump are the kernel's.
func TestCounters(t *testing.T) {
	each(t, func(t *testing.T, d dataplane.Dataplane, ns netns.Handle) {
		t.Helper()
		require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv4, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"+
			"-A OUTPUT -o lo -j ACCEPT\nCOMMIT\n")))
		require.NoError(t, ns.Do(func() error {
			if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w", out, err)
			}
			return exec.CommandContext(t.Context(), "bash", "-c", "echo > /dev/udp/127.0.0.1/9").Run()
		}))
		got, err := d.Dump(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		filter, ok := got.Table("filter")
		require.True(t, ok)
		output, ok := filter.Chain("OUTPUT")
		require.True(t, ok)
		require.Positive(t, output.Rules[0].Packets)
	})
}

func TestDumpAllSeesBothBackends(t *testing.T) {
	ns := namespace(t)
	for _, b := range dataplane.Backends() {
		d, err := dataplane.New(b)
		require.NoError(t, err)
		require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv4, first)))
	}
	all, err := dataplane.DumpAll(t.Context(), ns, nat.IPv4)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, byTable(all[0].Rules), byTable(all[1].Rules))
}

// Namespaces do not wait for each other, nor for the host's xtables lock.
func TestNoLockIsShared(t *testing.T) {
	a, b := namespace(t), namespace(t)
	var held *os.File // what iptables in namespace a would lock
	require.NoError(t, a.Do(func() (err error) {
		if held, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return unix.Flock(int(held.Fd()), unix.LOCK_EX)
	}))
	d, err := dataplane.New(dataplane.Legacy)
	require.NoError(t, err)
	require.NoError(t, d.Install(t.Context(), b, parse(t, nat.IPv4, first)))
	// What is held really is namespace a's: an install there goes on only when it is released.
	done := make(chan error, 1)
	var busy sync.WaitGroup
	busy.Go(func() { done <- d.Install(t.Context(), a, parse(t, nat.IPv4, first)) })
	require.Empty(t, done)
	require.NoError(t, held.Close())
	busy.Wait()
	require.NoError(t, <-done)
}

func TestUnknownBackend(t *testing.T) {
	_, err := dataplane.New("nftables")
	require.ErrorContains(t, err, `backend "nftables": want iptables-legacy or iptables-nft`)
}

func TestVersion(t *testing.T) {
	version, err := dataplane.Version(t.Context(), dataplane.NFT)
	require.NoError(t, err)
	require.Contains(t, version, "nf_tables")
}
