package xt_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/rules"
)

// What -m connbytes answers for a connection of 3 packets with 180 bytes there, and none back.
func TestConnBytes(t *testing.T) {
	t.Parallel()
	w := &world{conn: rules.Conn{Packets: [2]uint64{3, 0}, Bytes: [2]uint64{181, 0}, Counted: true}}
	for _, row := range []struct {
		bounds, mode, dir string
		want              rules.Answer
	}{
		{"3", "packets", "both", rules.Yes},
		{"4", "packets", "both", rules.No},
		{":2", "packets", "original", rules.No},
		{":2", "packets", "reply", rules.Yes},
		{"1", "bytes", "reply", rules.No},
		{"181:181", "bytes", "both", rules.Yes},
		{"60:60", "avgpkt", "original", rules.Yes},
		{"0:0", "avgpkt", "reply", rules.Yes},
		{"61:", "avgpkt", "both", rules.No},
	} {
		t.Run(row.bounds, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf("--connbytes %s --connbytes-mode %s --connbytes-dir %s", row.bounds, row.mode, row.dir)
			p := &rules.Packet{State: rules.Established}
			answer, _ := answers(t, "-m connbytes "+text, p, w)
			require.Equal(t, row.want, answer, text)
			if row.bounds != "181:181" && row.bounds != "60:60" && row.bounds != "0:0" { // of one number there is no other side
				answer, _ = answers(t, "-m connbytes ! "+text, p, w)
				require.Equal(t, row.want.Not(true), answer, text)
			}
			answer, actual := answers(t, "-m connbytes "+text, p, &world{})
			require.Equal(t, rules.No, answer, "not counted")
			require.Equal(t, "the connection is not counted", actual)
			answer, _ = answers(t, "-m connbytes "+text, &rules.Packet{State: rules.Invalid}, w)
			require.Equal(t, rules.No, answer, "no connection")
		})
	}
}

// A label is there once it is set; what a name stands for is not known.
func TestConnLabel(t *testing.T) {
	t.Parallel()
	p := &rules.Packet{State: rules.New}
	for _, row := range []struct {
		rule string
		want rules.Answer
	}{
		{"--label 100", rules.No},
		{"! --label 100", rules.Yes},
		{"! --label 100 --set", rules.No},
		{"--label 100", rules.Yes},
		{"--label 36", rules.No},
		{"--label customers", rules.Unknown},
		{"--label customers --set", rules.Yes},
		{"! --label customers --set", rules.No},
	} {
		answer, _ := answers(t, "-m connlabel "+row.rule, p, &world{})
		require.Equal(t, row.want, answer, row.rule)
	}
	none := &rules.Packet{State: rules.Untracked}
	answer, _ := answers(t, "-m connlabel --label 1 --set", none, &world{})
	require.Equal(t, rules.No, answer)
	require.Equal(t, rules.Labels{}, none.Labels)
}

// The nodes of 7 that Linux 6.18 gave connections from these sources to.
func TestCluster(t *testing.T) {
	t.Parallel()
	for source, node := range map[string]int{"127.0.0.5": 5, "127.1.2.3": 3, "127.9.8.7": 1, "::1": 4, "fd00::5": 5, "fd00::6": 5} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			from := netip.AddrPortFrom(netip.MustParseAddr(source), 1)
			tuple := nat.TupleOf(nat.UDP, from, netip.AddrPortFrom(from.Addr(), 2))
			for n := 1; n <= 7; n++ {
				rule := fmt.Sprintf("-m cluster --cluster-total-nodes 7 --cluster-local-node %d --cluster-hash-seed 0xfeedcafe", n)
				w := &world{conn: rules.Conn{Original: tuple}}
				answer, _ := answers(t, rule, &rules.Packet{Tuple: tuple, State: rules.New}, w)
				require.Equal(t, rules.Is(n == node, false), answer, "%s %d", source, n)
			}
		})
	}
}

