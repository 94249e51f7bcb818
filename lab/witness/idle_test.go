package witness_test

import (
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/witness"
	"natlab/nat"
)

// The kernel is idle when no tap holds a packet and no packet waits for a neighbour's address.
func TestIdle(t *testing.T) {
	w, s := holding(t)
	ctx := soon(t)
	idle := func() bool {
		is, err := s.Idle(ctx)
		require.NoError(t, err)
		return is
	}
	require.Eventually(t, idle, 10*time.Second, time.Millisecond)

	h, err := s.Hold("node", nat.TapPreRaw, udpFrom(43011))
	require.NoError(t, err)
	c := w.open(t, "udp 10.1.0.2:43011 > 10.9.0.9:80")
	nonce, err := c.Send(ctx)
	require.NoError(t, err)
	_, err = h.Wait(ctx, 1)
	require.NoError(t, err)
	require.False(t, idle(), "a tap holds a packet")
	require.NoError(t, h.Release())
	_, err = c.Receive(ctx, nonce)
	require.NoError(t, err)
	require.Eventually(t, idle, 10*time.Second, time.Millisecond)

	sendRaw(t, w.client, clientAddr, netip.MustParseAddr("10.1.0.77"), nat.UDP, udpHeader(43012, 99, nil))
	require.Eventually(t, func() bool { return !idle() }, 2*time.Second, time.Millisecond, "nobody has 10.1.0.77, and the kernel asks for three seconds")
	require.Eventually(t, idle, 20*time.Second, 10*time.Millisecond, "it gave up")
}

func TestBacklog(t *testing.T) {
	const cpu = "004c05e9 00000000 00000003 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 "
	for _, row := range []struct {
		name    string
		file    string
		waiting uint64
		known   bool
	}{
		{"nothing waits", cpu + "00000000 00000000 00000000 00000000\n" + cpu + "00000000 00000001 00000000 00000000\n", 0, true},
		{"on one of two", cpu + "00000000 00000000\n" + cpu + "0000001f 00000001\n", 31, true},
		{"a kernel before 5.10", cpu + "\n", 0, false},
		{"no number", cpu + "x\n", 0, false},
		{"no CPU", "", 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			waiting, known := witness.Backlog([]byte(row.file))
			require.Equal(t, row.waiting, waiting)
			require.Equal(t, row.known, known)
		})
	}
}

// The counters of the machine are those that ip lists.
func TestMachine(t *testing.T) {
	t.Parallel()
	_, s := holding(t)
	before := listedFulls(t)
	m, err := s.Machine()
	require.NoError(t, err)
	require.LessOrEqual(t, before, m.Neighbours)
	require.LessOrEqual(t, m.Neighbours, listedFulls(t))
	require.Equal(t, witness.Machine{Backlog: 1, Neighbours: 2}, witness.Machine{Backlog: 3, Neighbours: 5}.Sub(witness.Machine{Backlog: 2, Neighbours: 3}))
}

// listedFulls is how often a neighbour table was full, by ip.
func listedFulls(t *testing.T) (sum uint64) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-s", "ntable", "show").Output()
	require.NoError(t, err)
	tables := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "table_fulls" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			require.NoError(t, err)
			sum += n
			tables++
		}
	}
	require.Positive(t, tables)
	return sum
}
