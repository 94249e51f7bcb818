package dataplane_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat/nftables"
	"natlab/nat/nftnl"
)

// What real kube-proxies wrote in nftables mode is written without the nft program as it lists it, and read back as what the listing is parsed
// into; and so is what the program loads.
func TestNFTGoldens(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../test/testdata/goldens-nft/*/*.txtar")
	require.NoError(t, err)
	tried := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		for _, f := range archive.Files {
			if f.Name != "nft.txt" {
				continue
			}
			tried++
			t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
				t.Parallel()
				roundTrip(t, string(f.Data))
			})
		}
	}
	require.Greater(t, tried, 70)
}

// roundTrip loads a listing by netlink and by nft, and reads each in both ways.
func roundTrip(t *testing.T, text string) {
	t.Helper()
	want, err := nftables.ParseText(text)
	require.NoError(t, err)
	ours, theirs := namespace(t), namespace(t)
	for i := range want.Tables {
		require.NoError(t, dataplane.WriteNFT(ours, nftnl.Whole(&want.Tables[i])))
	}
	require.NoError(t, dataplane.RunNFT(t.Context(), theirs, text))
	require.Equal(t, text, listed(t, ours))
	for _, ns := range []dataplane.Namespace{ours, theirs} {
		var got nftables.Ruleset
		want, err := nftables.ParseText(listed(t, ns)) // of a set of one element the program makes a comparison
		require.NoError(t, err)
		for _, family := range []nftables.Family{nftables.IP, nftables.IP6, nftables.Inet} {
			rs, err := dataplane.ReadNFT(ns, family)
			require.NoError(t, err)
			got = got.And(rs)
		}
		if is, should := placeless(t, got), placeless(t, want); !reflect.DeepEqual(should, is) { // thousands of elements that are the same cost cmp seconds
			require.Empty(t, cmp.Diff(should, is, cmpopts.EquateEmpty()))
		}
	}
}

// listed is what nft prints of a namespace, without what it counts.
func listed(t *testing.T, ns dataplane.Namespace) (text string) {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "nft", "-s", "list", "ruleset").CombinedOutput()
		text = string(out)
		return err
	}))
	return text
}

// placeless are tables without what one reading has of a rule and another has not: its handle and its line. Empty is nothing.
func placeless(t *testing.T, rs nftables.Ruleset) (out []nftables.Table) {
	t.Helper()
	for _, table := range rs.Tables {
		table.Chains = slices.Clone(table.Chains)
		for i := range table.Chains {
			c := &table.Chains[i]
			if c.Base != nil {
				b := *c.Base
				c.Base = &b
			}
			rules := make([]nftables.Rule, len(c.Rules))
			for k, r := range c.Rules {
				r.Handle, r.Line = 0, 0
				rules[k] = r
			}
			c.Rules = rules
		}
		for i := range table.Objects { // what has been counted is not in a listing without state
			table.Objects[i].Lines = slices.DeleteFunc(slices.Clone(table.Objects[i].Lines), func(l string) bool { return strings.HasPrefix(l, "packets ") })
		}
		out = append(out, table)
	}
	return out
}

// What else a table may have is written as nft lists it, and read back.
func TestNFTStatements(t *testing.T) {
	t.Parallel()
	rules := func(family, lines string) string {
		return "table " + family + " t {\n\tchain a {\n\t}\n\n\tchain c {\n\t\ttype filter hook input priority filter; policy drop;\n\t\t" + strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n\t\t") + "\n\t}\n}\n"
	}
	for _, row := range []struct{ what, text string }{
		{"sets", "table ip t {\n\tcomment \"of the table\"\n\tset r {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tauto-merge\n\t\tcomment \"ranges\"\n\t\telements = { 10.0.0.0/8, 11.0.0.1,\n\t\t\t     192.168.0.4-192.168.0.9, 240.0.0.0/4 }\n\t}\n\n" +
			"\tset p {\n\t\ttype inet_service\n\t\tflags interval\n\t\telements = { 0-79, 81, 1024-65535 }\n\t}\n\n" +
			"\tmap m {\n\t\ttype ipv4_addr . inet_proto . inet_service : verdict\n\t\tflags interval\n\t\telements = { 10.1.0.0/16 . tcp . 80-90 comment \"x\" : goto a }\n\t}\n\n" +
			"\tset d {\n\t\ttype ipv4_addr . inet_service\n\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout 3h\n\t\tgc-interval 10s\n\t}\n\n" +
			"\tmap v {\n\t\ttype ipv4_addr : mark\n\t\telements = { 10.0.0.1 : 0x00000001, 10.0.0.2 : 0x00000002 }\n\t}\n\n" +
			"\tset i {\n\t\ttype ifname\n\t\telements = { \"lo\",\n\t\t\t     \"lxc1\" }\n\t}\n\n" +
			"\tset n {\n\t\ttype ipv4_addr\n\t\tcounter\n\t}\n\n" +
			"\tchain a {\n\t\tcomment \"of the chain\"\n\t}\n}\n"},
		{"flags and marks", rules("ip", `
ct state established,related accept comment "of the rule"
ct state != invalid accept
ct status dnat jump a
ct direction original accept
ct mark 0x00000005 accept
ct original ip daddr 10.0.0.1 accept
tcp flags syn / fin,syn,rst,ack accept
tcp flags ! syn drop
meta mark & 0x00004000 == 0x00000000 return
meta mark set meta mark | 0x00004000
meta mark set meta mark ^ 0x00004000
meta mark set meta mark & 0x0000ffff
ct mark set meta mark
meta mark set 0x00000010
meta mark >= 0x00000005 accept
meta mark 0x00000001-0x00000005 accept`)},
		{"headers", rules("ip", `
ip saddr 10.0.0.0/8 ip daddr != 10.4.0.0/14 accept
ip saddr 10.0.0.1-10.0.0.9 accept
ip ttl < 5 drop
tcp dport 80 tcp sport 1024-65535 accept
tcp dport != 1-1024 accept
udp dport { 53, 100-200 } accept
icmp type echo-request accept
meta l4proto { tcp, udp } th dport 53 goto a
ip saddr . tcp dport { 10.0.0.1 . 80, 10.0.0.2 . 81 } accept
iifname "lo" accept
iifname "lxc*" accept
oifname != "lo" accept
iif "lo" accept
fib daddr type local accept
fib saddr . iif oif missing drop
ip daddr != { 10.0.0.0/8, 192.168.0.0/16 } drop
meta l4proto . th dport vmap { udp . 53 : accept, tcp . 80 : drop }
numgen inc mod 3 vmap { 0 : accept, 1 : drop, 2 : jump a }`)},
		{"what is done", rules("ip", `
limit rate 5/second accept
limit rate over 10 mbytes/minute burst 10 kbytes drop
quota over 25 mbytes drop
reject
reject with icmp host-prohibited
reject with tcp reset
notrack
drop`)},
		{"both families", rules("inet", `
meta nfproto ipv4 accept
ip saddr 10.0.0.1 tcp dport 80 accept
ip6 daddr fd00::/64 accept
ip6 saddr . udp dport { fd00::1 . 53 } accept
icmpv6 type nd-neighbor-solicit accept
reject
reject with icmpx admin-prohibited
reject with icmp net-unreachable
meta l4proto tcp reject with tcp reset`)},
		{"NAT", "table ip t {\n\tmap b {\n\t\ttype inet_service : ipv4_addr . inet_service\n\t\telements = { 80 : 10.0.0.1 . 8080 }\n\t}\n\n\tchain a {\n\t\ttype nat hook prerouting priority dstnat - 5; policy accept;\n" +
			"\t\tmeta l4proto tcp dnat to 10.0.0.1:80\n\t\tdnat to 10.0.0.1-10.0.0.9 random,persistent\n\t\tdnat ip to tcp dport map @b\n\t\tmeta l4proto udp redirect to :5353\n" +
			"\t\tdnat to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }\n\t\tdnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 81 }\n\t}\n\n" +
			"\tchain s {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\t\tmeta l4proto tcp masquerade to :1024-2048 fully-random\n\t\tsnat to 10.0.0.3\n\t}\n}\n"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			want, err := nftables.ParseText(row.text)
			require.NoError(t, err)
			ns := namespace(t)
			for i := range want.Tables {
				require.NoError(t, dataplane.WriteNFT(ns, nftnl.Whole(&want.Tables[i])))
			}
			require.Equal(t, row.text, listed(t, ns))
			got, err := dataplane.ReadNFT(ns, want.Tables[0].Family)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(placeless(t, want), placeless(t, got), cmpopts.EquateEmpty()))
		})
	}
}

// A refusal names the command, and nothing of the transaction is there; what natlab does not write is named before anything is sent.
func TestNFTRefused(t *testing.T) {
	ns := namespace(t)
	table := nftables.Table{Family: nftables.IP, Name: "t", Chains: []nftables.Chain{
		{Name: "a", Rules: []nftables.Rule{{Statements: []nftables.Statement{nftables.Accept()}}, {Statements: []nftables.Statement{nftables.Jump("none")}}}},
	}}
	err := dataplane.WriteNFT(ns, nftnl.Whole(&table))
	refused := (*dataplane.RefusedError)(nil)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "table ip t: add rule a jump none: no such file or directory", refused.Reason)

	table.Chains[0].Rules[1] = nftables.Rule{Statements: []nftables.Statement{nftables.Log{Options: "level info"}}}
	err = dataplane.WriteNFT(ns, nftnl.Whole(&table))
	require.ErrorIs(t, err, nftnl.ErrUnwritten)
	require.ErrorContains(t, err, `table ip t: add rule a log level info: "log level info": `)
	table.Chains[0].Rules = []nftables.Rule{{Statements: []nftables.Statement{nftables.Match{Left: nftables.Selector("meta iif"), Right: nftables.Name(nftables.IfIndex, "none0")}}}}
	require.ErrorContains(t, dataplane.WriteNFT(ns, nftnl.Whole(&table)), `device "none0"`)
	rs, err := dataplane.ReadNFT(ns, nftables.IP)
	require.NoError(t, err)
	require.Empty(t, rs.Tables)
}

// A map that no message takes as a whole, changed step by step.
func TestNFTLargeMap(t *testing.T) {
	ns := namespace(t)
	s := nftables.Set{Name: "m", Map: true, Key: []nftables.Type{nftables.IPv4Addr, nftables.InetService}, Data: []nftables.Type{nftables.VerdictType}}
	for i := range 5000 {
		s.Elements = append(s.Elements, nftables.Element{
			Key:     []nftables.Constant{nftables.Value(nftables.IPv4Addr, uint64(10<<24+i)), nftables.Value(nftables.InetService, 80)},
			Verdict: nftables.Drop(), Comment: "default/service-of-a-longer-name:http",
		})
	}
	table := nftables.Table{Family: nftables.IP, Name: "t", Sets: []nftables.Set{s}, Chains: []nftables.Chain{{Name: "c", Rules: []nftables.Rule{{Statements: []nftables.Statement{nftables.Drop()}}}}}}
	require.NoError(t, dataplane.WriteNFT(ns, nftnl.Whole(&table)))
	held := func() *nftables.Table {
		rs, err := dataplane.ReadNFT(ns, nftables.IP)
		require.NoError(t, err)
		require.Len(t, rs.Tables, 1)
		return &rs.Tables[0]
	}
	require.Len(t, held().Sets[0].Elements, 5000)
	first := nftables.Element{Key: s.Elements[0].Key}
	change := func(all ...nftnl.Command) error {
		return dataplane.WriteNFT(ns, nftnl.Transaction{Family: nftables.IP, Table: "t", Live: []nftables.Set{s}, Commands: all})
	}
	require.NoError(t, change(nftnl.Command{Verb: nftnl.Delete, Element: &first, In: "m"}, nftnl.Command{Verb: nftnl.Flush, Chain: &table.Chains[0]}))
	require.Len(t, held().Sets[0].Elements, 4999)
	require.Empty(t, held().Chains[0].Rules)
	require.Error(t, change(nftnl.Command{Verb: nftnl.Flush, Set: &s}, nftnl.Command{Verb: nftnl.Delete, Element: &first, In: "m"}))
	require.Len(t, held().Sets[0].Elements, 4999, "nothing is half done")
	require.NoError(t, change(nftnl.Command{Verb: nftnl.Flush, Set: &s}, nftnl.Command{Verb: nftnl.Delete, Chain: &table.Chains[0]}))
	require.Empty(t, held().Sets[0].Elements)
	require.Empty(t, held().Chains)
	require.NoError(t, change(nftnl.Command{Verb: nftnl.Delete, Table: &table}))
}
