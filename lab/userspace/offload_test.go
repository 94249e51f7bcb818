package userspace_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
)

// sysctl sets one below net/netfilter in a namespace.
func sysctl(tb testing.TB, h netns.Handle, name, value string) {
	tb.Helper()
	require.NoError(tb, h.Do(func() error { return os.WriteFile("/proc/sys/net/netfilter/"+name, []byte(value), 0) }))
}

// offloading is a scene's gateway with offload, of which TCP's windows are not looked at, and a UDP flow is a stream at once...
func (s scene) offloading(tb testing.TB, apply userspace.Apply, text6 string) *userspace.Gateway {
	tb.Helper()
	sets := map[nat.Family]gateway.Rules{nat.IPv4: {parse(tb, rules4, nat.IPv4)}}
	if text6 != "" {
		sets[nat.IPv6] = gateway.Rules{parse(tb, text6, nat.IPv6)}
	}
	return s.offloads(tb, apply, sets, gateway.Facts{})
}

func (s scene) offloads(tb testing.TB, apply userspace.Apply, sets map[nat.Family]gateway.Rules, facts gateway.Facts) *userspace.Gateway {
	tb.Helper()
	sysctl(tb, s.gateway, "nf_conntrack_tcp_be_liberal", "1")
	var err error
	facts.Kernel, err = dataplane.Kernel()
	require.NoError(tb, err)
	g, err := userspace.Open(s.gateway, userspace.Options{Rules: sets, Facts: facts, Apply: apply, Offload: true})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// open is a gateway with offload that obeys a plane's rules, of both families.
func (s scene) open(tb testing.TB, plane string) *userspace.Gateway {
	tb.Helper()
	if plane == planeNFT || plane == planeBytesNFT {
		sets, facts := nativeSets(tb)
		return s.offloads(tb, applies[plane], sets, facts)
	}
	return s.offloading(tb, applies[plane], rules6)
}

// talk is a connection of a client's to a server that echoes.
type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	seen string // whom the server saw
}

func newTalk(t *testing.T, from netns.Handle, network, addr string) *talk {
	t.Helper()
	k := &talk{t: t}
	require.NoError(t, from.Do(func() (err error) {
		k.conn, err = (&net.Dialer{}).DialContext(t.Context(), network, addr)
		return err
	}))
	t.Cleanup(func() { _ = k.conn.Close() })
	if network == "tcp" {
		k.in = bufio.NewReader(k.conn)
		line, err := k.in.ReadString('\n')
		require.NoError(t, err)
		k.seen = strings.TrimSpace(line)
	}
	return k
}

// say sends a payload and reads it back.
func (k *talk) say(payload []byte) {
	k.t.Helper()
	require.NoError(k.t, k.conn.SetDeadline(time.Now().Add(20*time.Second)))
	if k.in == nil {
		_, err := k.conn.Write(payload)
		require.NoError(k.t, err)
		buf := make([]byte, 1<<16)
		n, err := k.conn.Read(buf)
		require.NoError(k.t, err)
		seen, back, _ := bytes.Cut(buf[:n], []byte("\n"))
		k.seen = string(seen)
		require.Equal(k.t, payload, back)
		return
	}
	go func() { _, _ = k.conn.Write(payload) }()
	back := make([]byte, len(payload))
	_, err := io.ReadFull(k.in, back)
	require.NoError(k.t, err)
	require.Equal(k.t, payload, back)
}

// settle talks until nothing of what it says comes to the gateway, which gets packets of other flows, too: what is left of the last, neighbours'.
func (k *talk) settle(g *userspace.Gateway) { k.t.Helper(); k.settles(g, []byte("x")) }

func (k *talk) settles(g *userspace.Gateway, payload []byte) {
	k.t.Helper()
	require.Eventually(k.t, func() bool {
		before := g.Stats().Packets
		k.say(payload)
		k.say(payload)
		return g.Stats().Packets == before
	}, 30*time.Second, time.Millisecond)
}

