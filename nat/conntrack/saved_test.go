package conntrack_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// What is saved is read, and saved again as it was; what has expired is left out.
func TestSaved(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000, 0)
	table := conntrack.Table{Settings: conntrack.Defaults()}
	table.Settings.Accounts = true
	track := func(p nat.Proto, src, dst string, flags uint8, seq, ack uint32) *conntrack.Conn {
		pkt := conntrack.Packet{
			Tuple: nat.TupleOf(p, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)), Length: 60, ICMPType: map[nat.Proto]uint8{nat.ICMP: 8}[p],
			TCP:  conntrack.Segment{Flags: flags, Seq: seq, Ack: ack, Window: 1000, Options: []byte{3, 3, 7, 1}},
			SCTP: conntrack.SCTP{Chunks: []byte{1, 0, 0, 20, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
			Zone: nat.Zone{ID: 7, NotReply: p == nat.UDP},
		}
		r, verdict := table.Track(&pkt, at)
		require.Equal(t, nat.Accept, verdict)
		require.NotNil(t, r.Conn)
		if !r.Conn.Has(nat.Confirmed) {
			table.Take(r.Conn, conntrack.ManipSource, netip.MustParseAddrPort("198.51.100.1:7000"))
			require.True(t, table.Confirm(r.Conn))
		}
		return r.Conn
	}
	track(nat.TCP, "10.0.0.2:5000", "203.0.113.1:80", 2, 100, 0)
	track(nat.TCP, "203.0.113.1:80", "198.51.100.1:7000", 18, 900, 101).Mark = 0x4000
	track(nat.TCP, "10.0.0.2:5000", "203.0.113.1:80", 16, 101, 901).SetLabels([2]uint64{1, 2})
	track(nat.UDP, "10.0.0.2:5000", "203.0.113.1:80", 0, 0, 0).Out = "wan"
	track(nat.ICMP, "10.0.0.2:9", "203.0.113.1:9", 0, 0, 0)
	track(nat.SCTP, "10.0.0.2:9", "203.0.113.1:9", 0, 0, 0)
	text := ""
	for _, c := range table.Conns() {
		text += c.Saved(at) + "\n"
	}
	for _, row := range []struct {
		later time.Duration
		want  int
	}{{0, 4}, {2 * time.Second, 4}, {11 * time.Second, 3}, {31 * time.Second, 1}, {6 * 24 * time.Hour, 0}} {
		at := at.Add(row.later)
		all, err := conntrack.ReadSaved("# a remark\n\n"+text, at)
		require.NoError(t, err)
		require.Len(t, all, row.want, "after %s", row.later)
		again := conntrack.Table{Settings: conntrack.Defaults()}
		again.Advance(at)
		for _, c := range all {
			require.True(t, again.Restore(c))
		}
		for i, c := range again.Conns() {
			require.Contains(t, text, c.Saved(at)[len("tcp      6 "+"431999"):], "connection %d", i) // all but the seconds
		}
	}
	require.Zero(t, table.Conns()[0].Entry(at).AnswerKind, "of TCP there is none")
	require.Contains(t, text, "dst=203.0.113.1 sport=5000 dport=80 packets=2 bytes=120 src=203.0.113.1 dst=198.51.100.1 sport=80 dport=7000 packets=1 bytes=60 [ASSURED] mark=16384 zone=7 use=1 kept={")
}

// A segment of a TCP connection of which some passed unseen is one of it where its windows are forgotten, and else is not.
func TestForgetWindow(t *testing.T) {
	t.Parallel()
	for _, forgets := range []bool{false, true} {
		at := time.Unix(1_000_000, 0)
		table := conntrack.Table{Settings: conntrack.Defaults()}
		track := func(src, dst string, flags uint8, seq, ack uint32) conntrack.Ref {
			p := conntrack.Packet{
				Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)), Length: 60,
				TCP: conntrack.Segment{Flags: flags, Seq: seq, Ack: ack, Window: 1000},
			}
			r, _ := table.Track(&p, at)
			return r
		}
		const client, server = "10.0.0.2:5000", "203.0.113.1:80"
		require.True(t, table.Confirm(track(client, server, 2, 100, 0).Conn))
		track(server, client, 18, 900, 101)
		track(client, server, 16, 101, 901)
		all, err := conntrack.ReadSaved(table.Conns()[0].Saved(at), at)
		require.NoError(t, err)
		table.Flush()
		if forgets {
			all[0].ForgetWindow()
		}
		require.True(t, table.Restore(all[0]))
		require.Equal(t, forgets, track(client, server, 16, 9_000_101, 9_000_901).Conn != nil)
		require.Equal(t, forgets, track(server, client, 16, 9_000_901, 9_000_101).Conn != nil)
		require.Equal(t, forgets, track(server, client, 16, 9_000_901, 9_500_101).Conn != nil, "it acknowledges what passed unseen")
	}
}

// What is no connection that was saved is refused, by its line.
func TestReadSavedErrors(t *testing.T) {
	t.Parallel()
	const line = "tcp 6 10 ESTABLISHED src=10.0.0.2 dst=10.0.0.3 sport=1 dport=2 src=10.0.0.3 dst=10.0.0.2 sport=2 dport=1 mark=0 use=1"
	for _, row := range []struct{ text, want string }{
		{line, "line 1: want a connection as natlab keeps it, with kept="},
		{"\n" + line + " kept={", "line 2: unexpected end of JSON input"},
		{"x kept={}", "line 1: line 1: want an entry as conntrack -L prints it: PROTOCOL NUMBER SECONDS [STATE] src= dst= and so on"},
		{line + ` kept={"tcp":{"last":99}}`, "line 1: tcp: a kind of segment or a window scale that there is not"},
		{line + ` kept={"dccp":{"state":99}}`, "line 1: dccp: a state or a role that there is not"},
	} {
		all, err := conntrack.ReadSaved(row.text, time.Unix(1, 0))
		require.EqualError(t, err, row.want)
		require.Nil(t, all)
	}
}

// Whatever is read can be restored, printed and read again.
func FuzzReadSaved(f *testing.F) {
	f.Add(`tcp 6 10 ESTABLISHED src=10.0.0.2 dst=10.0.0.3 sport=1 dport=2 src=10.0.0.3 dst=10.0.0.2 sport=2 dport=1 mark=0 use=1 kept={"expires":9000000000,"tcp":{"last":1}}`)
	f.Fuzz(func(t *testing.T, text string) {
		at := time.Unix(1, 0)
		all, err := conntrack.ReadSaved(text, at)
		if err != nil {
			require.Nil(t, all)
			return
		}
		table := conntrack.Table{Settings: conntrack.Defaults()}
		table.Advance(at)
		for _, c := range all {
			table.Restore(c)
		}
		for _, c := range table.Conns() {
			_, err := conntrack.ReadSaved(c.Saved(at), at)
			require.NoError(t, err)
			table.Track(&conntrack.Packet{Tuple: c.Original, TCP: conntrack.Segment{Flags: 16}}, at)
			table.Track(&conntrack.Packet{Tuple: c.Reply, TCP: conntrack.Segment{Flags: 18}}, at)
		}
	})
}
