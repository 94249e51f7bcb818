package conntrack_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/conntrack"
)

// table is a connection table with a clock of its own.
type table struct {
	conntrack.Table
	t   *testing.T
	now time.Time
}

func newTable(t *testing.T) *table {
	t.Helper()
	b := &table{t: t, now: time.Unix(1_800_000_000, 0)}
	b.Settings = conntrack.Defaults()
	return b
}

func tuple(t *testing.T, text string) nat.Tuple {
	t.Helper()
	parsed, err := nat.ParseTuple(text)
	require.NoError(t, err)
	return parsed
}

// see takes a packet through the table as a node without NAT does.
func (b *table) see(p conntrack.Packet) conntrack.Ref {
	b.t.Helper()
	r, v := b.Track(&p, b.now)
	require.Equal(b.t, nat.Accept, v)
	if r.Conn != nil && !r.Conn.Has(nat.Confirmed) {
		b.BindNull(r.Conn, conntrack.ManipDestination)
		b.BindNull(r.Conn, conntrack.ManipSource)
		require.True(b.t, b.Confirm(r.Conn))
	}
	return r
}

func (b *table) pass(d time.Duration) { b.now = b.now.Add(d) }

// segment reads "S 1000 ack 0 win 1000 len 0" into a segment.
func segment(t *testing.T, text string) (s conntrack.Segment) {
	t.Helper()
	words := strings.Fields(text)
	for _, letter := range words[0] {
		s.Flags |= map[rune]uint8{'F': 1, 'S': 2, 'R': 4, 'P': 8, '.': 16}[letter]
	}
	for i := 1; i+1 < len(words); i += 2 {
		n, err := strconv.ParseUint(words[i+1], 10, 32)
		require.NoError(t, err)
		switch words[i] {
		case "seq":
			s.Seq = uint32(n)
		case "ack":
			s.Ack = uint32(n)
		case "win":
			s.Window = uint16(n)
		case "len":
			s.Length = int(n)
		default:
			t.Fatal(words[i])
		}
	}
	return s
}

const (
	handshake = "> S seq 1000 win 64000; < S. seq 9000 ack 1001 win 64000; > . seq 1001 ack 9001 win 64000"
	closing   = handshake + "; > F. seq 1001 ack 9001 win 64000; < . seq 9001 ack 1002 win 64000; < F. seq 9001 ack 1002 win 64000; > . seq 1002 ack 9002 win 64000"
)

var linux510 = nat.Kernel{Major: 5, Minor: 10}

var linux60 = nat.Kernel{Major: 6}

