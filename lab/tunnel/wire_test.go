package tunnel

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOuterInheritsWhatTheKernelInherits(t *testing.T) {
	src, dst := [4]byte{192, 168, 26, 100}, [4]byte{192, 168, 26, 105}
	for _, row := range []struct {
		name           string
		tos, ttl       byte
		flags          uint16
		outerTOS       byte
		outerFragments uint16
	}{
		{"DF and TTL are inherited", 0, 63, flagDF, 0, flagDF},
		{"without DF", 0, 1, 0, 0, 0},
		{"a fragment's offset is not", 0, 64, flagMF | 185, 0, 0},
		{"DSCP is not, ECN is", 0xb8 | 2, 64, 0, 2, 0},
		{"congestion experienced starts anew", 0x03, 64, 0, 2, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			packet := make([]byte, 40)
			packet[0], packet[1], packet[8] = 0x45, row.tos, row.ttl
			binary.BigEndian.PutUint16(packet[2:], 40)
			binary.BigEndian.PutUint16(packet[6:], row.flags)
			outer := make([]byte, headerLen, headerLen+40)
			putOuter(outer, packet, src, dst)
			require.Equal(t, []byte{0x45, row.outerTOS, 0, 60}, outer[:4])
			require.Equal(t, row.outerFragments, binary.BigEndian.Uint16(outer[6:]))
			require.Equal(t, []byte{row.ttl, protoIPIP}, outer[8:10])
			require.Equal(t, src[:], outer[12:16])
			require.Equal(t, dst[:], outer[16:20])

			got, ok := inner(append(outer, packet...))
			require.True(t, ok)
			require.Equal(t, packet, got)
		})
	}
}

func TestInnerRefusesWhatIsNoPacket(t *testing.T) {
	good := make([]byte, 48)
	good[0], good[20] = 0x45, 0x45
	good[23] = 28
	_, ok := inner(good)
	require.True(t, ok)
	for name, change := range map[string]func([]byte) []byte{
		"empty":                  func([]byte) []byte { return nil },
		"no inner header":        func(b []byte) []byte { return b[:30] },
		"inner IPv6":             func(b []byte) []byte { b[20] = 0x60; return b },
		"inner longer than all":  func(b []byte) []byte { b[23] = 29; return b },
		"inner header too short": func(b []byte) []byte { b[20] = 0x44; return b },
		"outer options cut":      func(b []byte) []byte { b[0] = 0x4f; return b },
		"outer header too short": func(b []byte) []byte { b[0] = 0x41; return b },
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := inner(change(append([]byte(nil), good...)))
			require.False(t, ok, name)
		})
	}
}

func FuzzInner(f *testing.F) {
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := inner(b)
		if ok && (len(got) < headerLen || len(got) > len(b)-headerLen) {
			t.Errorf("%d bytes inside %d", len(got), len(b))
		}
	})
}

func TestTooBigIsAValidMessage(t *testing.T) {
	packet := make([]byte, 1480)
	packet[0] = 0x45
	copy(packet[12:], []byte{10, 244, 1, 2, 10, 244, 9, 9})
	b := make([]byte, 576)
	n := putTooBig(b, packet, 1380)
	require.Equal(t, 576, n)
	require.Zero(t, checksum(b[:headerLen]))
	require.Zero(t, checksum(b[headerLen:n]))
	require.Equal(t, []byte{10, 244, 9, 9, 10, 244, 1, 2}, b[12:20])
	require.Equal(t, uint16(1380), binary.BigEndian.Uint16(b[26:]))
}

func TestLongestPrefixWins(t *testing.T) {
	hops, err := sortHops([]Hop{
		{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.1")},
		{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParseAddr("192.0.2.2")},
		{netip.MustParsePrefix("10.244.169.64/26"), netip.MustParseAddr("192.0.2.3")},
	})
	require.NoError(t, err)
	for dst, via := range map[string]byte{"10.244.169.89": 3, "10.244.169.128": 2, "10.245.0.1": 1} {
		t.Run(dst, func(t *testing.T) {
			got, ok := (&Tunnel{hops: hops}).via(be32(netip.MustParseAddr(dst).AsSlice()))
			require.True(t, ok)
			require.Equal(t, via, got[3], dst)
		})
	}
	_, ok := (&Tunnel{hops: hops[:2]}).via(0)
	require.False(t, ok)
	_, err = sortHops([]Hop{{netip.MustParsePrefix("fd00::/64"), netip.MustParseAddr("192.0.2.1")}})
	require.ErrorContains(t, err, "not an IPv4 one")
}
