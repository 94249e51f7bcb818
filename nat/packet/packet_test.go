package packet_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/packet"
)

func tuple(tb testing.TB, s string) nat.Tuple {
	tb.Helper()
	t, err := nat.ParseTuple(s)
	require.NoError(tb, err)
	return t
}

// A packet built, taken apart, and rewritten to the same bytes as one built from the other tuple.
func TestRewrite(t *testing.T) {
	t.Parallel()
	payload := []byte("an odd number of bytes, as it happens")
	for _, row := range []struct {
		name, from, to string
		fields         packet.Fields
	}{
		{"tcp", "tcp 192.168.26.1:40000 > 192.168.26.100:30450", "tcp 10.244.31.64:1024 > 10.244.169.89:9090", packet.Fields{TCP: packet.TCP{Flags: 2, Seq: 7, Window: 64240, Options: []byte{2, 4, 5, 180}}}},
		{"tcp with a payload", "tcp 10.0.0.1:1 > 10.0.0.2:2", "tcp 255.255.255.255:65535 > 0.0.0.0:0", packet.Fields{Payload: payload, DF: true, TOS: 0x10, ID: 99}},
		{"udp", "udp 10.0.0.1:53 > 10.96.0.10:53", "udp 10.0.0.9:1053 > 10.244.0.2:5353", packet.Fields{Payload: payload}},
		{"udp6", "udp [fd00::1]:53 > [fd00::10]:53", "udp [fd00:1::9]:1053 > [fd00:2::2]:5353", packet.Fields{Payload: payload}},
		{"tcp6", "tcp [fd00::1]:1 > [fd00::2]:2", "tcp [::]:9 > [ffff::]:65535", packet.Fields{TCP: packet.TCP{Flags: 18}}},
		{"sctp", "sctp 10.0.0.1:1 > 10.0.0.2:2", "sctp 10.0.0.3:3 > 10.0.0.4:4", packet.Fields{Payload: payload}},
		{"echo request", "icmp 10.0.0.1:7 > 10.0.0.2:7", "icmp 10.0.0.3:9 > 10.0.0.4:9", packet.Fields{Type: 8, Payload: payload}},
		{"echo request 6", "icmpv6 [fd00::1]:7 > [fd00::2]:7", "icmpv6 [fd00::3]:9 > [fd00::4]:9", packet.Fields{Type: 128, Payload: payload}},
		{"udplite", "udplite 10.0.0.1:1 > 10.0.0.2:2", "udplite 10.0.0.3:3 > 10.0.0.4:4", packet.Fields{Payload: payload}},
		{"udplite6", "udplite [fd00::1]:1 > [fd00::2]:2", "udplite [fd00::3]:3 > [fd00::4]:4", packet.Fields{Payload: payload}},
		{"dccp", "dccp 10.0.0.1:1 > 10.0.0.2:2", "dccp 10.0.0.3:3 > 10.0.0.4:4", packet.Fields{Payload: payload}},
		{"no ports", "47 10.0.0.1:0 > 10.0.0.2:0", "47 10.0.0.3:0 > 10.0.0.4:0", packet.Fields{Payload: payload}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			from, to := tuple(t, row.from), tuple(t, row.to)
			p, want := packet.Build(from, row.fields), packet.Build(to, row.fields)
			require.Equal(t, from, p.Tuple())
			require.True(t, p.HeaderOK() && p.ChecksumOK() && p.Whole(), "built")
			parsed, err := packet.Parse(p.Bytes())
			require.NoError(t, err)
			require.Equal(t, *p, parsed)

			p.SetSrc(to.Src())
			p.SetDst(to.Dst())
			require.Equal(t, to, p.Tuple())
			require.Equal(t, want.Bytes(), p.Bytes())
			require.True(t, p.HeaderOK() && p.ChecksumOK(), "rewritten")

			p.SetDst(from.Dst())
			p.SetSrc(from.Src())
			require.Equal(t, packet.Build(from, row.fields).Bytes(), p.Bytes(), "and back")
		})
	}
}

