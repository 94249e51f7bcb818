package xt_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// clocked is a node that remembers, with a clock that a test sets.
type clocked struct {
	world
	now time.Time
}

func (w *clocked) Now() time.Time { return w.now }

// What the lists of -m recent answer, packet by packet: "SECOND ADDRESS[/TTL[>OUT DEVICE]] RULE ANSWER".
func TestRecentLists(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string]string{
		"seen before": `
			0 10.0.0.1 --rcheck no
			0 10.0.0.1 --set yes
			1 10.0.0.1 --rcheck yes
			1 10.0.0.2 --rcheck no
			1 10.0.0.1 ! --rcheck no
			2 10.0.0.1 --rcheck --name other no`,
		"seconds and hits": `
			0 10.0.0.1 --set yes
			3 10.0.0.1 --rcheck --seconds 3 yes
			4 10.0.0.1 --rcheck --seconds 3 no
			4 10.0.0.1 --rcheck --hitcount 2 no
			4 10.0.0.1 --update yes
			5 10.0.0.1 --rcheck --hitcount 2 yes
			5 10.0.0.1 --rcheck --hitcount 2 --seconds 4 no`,
		"an update that fails is no packet": `
			0 10.0.0.1 --set yes
			9 10.0.0.1 --update --seconds 5 no
			9 10.0.0.1 --rcheck --seconds 5 no
			9 10.0.0.1 ! --update --seconds 5 yes
			9 10.0.0.1 --rcheck --seconds 5 yes`,
		"removed": `
			0 10.0.0.1 --set yes
			0 10.0.0.1 --remove yes
			0 10.0.0.1 --remove no
			0 10.0.0.1 ! --remove yes`,
		"a network's": `
			0 10.0.0.1 --set --mask 255.255.255.0 yes
			0 10.0.0.99 --rcheck --mask 255.255.255.0 yes
			0 10.0.0.99 --rcheck no`,
		"TTL": `
			0 10.0.0.1/60 --set yes
			0 10.0.0.1/60 --rcheck --rttl yes
			0 10.0.0.1/61 --rcheck --rttl no
			0 10.0.0.1/59>eth1 --rcheck --rttl yes
			0 10.0.0.1/60>eth1 --rcheck --rttl no
			0 10.0.0.1/61 --rcheck yes`,
		"reaped": `
			0 10.0.0.1 --set yes
			5 10.0.0.2 --set yes
			8 10.0.0.2 --rcheck --seconds 6 --reap yes
			8 10.0.0.1 --rcheck no
			8 10.0.0.2 --rcheck yes
			20 10.0.0.2 ! --update --seconds 6 --reap yes
			20 10.0.0.2 --rcheck --seconds 6 yes`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := clocked{}
			for line := range strings.Lines(strings.TrimSpace(steps)) {
				words := strings.Fields(line)
				var second int
				_, err := fmt.Sscan(words[0], &second)
				require.NoError(t, err)
				from, ttlText, _ := strings.Cut(words[1], "/")
				ttlText, out, _ := strings.Cut(ttlText, ">")
				p := rules.Packet{Tuple: nat.TupleOf(nat.UDP, netip.AddrPortFrom(netip.MustParseAddr(from), 1), netip.MustParseAddrPort("10.9.9.9:2")), TTL: 64, Out: out}
				if ttlText != "" {
					_, err = fmt.Sscan(ttlText, &p.TTL)
					require.NoError(t, err)
				}
				w.now = time.Unix(int64(1000+second), 0)
				answer, _ := answers(t, "-m recent "+strings.Join(words[2:len(words)-1], " "), &p, &w)
				require.Equal(t, words[len(words)-1], answer.String(), "%s: %s", name, line)
			}
		})
	}
}

// A list remembers a hundred addresses: the one that was seen longest ago goes.
func TestRecentListIsFull(t *testing.T) {
	t.Parallel()
	w := clocked{now: time.Unix(1000, 0)}
	ask := func(i int, rule string) rules.Answer {
		src := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		p := rules.Packet{Tuple: nat.TupleOf(nat.UDP, netip.AddrPortFrom(src, 1), netip.MustParseAddrPort("10.9.9.9:2"))}
		a, _ := answers(t, "-m recent "+rule, &p, &w)
		return a
	}
	for i := range 100 {
		ask(i, "--set")
	}
	ask(0, "--update")
	ask(100, "--set")
	require.Equal(t, rules.Yes, ask(0, "--rcheck"))
	require.Equal(t, rules.No, ask(1, "--rcheck"))
	require.Equal(t, rules.Yes, ask(2, "--rcheck"))
}

// A bucket of three packets that gets one more every two seconds.
func TestLimit(t *testing.T) {
	t.Parallel()
	w := clocked{}
	r, err := iptables.ParseRule("-m limit --limit 30/min --limit-burst 3", nat.IPv4)
	require.NoError(t, err)
	for _, row := range []struct {
		at   time.Duration
		want rules.Answer
	}{
		{0, rules.Yes},
		{0, rules.Yes},
		{0, rules.Yes},
		{0, rules.No},
		{1999 * time.Millisecond, rules.No},
		{2000 * time.Millisecond, rules.Yes},
		{2001 * time.Millisecond, rules.No},
		{time.Hour, rules.Yes},
		{time.Hour, rules.Yes},
		{time.Hour, rules.Yes},
		{time.Hour, rules.No},
	} {
		w.now = time.Unix(1000, 0).Add(row.at)
		require.Equal(t, row.want, r.Matches[0].Holds(&rules.Visit{Packet: &rules.Packet{}, World: &w}), row.at)
	}
}
