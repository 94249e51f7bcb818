package nftables_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/nftables"
)

// nft -j tells the same rules as the text does of the same kernel, but for what natlab reads of neither.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"every-statement", "sets-and-masks"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("testdata/" + name + "-nft.txt")
			require.NoError(t, err)
			want, err := nftables.ParseText(string(text))
			require.NoError(t, err)
			f, err := os.Open("testdata/" + name + "-nft.json")
			require.NoError(t, err)
			defer f.Close() //nolint:errcheck // it was only read
			got, err := nftables.ParseJSON(f)
			require.NoError(t, err)
			require.Len(t, got.Tables, len(want.Tables))
			for i, table := range want.Tables {
				require.Equal(t, table.FullName(), got.Tables[i].FullName())
				for j, s := range table.Sets {
					require.Equal(t, s.Key, got.Tables[i].Sets[j].Key, s.Name)
					require.Equal(t, s.Data, got.Tables[i].Sets[j].Data, s.Name)
					require.Len(t, got.Tables[i].Sets[j].Elements, len(s.Elements), s.Name)
					for k := range s.Elements {
						require.Equal(t, s.Elements[k].Key, got.Tables[i].Sets[j].Elements[k].Key, s.Name)
						require.Equal(t, s.Elements[k].Verdict, got.Tables[i].Sets[j].Elements[k].Verdict, s.Name)
					}
				}
				for j, c := range table.Chains {
					have := got.Tables[i].Chains[j]
					require.Equal(t, c.Base, have.Base, c.Name)
					require.Len(t, have.Rules, len(c.Rules), c.Name)
					for k, r := range c.Rules {
						require.Equal(t, r.String(), have.Rules[k].String())
						require.Equal(t, nftables.Unread(r), nftables.Unread(have.Rules[k]), r.String())
					}
				}
			}
		})
	}
}

// What natlab does not know of a rule is kept, and is known not to be read.
func TestJSONUnknown(t *testing.T) {
	t.Parallel()
	rs, err := nftables.Read(`{"nftables": [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t", "name": "c"}},
		{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"match": {"op": "==", "left": {"bogus": {"key": "x"}}, "right": 1}}, {"drop": null}]}}]}`)
	require.NoError(t, err)
	r := rs.Tables[0].Chains[0].Rules[0]
	require.Equal(t, `unread "match {op: ==, left: {bogus: {key: x}}, right: 1}" drop`, r.String())
	require.Len(t, nftables.Unread(r), 1)
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"x", "nft -j: invalid character"},
		{`{"nftables": [{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [1]}}]}`, "want an object with one key"},
	} {
		_, err := nftables.ParseJSON(strings.NewReader(row.text))
		require.ErrorContains(t, err, row.want)
	}
}
