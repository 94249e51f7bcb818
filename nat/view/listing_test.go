package view

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// notListed are rules of which iptables -L prints less than iptables-save.
var notListed = []string{
	"-A X -p sctp -m sctp --sport 0:65535",
	"-A X -p dccp -m dccp --sport 0:65535 --dccp-option 255",
	"-A X -p tcp -m osf ! --genre Windows --ttl 2 --log 0",
	`-A X -m string ! --hex-string "|615c|" --algo kmp --to 0`,
	"-A X -m quota ! --quota 18446744073709551615",
	"-A X -m eui64", // by iptables-nft
}

// What List prints of every row's examples is read back as the rule that it was, whatever version prints it: with the
// devices, as far as there are any, the counters, and the table's heading.
func TestListingsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, version := range []Version{{1, 4, 21}, {1, 8, 7}, {1, 8, 9}, {1, 8, 11}} {
		for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
			for _, x := range xt.Extensions() {
				if !x.Families.Has(f) || len(x.Layouts) == 0 || misprinted(x.Name, version) {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %s", version, f, x.Name), func(t *testing.T) {
					t.Parallel()
					w := xtables.Writer{Family: f, Version: version, Sets: map[string]uint16{"one": 1}}
					text := exampleTable(t, x, w)
					tables, err := w.ReadSave(text)
					require.NoError(t, err)
					list, notes := View{Version: version, Counters: true, Sets: map[uint16]string{1: "one"}}.List(tables[0].Complete())
					require.Empty(t, notes)
					compareListing(t, f, text, "# table "+tables[0].Name+"\n"+list)
				})
			}
		}
	}
}

// withoutTable takes away the name of a hashlimit's table, which is not printed.
func withoutTable(rule string) string { return hashTable.ReplaceAllString(rule, "") }

var hashTable = regexp.MustCompile(` --hashlimit-name \S+`)

// misprinted reports whether a version lists an extension's examples as others: it knows no --nflog-size and no --random-fully, or takes one side's
// group for the other's.
func misprinted(name string, v Version) bool {
	since := map[string]Version{"NFLOG": {1, 6, 1}, "devgroup": {1, 6, 0}, "SNAT": {1, 6, 0}, "MASQUERADE": {1, 6, 2}}
	return v.Before(since[name])
}

// exampleTable is a table with a rule for each of a row's examples that the version of iptables can write.
func exampleTable(t *testing.T, x *xt.Extension, w xtables.Writer) string {
	t.Helper()
	flag, table := " -m ", "filter"
	if x.Kind == xt.TargetKind {
		flag = " -j "
	}
	if len(x.Tables) > 0 {
		table = x.Tables[0]
	}
	head := "*" + table + "\n:X - [0:0]\n"
	var b strings.Builder
	for i, example := range x.Examples {
		r, err := iptables.ParseRule(strings.TrimSpace(x.Needs+flag+x.Name+" "+example), w.Family)
		if err != nil {
			continue
		}
		if _, err := w.ReadSave(head + r.Text("X") + "\nCOMMIT\n"); err == nil {
			fmt.Fprintf(&b, "[%d:%d] %s\n", i, 100*i, r.Text("X"))
		}
	}
	return head + b.String() + "COMMIT\n"
}

// compareListing reads a listing and holds it against the rules of a save, rule by rule.
func compareListing(t *testing.T, f nat.Family, save, list string) {
	t.Helper()
	want, err := iptables.ParseString(save, f)
	require.NoError(t, err)
	read, err := iptables.Read(list)
	require.NoError(t, err, list)
	got := read.Rulesets[0] // without an address nothing tells the family
	for _, table := range want.Tables {
		listed, ok := got.Table(table.Name)
		require.True(t, ok, list)
		for _, c := range table.Chains {
			l, ok := listed.Chain(c.Name)
			require.True(t, ok, c.Name)
			require.Len(t, l.Rules, len(c.Rules))
			for i, r := range c.Rules {
				if slices.Contains(notListed, r.Text(c.Name)) {
					continue
				}
				require.Equal(t, withoutTable(r.Text(c.Name)), withoutTable(l.Rules[i].Text(c.Name)), list)
				require.Equal(t, [2]uint64{r.Packets, r.Bytes}, [2]uint64{l.Rules[i].Packets, l.Rules[i].Bytes})
			}
		}
	}
}
