package iptables_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// twice are chains that each call the next one twice: the last one is met 2^(n-1) times.
func twice(n int, last string) string {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n")
	for i := range n {
		fmt.Fprintf(&b, ":C%d - [0:0]\n", i)
	}
	b.WriteString("-A INPUT -j C0\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "-A C%d -j C%d\n-A C%d -j C%d\n", i, i+1, i, i+1)
	}
	fmt.Fprintf(&b, "-A C%d %s\nCOMMIT\n", n-1, last)
	return b.String()
}

// unknowing is a World that answers no to whatever is asked.
type unknowing struct{}

func (unknowing) AddrType(netip.Addr, string) string { return "UNICAST" }
func (unknowing) Take(float64) bool                  { return false }
func (unknowing) Unknown(string) bool                { return false }

// A packet's way through a table ends, however many rules lead to others, and what was not followed is not told as an end.
func TestWaysEnd(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		text string
		open bool
	}{
		{"few", twice(8, "-s 10.9.9.9/32 -j DROP"), false},
		{"more than anybody waits for", twice(40, "-s 10.9.9.9/32 -j DROP"), true},
		{"what is not known, too", twice(40, "-m set --match-set none src -j DROP"), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs, err := iptables.ParseString(row.text, nat.IPv4)
			require.NoError(t, err)
			c := iptables.Compile(rs.Tables[0])
			tuple, err := nat.ParseTuple("tcp 10.0.0.1:1 > 10.0.0.2:2")
			require.NoError(t, err)
			pkt := rules.Packet{Tuple: tuple}
			ways, cut := c.Ways(nat.Input, &pkt, unknowing{}, nil)
			followed := true
			for _, w := range ways {
				if _, is := w.Effect.(*rules.Open); is {
					followed = false
				}
				require.LessOrEqual(t, len(w.Hits), 1<<13)
			}
			require.Equal(t, row.open, cut || !followed)

			v, effect := c.Run(nat.Input, &pkt, unknowing{}, nil)
			_, is := effect.(*rules.Open)
			require.Equal(t, row.open, is, "%s", v)
		})
	}
}
