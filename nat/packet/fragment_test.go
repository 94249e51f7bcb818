package packet_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/packet"
)

// datagram is a UDP datagram of so many bytes of data.
func datagram(bytes int, df bool) *packet.Packet {
	payload := make([]byte, bytes)
	for i := range payload {
		payload[i] = byte(i)
	}
	t := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.2:53"))
	return packet.Build(t, packet.Fields{ID: 7, DF: df, Payload: payload})
}

// give hands fragments over and returns the packet that they make, nil for none.
func give(t require.TestingT, f *packet.Fragments, at int64, list ...[]byte) (whole *packet.Whole) {
	for _, b := range list {
		p, err := packet.Parse(slices.Clone(b))
		require.NoError(t, err)
		require.True(t, p.Fragment())
		if w, ok := f.Add(&p, at); ok {
			require.Nil(t, whole, "whole twice")
			whole = &w
		}
	}
	return whole
}

// Whatever a packet is cut into and in whatever order it comes, with some of it twice, it is itself again.
func TestFragmentsMakeThePacket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := datagram(rapid.IntRange(1, 3000).Draw(t, "data"), false)
		list := p.Split(rapid.IntRange(28, 1500).Draw(t, "limit"), nil)
		if len(list) == 1 {
			require.Equal(t, p.Bytes(), list[0])
			return
		}
		sizes := make([]int, len(list))
		for i, b := range list {
			sizes[i] = len(b) - 20
		}
		require.Equal(t, list, p.Split(1500, sizes))
		last := rapid.IntRange(0, len(list)-1).Draw(t, "last")
		order := rapid.Permutation(slices.Delete(slices.Clone(list), last, last+1)).Draw(t, "order")
		order = append(order, order[rapid.IntRange(0, len(order)-1).Draw(t, "twice")], list[last])
		var f packet.Fragments
		w := give(t, &f, 0, order...)
		require.NotNil(t, w)
		require.Equal(t, p.Bytes(), w.Packet)
		require.Equal(t, sizes, w.Sizes)
		require.Equal(t, 20+slices.Max(sizes), w.Max)
	})
}

// What is missing, contradicts what is there, or comes too late makes no packet.
func TestFragmentsThatMakeNoPacket(t *testing.T) {
	t.Parallel()
	p := datagram(100, false)
	list := p.Split(60, nil) // 40, 40, 28 bytes of data
	other := p.Split(1500, []int{24, 24, 60})
	for name, order := range map[string][][]byte{
		"one is missing":            {list[0], list[2]},
		"one lies across another":   {list[0], other[1], list[1], list[2]},
		"the end is somewhere else": {list[2], datagram(200, false).Split(1500, []int{80, 128})[1], list[0], list[1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f packet.Fragments
			require.Nil(t, give(t, &f, 0, order...), name)
		})
	}
	var f packet.Fragments
	require.Nil(t, give(t, &f, 0, list[0], list[1]))
	require.Nil(t, give(t, &f, 30e9, list[2]), "30 seconds later the others are forgotten")
	require.NotNil(t, give(t, &f, 31e9, list[0], list[1]))
	require.Nil(t, give(t, &f, 40e9, list[0], list[1]))
	require.Nil(t, give(t, &f, 50e9, datagram(200, false).Split(1500, []int{80, 128})[0]), "an overlap throws away what waits")
	require.Nil(t, give(t, &f, 51e9, list[0], list[1]))
	require.NotNil(t, give(t, &f, 80e9, list[2]), "29 seconds are not too long, whatever waited before")
}

// Don't-fragment stays where the longest fragment has it.
func TestFragmentsKeepDontFragment(t *testing.T) {
	t.Parallel()
	plain, df := datagram(100, false).Split(60, nil), datagram(100, true).Split(60, nil)
	require.NotEqual(t, plain, df)
	for _, row := range []struct {
		list [][]byte
		want bool
	}{{plain, false}, {df, true}, {[][]byte{plain[0], plain[1], df[2]}, false}, {[][]byte{df[0], plain[1], plain[2]}, true}} {
		var f packet.Fragments
		w := give(t, &f, 0, row.list...)
		require.NotNil(t, w)
		p, err := packet.Parse(w.Packet)
		require.NoError(t, err)
		require.Equal(t, row.want, p.DontFragment())
		require.True(t, p.HeaderOK() && p.ChecksumOK())
	}
}

// Whatever bytes come as fragments: nothing but whole packets comes out, none longer than a packet can be, and what is
// split goes together again.
func FuzzFragments(f *testing.F) {
	for _, b := range datagram(100, true).Split(60, nil) {
		f.Add(b, uint16(48))
	}
	f.Add(datagram(0, false).Bytes(), uint16(20))
	f.Fuzz(func(t *testing.T, b []byte, limit uint16) {
		p, err := packet.Parse(slices.Clone(b))
		if err != nil || p.V6() {
			return
		}
		var all packet.Fragments
		if !p.Fragment() {
			list := p.Split(int(limit), nil)
			if len(list) > 1 {
				w := give(t, &all, 0, list...)
				require.NotNil(t, w)
				require.Equal(t, p.Transport(), w.Packet[len(w.Packet)-len(p.Transport()):])
			}
			return
		}
		for _, piece := range append(p.Split(int(limit), nil), b) {
			one, err := packet.Parse(slices.Clone(piece))
			require.NoError(t, err)
			if w, ok := all.Add(&one, 0); ok {
				whole, err := packet.Parse(w.Packet)
				require.NoError(t, err)
				require.False(t, whole.Fragment())
			}
		}
	})
}
