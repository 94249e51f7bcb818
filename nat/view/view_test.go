package view

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/xtables"
)

// loaded is a saved rule set as the kernel would hold it after iptables-restore of Newest: its tables in the order
// of /proc/net/ip_tables_names, the one loaded last first.
func loaded(t *testing.T, w xtables.Writer, text string) []xtables.Table {
	t.Helper()
	tables, err := w.ReadSave(text)
	require.NoError(t, err)
	var out []xtables.Table
	for _, table := range tables {
		blob, err := table.Complete().Encode()
		require.NoError(t, err)
		back, err := xtables.Decode(blob)
		require.NoError(t, err)
		out = append([]xtables.Table{back}, out...)
	}
	return out
}

// What real binaries print for the same rules. A line on which the old program printed ranges from behind the
// rule's own bytes is compared up to there: the rest differs from run to run.
func TestViewsAreThoseOfTheRealPrograms(t *testing.T) {
	sets, err := filepath.Glob("testdata/views/*")
	require.NoError(t, err)
	require.NotEmpty(t, sets)
	for _, dir := range sets {
		rules, err := os.ReadFile(filepath.Join(dir, "rules.txt"))
		require.NoError(t, err)
		tables := loaded(t, xtables.Writer{Family: nat.IPv4, Version: Newest}, string(rules))
		views, err := filepath.Glob(dir + "/as-*.txt")
		require.NoError(t, err)
		require.NotEmpty(t, views)
		for _, file := range views {
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "as-"), ".txt")
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				v, err := ParseVersion(name)
				require.NoError(t, err)
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				got, _ := View{Version: v}.Save(tables...)
				wantLines, gotLines := cutPast(string(want), got)
				if diff := cmp.Diff(wantLines, gotLines); diff != "" {
					t.Error("-real +ours\n" + diff)
				}
			})
		}
	}
}

// cutPast shortens the real lines where ours says that it does not know more.
func cutPast(want, got string) (w, g []string) {
	w, g = strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if known, _, past := strings.Cut(g[i], " ["); past && strings.Contains(g[i], "past the rule's own bytes]") && strings.HasPrefix(w[i], known) {
			n := strings.Count(known, "--to-destination")
			if strings.Count(w[i], "--to-destination") > n {
				w[i], g[i] = known, known
			}
		}
	}
	return w, g
}

// What natlab has no words for survives as bytes: through text, and through the rules of nat/iptables.
func TestUnknownExtensionsAreKept(t *testing.T) {
	table := xtables.Table{Name: "filter"}.Complete()
	e := dropAll()
	e.Matches = []xtables.Extension{{Name: "u32", Revision: 0, Data: make([]byte, 16)}, {Name: "mark", Revision: 7, Data: []byte("12345678")}}
	table.Chains[0].Entries = []xtables.Entry{e}
	e.Matches, e.Target = nil, xtables.Extension{Name: "NEWTARGET", Revision: 3, Data: []byte("abcdefgh")}
	table.Chains[1].Entries = []xtables.Entry{e}
	rs := xtables.Ruleset(nat.IPv4, nil, table)
	require.Contains(t, rs.String(), "-A FORWARD -j NEWTARGET --raw 3:6162636465666768\n")
	back, err := xtables.Writer{Version: Newest}.Tables(rs)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]xtables.Table{table}, back, sameHeader))
}

// An offset that leads nowhere is named.
func TestMalformedBlobs(t *testing.T) {
	tables, err := xtables.Writer{Version: Newest}.ReadSave("*filter\n:X - [0:0]\n-A INPUT -j X\n-A X -j DROP\nCOMMIT\n")
	require.NoError(t, err)
	whole, err := tables[0].Complete().Encode()
	require.NoError(t, err)
	for _, row := range []struct {
		name  string
		spoil func(*xtables.Blob)
		want  string
	}{
		{"cut off", func(b *xtables.Blob) { b.Bytes = b.Bytes[:len(b.Bytes)-8] }, "offset 0x440: "},
		{"empty", func(b *xtables.Blob) { b.Bytes = nil }, "0 entries, the kernel counts 8"},
		{"a jump to nowhere", func(b *xtables.Blob) { b.Bytes[144] ^= 0x10 }, "offset 0x0: a jump to 0x3"},
		{"an entry without an end", func(b *xtables.Blob) { order.PutUint16(b.Bytes[90:], 0xfff8) }, "offset 0x0: target_offset 112, next_offset 65528"},
		{"a match of no bytes", func(b *xtables.Blob) { order.PutUint16(b.Bytes[112:], 0) }, "offset 0x70: match or target of 0 bytes"},
		{"a chain that begins nowhere", func(b *xtables.Blob) { b.Entry[1] = 7 }, "offset 0x7: chain INPUT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := whole
			b.Bytes = append([]byte(nil), whole.Bytes...)
			row.spoil(&b)
			got, err := xtables.Decode(b)
			require.Equal(t, xtables.Table{}, got)
			var at *xtables.DecodeError
			require.ErrorAs(t, err, &at)
			require.ErrorContains(t, err, row.want)
		})
	}
}

