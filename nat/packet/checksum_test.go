package packet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The sum is that of RFC 1071, word by word, for bytes of any length, those whose words carry at every step too.
func TestSum(t *testing.T) {
	t.Parallel()
	slow := func(acc uint64, b []byte) uint16 {
		for i, octet := range b {
			acc += uint64(octet) << (8 * uint(1-i%2))
		}
		for acc > 0xffff {
			acc = acc>>16 + acc&0xffff
		}
		return uint16(acc)
	}
	b := make([]byte, 300)
	for _, fill := range []func(i int) byte{
		func(int) byte { return 0xff }, func(int) byte { return 0 }, func(i int) byte { return byte(i*i*7 + i/3) }, func(i int) byte { return byte(255 - i%2) },
	} {
		for i := range b {
			b[i] = fill(i)
		}
		for n := range b {
			for _, acc := range []uint64{0, 1, 0x1fffe, 1<<34 - 1} {
				require.Equal(t, slow(acc, b[:n]), fold(sum(acc, b[:n])), "%d bytes", n)
			}
		}
	}
}

// BenchmarkSum adds up a packet of GSO.
func BenchmarkSum(b *testing.B) {
	packet := make([]byte, 65000)
	b.SetBytes(int64(len(packet)))
	for b.Loop() {
		sum(0, packet)
	}
}
