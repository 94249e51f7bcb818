package iptables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/rules"
)

// plainWorld is a World that knows nothing of sets.
type plainWorld struct{}

func (plainWorld) AddrType(netip.Addr, string) string { return "UNICAST" }

func (plainWorld) Take(float64) bool { return false }

func (plainWorld) Unknown(string) bool { return false }

// Behind the first cut nothing is looked at: forty ways into a chain of which one is too many cost no more than that one.
func TestTheFirstCutEndsATable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n")
	for i := range 40 {
		fmt.Fprintf(&b, "-A FORWARD -m set --match-set into%d src -j A\n", i)
	}
	for i := range 12 {
		fmt.Fprintf(&b, "-A A -m set --match-set bit%d src -j MARK --set-xmark %#x/%#x\n", i, 1<<i, 1<<i)
	}
	b.WriteString("COMMIT\n")
	rs, err := ParseString(b.String(), nat.IPv4)
	require.NoError(t, err)
	tuple := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.2:80"))
	pkt := rules.Packet{Tuple: tuple}
	e := explorer{table: Compile(rs.Tables[0]), hook: nat.Forward, world: plainWorld{}}
	e.chain(e.table.chains["FORWARD"], []Way{{Packet: pkt.Clone(), Chance: 1}}, 0)
	require.True(t, e.cut)
	require.Less(t, e.tried, 300_000)
}
