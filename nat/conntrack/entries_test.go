package conntrack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

func TestParseEntries(t *testing.T) {
	t.Parallel()
	const both = nat.SrcNATDone | nat.DstNATDone
	for _, row := range []struct {
		name, line      string
		original, reply string
		status          nat.Status
		state           string
		mark            uint32
	}{
		{
			"a DNAT of UDP", "udp      17 29 src=10.244.1.5 dst=10.96.0.10 sport=40000 dport=53 src=10.244.2.9 dst=10.244.1.5 sport=53 dport=40000 [ASSURED] mark=0 use=1",
			"udp 10.244.1.5:40000 > 10.96.0.10:53", "udp 10.244.2.9:53 > 10.244.1.5:40000", both | nat.SeenReply | nat.Assured | nat.DstNAT, "", 0,
		},
		{
			"both translations, no answer yet", "udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.9.0.2 dst=10.9.0.1 sport=53 dport=7 mark=0x4000 use=1",
			"udp 10.0.0.1:1 > 10.0.0.2:53", "udp 10.9.0.2:53 > 10.9.0.1:7", both | nat.DstNAT | nat.SrcNAT, "", 0x4000,
		},
		{
			"of TCP, of /proc", "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=22 src=10.0.0.2 dst=10.0.0.1 sport=22 dport=40000 [ASSURED] mark=1 zone=0 use=2",
			"tcp 10.0.0.1:40000 > 10.0.0.2:22", "tcp 10.0.0.2:22 > 10.0.0.1:40000", both | nat.SeenReply | nat.Assured, "ESTABLISHED", 1,
		},
		{
			"a ping", "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 mark=0 use=1",
			"icmp 10.0.0.1:7 > 10.0.0.2:7", "icmp 10.0.0.2:7 > 10.0.0.1:7", both | nat.SeenReply, "", 0,
		},
		{
			"IPv6, counted", "tcp 6 100 TIME_WAIT src=fd00::1 dst=fd00::2 sport=1 dport=2 packets=3 bytes=180 src=fd00::2 dst=fd00::1 sport=2 dport=1 packets=2 bytes=120 mark=0 use=1",
			"tcp [fd00::1]:1 > [fd00::2]:2", "tcp [fd00::2]:2 > [fd00::1]:1", both | nat.SeenReply, "TIME_WAIT", 0,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			all, err := ParseEntries("\n" + row.line + "\n")
			require.NoError(t, err)
			require.Len(t, all, 1)
			c := all[0]
			require.Equal(t, row.original, c.Original.String())
			require.Equal(t, row.reply, c.Reply.String())
			require.Equal(t, row.status, c.Status)
			require.Equal(t, row.state, c.State())
			require.Equal(t, row.mark, c.Mark)

			table := Table{Settings: Defaults()}
			table.Advance(time.Unix(1000, 0))
			require.True(t, table.Restore(c))
			require.False(t, table.Restore(c), "it is there")
			kind, code := c.ICMP()
			found, dir := table.Lookup(c.Original, kind, code)
			require.NotNil(t, found)
			require.Equal(t, nat.Original, dir)
			require.True(t, found.Expires().After(time.Unix(1020, 0)), "it lives on")
		})
	}
}

// What conntrack -E tells is what is there behind its last line.
func TestParseEvents(t *testing.T) {
	t.Parallel()
	const of = " src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80"
	all, err := ParseEntries("root@node:~# conntrack -E -o timestamp\n" +
		"[1700000000.123456]\t    [NEW] tcp      6 120 SYN_SENT" + of + " [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1\n" +
		"    [NEW] udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=1\n" +
		" [UPDATE] tcp      6 60 SYN_RECV" + of + " src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1\n" +
		"[DESTROY] udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=53 dport=1\n^C")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, "tcp 10.0.0.1:1 > 10.0.0.2:80", all[0].Original.String())
	require.Equal(t, "SYN_RECV", all[0].State())
	require.NotZero(t, all[0].Status&nat.SeenReply)
	_, err = ParseEntries("<?xml version=\"1.0\"?>\n")
	require.ErrorContains(t, err, "without -o xml")
}

func TestParseEntriesRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"no entry", "\nhello", "line 2: want an entry as conntrack -L prints it"},
		{"no number", "tcp six 1 src=10.0.0.1", `line 1: "six": want the protocol's number`},
		{"one direction", "udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2", "want src= twice"},
		{"an address", "udp 17 29 src=10.0.0.256", "src=10.0.0.256"},
		{"a hidden address", "udp 17 29 src=x.x.x.x", "line 1: src=x.x.x.x: the address was made unreadable"},
		{"lines taken out", "udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1\n...\n", "line 2: entries were taken out of the text here"},
		{"a port", "udp 17 29 src=10.0.0.1 sport=70000", "sport=70000: want a number"},
		{"two families", "udp 17 29 src=10.0.0.1 dst=10.0.0.2 src=fd00::1 dst=fd00::2", "of one family"},
		{"out of order", "udp 17 29 sport=1 src=10.0.0.1", "sport=1 stands in front of src="},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			all, err := ParseEntries(row.text)
			require.ErrorContains(t, err, row.want)
			require.Nil(t, all)
		})
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add("udp 17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.9.0.2 dst=10.9.0.1 sport=53 dport=7 mark=0 use=1")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseEntries(text)
		require.False(t, err != nil && all != nil)
		for _, c := range all {
			require.True(t, c.Original.IsValid() && c.Reply.IsValid())
		}
	})
}