// No helper has expected anything, as far as is known here.
func TestHelper(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]rules.Answer{"--helper ftp": rules.No, "! --helper ftp": rules.Yes, `--helper ""`: rules.No} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			answer, _ := answers(t, "-m helper "+rule, &rules.Packet{State: rules.Related}, &world{})
			require.Equal(t, want, answer, rule)
		})
	}
}

// conns is a node of connections that a test opens and closes.
type conns struct {
	world
	open map[nat.Tuple]rules.Conn
	late time.Duration
}

func (w *conns) Now() time.Time { return w.world.Now().Add(w.late) }

func (w *conns) Find(t nat.Tuple, z nat.Zone) (rules.Conn, bool) {
	c, ok := w.open[t]
	return c, ok && c.Zone == z
}

// A network's connections are counted as long as they are there. What one packet may leave that is there no more, what is counted twice in
// one moment, and what some kernels do not count, is not known to be counted.
func TestConnLimit(t *testing.T) {
	t.Parallel()
	w := &conns{open: map[nat.Tuple]rules.Conn{}}
	ask := func(source string, port int, zone uint16) rules.Answer {
		from := netip.AddrPortFrom(netip.MustParseAddr(source), uint16(port))
		tuple := nat.TupleOf(nat.TCP, from, netip.MustParseAddrPort("10.9.9.9:80"))
		w.conn = w.open[tuple]
		w.conn.Original, w.conn.Zone = tuple, nat.Zone{ID: zone}
		answer, _ := answers(t, "-m connlimit --connlimit-above 2 --connlimit-mask 24", &rules.Packet{Tuple: tuple, State: rules.New}, w)
		w.conn.Status |= nat.Confirmed
		w.open[tuple] = w.conn
		w.late += 20 * time.Millisecond
		return answer
	}
	require.Equal(t, rules.No, ask("10.0.0.1", 1, 0))
	require.Equal(t, rules.No, ask("10.0.0.2", 1, 0))
	require.Equal(t, rules.No, ask("10.0.0.2", 1, 0), "the same again")
	require.Equal(t, rules.Yes, ask("10.0.0.3", 1, 0))
	require.Equal(t, rules.No, ask("10.0.1.3", 1, 0), "of another network")
	require.Equal(t, rules.No, ask("10.0.0.3", 1, 7), "of another zone")
	for tuple, c := range w.open {
		c.Closed = true
		w.open[tuple] = c
	}
	require.Equal(t, rules.No, ask("10.0.0.3", 2, 0), "the others are closed")

	for port := range 20 {
		ask("10.5.0.1", port, 0)
	}
	clear(w.open)
	require.Equal(t, rules.Unknown, ask("10.5.0.1", 100, 0), "9 of 20 are swept, or all")
	require.Equal(t, rules.Unknown, ask("10.5.0.1", 101, 0), "18 of 20 are swept, or all: two of them and two that are new are left")
	require.Equal(t, rules.No, ask("10.5.0.1", 101, 0), "all are swept")

	require.Equal(t, rules.No, ask("10.6.0.1", 1, 0))
	require.Equal(t, rules.No, ask("10.6.0.1", 2, 0))
	w.late -= 15 * time.Millisecond
	require.Equal(t, rules.Unknown, ask("10.6.0.1", 2, 0), "it may be counted twice in one moment")
	ask("10.7.0.1", 1, 0)
	w.late -= 15 * time.Millisecond
	require.Equal(t, rules.No, ask("10.7.0.1", 2, 0))
	w.late -= 15 * time.Millisecond
	require.Equal(t, rules.Yes, ask("10.7.0.1", 3, 0), "each is new")

	known := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.8.0.1:3"), netip.MustParseAddrPort("10.9.9.9:80"))
	ask("10.8.0.1", 1, 0)
	ask("10.8.0.1", 2, 0)
	w.open[known] = rules.Conn{Original: known, Status: nat.Confirmed}
	require.Equal(t, rules.Unknown, ask("10.8.0.1", 3, 0), "one that is confirmed is not counted since Linux 6.19")
	require.Equal(t, rules.Yes, ask("10.8.0.1", 4, 0), "but whichever are new are")
}