// TCP's states and windows, packet by packet: ">" from the client, "<" from the server; a segment that is no part of the
// connection is INVALID and leaves it as it was.
func TestTCP(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, packets string
		state         string
		info          conntrack.Info // of the last packet
		timeout       time.Duration
		liberal       bool
		kernel        nat.Kernel
	}{
		{"a SYN", "> S seq 1000 win 64000", "SYN_SENT", conntrack.InfoNew, 120 * time.Second, false, nat.Kernel{}},
		{"answered", "> S seq 1000 win 64000; < S. seq 9000 ack 1001 win 64000", "SYN_RECV", conntrack.InfoEstablished, 60 * time.Second, false, nat.Kernel{}},
		{"established", handshake, "ESTABLISHED", conntrack.InfoEstablished, 5 * 24 * time.Hour, false, nat.Kernel{}},
		{"data that is not acknowledged", handshake + "; > P. seq 1001 ack 9001 win 64000 len 10", "ESTABLISHED", conntrack.InfoEstablished, 300 * time.Second, false, nat.Kernel{}},
		{"a window of 0", handshake + "; < . seq 9001 ack 1001 win 0", "ESTABLISHED", conntrack.InfoEstablished, 300 * time.Second, false, nat.Kernel{}},
		{"above the window", handshake + "; > P. seq 200000 ack 9001 win 64000 len 10", "ESTABLISHED", conntrack.InfoInvalid, 5 * 24 * time.Hour, false, nat.Kernel{}},
		{"above the window, but liberal", handshake + "; > P. seq 200000 ack 9001 win 64000 len 10", "ESTABLISHED", conntrack.InfoEstablished, 5 * 24 * time.Hour, true, nat.Kernel{}},
		{"it acknowledges what was never sent", handshake + "; > . seq 1001 ack 99001 win 64000", "ESTABLISHED", conntrack.InfoInvalid, 5 * 24 * time.Hour, false, nat.Kernel{}},
		{"below the window is let pass", handshake + "; > . seq 4294900000 ack 9001 win 64000", "ESTABLISHED", conntrack.InfoEstablished, 5 * 24 * time.Hour, false, nat.Kernel{}},
		{"closing", handshake + "; > F. seq 1001 ack 9001 win 64000", "FIN_WAIT", conntrack.InfoEstablished, 120 * time.Second, false, nat.Kernel{}},
		{"closed", closing, "TIME_WAIT", conntrack.InfoEstablished, 120 * time.Second, false, nat.Kernel{}},
		{"opened again", closing + "; > S seq 99000 win 64000", "SYN_SENT", conntrack.InfoNew, 120 * time.Second, false, nat.Kernel{}},
		{"reset", handshake + "; < R. seq 9001 ack 1001", "CLOSE", conntrack.InfoEstablished, 10 * time.Second, false, nat.Kernel{}},
		{"an RST that is not exact is no end", handshake + "; < R. seq 9100 ack 1001", "ESTABLISHED", conntrack.InfoEstablished, 10 * time.Second, false, nat.Kernel{}},
		{"an RST that is not exact, on 6.12", handshake + "; < R. seq 9100 ack 1001", "ESTABLISHED", conntrack.InfoEstablished, 300 * time.Second, false, nat.Kernel{Major: 6, Minor: 12}},
		{"below the window on 5.10", handshake + "; > . seq 4294900000 ack 9001 win 64000", "ESTABLISHED", conntrack.InfoInvalid, 5 * 24 * time.Hour, false, linux510},
		{"ahead of the window in the handshake", "> S seq 1000 win 1; < S. seq 9000 ack 1001 win 64000; < . seq 9500 ack 1001 win 64000", "SYN_RECV", conntrack.InfoInvalid, 60 * time.Second, false, nat.Kernel{}},
		{"ahead of the window in the handshake on 5.10", "> S seq 1000 win 1; < S. seq 9000 ack 1001 win 64000; < . seq 9500 ack 1001 win 64000", "SYN_RECV", conntrack.InfoEstablished, 60 * time.Second, false, linux510},
		{"an RST of an ended connection is judged on 5.10", closing + "; < R seq 1", "TIME_WAIT", conntrack.InfoInvalid, 120 * time.Second, false, linux510},
		{"and is not since", closing + "; < R seq 1", "CLOSE", conntrack.InfoEstablished, 10 * time.Second, false, nat.Kernel{}},
		{"below the window on 6.0", handshake + "; > . seq 4294900000 ack 9001 win 64000", "ESTABLISHED", conntrack.InfoInvalid, 5 * 24 * time.Hour, false, linux60},
		{"ahead of the window in the handshake on 5.17", "> S seq 1000 win 1; < S. seq 9000 ack 1001 win 64000; < . seq 9500 ack 1001 win 64000", "SYN_RECV", conntrack.InfoEstablished, 60 * time.Second, false, nat.Kernel{Major: 5, Minor: 17}},
		{"ahead of the window in the handshake on 6.0", "> S seq 1000 win 1; < S. seq 9000 ack 1001 win 64000; < . seq 9500 ack 1001 win 64000", "SYN_RECV", conntrack.InfoInvalid, 60 * time.Second, false, linux60},
		{"an RST of an ended connection is judged on 5.13", closing + "; < R seq 1", "TIME_WAIT", conntrack.InfoInvalid, 120 * time.Second, false, nat.Kernel{Major: 5, Minor: 13}},
		{"and is not on 5.14", closing + "; < R seq 1", "CLOSE", conntrack.InfoEstablished, 10 * time.Second, false, nat.Kernel{Major: 5, Minor: 14}},
		{"picked up in its middle", "> . seq 1001 ack 9001 win 64000", "ESTABLISHED", conntrack.InfoNew, 300 * time.Second, false, nat.Kernel{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newTable(t)
			b.Settings.Liberal, b.Settings.Kernel = row.liberal, row.kernel
			asked := tuple(t, "tcp 10.0.0.1:4000 > 10.0.0.2:80")
			var r conntrack.Ref
			for text := range strings.SplitSeq(row.packets, "; ") {
				p := conntrack.Packet{Tuple: asked, TCP: segment(t, text[2:])}
				if text[0] == '<' {
					p.Tuple = asked.Reply()
				}
				r = b.see(p)
			}
			require.Equal(t, row.info, r.Info)
			c, _ := b.Lookup(asked, 0, 0)
			require.NotNil(t, c)
			require.Equal(t, row.state, c.State())
			require.Equal(t, row.timeout, c.Expires().Sub(b.now))
		})
	}
}

