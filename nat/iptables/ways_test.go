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

// unsure is a World that knows nothing of sets; it must not be asked to decide where Ways does.
type unsure struct{ t *testing.T }

func (unsure) AddrType(netip.Addr, string) string { return "UNICAST" }

func (w unsure) Take(float64) bool { w.t.Error("Ways decides chance itself"); return false }

func (w unsure) Unknown(string) bool { w.t.Error("Ways decides what is unknown itself"); return false }

func ways(t *testing.T, assumed []nat.Assumption, lines ...string) []iptables.Way {
	t.Helper()
	rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n"+strings.Join(lines, "\n")+"\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	tuple := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.2:80"))
	all, cut := iptables.Compile(rs.Tables[0]).Ways(nat.Forward, &rules.Packet{Tuple: tuple}, unsure{t}, assumed)
	require.False(t, cut)
	return all
}

// What is not known is decided once a way, only where it matters, and has no probability.
func TestWays(t *testing.T) {
	t.Parallel()
	const s = "-m set --match-set "
	for _, row := range []struct {
		name  string
		lines []string
		want  []string // verdict, mark, chance, assumed, open
	}{
		{"known", []string{"-A FORWARD -p tcp -j DROP"}, []string{"drop 0x0 1 [] []"}},
		{"matters", []string{"-A FORWARD " + s + "x src -j DROP"}, []string{"drop 0x0 1 [x+] []", "accept 0x0 1 [x-] []"}},
		{"asked twice", []string{"-A FORWARD " + s + "x src -j MARK --set-xmark 0x1/0x1", "-A FORWARD " + s + "x src -j DROP"}, []string{"drop 0x1 1 [x+] []", "accept 0x0 1 [x-] []"}},
		{"comes together", []string{"-A FORWARD " + s + "x src -j A", "-A A -j RETURN", "-A FORWARD -j DROP"}, []string{"drop 0x0 1 [] [x]"}},
		{"counts only", []string{"-A FORWARD " + s + "x src", "-A FORWARD " + s + "y src -j LOG"}, []string{"accept 0x0 1 [] [x y]"}},
		{"chance", []string{"-A FORWARD -m statistic --mode random --probability 0.25000000000 -j DROP"}, []string{"drop 0x0 0.25 [] []", "accept 0x0 0.75 [] []"}},
		{"chance that comes together", []string{"-A FORWARD -m statistic --mode random --probability 0.25000000000 -j A"}, []string{"accept 0x0 1 [] []"}},
		{"chance behind an unknown", []string{"-A FORWARD " + s + "x src -j A", "-A A -m statistic --mode random --probability 0.25000000000 -j DROP"}, []string{"drop 0x0 0.25 [x+] []", "accept 0x0 0.75 [x+] []", "accept 0x0 1 [x-] []"}},
		{"two, one of them to no effect", []string{"-A FORWARD " + s + "x src -j A", "-A FORWARD " + s + "y src -j DROP"}, []string{"drop 0x0 1 [y+] [x]", "accept 0x0 1 [y-] [x]"}},
		{"goto", []string{"-A FORWARD " + s + "x src -g A", "-A FORWARD -j DROP"}, []string{"drop 0x0 1 [x-] []", "accept 0x0 1 [x+] []"}},
		{"an unknown target", []string{"-A FORWARD -j NEWTARGET --x"}, []string{"accept 0x0 1 [-j NEWTARGET --x decides about the packet+] []", "accept 0x0 1 [-j NEWTARGET --x decides about the packet-] []"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, w := range ways(t, nil, row.lines...) {
				var assumed []string
				for _, a := range w.Assumed {
					assumed = append(assumed, short(a.What)+map[bool]string{true: "+", false: "-"}[a.Holds])
				}
				for i := range w.Open {
					w.Open[i] = short(w.Open[i])
				}
				got = append(got, fmt.Sprintf("%s %#x %v %v %v", w.Verdict, w.Packet.Mark, w.Chance, assumed, w.Open))
			}
			require.Equal(t, row.want, got, row.name)
		})
	}
	again := ways(t, []nat.Assumption{{What: s + "x src", Holds: true}}, "-A FORWARD "+s+"x src -j DROP")
	require.Len(t, again, 1, "what was assumed before stays so")
	require.Equal(t, nat.Drop, again[0].Verdict)
}

func short(what string) string {
	return strings.TrimSuffix(strings.TrimPrefix(what, "-m set --match-set "), " src")
}

// A rule that only some of the ways met which came together is Maybe, and all others are not.
func TestWaysMaybe(t *testing.T) {
	t.Parallel()
	all := ways(t, nil, "-A FORWARD -p tcp", "-A FORWARD -m set --match-set x src -j A", "-A A -j RETURN", "-A FORWARD -p tcp -j ACCEPT")
	require.Len(t, all, 1)
	var got []string
	for _, h := range all[0].Hits {
		got = append(got, fmt.Sprintf("%d:%d %v", h.Chain, h.Rule, h.Maybe))
	}
	require.Equal(t, []string{"0:1 false", "0:2 true", "1:1 true", "0:3 false"}, got)
}

// Forty conditions that are not known and come together are one way, and forty that do not are as many.
func TestWaysDoNotMultiply(t *testing.T) {
	t.Parallel()
	var together, apart []string
	for i := range 40 {
		together = append(together, fmt.Sprintf("-A FORWARD -m set --match-set s%d src -j A", i))
		apart = append(apart, fmt.Sprintf("-A FORWARD -m set --match-set s%d src -j DROP", i))
	}
	require.Len(t, ways(t, nil, together...), 1)
	require.Len(t, ways(t, nil, apart...), 41)
}

// More ways than are followed are told.
func TestWaysAreBounded(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 12 {
		lines = append(lines, fmt.Sprintf("-A FORWARD -m set --match-set s%d src -j MARK --set-xmark %#x/%#x", i, 1<<i, 1<<i))
	}
	rs, err := iptables.ParseString("*filter\n:FORWARD ACCEPT [0:0]\n"+strings.Join(lines, "\n")+"\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	_, cut := iptables.Compile(rs.Tables[0]).Ways(nat.Forward, &rules.Packet{}, unsure{t}, nil)
	require.True(t, cut)
}
