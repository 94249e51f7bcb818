package nat

import "math/bits"

// JHash is Bob Jenkins' lookup3 over words, as the kernel seeds it (jhash2, include/linux/jhash.h).
func JHash(words []uint32, seed uint32) uint32 { return jhash(words, uint32(len(words))<<2, seed) }

// JHashBytes is JHash over bytes, as machines have it that keep the lowest byte of a word first (jhash).
func JHashBytes(b []byte, seed uint32) uint32 {
	words := make([]uint32, (len(b)+3)/4)
	for i, c := range b {
		words[i/4] |= uint32(c) << (i % 4 * 8)
	}
	return jhash(words, uint32(len(b)), seed)
}

func jhash(words []uint32, length, seed uint32) uint32 {
	a := 0xdeadbeef + length + seed
	b, c := a, a
	for len(words) > 3 {
		a += words[0]
		b += words[1]
		c += words[2]
		for _, shift := range [...]int{4, 6, 8, 16, 19, 4} { // __jhash_mix
			a -= c
			a ^= bits.RotateLeft32(c, shift)
			c += b
			a, b, c = b, c, a
		}
		words = words[3:]
	}
	if len(words) == 0 {
		return c
	}
	for i, w := range words {
		*[...]*uint32{&a, &b, &c}[i] += w
	}
	for _, shift := range [...]int{14, 11, 25, 16, 4, 14, 24} { // __jhash_final
		c ^= b
		c -= bits.RotateLeft32(b, shift)
		a, b, c = b, c, a
	}
	return b
}