// A SYN-ACK, a FIN or nonsense opens no connection; nor does an ACK where tcp_loose is off.
func TestTCPOpensNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"S. seq 1 ack 1", "F seq 1", "SF seq 1", "R seq 1", ". seq 1 ack 1"} {
		b := newTable(t)
		b.Settings.Loose = false
		require.Equal(t, conntrack.InfoInvalid, b.see(conntrack.Packet{Tuple: tuple(t, "tcp 10.0.0.1:4000 > 10.0.0.2:80"), TCP: segment(t, text)}).Info, text)
		require.Zero(t, b.Len())
	}
}

// UDP: 30 s, and 120 s with ASSURED once answers still come two seconds after the first packet (Linux 5.17).
func TestUDP(t *testing.T) {
	t.Parallel()
	b := newTable(t)
	asked := tuple(t, "udp 10.0.0.1:4000 > 10.0.0.2:53")
	require.Equal(t, conntrack.InfoNew, b.see(conntrack.Packet{Tuple: asked}).Info)
	require.Equal(t, conntrack.InfoEstablished, b.see(conntrack.Packet{Tuple: asked.Reply()}).Info)
	c, _ := b.Lookup(asked, 0, 0)
	require.Equal(t, 30*time.Second, c.Expires().Sub(b.now))
	require.False(t, c.Has(nat.Assured))
	b.pass(3 * time.Second)
	require.Equal(t, conntrack.InfoEstablished, b.see(conntrack.Packet{Tuple: asked}).Info)
	require.True(t, c.Has(nat.Assured))
	require.Equal(t, 120*time.Second, c.Expires().Sub(b.now))
	b.pass(121 * time.Second)
	require.Equal(t, conntrack.InfoNew, b.see(conntrack.Packet{Tuple: asked}).Info, "it has expired")
}

// An ICMP error belongs to the connection of the packet that it is about, and only if it goes to the one who sent that.
func TestICMPError(t *testing.T) {
	t.Parallel()
	b := newTable(t)
	asked := tuple(t, "udp 10.0.0.1:4000 > 10.0.0.2:53")
	b.see(conntrack.Packet{Tuple: asked})
	about := conntrack.Packet{Tuple: tuple(t, "icmp 10.0.0.2:0 > 10.0.0.1:0"), ICMPType: 3, ICMPCode: 3, Error: true, Inside: asked}
	require.Equal(t, conntrack.InfoRelated, b.see(about).Info)
	about.Tuple = tuple(t, "icmp 10.0.0.2:0 > 10.0.0.9:0")
	require.Equal(t, conntrack.InfoInvalid, b.see(about).Info)
	about.Tuple, about.Inside = tuple(t, "icmp 10.0.0.2:0 > 10.0.0.1:0"), asked.Reply()
	require.Equal(t, conntrack.InfoInvalid, b.see(about).Info)
}

// fixed is a chance that always says the same.
type fixed uint32

func (f fixed) Uint32() uint32 { return uint32(f) }

