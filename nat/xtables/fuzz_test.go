package xtables

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// seeds are blobs of every extension in both families.
func seeds(tb testing.TB) []Blob {
	tb.Helper()
	var out []Blob
	for f, file := range map[nat.Family]string{nat.IPv4: "testdata/extensions.txt", nat.IPv6: "testdata/extensions6.txt"} {
		b, err := os.ReadFile(file)
		require.NoError(tb, err)
		tables, err := Writer{Family: f, Version: Newest}.ReadSave(string(b))
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
		b := Blob{
			Name: "nat", Valid: valid, Count: count, Bytes: data,
			Entry: [5]uint32{e0, e1, e2, e3, e4}, Underflow: [5]uint32{u0, u1, u2, u3, u4},
		}
		if six {
			b.Family = nat.IPv6
		}
		table, err := Decode(b)
		if err != nil {
			var at *DecodeError
			require.ErrorAs(t, err, &at)
			require.Equal(t, Table{}, table)
			return
		}
		again, err := table.Encode() // the same bytes but for padding, so the same table
		require.NoError(t, err)
		back, err := Decode(again)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(table, back, sameHeader, cmp.Comparer(sameBytes)))
		for _, v := range Versions() {
			View{Version: v}.Save(table)
			View{Version: v, Counters: true}.List(table)
		}
		for _, c := range table.Chains {
			for _, e := range c.Entries {
				Explain(table.Family, e.Target)
			}
		}
	})
}

var sameHeader = cmp.Comparer(func(a, b Header) bool { return a == b })

func sameBytes(a, b []byte) bool { return string(a) == string(b) }

// What is read from text prints as text that reads the same.
func FuzzReadSave(f *testing.F) {
	for file, six := range map[string]bool{"testdata/extensions.txt": false, "testdata/extensions6.txt": true, "testdata/views/synthetic-03/rules.txt": false} {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(six, string(b))
	}
	f.Fuzz(func(t *testing.T, six bool, text string) {
		w := Writer{Version: Newest}
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
			again, err := w.ReadSave(Ruleset(w.Family, nil, table).Counted())
			require.NoError(t, err)
			require.Empty(t, cmp.Diff([]Table{table}, again, sameHeader, cmp.Comparer(sameBytes)))
		}
	})
}

// Whatever the bytes of a rule are: an entry that prints, or an error.
func FuzzDecodeNFT(f *testing.F) {
	f.Add(false, []byte{})
	// [ meta load l4proto => reg 1 ] [ cmp eq reg 1 6 ] [ counter ] [ immediate reg 0 accept ], as nlattrs
	elem := func(name string, data ...byte) []byte {
		return attr(1, append(attr(1, append([]byte(name), 0)), attr(2, data)...))
	}
	be := func(n byte) []byte { return []byte{0, 0, 0, n} }
	rule := slices.Concat(
		elem("meta", slices.Concat(attr(1, be(1)), attr(2, be(nftMetaL4Proto)))...),
		elem("cmp", slices.Concat(attr(1, be(1)), attr(2, be(0)), attr(3, attr(1, []byte{6})))...),
		elem("payload", slices.Concat(attr(1, be(1)), attr(2, be(2)), attr(3, be(2)), attr(4, be(2)))...),
		elem("range", slices.Concat(attr(1, be(1)), attr(2, be(0)), attr(3, attr(1, []byte{0, 1})), attr(4, attr(1, []byte{0, 9})))...),
		elem("immediate", slices.Concat(attr(1, be(0)), attr(2, attr(2, attr(1, be(1)))))...),
	)
	f.Add(false, rule)
	f.Add(true, rule)
	f.Fuzz(func(t *testing.T, six bool, b []byte) {
		family := nat.IPv4
		if six {
			family = nat.IPv6
		}
		table, err := DecodeNFT(family, "filter", []NFTChain{{Name: "INPUT", BaseChain: true, Hook: nat.Input, Policy: VerdictAccept}}, []NFTRule{{"INPUT", b}})
		if err != nil {
			require.Equal(t, Table{}, table)
			return
		}
		View{Version: Newest}.Save(table)
		View{Version: Oldest}.List(table)
	})
}

func attr(kind uint16, data []byte) []byte {
	b := order.AppendUint16(order.AppendUint16(nil, uint16(4+len(data))), kind)
	b = append(b, data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}
