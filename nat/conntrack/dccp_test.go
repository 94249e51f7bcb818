package conntrack_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// dccp is a DCCP header of a type, with long sequence numbers, as long as it has to be.
func dccp(kind byte, seq, ack byte) conntrack.DCCP {
	h := make([]byte, 28)
	h[4], h[8], h[15], h[23] = 7, kind<<1|1, seq, ack
	return conntrack.DCCP{Header: h}
}

// What is too short for its type was dropped once.
func TestShortDCCP(t *testing.T) {
	t.Parallel()
	for kernel, want := range map[nat.Kernel]nat.Verdict{{Major: 6, Minor: 1}: nat.Drop, {Major: 6, Minor: 12}: nat.Accept} {
		for _, length := range []int{11, 19} {
			b := newTable(t)
			b.Settings.Kernel = kernel
			p := conntrack.Packet{Tuple: tuple(t, "dccp 10.0.0.1:4000 > 10.0.0.2:80"), DCCP: conntrack.DCCP{Header: dccp(0, 1, 0).Header[:length]}}
			r, v := b.Track(&p, b.now)
			require.Equal(t, want, v)
			require.Equal(t, conntrack.InfoInvalid, r.Info)
		}
	}
}

// A DCCP connection of a kernel that tracks it, packet by packet.
func TestDCCP(t *testing.T) {
	t.Parallel()
	const request, response, data, ack, closing, reset, sync = 0, 1, 2, 3, 6, 7, 8
	for _, c := range []struct {
		name string
		rows []dccpRow
	}{
		{"open and close", []dccpRow{
			{false, dccp(request, 1, 0), conntrack.InfoNew, "REQUEST 240"},
			{true, dccp(response, 9, 1), conntrack.InfoEstablished, "RESPOND 480"},
			{false, dccp(ack, 2, 9), conntrack.InfoEstablished, "PARTOPEN 480 ASSURED"},
			{false, dccp(data, 3, 0), conntrack.InfoInvalid, "PARTOPEN 480 ASSURED"},
			{true, dccp(data, 10, 0), conntrack.InfoEstablished, "OPEN 43200 ASSURED"},
			{false, dccp(sync, 4, 0), conntrack.InfoEstablished, "OPEN 43200 ASSURED"},
			{false, dccp(closing, 5, 0), conntrack.InfoEstablished, "CLOSING 64 ASSURED"},
			{true, dccp(reset, 11, 0), conntrack.InfoEstablished, "TIMEWAIT 240 ASSURED"},
			{true, dccp(request, 50, 0), conntrack.InfoEstablished, "REQUEST 240 ASSURED"}, // and the ends change roles
			{false, dccp(response, 60, 0), conntrack.InfoEstablished, "RESPOND 480 ASSURED"},
		}},
		{"an ACK of another response", []dccpRow{
			{false, dccp(request, 1, 0), conntrack.InfoNew, "REQUEST 240"},
			{true, dccp(response, 9, 1), conntrack.InfoEstablished, "RESPOND 480"},
			{false, dccp(ack, 2, 8), conntrack.InfoEstablished, "PARTOPEN 480"},
		}},
		{"a response to a request that was ignored", []dccpRow{
			{false, dccp(request, 1, 0), conntrack.InfoNew, "REQUEST 240"},
			{true, dccp(request, 5, 0), conntrack.InfoEstablished, "REQUEST 240"},
			{false, dccp(response, 6, 5), conntrack.InfoEstablished, "RESPOND 480"},
		}},
		{"a reset is the only answer", []dccpRow{
			{false, dccp(request, 1, 0), conntrack.InfoNew, "REQUEST 240"},
			{true, dccp(reset, 5, 0), conntrack.InfoEstablished, ""},
		}},
		{"only a request opens", []dccpRow{{false, dccp(data, 1, 0), conntrack.InfoInvalid, ""}}},
		{"a reserved type", []dccpRow{{false, dccp(10, 1, 0), conntrack.InfoInvalid, ""}}},
		{"a header cut short", []dccpRow{{false, conntrack.DCCP{Header: dccp(request, 1, 0).Header[:19]}, conntrack.InfoInvalid, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newTable(t)
			b.Settings.Kernel = nat.Kernel{Major: 6, Minor: 12}
			for i, row := range c.rows {
				row.check(t, b, i)
			}
		})
	}
}

type dccpRow struct {
	reply  bool
	header conntrack.DCCP
	info   conntrack.Info
	want   string // state, seconds, ASSURED
}

func (row dccpRow) check(t *testing.T, b *table, i int) {
	t.Helper()
	asked := tuple(t, "dccp 10.0.0.1:4000 > 10.0.0.2:80")
	p := conntrack.Packet{Tuple: asked, DCCP: row.header}
	if row.reply {
		p.Tuple = asked.Reply()
	}
	r, v := b.Track(&p, b.now)
	require.Equal(t, nat.Accept, v, i)
	require.Equal(t, row.info, r.Info, i)
	if row.info == conntrack.InfoNew {
		require.True(t, b.Confirm(r.Conn))
	}
	got := ""
	if c, _ := b.Lookup(asked, 0, 0); c != nil {
		got = fmt.Sprintf("%s %.0f", c.State(), c.Expires().Sub(b.now).Seconds())
		if c.Has(nat.Assured) {
			got += " ASSURED"
		}
	}
	require.Equal(t, row.want, got, i)
}