// The source port stays where it can; where another connection has the reply tuple, a free one is searched.
func TestSourcePort(t *testing.T) {
	t.Parallel()
	masquerade := func(b *table, text string, r conntrack.Range) nat.Tuple {
		p := conntrack.Packet{Tuple: tuple(t, text)}
		ref, v := b.Track(&p, b.now)
		require.Equal(t, nat.Accept, v)
		b.BindNull(ref.Conn, conntrack.ManipDestination)
		b.Bind(ref.Conn, conntrack.ManipSource, &r)
		require.True(t, b.Confirm(ref.Conn))
		return ref.Conn.Reply
	}
	node := netip.MustParseAddr("192.168.1.1")
	for _, row := range []struct {
		name          string
		r             conntrack.Range
		first, second uint16
	}{
		{"it stays", conntrack.Range{}, 4000, 1024 + 7},
		{"--random-fully", conntrack.Range{FullyRandom: true}, 1024 + 7, 1024 + 8},
		{"--to-ports", conntrack.Range{Ports: true, MinPort: 5000, MaxPort: 5009}, 5007, 5008},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newTable(t)
			b.Chance = fixed(7)
			row.r.Min, row.r.Max = node, node
			require.Equal(t, row.first, masquerade(b, "udp 10.0.0.1:4000 > 8.8.8.8:53", row.r).Dst().Port())
			require.Equal(t, row.second, masquerade(b, "udp 10.0.0.2:4000 > 8.8.8.8:53", row.r).Dst().Port())
		})
	}
}

// Two datagrams of one socket that were both new: the second joins the first's connection where that has no NAT or the
// same; with another destination it is dropped where the reply cannot be told apart either (nf_ct_resolve_clash).
func TestClash(t *testing.T) {
	t.Parallel()
	begin := func(b *table, to string) *conntrack.Ref {
		p := conntrack.Packet{Tuple: tuple(t, "udp 10.0.0.1:4000 > 10.96.0.10:53")}
		r, v := b.Track(&p, b.now)
		require.Equal(t, nat.Accept, v)
		if to != "" {
			at := netip.MustParseAddr(to)
			b.Bind(r.Conn, conntrack.ManipDestination, &conntrack.Range{Min: at, Max: at})
		}
		b.BindNull(r.Conn, conntrack.ManipDestination)
		b.BindNull(r.Conn, conntrack.ManipSource)
		return &r
	}
	t.Run("the same", func(t *testing.T) {
		t.Parallel()
		b := newTable(t)
		first, second := begin(b, "10.0.1.1"), begin(b, "10.0.1.1")
		require.True(t, b.Confirm(first.Conn))
		require.False(t, b.Confirm(second.Conn))
		require.Equal(t, nat.Accept, b.Resolve(second))
		require.Same(t, first.Conn, second.Conn)
		require.EqualValues(t, 1, b.Stats.ClashResolve)
	})
	t.Run("another endpoint", func(t *testing.T) {
		t.Parallel()
		b := newTable(t)
		first, second := begin(b, "10.0.1.1"), begin(b, "10.0.1.2")
		require.True(t, b.Confirm(first.Conn))
		require.False(t, b.Confirm(second.Conn))
		require.Equal(t, nat.Accept, b.Resolve(second), "for one second, by its reply alone")
		require.True(t, second.Conn.Has(nat.NATClash))
		c, _ := b.Lookup(tuple(t, "udp 10.0.1.2:53 > 10.0.0.1:4000"), 0, 0)
		require.Same(t, second.Conn, c)
		b.pass(time.Second)
		b.Advance(b.now)
		c, _ = b.Lookup(tuple(t, "udp 10.0.1.2:53 > 10.0.0.1:4000"), 0, 0)
		require.Nil(t, c)
	})
}

// Whose clashes are resolved, and since when; those of TCP never.
func TestClashOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		packet conntrack.Packet
		since  nat.Kernel
	}{
		{conntrack.Packet{Tuple: tuple(t, "99 10.0.0.1:0 > 10.0.0.2:0")}, linux510},
		{conntrack.Packet{Tuple: tuple(t, "udp 10.0.0.1:4000 > 10.0.0.2:53")}, linux510},
		{conntrack.Packet{Tuple: tuple(t, "47 10.0.0.1:0 > 10.0.0.2:0")}, nat.Kernel{Major: 6, Minor: 5}},
		{conntrack.Packet{Tuple: tuple(t, "icmp 10.0.0.1:7 > 10.0.0.2:7"), ICMPType: 8}, nat.Kernel{Major: 7}},
		{conntrack.Packet{Tuple: tuple(t, "tcp 10.0.0.1:4000 > 10.0.0.2:80"), TCP: segment(t, "S seq 1")}, nat.Kernel{Major: 99}},
	} {
		for _, kernel := range []nat.Kernel{linux510, {Major: 6, Minor: 1}, {Major: 6, Minor: 4}, {Major: 6, Minor: 5}, {Major: 6, Minor: 19}, {Major: 7}, {Major: 7, Minor: 2}} {
			b := newTable(t)
			b.Settings.Kernel = kernel
			var refs [2]conntrack.Ref
			for i := range refs {
				p := row.packet
				refs[i], _ = b.Track(&p, b.now)
			}
			require.True(t, b.Confirm(refs[0].Conn))
			require.False(t, b.Confirm(refs[1].Conn))
			want := nat.Accept
			if kernel.Before(row.since.Major, row.since.Minor) {
				want = nat.Drop
			}
			require.Equal(t, want, b.Resolve(&refs[1]), "%s on %s", row.packet.Tuple, kernel)
		}
	}
}