// What was wrong stays wrong, and a UDP packet without a checksum stays without.
func TestRewriteKeepsWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := packet.Build(tuple(t, "tcp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{})
	p.Transport()[16] ^= 1
	p.SetSrc(netip.MustParseAddrPort("10.0.0.3:3"))
	require.False(t, p.ChecksumOK())

	u := packet.Build(tuple(t, "udp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{Payload: []byte("x")})
	u.Transport()[6], u.Transport()[7] = 0, 0
	require.True(t, u.ChecksumOK(), "none is right")
	u.SetSrc(netip.MustParseAddrPort("10.0.0.3:3"))
	require.Equal(t, []byte{0, 0}, u.Transport()[6:8])
}

// The packet inside an ICMP error is rewritten in place, whole or cut after eight bytes of its transport header.
func TestInside(t *testing.T) {
	t.Parallel()
	about := packet.Build(tuple(t, "tcp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{Payload: []byte("data")})
	for _, row := range []struct {
		name string
		keep int
		ok   bool
	}{
		{"whole", about.Len(), true},
		{"cut", 28, true},
		{"cut too short", 23, false},
		{"no packet", 3, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := packet.Build(tuple(t, "icmp 10.0.0.2:0 > 10.0.0.1:0"), packet.Fields{Type: 3, Code: 3, Payload: about.Bytes()[:row.keep]})
			inside, ok := e.Inside()
			require.Equal(t, row.ok, ok)
			if !ok {
				return
			}
			require.Equal(t, about.Tuple(), inside.Tuple())
			inside.SetDst(netip.MustParseAddrPort("10.96.0.1:443"))
			e.SealInside()
			require.True(t, e.ChecksumOK() && inside.HeaderOK())
			again, ok := e.Inside()
			require.True(t, ok)
			require.Equal(t, tuple(t, "tcp 10.0.0.1:1 > 10.96.0.1:443"), again.Tuple())
		})
	}
	p := packet.Build(tuple(t, "icmp 10.0.0.2:1 > 10.0.0.1:1"), packet.Fields{Type: 8, Payload: about.Bytes()})
	_, ok := p.Inside()
	require.False(t, ok, "an echo request is about nothing")
}

// What conntrack makes of headers that others read in another way.
func TestTracked(t *testing.T) {
	t.Parallel()
	pptp, other, second := []byte{0x30, 1, 0x88, 0x0b, 0, 4, 0, 7}, []byte{0x30, 1, 8, 0, 0, 4, 0, 7}, []byte{0, 2, 8, 0, 0, 0, 0, 0}
	for _, row := range []struct {
		name, tuple string
		payload     []byte
		trackable   bool
		sum         bool
		dst         bool // NAT gives it another destination
	}{
		{"gre", "gre 10.0.0.1:0 > 10.0.0.2:0", []byte{0, 0, 8, 0, 0, 0, 0, 0}, true, true, true},
		{"pptp", "gre 10.0.0.1:0 > 10.0.0.2:7", pptp, true, true, true},
		{"gre 1 of another", "gre 10.0.0.1:0 > 10.0.0.2:0", other, false, true, true},
		{"gre 2", "gre 10.0.0.1:0 > 10.0.0.2:0", second, true, true, false},
		{"no next header", "59 [fd00::1]:0 > [fd00::2]:0", nil, false, true, true},
		{"protocol 59 of IPv4", "59 10.0.0.1:0 > 10.0.0.2:0", nil, true, true, true},
		{"udplite", "udplite 10.0.0.1:1 > 10.0.0.2:2", nil, true, false, true},
		{"udp", "udp 10.0.0.1:1 > 10.0.0.2:2", nil, true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := packet.Build(tuple(t, row.tuple), packet.Fields{Payload: row.payload})
			require.Equal(t, row.tuple, strings.ReplaceAll(p.Tuple().String(), "ipv6-nonxt", "59"), row.name)
			require.True(t, p.ChecksumOK(), row.name)
			require.Equal(t, row.trackable, p.Trackable(), row.name)
			require.Equal(t, row.sum, p.TrackedChecksumOK(), row.name)
			require.Equal(t, row.dst, p.DstRewritable(), row.name)
		})
	}
	p := packet.Build(tuple(t, "gre 10.0.0.1:0 > 10.0.0.2:7"), packet.Fields{Payload: pptp})
	p.SetDst(netip.MustParseAddrPort("10.0.0.3:9"))
	require.Equal(t, "gre 10.0.0.1:0 > 10.0.0.3:9", p.Tuple().String())
	d := packet.Build(tuple(t, "dccp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{})
	before := slices.Clone(d.Transport())
	d.SetSrcAddr(netip.MustParseAddr("10.0.0.8"))
	d.SetDstAddr(netip.MustParseAddr("10.0.0.9"))
	require.Equal(t, "dccp 10.0.0.8:1 > 10.0.0.9:2", d.Tuple().String())
	require.Equal(t, before, d.Transport())
	require.True(t, d.HeaderOK())
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	p := packet.Build(tuple(t, "tcp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{TTL: 63, DF: true})
	outer := packet.Encapsulate(p, netip.MustParseAddr("192.168.26.100"), netip.MustParseAddr("192.168.26.105"))
	require.Equal(t, "ipip 192.168.26.100:0 > 192.168.26.105:0", outer.Tuple().String())
	require.True(t, outer.HeaderOK() && outer.DontFragment())
	const header = 20 // an IPv4 one without options
	require.Equal(t, p.Bytes(), outer.Bytes()[header:])
}

func TestTTL(t *testing.T) {
	t.Parallel()
	p := packet.Build(tuple(t, "udp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{TTL: 2})
	p.DecrementTTL()
	require.EqualValues(t, 1, p.TTL())
	require.True(t, p.HeaderOK())
	p.SetTTL(200)
	require.EqualValues(t, 200, p.TTL())
	require.True(t, p.HeaderOK())
}

func TestComplete(t *testing.T) {
	t.Parallel()
	good := packet.Build(tuple(t, "udp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{Payload: []byte("data")}).Bytes()
	spoiled := slices.Clone(good)
	spoiled[2], spoiled[3], spoiled[10], spoiled[11] = 9, 9, 9, 9
	packet.Complete(spoiled)
	require.Equal(t, good, spoiled)
	for _, b := range [][]byte{nil, make([]byte, 20), {0x44, 19: 0}, {0x4f, 19: 0}, packet.Build(tuple(t, "udp [fd00::1]:1 > [fd00::2]:2"), packet.Fields{}).Bytes()} {
		as := slices.Clone(b)
		packet.Complete(b)
		require.Equal(t, as, b)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	good := packet.Build(tuple(t, "tcp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{}).Bytes
	change := func(f func(b []byte)) []byte {
		b := append([]byte(nil), good()...)
		f(b)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":         nil,
		"version":       {0x70},
		"short":         good()[:19],
		"header length": change(func(b []byte) { b[0] = 0x44 }),
		"options":       change(func(b []byte) { b[0] = 0x4f }),
		"total < ihl":   change(func(b []byte) { b[3] = 19 }),
		"total > bytes": change(func(b []byte) { b[2] = 1 }),
		"short 6":       append([]byte{0x60}, make([]byte, 30)...),
		"length 6":      append([]byte{0x60, 0, 0, 0, 0, 9}, make([]byte, 34)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := packet.Parse(b)
			require.ErrorIs(t, err, packet.ErrMalformed, name)
			require.False(t, p.IsValid(), name)
		})
	}
	trimmed, err := packet.Parse(append(good(), 1, 2, 3))
	require.NoError(t, err)
	require.Equal(t, good(), trimmed.Bytes(), "what is behind the packet's length is left out")
}

// The way of every packet of an established flow allocates nothing.
func TestNoAllocations(t *testing.T) {
	b := packet.Build(tuple(t, "tcp 10.0.0.1:1 > 10.0.0.2:2"), packet.Fields{Payload: make([]byte, 100)}).Bytes
	buf := b()
	src, dst := netip.MustParseAddrPort("10.0.0.3:3"), netip.MustParseAddrPort("10.0.0.4:4")
	var p packet.Packet
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if p.Parse(buf) != nil || !p.Whole() {
			t.Fail()
		}
		p.SetSrc(src)
		p.SetDst(dst)
		p.DecrementTTL()
		p.SetTTL(64)
	}))
}

// Whatever the bytes are, nothing reads or writes beside them, and what is rewritten is the same packet but for that.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{"tcp 10.0.0.1:1 > 10.0.0.2:2", "udp [fd00::1]:53 > [fd00::10]:53", "sctp 10.0.0.1:1 > 10.0.0.2:2"} {
		t, err := nat.ParseTuple(s)
		require.NoError(f, err)
		p := packet.Build(t, packet.Fields{Payload: []byte("payload")})
		f.Add(p.Bytes())
		e := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("10.0.0.9:0"), netip.MustParseAddrPort("10.0.0.1:0")), packet.Fields{Type: 3, Payload: p.Bytes()})
		f.Add(e.Bytes())
	}
	zeros := packet.Build(nat.TupleOf(nat.ICMP, netip.MustParseAddrPort("10.0.0.9:0"), netip.MustParseAddrPort("10.0.0.1:0")), packet.Fields{}).Bytes()
	clear(zeros[20:]) // its checksum comes out as the other zero
	f.Add(zeros)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := packet.Parse(append([]byte(nil), b...))
		if err != nil {
			require.False(t, p.IsValid())
			return
		}
		ok, header := p.ChecksumOK(), p.HeaderOK()
		_ = p.String()
		before := append([]byte(nil), p.Bytes()...)
		old := p.Tuple()
		to := netip.MustParseAddrPort("192.0.2.77:4711")
		if p.V6() {
			to = netip.MustParseAddrPort("[2001:db8::77]:4711")
		}
		p.SetSrc(to)
		require.Equal(t, to.Addr(), p.Tuple().Src().Addr())
		require.Equal(t, header, p.HeaderOK())
		if p.Whole() && !p.Fragment() && p.Tuple().Proto() != nat.SCTP {
			require.Equal(t, ok, p.ChecksumOK())
		}
		p.SetSrc(old.Src())
		require.Equal(t, old, p.Tuple())
		if p.Tuple().Proto() != nat.SCTP && header && ok {
			require.Len(t, p.Bytes(), len(before))
		}
		if inside, ok := p.Inside(); ok {
			inside.SetDst(inside.Tuple().Src())
			p.SealInside()
		}
	})
}

// Extension headers are walked as the kernel walks them, a later fragment's up to its fragment header; a fragment of IPv4
// has its offset.
func TestHeaders(t *testing.T) {
	t.Parallel()
	options, auth := packet.Header{Type: 0, Bytes: []byte{0, 0, 1, 4, 0, 0, 0, 0}}, packet.Header{Type: 51, Bytes: make([]byte, 16)}
	auth.Bytes[1] = 2
	first, later := packet.Header{Type: 44, Bytes: []byte{0, 0, 0, 1, 0, 0, 0, 9}}, packet.Header{Type: 44, Bytes: []byte{0, 0, 0, 8, 0, 0, 0, 9}}
	for _, row := range []struct {
		name, tuple, want string
		fields            packet.Fields
		kinds             []nat.Proto
		later             bool
	}{
		{"none", "tcp [fd00::1]:1 > [fd00::2]:2", "tcp [fd00::1]:1 > [fd00::2]:2", packet.Fields{}, nil, false},
		{"three", "tcp [fd00::1]:1 > [fd00::2]:2", "tcp [fd00::1]:1 > [fd00::2]:2", packet.Fields{Headers: []packet.Header{options, first, auth}}, []nat.Proto{0, 44, 51}, false},
		{"behind a later fragment's", "udp [fd00::1]:1 > [fd00::2]:2", "60 [fd00::1]:0 > [fd00::2]:0", packet.Fields{Headers: []packet.Header{options, later, {Type: 60, Bytes: options.Bytes}}}, []nat.Proto{0, 44}, true},
		{"of IPv4", "udp 10.0.0.1:1 > 10.0.0.2:2", "udp 10.0.0.1:0 > 10.0.0.2:0", packet.Fields{Part: 1}, nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := packet.Build(tuple(t, row.tuple), row.fields)
			require.True(t, p.IsValid())
			want := tuple(t, row.want)
			require.Equal(t, want, p.Tuple())
			require.Equal(t, row.later, p.Later())
			var kinds []nat.Proto
			for h := range p.Headers {
				kinds = append(kinds, h.Type)
				b, ok := p.Header(h.Type)
				require.True(t, ok)
				require.Equal(t, h.Bytes, b)
			}
			require.Equal(t, row.kinds, kinds)
			_, ok := p.Header(43)
			require.False(t, ok)
		})
	}
	require.False(t, packet.Build(tuple(t, "tcp [fd00::1]:1 > [fd00::2]:2"), packet.Fields{Headers: []packet.Header{{Type: 60, Bytes: []byte{0, 255}}}}).IsValid())
}

// The kernel writes no zero for a checksum that it computes: of UDP it would mean that there is none, and TCP's goes the
// same way (skb_checksum_help), but for what its stack answers itself. One of the source ports makes the sum zero.
func TestNoChecksumIsZero(t *testing.T) {
	for _, proto := range []nat.Proto{nat.TCP, nat.UDP} {
		ones := 0
		at := map[nat.Proto]int{nat.TCP: 16, nat.UDP: 6}[proto]
		for port := range uint16(65535) {
			tuple := nat.TupleOf(proto, netip.AddrPortFrom(netip.MustParseAddr("fd00::1"), port), netip.MustParseAddrPort("[fd00::2]:80"))
			p := packet.Build(tuple, packet.Fields{TTL: 64})
			sum := binary.BigEndian.Uint16(p.Bytes()[40+at:])
			require.NotZero(t, sum, "%s %d", proto, port)
			if sum == 0xffff {
				ones++
				require.True(t, p.ChecksumOK(), "%s %d", proto, port)
				p = packet.Build(tuple, packet.Fields{TTL: 64, ZeroSum: true})
				require.Equal(t, proto == nat.TCP, binary.BigEndian.Uint16(p.Bytes()[40+at:]) == 0, proto)
				require.True(t, p.ChecksumOK(), "%s %d", proto, port)
			}
		}
		require.Positive(t, ones, proto)
	}
}