// Versions are read from what programs print of themselves.
func TestParseVersion(t *testing.T) {
	for s, want := range map[string]Version{"1.4.21": {1, 4, 21}, "v1.8.9": {1, 8, 9}, "1.6.1": {1, 6, 1}} {
		t.Run(s, func(t *testing.T) {
			v, err := ParseVersion(s)
			require.NoError(t, err)
			require.Equal(t, want, v)
			require.Equal(t, strings.TrimPrefix(s, "v"), v.String())
		})
	}
	for _, s := range []string{"", "1.4", "1.4.17", "1.8.12", "2.0.0", "1.4.x", "1.4.21-35.el7"} {
		_, err := ParseVersion(s)
		require.ErrorContains(t, err, "want one from 1.4.18 to 1.8.11", s)
	}
	require.Equal(t, Version{1, 8, 11}, Newest)
}

// What each version writes and reads, as data: the revisions of DNAT, and who knows --random-fully.
func TestVersionsDiffer(t *testing.T) {
	tables, err := xtables.Writer{Version: Newest}.ReadSave("*nat\n-A PREROUTING -p tcp -j DNAT --to-destination 10.6.214.12:9100\n-A POSTROUTING -j MASQUERADE --random-fully\n" +
		"-A POSTROUTING -p tcp -j SNAT --to-source 10.0.0.1:1-9 --random-fully\n-A OUTPUT -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff\nCOMMIT\n")
	require.NoError(t, err)
	const misread = "-j DNAT --to-destination :0 --persistent --to-destination :0 --persistent --to-destination 0.0.0.0:0\n"
	const right, refused = "-j DNAT --to-destination 10.6.214.12:9100\n", "-j DNAT [unsupported revision]\n"
	const connmark, wrongMark, noMark = "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff\n", "-j CONNMARK --set-xmark 0x0/0xff\n", "-j CONNMARK [unsupported revision]\n"
	for _, row := range []struct {
		version    Version
		dnat, mark string
		masq, snat bool
	}{
		{Version{1, 4, 21}, misread, wrongMark, false, false},
		{Version{1, 6, 0}, misread, wrongMark, false, true},
		{Version{1, 6, 1}, refused, noMark, false, true},
		{Version{1, 6, 2}, refused, noMark, true, true},
		{Version{1, 8, 0}, right, connmark, true, true},
		{Version{1, 8, 1}, right, connmark, true, true},
		{Version{1, 8, 2}, right, connmark, true, true},
		{Version{1, 8, 11}, right, connmark, true, true},
	} {
		t.Run(row.dnat, func(t *testing.T) {
			text, _ := View{Version: row.version}.Save(tables[0].Complete())
			require.Contains(t, text, row.dnat, row.version)
			require.Contains(t, text, row.mark, row.version)
			require.Equal(t, row.masq, strings.Contains(text, "MASQUERADE --random-fully"), row.version)
			require.Equal(t, row.snat, strings.Contains(text, "10.0.0.1:1-9 --random-fully"), row.version)
		})
	}
}

// sameHeader compares headers, which cmp does not look into.
var sameHeader = cmp.Comparer(func(a, b xtables.Header) bool { return a == b })

// dropAll is a rule that drops every packet.
func dropAll() xtables.Entry {
	tables, err := xtables.Writer{Version: Newest}.ReadSave("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
	if err != nil {
		panic(err)
	}
	return tables[0].Chains[0].Tail
}
