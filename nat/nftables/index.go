package nftables

import "math/bits"

// index finds elements by single values. Of a key it takes the bits alone in which its elements differ, put side by side: the addresses, protocols
// and ports of ten thousand Services are a number of some twenty bits then, and finding one touches one or two lines of memory.
type index struct {
	parts  int
	same   key            // what all keys have where they do not differ
	low    [maxParts]uint // how many bits from the lowest on those of a part differ in, of each half
	high   [maxParts]uint
	row    []int32 // by the number, where there are few more numbers than elements: place + 1; in place of slots
	slots  []slot  // a power of two of them, at most half of them taken
	shift  uint    // 64 less the logarithm of their number
	listed map[key]int32
}

// slot has the place of an element, plus 1; 0: it is free.
type slot struct {
	number uint64
	at     int32
}

// most is how many bits of a number a row may have for each of the elements.
const most = 4

// newIndex is of keys of so many parts, whose places are counted from 0; of two that are the same the later one is found.
func newIndex(parts int, keys []key, places []int32) index {
	x := index{parts: min(max(parts, 1), maxParts)}
	if len(keys) == 0 {
		return x
	}
	x.same = keys[0]
	differ := key{}
	for i := range keys {
		for j := range x.parts {
			differ[j] = differ[j].or(keys[i][j].xor(x.same[j]))
		}
	}
	total := uint(0)
	for j := range x.parts {
		x.low[j], x.high[j] = uint(bits.Len64(differ[j].Low)), uint(bits.Len64(differ[j].High))
		total += x.low[j] + x.high[j]
	}
	x.fill(total, keys, places)
	return x
}

// fill puts the keys where find looks, by how many bits they differ in.
func (x *index) fill(total uint, keys []key, places []int32) {
	switch {
	case total > 64:
		x.listed = make(map[key]int32, len(keys))
		for i, k := range keys {
			x.listed[k] = places[i] + 1
		}
	case total < 32 && 1<<total <= most*len(keys):
		x.row = make([]int32, 1<<total)
		for i := range keys {
			n, _ := x.number(&keys[i])
			x.row[n] = places[i] + 1
		}
	default:
		size := uint(bits.Len(uint(len(keys)))) + 1
		x.slots, x.shift = make([]slot, 1<<size), 64-size
		for i := range keys {
			n, _ := x.number(&keys[i])
			*x.slot(n) = slot{n, places[i] + 1}
		}
	}
}

// number is the bits of a key in which elements differ; false for a key that has other bits not as they have them.
func (x *index) number(k *key) (n uint64, ok bool) {
	for j := range x.parts {
		low, high := k[j].Low^x.same[j].Low, k[j].High^x.same[j].High
		if low>>x.low[j]|high>>x.high[j] != 0 {
			return 0, false
		}
		n = (n<<x.low[j]|low)<<x.high[j] | high
	}
	return n, true
}

// slot is that of a number, or the free one where it would be.
func (x *index) slot(n uint64) *slot {
	at := n * 0x9e3779b97f4a7c15 >> x.shift // Fibonacci hashing: the number of slots times the golden ratio's fraction
	for {
		if s := &x.slots[at]; s.at == 0 || s.number == n {
			return s
		}
		at = (at + 1) & uint64(len(x.slots)-1) //nolint:gosec // a length
	}
}

func (x *index) find(k *key) (at int, ok bool) {
	if x.listed != nil {
		found := x.listed[*k]
		return int(found) - 1, found > 0
	}
	n, ok := x.number(k)
	switch {
	case !ok:
		return -1, false
	case x.row != nil:
		at = int(x.row[n])
	case x.slots != nil:
		at = int(x.slot(n).at)
	}
	return at - 1, at > 0
}