// A flow that is established passes in the kernel: the queue has none of its packets, whatever they carry, and server and client see it as before.
func TestOffloaded(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, plane := range []string{planeWire, planeBytes, planeNFT, planeBytesNFT} {
		t.Run(plane, func(t *testing.T) {
			t.Parallel()
			s, apply := newScene(t), applies[plane]
			// Both sums of a packet come to the gateway: that of its pseudo header alone, which is completed behind it, and the whole one.
			if apply == userspace.ByMark {
				sumInSoftware(t, s.gateway, "left")
				sumInSoftware(t, s.gateway, "right")
			} else {
				sumInSoftware(t, s.client, "eth0")
				sumInSoftware(t, s.server, "eth0")
			}
			g := s.open(t, plane)
			for _, addr := range []string{"10.0.2.2", "[fd00:2::2]"} {
				serve(t, s.server, "tcp", addr+":8080")
				serve(t, s.server, "udp", addr+":5353")
			}
			for _, row := range []struct {
				from          netns.Handle
				network, addr string
				payload       []byte
				seen          string
			}{
				{s.client, "tcp", "10.96.0.1:80", large, "10.0.1.2"},
				{s.client, "tcp", "10.0.1.1:30080", large, "10.0.2.1"},
				{s.server, "tcp", "10.96.0.1:80", large, "10.0.2.1"},
				{s.client, "tcp", "10.0.2.2:8080", large, "10.0.1.2"},
				{s.client, "udp", "10.96.0.1:53", large[:999], "10.0.1.2"},
				{s.client, "tcp", "[fd00:96::1]:80", large, "fd00:1::2"},
				{s.client, "tcp", "[fd00:1::1]:30080", large, "fd00:2::1"},
				{s.client, "udp", "[fd00:96::5]:53", large[:999], "fd00:2::1"},
			} {
				k := newTalk(t, row.from, row.network, row.addr)
				k.settles(g, row.payload)
				require.Equal(t, row.seen, k.seen, row.addr)
				require.NoError(t, k.conn.Close())
			}
			require.Zero(t, g.Stats().Unwritten, g.Stats().String())
		})
	}
}

// entry is the one that there is of a flow to a port.
func entry(t *testing.T, g *userspace.Gateway, port uint16) (found nat.Entry, ok bool) {
	t.Helper()
	for _, e := range g.Entries(nat.IPv4) {
		if e.Original.Dst().Port() == port {
			return e, true
		}
	}
	return found, false
}

// The end of a connection comes to the gateway, which knows its states from then on; what began behind it on the same ports is another one.
func TestOffloadedEnds(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.offloading(t, userspace.ByMark, "")
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	k := newTalk(t, s.client, "tcp", "10.96.0.1:80")
	k.settle(g)
	e, ok := entry(t, g, 80)
	require.True(t, ok)
	require.Equal(t, "ESTABLISHED", e.State)
	require.Greater(t, e.Seconds, uint32(400_000))
	require.NoError(t, k.conn.(*net.TCPConn).CloseWrite())
	_, err := k.in.ReadByte() // the server closes, too
	require.ErrorIs(t, err, io.EOF)
	require.Eventually(t, func() bool {
		e, ok = entry(t, g, 80)
		return ok && e.State == "TIME_WAIT"
	}, 20*time.Second, time.Millisecond)
	require.LessOrEqual(t, e.Seconds, uint32(120))

	k = newTalk(t, s.client, "tcp", "10.96.0.1:80")
	k.settle(g)
	require.NoError(t, k.conn.(*net.TCPConn).SetLinger(0)) // an RST
	require.NoError(t, k.conn.Close())
	require.Eventually(t, func() bool {
		for _, e := range g.Entries(nat.IPv4) {
			if e.State == "ESTABLISHED" {
				return false
			}
		}
		return true
	}, 20*time.Second, time.Millisecond)
}

// What passes in the kernel is counted, and keeps the connection alive.
func TestOffloadedCounts(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sysctl(t, s.gateway, "nf_conntrack_acct", "1")
	g := s.offloading(t, userspace.ByMark, "")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	k := newTalk(t, s.client, "udp", "10.96.0.1:53")
	k.settle(g)
	before, _ := entry(t, g, 53)
	const says, headers = 7, 28
	for range says {
		k.say([]byte("four"))
	}
	after, ok := entry(t, g, 53)
	require.True(t, ok && after.Counted)
	seen := len("10.0.1.2\n")
	require.Equal(t, [2]uint64{says, says}, [2]uint64{after.Packets[0] - before.Packets[0], after.Packets[1] - before.Packets[1]})
	require.Equal(t, [2]uint64{says * (headers + 4), says * uint64(headers+4+seen)}, [2]uint64{after.Bytes[0] - before.Bytes[0], after.Bytes[1] - before.Bytes[1]})

	left := func() uint32 { e, _ := entry(t, g, 53); return e.Seconds }
	most := left()
	require.Eventually(t, func() bool { return left() < most-2 }, 20*time.Second, time.Millisecond)
	queued := g.Stats().Packets
	k.say([]byte("x"))
	require.GreaterOrEqual(t, left(), most-1)
	require.Equal(t, queued, g.Stats().Packets)
}

