package xtables_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/view"
	"natlab/nat/xtables"
)

// seeds are blobs of every extension in both families.
func seeds(tb testing.TB) []xtables.Blob {
	tb.Helper()
	var out []xtables.Blob
	for f, file := range map[nat.Family]string{nat.IPv4: "../view/testdata/extensions.txt", nat.IPv6: "../view/testdata/extensions6.txt"} {
		b, err := os.ReadFile(file)
		require.NoError(tb, err)
		tables, err := xtables.Writer{Family: f, Version: view.Newest}.ReadSave(string(b))
		require.NoError(tb, err)
		for _, table := range tables {
			blob, err := table.Complete().Encode()
			require.NoError(tb, err)
			out = append(out, blob)
		}
	}
	return out
}

// Whatever the bytes are: a table that encodes to bytes that decode to it, or an error with an offset; and every view of it
// can be printed.
func FuzzDecode(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b.Family == nat.IPv6, b.Valid, b.Entry[0], b.Entry[1], b.Entry[2], b.Entry[3], b.Entry[4],
			b.Underflow[0], b.Underflow[1], b.Underflow[2], b.Underflow[3], b.Underflow[4], b.Count, b.Bytes)
	}
	f.Fuzz(func(t *testing.T, six bool, valid, e0, e1, e2, e3, e4, u0, u1, u2, u3, u4, count uint32, data []byte) {
		b := xtables.Blob{
			Name: "nat", Valid: valid, Count: count, Bytes: data,
			Entry: [5]uint32{e0, e1, e2, e3, e4}, Underflow: [5]uint32{u0, u1, u2, u3, u4},
		}
		if six {
			b.Family = nat.IPv6
		}
		table, err := xtables.Decode(b)
		if err != nil {
			var at *xtables.DecodeError
			require.ErrorAs(t, err, &at)
			require.Equal(t, xtables.Table{}, table)
			return
		}
		again, err := table.Encode() // the same bytes but for padding, so the same table
		require.NoError(t, err)
		back, err := xtables.Decode(again)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(table, back, sameHeader, cmp.Comparer(sameBytes)))
		for _, v := range view.Versions() {
			view.View{Version: v}.Save(table)
			view.View{Version: v, Counters: true}.List(table)
		}
		for _, c := range table.Chains {
			for _, e := range c.Entries {
				view.Explain(table.Family, e.Target)
			}
		}
	})
}

var sameHeader = cmp.Comparer(func(a, b xtables.Header) bool { return a == b })

func sameBytes(a, b []byte) bool { return string(a) == string(b) }

// What is read from text prints as text that reads the same.
func FuzzReadSave(f *testing.F) {
	for file, six := range map[string]bool{"../view/testdata/extensions.txt": false, "../view/testdata/extensions6.txt": true, "../view/testdata/views/synthetic-03/rules.txt": false} {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(six, string(b))
	}
	f.Fuzz(func(t *testing.T, six bool, text string) {
		w := xtables.Writer{Version: view.Newest}
		if six {
			w.Family = nat.IPv6
		}
		tables, err := w.ReadSave(text)
		if err != nil {
			require.Nil(t, tables)
			return
		}
		for _, table := range tables {
			if _, err := table.Encode(); err != nil {
				continue // a name too long, for one
			}
			again, err := w.ReadSave(xtables.Ruleset(w.Family, nil, table).Counted())
			require.NoError(t, err)
			require.Empty(t, cmp.Diff([]xtables.Table{table}, again, sameHeader, cmp.Comparer(sameBytes)))
		}
	})
}

// Whatever the bytes of a rule are: an entry that prints, or an error.
func FuzzDecodeNFT(f *testing.F) {
	f.Add(false, []byte{})
	// [ meta load l4proto => reg 1 ] [ cmp eq reg 1 6 ] [ counter ] [ immediate reg 0 accept ], as nlattrs
	elem := func(name string, data ...byte) []byte {
		return xtables.Attr(1, append(xtables.Attr(1, append([]byte(name), 0)), xtables.Attr(2, data)...))
	}
	be := func(n byte) []byte { return []byte{0, 0, 0, n} }
	rule := slices.Concat(
		elem("meta", slices.Concat(xtables.Attr(1, be(1)), xtables.Attr(2, be(16)))...),
		elem("cmp", slices.Concat(xtables.Attr(1, be(1)), xtables.Attr(2, be(0)), xtables.Attr(3, xtables.Attr(1, []byte{6})))...),
		elem("payload", slices.Concat(xtables.Attr(1, be(1)), xtables.Attr(2, be(2)), xtables.Attr(3, be(2)), xtables.Attr(4, be(2)))...),
		elem("range", slices.Concat(xtables.Attr(1, be(1)), xtables.Attr(2, be(0)), xtables.Attr(3, xtables.Attr(1, []byte{0, 1})), xtables.Attr(4, xtables.Attr(1, []byte{0, 9})))...),
		elem("immediate", slices.Concat(xtables.Attr(1, be(0)), xtables.Attr(2, xtables.Attr(2, xtables.Attr(1, be(1)))))...),
	)
	f.Add(false, rule)
	f.Add(true, rule)
	f.Fuzz(func(t *testing.T, six bool, b []byte) {
		family := nat.IPv4
		if six {
			family = nat.IPv6
		}
		table, err := xtables.DecodeNFT(family, "filter", []xtables.NFTChain{{Name: "INPUT", BaseChain: true, Hook: nat.Input, Policy: xtables.VerdictAccept}}, []xtables.NFTRule{{Chain: "INPUT", Expressions: b}})
		if err != nil {
			require.Equal(t, xtables.Table{}, table)
			return
		}
		view.View{Version: view.Newest}.Save(table)
		view.View{Version: view.Oldest}.List(table)
	})
}