// DNAT to a range of ports takes the first one since Linux 6.8, and one by chance before.
func TestPortOfDNAT(t *testing.T) {
	t.Parallel()
	for kernel, want := range map[nat.Kernel]uint16{{Major: 6, Minor: 7}: 5007, {Major: 6, Minor: 8}: 5000, {}: 5000} {
		b := newTable(t)
		b.Settings.Kernel, b.Chance = kernel, fixed(7)
		r, _ := b.Track(&conntrack.Packet{Tuple: tuple(t, "udp 10.0.0.1:4000 > 10.0.0.2:53")}, b.now)
		to := netip.MustParseAddr("10.0.1.1")
		b.Bind(r.Conn, conntrack.ManipDestination, &conntrack.Range{Min: to, Max: to, Ports: true, MinPort: 5000, MaxPort: 5009})
		require.Equal(t, want, r.Conn.Reply.Src().Port(), "Linux %s", kernel)
	}
}

// unasked is a chance that must not decide.
type unasked struct{ t *testing.T }

func (u unasked) Uint32() uint32 { u.t.Error("asked for a random port"); return 0 }

// DNAT to one port is nothing that chance decides, on no kernel.
func TestDNATToOnePort(t *testing.T) {
	t.Parallel()
	for _, kernel := range []nat.Kernel{linux510, {}} {
		b := newTable(t)
		b.Settings.Kernel, b.Chance = kernel, unasked{t}
		r, _ := b.Track(&conntrack.Packet{Tuple: tuple(t, "udp 10.0.0.1:4000 > 10.0.0.2:53")}, b.now)
		to := netip.MustParseAddr("10.0.1.1")
		b.Bind(r.Conn, conntrack.ManipDestination, &conntrack.Range{Min: to, Max: to, Ports: true, MinPort: 5353, MaxPort: 5353})
		require.Equal(t, "10.0.1.1:5353", r.Conn.Reply.Src().String())
	}
}

// A REJECT rule's RST closes the connection, since Linux 6.3, and in the newest 6.1.
func TestSetClosing(t *testing.T) {
	t.Parallel()
	for kernel, want := range map[nat.Kernel]string{linux510: "SYN_SENT", {Major: 6}: "SYN_SENT", {Major: 6, Minor: 1}: "CLOSE", {Major: 6, Minor: 2}: "SYN_SENT", {Major: 6, Minor: 3}: "CLOSE", {}: "CLOSE"} {
		b := newTable(t)
		b.Settings.Kernel = kernel
		r := b.see(conntrack.Packet{Tuple: tuple(t, "tcp 10.0.0.1:4000 > 10.0.0.2:80"), TCP: segment(t, "S seq 1 win 1")})
		b.SetClosing(r.Conn)
		require.Equal(t, want, r.Conn.State(), "Linux %s", kernel)
	}
}