// A flow is handed over again when it was silent for as long as its connection lives, when that is deleted, and when somebody watches of whom each datagram is asked for.
func TestOffloadedLeaves(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sysctl(t, s.gateway, "nf_conntrack_udp_timeout_stream", "2")
	g := s.offloading(t, userspace.ByMark, "")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	k := newTalk(t, s.client, "udp", "10.96.0.1:53")
	queued := func() uint64 {
		before := g.Stats().Packets
		k.say([]byte("x"))
		return g.Stats().Packets - before
	}
	k.settle(g)
	require.Eventually(t, func() bool { _, there := entry(t, g, 53); return !there }, 20*time.Second, time.Millisecond)
	require.NotZero(t, queued())

	k.settle(g)
	require.Equal(t, 1, g.Forget(func(nat.Conn) bool { return true }))
	require.NotZero(t, queued())

	k.settle(g)
	w := g.Watch()
	for range 3 {
		require.NotZero(t, queued())
	}
	w.Close()
	k.settle(g)
}

// Rules that are put in the place of others are obeyed by flows that were offloaded, too.
func TestOffloadedRules(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.offloading(t, userspace.ByMark, "")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	k := newTalk(t, s.client, "udp", "10.96.0.1:53")
	k.settle(g)
	set := func(more string) {
		text := strings.Replace(rules4, "-A FORWARD -m conntrack --ctstate NEW", more+"-A FORWARD -m conntrack --ctstate NEW", 1)
		require.NoError(t, g.SetRules(nat.IPv4, gateway.Rules{parse(t, text, nat.IPv4)}))
	}
	set("-A FORWARD -s 10.0.1.2/32 -p udp -j DROP\n")
	before := g.Stats().Dropped
	_, err := k.conn.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return g.Stats().Dropped > before }, 20*time.Second, time.Millisecond)

	for _, needs := range []string{ // to see each packet
		"-A FORWARD -p udp -m limit --limit 10000/second -j ACCEPT\n", "-A FORWARD -p udp -m length --length 1:60 -j ACCEPT\n", "-A FORWARD -p udp -j LOG\n",
	} {
		set(needs)
		offloaded := g.Stats().Offloaded
		for range 3 {
			k.say([]byte("x"))
		}
		require.Equal(t, offloaded, g.Stats().Offloaded, needs)
	}
	set("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -p udp -j LOG\n") // which nobody comes to
	k.settle(g)
}

// Where windows are looked at, TCP's packets are all handed over.
func TestOffloadWindows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.offloading(t, userspace.ByMark, "")
	sysctl(t, s.gateway, "nf_conntrack_tcp_be_liberal", "0")
	ip(t, s.gateway, "addr add 10.0.9.9/32 dev right") // upon which sysctls are read again
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	require.Eventually(t, func() bool {
		return ask(t.Context(), s.client, "tcp", "10.0.9.9:30080", nil, nil) == "seen as 10.0.2.1"
	}, 20*time.Second, time.Millisecond)
	offloaded := g.Stats().Offloaded
	k := newTalk(t, s.client, "tcp", "10.96.0.1:80")
	for range 5 {
		k.say([]byte("x"))
	}
	require.Equal(t, offloaded, g.Stats().Offloaded)
}

// A packet that looks behind PREROUTING as those of an offloaded flow do, and is none of it, is not taken for one.
func TestOffloadedTwin(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.offloading(t, userspace.ByMark, "")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	k := newTalk(t, s.client, "udp", "10.96.0.1:53")
	k.settle(g)
	from := k.conn.LocalAddr().String()
	require.NoError(t, k.conn.Close())
	var c net.PacketConn
	require.NoError(t, s.client.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", from)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	exchange := func(addr string) string {
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		_, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(addrPort(addr)))
		require.NoError(t, err)
		buf := make([]byte, 64)
		_, by, err := c.ReadFrom(buf)
		require.NoError(t, err)
		return by.String()
	}
	require.Equal(t, "10.96.0.1:53", exchange("10.96.0.1:53"))
	require.Equal(t, "10.0.2.2:5353", exchange("10.0.2.2:5353"))
	require.Equal(t, "10.96.0.1:53", exchange("10.96.0.1:53"))
	require.Equal(t, "10.0.2.2:5353", exchange("10.0.2.2:5353"))
	require.Len(t, g.Entries(nat.IPv4), 2)
}

// A gateway whose NAT counts each packet, or does wrong on purpose, offloads nothing, and says so.
func TestOffloadRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	_, err := userspace.Open(s.gateway, userspace.Options{Offload: true, Fault: userspace.MarkLost, Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}})
	require.ErrorContains(t, err, "offloaded")
	require.Empty(t, tables(t, s))
}
