package traffic

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A packet that is changed on its way is none, and one that is not is read as it was written.
func FuzzParseSCTP(f *testing.F) {
	s := newSide(1, 2)
	f.Add(s.packet(chunk{kind: chunkInit, value: s.init(s.cookie()...)}))
	f.Add(s.data([]byte("hold x\n"))[0])
	f.Add(s.shutdown())
	f.Add([]byte("no packet"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseSCTP(b)
		if !ok {
			require.Zero(t, p)
			return
		}
		again, ok := parseSCTP(p.bytes())
		require.True(t, ok)
		require.Equal(t, p, again)
		changed := bytes.Clone(b)
		changed[len(b)/2] ^= 1
		_, ok = parseSCTP(changed)
		require.False(t, ok, "CRC32c finds every single bit")
	})
}

// A message comes out at the other end as it went in, of however many chunks it is.
func TestAMessageOfManyChunks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, maxData, maxData + 1, 5 * maxData} {
		from := newSide(1, 2)
		to, ok := remembered(2, 1, from.cookie()[4:])
		require.True(t, ok)
		to.got, to.peer = from.next-1, from.mine
		message, packets := []byte(strings.Repeat("x", size)), from.data([]byte(strings.Repeat("x", size)))
		require.Len(t, packets, (size+maxData-1)/maxData)
		var got []byte
		for _, b := range packets {
			p, ok := parseSCTP(b)
			require.True(t, ok)
			require.Nil(t, got)
			var sack []byte
			got, sack = to.took(p.chunks[0])
			again, _ := to.took(p.chunks[0])
			require.Nil(t, again, "a chunk that comes twice counts once")
			ack, ok := parseSCTP(sack)
			require.True(t, ok)
			require.Equal(t, got != nil, from.sacked(ack.chunks[0]))
		}
		require.Equal(t, message, got)
	}
}