// A full table throws out what is not ASSURED, and takes nothing new where all is.
func TestFullTable(t *testing.T) {
	t.Parallel()
	b := newTable(t)
	b.Settings.Max = 2
	one, two := tuple(t, "udp 10.0.0.1:1 > 10.0.0.2:53"), tuple(t, "udp 10.0.0.1:2 > 10.0.0.2:53")
	for range 2 {
		for _, asked := range []nat.Tuple{one, two} {
			b.see(conntrack.Packet{Tuple: asked})
			b.see(conntrack.Packet{Tuple: asked.Reply()})
		}
		b.pass(3 * time.Second)
	}
	third := conntrack.Packet{Tuple: tuple(t, "udp 10.0.0.1:3 > 10.0.0.2:53")}
	_, v := b.Track(&third, b.now)
	require.Equal(t, nat.Drop, v)
	require.EqualValues(t, 1, b.Stats.Drop)
	b.Flush()
	b.see(conntrack.Packet{Tuple: one})
	b.see(conntrack.Packet{Tuple: two})
	b.see(third)
	require.Equal(t, 2, b.Len())
	require.EqualValues(t, 1, b.Stats.EarlyDrop)
	c, _ := b.Lookup(one, 0, 0)
	require.Nil(t, c, "the oldest went")
}

// SCTP's association, chunk by chunk.
func TestSCTP(t *testing.T) {
	t.Parallel()
	b := newTable(t)
	asked := tuple(t, "sctp 10.0.0.1:4000 > 10.0.0.2:80")
	chunk := func(kind byte, init uint32) []byte {
		c := []byte{kind, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		c[4], c[5], c[6], c[7] = byte(init>>24), byte(init>>16), byte(init>>8), byte(init)
		return c
	}
	for _, row := range []struct {
		reply bool
		tag   uint32
		chunk []byte
		state string
	}{
		{false, 0, chunk(1, 11), "CLOSED"},
		{true, 11, chunk(2, 22), "COOKIE_WAIT"},
		{false, 22, chunk(10, 0), "COOKIE_ECHOED"},
		{true, 11, chunk(11, 0), "ESTABLISHED"},
		{false, 22, chunk(7, 0), "SHUTDOWN_SENT"},
	} {
		p := conntrack.Packet{Tuple: asked, SCTP: conntrack.SCTP{Tag: row.tag, Chunks: row.chunk}}
		if row.reply {
			p.Tuple = asked.Reply()
		}
		b.see(p)
		c, _ := b.Lookup(asked, 0, 0)
		require.NotNil(t, c)
		require.Equal(t, row.state, c.State())
	}
	wrong := conntrack.Packet{Tuple: asked, SCTP: conntrack.SCTP{Tag: 99, Chunks: chunk(6, 0)}}
	require.Equal(t, conntrack.InfoInvalid, b.see(wrong).Info, "an ABORT with a wrong verification tag")
}

// A connection's packets are counted by direction from its first one on, where that is asked for; a SYN again is not.
func TestCounting(t *testing.T) {
	t.Parallel()
	for _, counted := range []bool{true, false} {
		b := newTable(t)
		b.Settings.Accounts = counted
		there := tuple(t, "tcp 10.0.0.1:40000 > 10.0.0.2:80")
		syn := conntrack.Packet{Tuple: there, TCP: segment(t, "S seq 1000 win 64000"), Length: 60}
		r := b.see(syn)
		require.True(t, b.Confirm(r.Conn))
		b.see(syn)
		b.see(conntrack.Packet{Tuple: there.Reply(), TCP: segment(t, "S. seq 9000 ack 1001 win 64000"), Length: 44})
		want := [2][2]uint64{{1, 1}, {60, 44}}
		if !counted {
			want = [2][2]uint64{}
		}
		packets, bytes, is := r.Conn.Counters()
		require.Equal(t, counted, is)
		require.Equal(t, want, [2][2]uint64{packets, bytes})
	}
}

// A sysctl sets what it names, and a value that is no number is an error.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := conntrack.Defaults()
	known, err := s.Set("nf_conntrack_tcp_timeout_established", "60")
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, time.Minute, s.Timeouts.TCP[conntrack.TCPEstablished])
	known, err = s.Set("nf_conntrack_acct", "1")
	require.NoError(t, err)
	require.True(t, known)
	require.True(t, s.Accounts)
	known, err = s.Set("nf_conntrack_log_invalid", "1")
	require.NoError(t, err)
	require.False(t, known)
	_, err = s.Set("nf_conntrack_max", "many")
	require.ErrorContains(t, err, `nf_conntrack_max = "many"`)
}

