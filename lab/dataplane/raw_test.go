package dataplane_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/view"
	"natlab/nat/xtables"
)

// What the program installed is read without it, and what is written without it the program dumps.
func TestRawTables(t *testing.T) {
	ns, other := namespace(t), namespace(t)
	d, err := dataplane.New(dataplane.Legacy)
	require.NoError(t, err)

	none, err := dataplane.ReadTables(ns, nat.IPv4)
	require.NoError(t, err)
	require.Empty(t, none)

	require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv4, first)))
	tables, err := dataplane.ReadTables(ns, nat.IPv4)
	require.NoError(t, err)
	got := xtables.Ruleset(nat.IPv4, nil, tables...)
	want, err := d.Dump(t.Context(), ns, nat.IPv4)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(byTable(want), byTable(got)))
	require.Equal(t, want.Tables[0].Name, got.Tables[0].Name)

	require.NoError(t, dataplane.WriteTables(other, tables...))
	written, err := d.Dump(t.Context(), other, nat.IPv4)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(byTable(want), byTable(written)))
}

func TestRawTablesOfIPv6(t *testing.T) {
	ns := namespace(t)
	d, err := dataplane.New(dataplane.Legacy)
	require.NoError(t, err)
	const text = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" +
		"-A PREROUTING -d fd00::1/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:8080\nCOMMIT\n"
	require.NoError(t, d.Install(t.Context(), ns, parse(t, nat.IPv6, text)))
	tables, err := dataplane.ReadTables(ns, nat.IPv6)
	require.NoError(t, err)
	shown, _ := view.View{Version: view.Newest}.Save(tables...)
	require.Equal(t, text, shown)
}

// A table that the kernel does not take is refused, and its name is in the error.
func TestRawTablesRefused(t *testing.T) {
	w := xtables.Writer{Version: view.Newest}
	tables, err := w.ReadSave("*nat\n-A PREROUTING " + nowhere + "\nCOMMIT\n")
	require.NoError(t, err)
	require.ErrorContains(t, dataplane.WriteTables(namespace(t), tables[0].Complete()), "write the ipv4 table nat: ")
}

// A rule that looks into an ipset keeps the set's number; the name comes from the kernel.
func TestSetNames(t *testing.T) {
	ns := namespace(t)
	names, err := dataplane.SetNames(ns)
	require.NoError(t, err)
	require.Empty(t, names)

	for range 2 { // the second time they are there
		require.NoError(t, dataplane.MakeSets(ns, nat.IPv4, "natlab-first", "natlab-second"))
	}
	names, err = dataplane.SetNames(ns)
	require.NoError(t, err)
	require.Equal(t, map[uint16]string{0: "natlab-first", 1: "natlab-second"}, names)
	dump, err := dataplane.DumpSets(ns)
	require.NoError(t, err)
	require.Equal(t, "create natlab-first hash:ip family inet maxelem 65536\ncreate natlab-second hash:ip family inet maxelem 65536\n", dump)

	const rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" +
		"-A INPUT -m set --match-set natlab-second src -j DROP\n-A INPUT -m set ! --match-set natlab-first dst -j DROP\nCOMMIT\n"
	w := xtables.Writer{Version: view.Newest, Sets: map[string]uint16{"natlab-first": 0, "natlab-second": 1}}
	tables, err := w.ReadSave(rules)
	require.NoError(t, err)
	require.NoError(t, dataplane.WriteTables(ns, tables[0].Complete()))
	d, err := dataplane.New(dataplane.Legacy)
	require.NoError(t, err)
	program, err := d.Dump(t.Context(), ns, nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, rules, plain(program))
	tables, err = dataplane.ReadTables(ns, nat.IPv4)
	require.NoError(t, err)
	text, _ := view.View{Version: view.Newest, Sets: names}.Save(tables...)
	require.Equal(t, rules, text)
	text, notes := view.View{Version: view.Newest}.Save(tables...)
	require.Contains(t, text, "-m set --raw 4:")
	require.Len(t, notes, 2)
}

// nf_tables read without a program gives what iptables-nft-save prints: natlab's own rules, every extension, both
// families, xt expressions and native ones.
func TestRawNFTTables(t *testing.T) {
	for file, family := range map[string]nat.Family{"extensions.txt": nat.IPv4, "extensions6.txt": nat.IPv6} {
		b, err := os.ReadFile("../../nat/view/testdata/" + file)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(b), "-A INPUT -j QUEUE\n", "") // iptables-nft has no such verdict
		ns := namespace(t)
		d, err := dataplane.New(dataplane.NFT)
		require.NoError(t, err)
		none, err := dataplane.ReadNFTTables(ns, family)
		require.NoError(t, err)
		require.Empty(t, none)
		require.NoError(t, d.Install(t.Context(), ns, parse(t, family, text)))
		want, err := d.Dump(t.Context(), ns, family)
		require.NoError(t, err)
		tables, err := dataplane.ReadNFTTables(ns, family)
		require.NoError(t, err)
		got := xtables.Ruleset(family, nil, tables...)
		require.Empty(t, cmp.Diff(byTable(want), byTable(got)), "-iptables-nft-save +natlab")
	}
}
