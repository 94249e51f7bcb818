package iptables_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
)

// Long chains with rules of every shape, in any order and many times over, are walked by index as they are rule by rule;
// what a match remembers is asked for by the same packets. So are those of a table with so many chains that they are compiled when a packet
// comes to them.
func TestCompiledLongChains(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rs, err := iptables.ParseString(drawLongChains(t), nat.IPv4)
		require.NoError(t, err)
		table := rs.Tables[0]
		linear, compiled := iptables.NewProgram(table), iptables.Compile(table)
		var one, other remembering
		for range rapid.IntRange(1, 20).Draw(t, "packets") {
			a := drawPacket(t)
			b := a
			want := linear.Run(nat.Forward, "", &a, &one)
			var hits []iptables.Hit
			verdict, effect := compiled.Run(nat.Forward, &b, &other, &hits)
			require.Equal(t, want.Verdict, verdict)
			require.Equal(t, want.Effect, effect)
			require.Equal(t, want.Steps, compiled.Steps("", nat.Forward, a.Tuple, hits))
			require.Equal(t, a, b)
		}
	})
}

func drawLongChains(t *rapid.T) string {
	maybe := func(label string, texts ...string) string {
		return rapid.SampledFrom(append(texts, "", "")).Draw(t, label)
	}
	var b, others strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:ONE - [0:0]\n:TWO - [0:0]\n")
	for i := range rapid.SampledFrom([]int{0, 600}).Draw(t, "other chains") {
		fmt.Fprintf(&b, ":OTHER-%d - [0:0]\n", i)
		fmt.Fprintf(&others, "-A FORWARD -d 10.9.%d.%d/32 -j OTHER-%d\n", i>>8, i&255, i)
	}
	b.WriteString(others.String())
	rule := func(chain string, targets ...string) {
		fmt.Fprintf(&b, "-A %s", chain)
		b.WriteString(maybe("src", " -s 10.0.0.1/32", " ! -s 10.0.0.1/32", " -s 10.0.0.0/30", " -s 10.0.0.2/31"))
		b.WriteString(maybe("dst", " -d 10.0.0.1/32", " -d 10.0.0.2/32", " ! -d 10.0.0.0/31", " -d 10.0.0.0/30", " -d 10.0.0.0/8"))
		b.WriteString(maybe("proto", " -p tcp", " -p tcp -m tcp --dport 80", " -p udp -m udp --dport 80:90", " ! -p tcp", " -p udp -m udp --sport 81", " -p tcp -m tcp ! --dport 80"))
		b.WriteString(maybe("more", " -m mark --mark 0x1/0x1", " -m statistic --mode nth --every 2 --packet 0", " -m recent --set --name seen --mask 255.255.255.255 --rsource", " -m comment --comment one"))
		b.WriteString(" " + rapid.SampledFrom(targets).Draw(t, "target") + "\n")
	}
	plain := []string{"-j RETURN", "-j MARK --set-xmark 0x1/0x1", "-j ACCEPT", "-j NFLOG", "-j NFLOG", "-j NFLOG"}
	for _, c := range []struct {
		name  string
		calls []string
	}{{"FORWARD", []string{"-j ONE", "-j TWO", "-g TWO"}}, {"ONE", []string{"-j TWO", "-g TWO"}}, {"TWO", nil}} {
		for range rapid.IntRange(0, 40).Draw(t, "rules") {
			rule(c.name, append(append([]string{}, plain...), c.calls...)...)
		}
	}
	return b.String() + "COMMIT\n"
}

func drawPacket(t *rapid.T) rules.Packet {
	end := func(label string) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.Uint8Range(0, 4).Draw(t, label)}), rapid.Uint16Range(79, 82).Draw(t, label))
	}
	proto := rapid.SampledFrom([]nat.Proto{nat.TCP, nat.UDP, nat.ICMP}).Draw(t, "packet")
	return rules.Packet{Tuple: nat.TupleOf(proto, end("from"), end("to")), In: "eth0", Out: "eth1", Later: rapid.IntRange(0, 9).Draw(t, "later") == 0}
}

// remembering is a world that keeps what matches remember.
type remembering struct{ memory rules.Memory }

func (*remembering) AddrType(netip.Addr, string) string { return "UNICAST" }
func (*remembering) Take(float64) bool                  { return true }
func (*remembering) Unknown(string) bool                { return false }
func (w *remembering) Memory() *rules.Memory            { return &w.memory }

func (*remembering) Now() time.Time { return time.Unix(0, 0) }

// A table of many chains is walked alike before and after packets came to so many of its chains that all are put beside one another, by several
// walks at a time, too.
func TestCompiledManyChains(t *testing.T) {
	t.Parallel()
	const chains = 600
	var names, calls, ends strings.Builder
	for i := range chains {
		fmt.Fprintf(&names, ":C%d - [0:0]\n", i)
		fmt.Fprintf(&calls, "-A FORWARD -d 10.0.%d.%d/32 -j C%d\n", i>>8, i&255, i)
		fmt.Fprintf(&ends, "-A C%d -j MARK --set-xmark 0x%x/0xffff\n-A C%d -p tcp -j C%d\n", i, i+1, i, (i+1)%chains)
	}
	rs, err := iptables.ParseString("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"+names.String()+calls.String()+
		strings.ReplaceAll(ends.String(), "-p tcp -j C0\n", "-p tcp -j ACCEPT\n")+"COMMIT\n", nat.IPv4)
	require.NoError(t, err)
	linear, compiled := iptables.NewProgram(rs.Tables[0]), iptables.Compile(rs.Tables[0])
	var group errgroup.Group
	for walk := range 4 {
		group.Go(func() error {
			for i := walk; i < chains; i += 3 {
				to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
				a := rules.Packet{Tuple: nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.9.9.9:1000"), to), In: "eth0", Out: "eth1"}
				b := a
				want := linear.Run(nat.Forward, "", &a, &remembering{})
				var hits []iptables.Hit
				verdict, _ := compiled.Run(nat.Forward, &b, &remembering{}, &hits)
				if got := compiled.Steps("", nat.Forward, a.Tuple, hits); verdict != want.Verdict || a != b || !reflect.DeepEqual(want.Steps, got) {
					return fmt.Errorf("chain %d: %v %v, want %v %v", i, verdict, got, want.Verdict, want.Steps)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.True(t, compiled.Whole())
}
