package nat_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Events are printed as conntrack -E of conntrack-tools 1.4 prints them, and read back from JSON.
func TestEvent(t *testing.T) {
	t.Parallel()
	tuple := func(src, dst string) nat.Tuple {
		return nat.TupleOf(nat.TCP, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
	}
	entry := nat.Entry{
		Conn:    nat.Conn{Original: tuple("10.0.1.2:5000", "10.96.0.1:80"), Reply: tuple("10.0.2.2:8080", "10.0.1.2:5000")},
		Seconds: 120, State: "SYN_SENT", Use: 2,
	}
	answered := entry
	answered.Status, answered.Mark, answered.Zone, answered.Seconds, answered.State = nat.SeenReply|nat.Assured, 1, 7, 431999, ""
	over := entry
	over.Status, over.Seconds, over.State = nat.SeenReply, 0, "CLOSE"
	for _, row := range []struct {
		event nat.Event
		line  string
	}{
		{nat.Event{Kind: nat.New, Entry: entry}, "    [NEW] tcp      6 120 SYN_SENT src=10.0.1.2 dst=10.96.0.1 sport=5000 dport=80 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=8080 dport=5000"},
		{nat.Event{Kind: nat.Updated, Entry: answered}, " [UPDATE] tcp      6 431999 src=10.0.1.2 dst=10.96.0.1 sport=5000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=8080 dport=5000 [ASSURED] mark=1 zone=7"},
		{nat.Event{Kind: nat.Destroyed, Entry: over}, "[DESTROY] tcp      6 CLOSE src=10.0.1.2 dst=10.96.0.1 sport=5000 dport=80 src=10.0.2.2 dst=10.0.1.2 sport=8080 dport=5000"},
	} {
		require.Equal(t, row.line, row.event.String())
		b, err := json.Marshal(row.event)
		require.NoError(t, err)
		var back nat.Event
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, row.event, back)
	}
	var kind nat.EventKind
	require.Error(t, kind.UnmarshalText([]byte("OLD")))
	require.Equal(t, "none", kind.String())
}
