package scenarios

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/proof"
)

// A SYN that is sent again is left out wherever it comes, with the rules that it meets; the answer's own rules stay.
func TestWithoutAgain(t *testing.T) {
	t.Parallel()
	asks := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.244.1.9:4000"), netip.MustParseAddrPort("10.96.0.1:80"))
	sees := func(node string, tap nat.Tap, tuple nat.Tuple, flags uint8) proof.Observation {
		return proof.Observation{Kind: proof.PacketSeen, Node: node, Hop: nat.Hop{Node: node, Tap: tap, Tuple: tuple}, TCPFlags: flags}
	}
	meets := func(node string, rule int) proof.Observation {
		return proof.Observation{Kind: proof.RuleHit, Node: node, Step: nat.Step{Chain: "FORWARD", Rule: rule}}
	}
	conn := proof.Observation{Kind: proof.ConnSeen, Node: "n1"}
	const syn, synAck = 2, 18
	once := []proof.Observation{
		sees("client", nat.TapOutRaw, asks, syn),
		sees("n1", nat.TapPreRaw, asks, syn), meets("n1", 1), conn, sees("n1", nat.TapPost, asks, syn),
		sees("n1", nat.TapPreRaw, asks.Reply(), synAck), meets("n1", 2),
	}
	first, again := withoutAgain(once)
	require.False(t, again)
	require.Equal(t, once, first)

	twice := append(once[:5:5],
		sees("client", nat.TapOutRaw, asks, syn), sees("n1", nat.TapPreRaw, asks, syn), meets("n1", 3), conn, sees("n1", nat.TapPost, asks, syn),
		once[5], once[6],
	)
	first, again = withoutAgain(twice)
	require.True(t, again)
	require.Equal(t, append(append(once[:5:5], conn), once[5:]...), first)
}
