package dataplane

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// What is written into a fresh namespace without a program is what the program writes: the same text, and the same bytes.
func TestFresh(t *testing.T) {
	c, err := topology.Reference()
	require.NoError(t, err)
	rs, err := kubeproxy.Rules(c, "vms100", kubeproxy.Options{})
	require.NoError(t, err)
	p, err := newPrograms(Legacy)
	require.NoError(t, err)
	direct, program := freshNamespace(t, "direct"), freshNamespace(t, "program")
	require.True(t, p.fresh(t.Context(), direct, rs))
	require.NoError(t, p.restore(t.Context(), program, nat.IPv4, rs.Restore()))
	want, err := p.save(t.Context(), program, nat.IPv4)
	require.NoError(t, err)
	got, err := p.save(t.Context(), direct, nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, uncommented(want), uncommented(got))
	bytesOf := func(ns Namespace) any {
		tables, err := ReadTables(ns, nat.IPv4)
		require.NoError(t, err)
		return tables
	}
	require.Equal(t, bytesOf(program), bytesOf(direct))
}

// What natlab has no bytes for, what the kernel refuses, and another backend are the program's.
func TestFreshLeavesTheRest(t *testing.T) {
	parse := func(text string) iptables.Ruleset {
		rs, err := iptables.ParseString(text, nat.IPv4)
		require.NoError(t, err)
		return rs
	}
	plain := parse("*filter\n-A INPUT -j DROP\nCOMMIT\n")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name    string
		backend Backend
		ctx     context.Context
		rs      iptables.Ruleset
	}{
		{"nft", NFT, t.Context(), plain},
		{"over", Legacy, gone, plain},
		{"bytes", Legacy, t.Context(), parse("*filter\n-A INPUT -m odd --some option -j DROP\nCOMMIT\n")},
		{"kernel", Legacy, t.Context(), parse("*filter\n-A INPUT -m rateest --rateest nowhere --rateest-lt --rateest-bps 8bit -j ACCEPT\nCOMMIT\n")},
	} {
		p, err := newPrograms(row.backend)
		require.NoError(t, err)
		ns := freshNamespace(t, row.name)
		require.False(t, p.fresh(row.ctx, ns, row.rs), row.name)
		if row.name == "kernel" {
			refused := (*RefusedError)(nil)
			require.ErrorAs(t, p.Install(row.ctx, ns, row.rs), &refused)
		}
	}
}

// uncommented is what iptables-save printed, without its dates.
func uncommented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func freshNamespace(t *testing.T, what string) netns.Handle {
	t.Helper()
	name := fmt.Sprintf("natlab-fresh-%d-%s", os.Getpid(), what)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	t.Cleanup(func() { require.NoError(t, netns.Delete(name)) })
	return h
}

// A Reader reads without a program what the program prints, and what it has no words for by the program.
func TestReaderReadsTheKernel(t *testing.T) {
	p, err := newPrograms(Legacy)
	require.NoError(t, err)
	c, err := topology.Reference()
	require.NoError(t, err)
	var r Reader
	for i, node := range []string{"vms100", "vms101", "vms100"} {
		rs, err := kubeproxy.Rules(c, node, kubeproxy.Options{})
		require.NoError(t, err)
		ns := freshNamespace(t, fmt.Sprintf("reader%d", i))
		require.NoError(t, p.Install(t.Context(), ns, rs))
		got, ok := p.held(ns, nat.IPv4, &r)
		require.True(t, ok)
		want, err := p.dump(t.Context(), ns, nat.IPv4, nil)
		require.NoError(t, err)
		require.Equal(t, want.String(), got.String())
		require.True(t, want.Same(got) && rs.Same(got))
		all, err := r.DumpAll(t.Context(), ns, nat.IPv4)
		require.NoError(t, err)
		require.Equal(t, []Installed{{Backend: Legacy, Rules: got}}, all)
	}
	ns := freshNamespace(t, "set")
	require.NoError(t, MakeSets(ns, nat.IPv4, "natlab-one"))
	rs, err := iptables.ParseString("*filter\n-A INPUT -m set --match-set natlab-one src -j DROP\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	require.NoError(t, p.Install(t.Context(), ns, rs))
	_, ok := p.held(ns, nat.IPv4, &r)
	require.False(t, ok)
	all, err := r.DumpAll(t.Context(), ns, nat.IPv4)
	require.NoError(t, err)
	require.Contains(t, all[0].Rules.String(), "--match-set natlab-one src")
}
