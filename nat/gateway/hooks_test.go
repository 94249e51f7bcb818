package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// tables are rules with the built-in chains of these tables.
func tables(t *testing.T, names ...string) iptables.Ruleset {
	t.Helper()
	var text strings.Builder
	for _, name := range names {
		text.WriteString("*" + name + "\n")
		for _, hook := range nat.TableHooks(name) {
			fmt.Fprintf(&text, ":%s ACCEPT [0:0]\n", hook)
		}
		text.WriteString("COMMIT\n")
	}
	rs, err := iptables.ParseString(text.String(), nat.IPv4)
	require.NoError(t, err)
	return rs
}

// called are the functions of a hook, with their priorities.
func (h *hooks) called(hook nat.Hook) string {
	var out []string
	for _, f := range h.functions[hook] {
		out = append(out, fmt.Sprintf("%s %d", f.name, f.priority))
	}
	return strings.Join(out, ", ")
}

// The order is that of enum nf_ip_hook_priorities.
func TestHooksOrder(t *testing.T) {
	t.Parallel()
	one := tables(t, nat.Tables()...)
	silent := tables(t, "nat", "filter")
	for _, row := range []struct {
		name   string
		rules  Rules
		tracks bool
		hook   nat.Hook
		want   string
	}{
		{"one backend", Rules{one}, true, nat.PreRouting, "defrag -400, prerouting-raw -310, raw -300, conntrack -200, mangle -150, nat -100, prerouting-nat -90"},
		{"one backend", Rules{one}, true, nat.Input, "mangle -150, filter 0, security 50, nat 100, confirm 2147483647"},
		{"one backend", Rules{one}, true, nat.Forward, "mangle -150, filter 0, security 50"},
		{"one backend", Rules{one}, true, nat.Output, "defrag -400, output-raw -310, raw -300, conntrack -200, mangle -150, nat -100, output-nat -90, filter 0, security 50"},
		{"one backend", Rules{one}, true, nat.PostRouting, "mangle -150, nat 100, postrouting 310, confirm 2147483647"},
		// Each hook has NAT once: it asks the tables of both.
		{"both backends", Rules{one, one}, true, nat.PreRouting, "defrag -400, prerouting-raw -310, raw -300, raw -300, conntrack -200, mangle -150, mangle -150, nat -100, prerouting-nat -90"},
		{"no rule asks for conntrack", Rules{silent}, false, nat.PreRouting, "prerouting-raw -310, prerouting-nat -90"},
		{"no rule asks for conntrack", Rules{silent}, false, nat.Input, "filter 0"},
		{"no rules", nil, false, nat.PostRouting, "postrouting 310"},
	} {
		t.Run(row.name+" "+row.hook.String(), func(t *testing.T) {
			t.Parallel()
			h := newHooks(row.rules, nil, row.tracks, nat.IPv4)
			require.Equal(t, row.want, h.called(row.hook))
		})
	}
}

// Of the same priority, what is registered later is called first (nf_hook_entries_grow): Rules are in the order of the calls.
func TestHooksOfBothBackends(t *testing.T) {
	t.Parallel()
	h := newHooks(Rules{tables(t, "nat"), tables(t, nat.Tables()...)}, nil, true, nat.IPv4)
	for hook, tables := range map[nat.Hook]int{nat.PreRouting: 2, nat.Input: 2, nat.Output: 2, nat.PostRouting: 2, nat.Forward: 0} {
		require.Len(t, h.nat[hook], tables, "NAT at %s", hook)
	}

	first, second := iptables.Compile(iptables.Table{Name: "first"}), iptables.Compile(iptables.Table{Name: "second"})
	var same hooks
	for _, c := range []*iptables.Compiled{second, first} {
		same.register(baseChain{hook: nat.PostRouting, kind: natChain, priority: 100, table: c})
	}
	require.Equal(t, "first", same.nat[nat.PostRouting][0].table.Name())
}

// A base chain has the priority that it was made with, whatever the tables of iptables have.
func TestBaseChains(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		base baseChain
		want string
		nat  []int // the priorities of the base chains that NAT asks
	}{
		{"in front of conntrack", baseChain{hook: nat.PreRouting, kind: filterChain, priority: -250, table: nil}, "defrag -400, prerouting-raw -310, raw -300, input -250, conntrack -200, mangle -150, nat -100, prerouting-nat -90", []int{-100}},
		{"between mangle and NAT", baseChain{hook: nat.PreRouting, kind: filterChain, priority: -110, table: nil}, "defrag -400, prerouting-raw -310, raw -300, conntrack -200, mangle -150, input -110, nat -100, prerouting-nat -90", []int{-100}},
		{"before all", baseChain{hook: nat.PreRouting, kind: filterChain, priority: -500, table: nil}, "input -500, defrag -400, prerouting-raw -310, raw -300, conntrack -200, mangle -150, nat -100, prerouting-nat -90", []int{-100}},
		{"in front of its table's priority", baseChain{hook: nat.PreRouting, kind: natChain, priority: -105, table: nil}, "defrag -400, prerouting-raw -310, raw -300, conntrack -200, mangle -150, nat -100, prerouting-nat -90", []int{-105, -100}},
		{"behind its table's priority", baseChain{hook: nat.PreRouting, kind: natChain, priority: 0, table: nil}, "defrag -400, prerouting-raw -310, raw -300, conntrack -200, mangle -150, nat -100, prerouting-nat -90", []int{-100, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := newHooks(Rules{tables(t, nat.Tables()...)}, nil, true, nat.IPv4)
			base := row.base
			base.table = iptables.Compile(iptables.Table{Name: "input"})
			h.register(base)
			require.Equal(t, row.want, h.called(nat.PreRouting))
			var asked []int
			for _, c := range h.nat[nat.PreRouting] {
				asked = append(asked, c.priority)
			}
			require.Equal(t, row.nat, asked)
		})
	}
}
