package witness_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/witness"
	"natlab/nat"
)

// Lines of kernels from 5.10 to 6.18: what each has of the entry's own tuple.
func TestListed(t *testing.T) {
	t.Parallel()
	const v6 = "src=fd00:0000:0000:0000:0000:0000:0000:0001 dst=fd00:0000:0000:0000:0000:0000:0000:0002 "
	for _, row := range []struct {
		line, want string
		kind, code uint8
	}{
		{line: "ipv4     2 tcp      6 599 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 src=10.0.0.9 dst=10.0.0.1 sport=8080 dport=1024 [ASSURED] mark=0 zone=0 use=2", want: "tcp 10.0.0.1:1000 > 10.0.0.2:80"},
		{line: "ipv4     2 tcp      6 9 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 packets=1 bytes=40 src=10.0.0.9 dst=10.0.0.1 sport=8080 dport=1024 packets=1 bytes=40 mark=0 delta-time=3 use=2", want: "tcp 10.0.0.1:1000 > 10.0.0.2:80"},
		{line: "ipv4     2 sctp     132 599 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1000 mark=0 zone=0 use=2", want: "sctp 10.0.0.1:1000 > 10.0.0.2:80"},
		{line: "ipv6     10 udp      17 599 " + v6 + "sport=1000 dport=53 [UNREPLIED] " + v6 + "sport=53 dport=1000 mark=0 use=2", want: "udp [fd00::1]:1000 > [fd00::2]:53"},
		{line: "ipv4     2 icmp     1 599 src=10.0.0.1 dst=10.0.0.2 type=8 code=1 id=7 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0 zone=0 use=2", want: "icmp 10.0.0.1:7 > 10.0.0.2:7", kind: 8, code: 1},
		{line: "ipv4     2 unknown  4 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 zone=0 use=2", want: "ipip 10.0.0.1:0 > 10.0.0.2:0"},
		// another zone, a call, what is no entry
		{line: "ipv4     2 udp      17 599 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 zone=5 use=2"},
		{line: "ipv4     2 udp      17 599 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=5 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=2"},
		{line: "ipv4     2 gre      47 599 timeout=0, stream_timeout=0 src=10.0.0.1 dst=10.0.0.2 srckey=0x1 dstkey=0x2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 srckey=0x2 dstkey=0x1 mark=0 zone=0 use=2"},
		{line: "ipv4     2 icmp     1 599 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 mark=0 use=2"},
		{line: "ipv4     2 tcp      6 599 CLOSE src=10.0.0.1 dst=10.0.0 sport=1000 dport=80"},
		{line: "ipv4     2 tcp      6 599 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=100000 dport=80"},
		{line: "ipv4     2 tcp      6 599 CLOSE sport=1000 dport=80"},
		{line: "ipv4     2 tcp      x 599 CLOSE src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80"},
		{line: "ipv4"},
	} {
		got, ok := witness.Listed([]byte(row.line + "\n"))
		require.Equal(t, row.want != "", ok, row.line)
		if ok {
			require.Len(t, got, 1)
			require.Equal(t, [3]any{row.want, row.kind, row.code}, [3]any{got[0].Original.String(), got[0].Kind, got[0].Code})
		}
	}
	none, ok := witness.Listed(nil)
	require.True(t, ok)
	require.Empty(t, none)
}

// Entries that are asked for one by one are those of a dump, with all that it has of them; what the file does not name has all dumped.
func TestFewEntriesAreAsAllAre(t *testing.T) {
	w := newWire(t)
	s := w.watch(t, w.install(t, dataplane.Legacy, nodeRules), witness.Options{})
	entries := []nat.Entry{
		entry(t, "udp 10.1.0.2:40000 > 10.9.0.9:53", "udp 10.2.0.2:5353 > 10.2.0.1:1024", nat.Entry{Seconds: 100, Conn: nat.Conn{Status: nat.SeenReply | nat.Assured, Mark: 7}}),
		entry(t, "tcp 10.1.0.2:40000 > 10.9.0.9:80", "tcp 10.2.0.2:8080 > 10.1.0.2:40000", nat.Entry{Seconds: 400000, State: "ESTABLISHED", Conn: nat.Conn{Status: nat.SeenReply}}),
		entry(t, "icmp 10.1.0.2:7 > 10.9.0.9:7", "icmp 10.2.0.2:7 > 10.1.0.2:7", nat.Entry{Seconds: 20000, Kind: 8}),
		entry(t, "ipip 10.1.0.2:0 > 10.2.0.2:0", "ipip 10.2.0.2:0 > 10.2.0.1:0", nat.Entry{Seconds: 500}),
		entry(t, "udp [fd00:1::2]:40000 > [fd00:9::9]:53", "udp [fd00:2::2]:53 > [fd00:2::1]:1024", nat.Entry{Seconds: 100, Conn: nat.Conn{Status: nat.SeenReply}}),
		entry(t, "ipv6-icmp [fd00:1::2]:7 > [fd00:9::9]:7", "ipv6-icmp [fd00:2::2]:7 > [fd00:1::2]:7", nat.Entry{Seconds: 20000, Kind: 128, AnswerKind: 129}),
	}
	zoned := entry(t, "tcp 10.1.0.2:40001 > 10.2.0.2:80", "tcp 10.2.0.2:80 > 10.2.0.1:40001", nat.Entry{Seconds: 100, State: "TIME_WAIT", Zone: 3, Conn: nat.Conn{Status: nat.SeenReply}})
	for i, more := range [][]nat.Entry{entries, {zoned}} {
		refused, err := witness.Remember(w.node, more)
		require.NoError(t, err)
		require.Empty(t, refused)
		want, err := witness.Conns(w.node, "node")
		require.NoError(t, err)
		require.Len(t, want, len(entries)+i)
		got, ok, err := s.Few("node")
		require.NoError(t, err)
		require.Equal(t, i == 0, ok)
		if ok {
			require.ElementsMatch(t, want, got)
		}
		got, err = s.Conns(t.Context(), "node")
		require.NoError(t, err)
		require.ElementsMatch(t, want, got)
	}
}

// An entry that is counted and not listed, since its packet is still on its way, is not passed over as if all were listed.
func TestFewEntriesAreCounted(t *testing.T) {
	w, s := holding(t)
	ctx := soon(t)
	h, err := s.Hold("node", nat.TapPreNAT, udpFrom(43001))
	require.NoError(t, err)
	c := w.open(t, "udp 10.1.0.2:43001 > 10.9.0.9:80")
	nonce, err := c.Send(ctx)
	require.NoError(t, err)
	_, err = h.Wait(ctx, 1)
	require.NoError(t, err)
	few, ok, err := s.Few("node")
	require.NoError(t, err)
	require.Empty(t, few)
	require.False(t, ok)
	require.NoError(t, h.Release())
	_, err = c.Receive(ctx, nonce)
	require.NoError(t, err)
	few, ok, err = s.Few("node")
	require.NoError(t, err)
	require.Len(t, few, 1)
	require.True(t, ok)
}
