package witness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/witness"
	"natlab/nat"
)

// entry is a connection by its two tuples and words about it.
func entry(t *testing.T, original, reply string, e nat.Entry) nat.Entry {
	t.Helper()
	var err error
	e.Original, err = nat.ParseTuple(original)
	require.NoError(t, err)
	e.Reply, err = nat.ParseTuple(reply)
	require.NoError(t, err)
	if e.Reply.Src() != e.Original.Dst() {
		e.Status |= nat.DstNAT
	}
	if e.Reply.Dst() != e.Original.Src() {
		e.Status |= nat.SrcNAT
	}
	e.Status |= nat.Confirmed | nat.SrcNATDone | nat.DstNATDone
	return e
}

// A kernel remembers what it is told: each protocol, of both families, translated at both ends, at one or at none.
func TestRemember(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	const both = nat.SeenReply | nat.Assured
	all := []nat.Entry{
		entry(t, "udp 10.1.0.2:40000 > 10.9.0.9:53", "udp 10.2.0.2:5353 > 10.2.0.1:1024", nat.Entry{Seconds: 100, Conn: nat.Conn{Status: both, Mark: 7}}),
		entry(t, "udp 10.1.0.2:40001 > 10.9.0.9:53", "udp 10.9.0.9:53 > 10.1.0.2:40001", nat.Entry{Seconds: 29}),
		entry(t, "tcp 10.1.0.2:40000 > 10.9.0.9:80", "tcp 10.2.0.2:8080 > 10.1.0.2:40000", nat.Entry{Seconds: 400000, State: "ESTABLISHED", Conn: nat.Conn{Status: both}}),
		entry(t, "tcp 10.1.0.2:40001 > 10.2.0.2:80", "tcp 10.2.0.2:80 > 10.2.0.1:40001", nat.Entry{Seconds: 100, State: "TIME_WAIT", Zone: 3, Conn: nat.Conn{Status: both}}),
		entry(t, "icmp 10.1.0.2:7 > 10.9.0.9:7", "icmp 10.2.0.2:7 > 10.1.0.2:7", nat.Entry{Seconds: 20, Kind: 8}),
		entry(t, "ipip 10.1.0.2:0 > 10.2.0.2:0", "ipip 10.2.0.2:0 > 10.2.0.1:0", nat.Entry{Seconds: 500}),
		entry(t, "udp [fd00:1::2]:40000 > [fd00:9::9]:53", "udp [fd00:2::2]:53 > [fd00:2::1]:1024", nat.Entry{Seconds: 100, Conn: nat.Conn{Status: nat.SeenReply}}),
		entry(t, "ipv6-icmp [fd00:1::2]:7 > [fd00:9::9]:7", "ipv6-icmp [fd00:2::2]:7 > [fd00:1::2]:7", nat.Entry{Seconds: 20, Kind: 128, AnswerKind: 129}),
	}
	lines := func(all []nat.Entry) (out []string) {
		for _, e := range all {
			e.Use, e.Node, e.ID = 0, "", 0
			seconds := e.Seconds
			e.Seconds = 0
			require.NotZero(t, seconds)
			out = append(out, e.String()+" "+e.Status.String())
		}
		return out
	}
	for range 2 { // what stands already is refused by nobody
		refused, err := witness.Remember(w.node, all)
		require.NoError(t, err)
		require.Empty(t, refused)
		is, err := witness.Entries(w.node, "node")
		require.NoError(t, err)
		require.ElementsMatch(t, lines(all), lines(is))
	}
	for _, row := range []struct {
		name, why string
		e         nat.Entry
	}{
		{"SCTP", "verification tags", entry(t, "sctp 10.1.0.2:40000 > 10.9.0.9:80", "sctp 10.9.0.9:80 > 10.1.0.2:40000", nat.Entry{Seconds: 9, State: "ESTABLISHED"})},
		{"DCCP", "sequence numbers", entry(t, "dccp 10.1.0.2:40000 > 10.9.0.9:80", "dccp 10.9.0.9:80 > 10.1.0.2:40000", nat.Entry{Seconds: 9})},
		{"TCP without a state", "state", entry(t, "tcp 10.1.0.2:49000 > 10.9.0.9:80", "tcp 10.9.0.9:80 > 10.1.0.2:49000", nat.Entry{Seconds: 9})},
		{"no time left", "time is over", entry(t, "udp 10.1.0.2:49000 > 10.9.0.9:80", "udp 10.9.0.9:80 > 10.1.0.2:49000", nat.Entry{})},
		{"a client that another answers", "one of its tuples", entry(t, "udp 10.9.0.9:53 > 10.1.0.2:40001", "udp 10.1.0.2:40001 > 10.9.0.9:53", nat.Entry{Seconds: 9})},
		{"answers that another has", "one of its tuples", entry(t, "udp 10.1.0.7:9 > 10.9.0.9:53", "udp 10.9.0.9:53 > 10.1.0.2:40001", nat.Entry{Seconds: 9})},
		{"another translation", "one of its tuples", entry(t, "udp 10.1.0.2:40001 > 10.9.0.9:53", "udp 10.2.0.2:53 > 10.1.0.2:40001", nat.Entry{Seconds: 9})},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			refused, err := witness.Remember(w.node, []nat.Entry{row.e})
			require.NoError(t, err)
			require.Len(t, refused, 1)
			require.Contains(t, refused[0].Reason, row.why)
		})
	}
}