// Whatever comes, the table keeps what it says of itself: as many connections as it lists, each found by both tuples, and
// no more than its limit.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Add([]byte("\x06\x02\x00\x00\x10\x00\x06\x12\x01\x00\x20\x00\x06\x10\x00\x00\x30\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newTable(t)
		b.Settings.Max = 16
		protos := []nat.Proto{nat.TCP, nat.UDP, nat.ICMP, nat.SCTP, 47, 99}
		for len(data) >= 6 {
			step := data[:6]
			data = data[6:]
			addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n & 3}) }
			p := conntrack.Packet{
				Tuple: nat.TupleOf(protos[int(step[0])%len(protos)], netip.AddrPortFrom(addr(step[1]), uint16(step[2]&3)), netip.AddrPortFrom(addr(step[1]>>2), uint16(step[2]>>2&3))),
				TCP:   conntrack.Segment{Flags: step[3], Seq: uint32(step[4]) << 12, Ack: uint32(step[5]) << 12, Window: uint16(step[4]) << 8, Options: step},
				SCTP:  conntrack.SCTP{Tag: uint32(step[4] & 1), Chunks: step}, ICMPType: step[3] & 31,
			}
			b.pass(time.Duration(step[5]) * time.Second / 4)
			r, v := b.Track(&p, b.now)
			if v == nat.Drop || r.Conn == nil || r.Conn.Has(nat.Confirmed) || r.Conn.Has(nat.Dying) {
				continue
			}
			b.Bind(r.Conn, conntrack.ManipDestination, &conntrack.Range{Min: addr(step[4]), Max: addr(step[4])})
			b.Bind(r.Conn, conntrack.ManipSource, &conntrack.Range{Min: addr(step[5]), Max: addr(step[5])})
			if !b.Confirm(r.Conn) {
				b.Resolve(&r)
			}
		}
		conns := b.Conns()
		require.LessOrEqual(t, len(conns), b.Len())
		require.LessOrEqual(t, b.Len(), b.Settings.Max+1)
		for _, c := range conns {
			kind, code := c.ICMP()
			if c.Has(nat.NATClash) || c.Original.Proto() == nat.ICMP {
				continue
			}
			for _, at := range []nat.Tuple{c.Original, c.Reply} {
				found, _ := b.Lookup(at, kind, code)
				require.Same(t, c, found)
			}
		}
	})
}

// Connections of two zones do not know of each other, and one that is limited to a direction is found by the other
// direction's tuple from everywhere.
func TestZones(t *testing.T) {
	t.Parallel()
	b := newTable(t)
	asked := tuple(t, "udp 10.0.0.1:5353 > 10.0.0.2:53")
	see := func(tuple nat.Tuple, z nat.Zone) conntrack.Ref { return b.see(conntrack.Packet{Tuple: tuple, Zone: z}) }
	one, other := see(asked, nat.Zone{ID: 1}), see(asked, nat.Zone{ID: 2})
	require.NotSame(t, one.Conn, other.Conn)
	require.Same(t, one.Conn, see(asked.Reply(), nat.Zone{ID: 1}).Conn)
	require.Same(t, other.Conn, see(asked.Reply(), nat.Zone{ID: 2}).Conn)
	require.Equal(t, 2, b.Len())

	half := see(asked, nat.Zone{ID: 3, NotReply: true})
	require.Equal(t, conntrack.InfoNew, half.Info)
	answer := see(asked.Reply(), nat.Zone{})
	require.Same(t, half.Conn, answer.Conn)
	require.Equal(t, conntrack.InfoEstablished, answer.Info)
	require.Equal(t, 3, b.Len())
}

// Two flows that want one source port of one address both have it where their zones differ.
func TestZonesOfNAT(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ zone, port uint16 }{{0, 1024}, {2, 5353}} {
		b := newTable(t)
		to := netip.MustParseAddr("192.0.2.1")
		for i, source := range []string{"udp 10.0.0.1:5353 > 10.9.9.9:53", "udp 10.0.0.2:5353 > 10.9.9.9:53"} {
			r, _ := b.Track(&conntrack.Packet{Tuple: tuple(t, source), Zone: nat.Zone{ID: uint16(i) * row.zone}}, b.now)
			b.Bind(r.Conn, conntrack.ManipSource, &conntrack.Range{Min: to, Max: to})
			require.True(t, b.Confirm(r.Conn))
			if i == 1 {
				require.Equal(t, row.port, r.Conn.Reply.Dst().Port())
			}
		}
	}
}
