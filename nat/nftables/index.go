package nftables

// fewParts is how many parts most concatenations have at most: address, protocol and port.
const fewParts = 3

// index finds elements by single values. A key is hashed as long as it is, and numbers from 0 on, of which chance chooses one, not at all.
type index struct {
	parts int
	row   []int // by the number; in place of one
	one   map[Number]int
	few   map[[fewParts]Number]int
	many  map[key]int
}

// newIndex is of keys of so many parts, and of about so many elements.
func newIndex(parts, size int) index {
	x := index{parts: parts}
	switch {
	case parts <= 1:
		x.one = make(map[Number]int, size)
	case parts <= fewParts:
		x.few = make(map[[fewParts]Number]int, size)
	default:
		x.many = make(map[key]int, size)
	}
	return x
}

func (x *index) put(k *key, i int) {
	switch {
	case x.one != nil:
		x.one[k[0]] = i
	case x.few != nil:
		x.few[[fewParts]Number(k[:])] = i
	default:
		x.many[*k] = i
	}
}

// finish ends the puts.
func (x *index) finish() {
	n := len(x.one)
	row := make([]int, n)
	for k, i := range x.one {
		if k.High != 0 || k.Low >= uint64(n) {
			return
		}
		row[k.Low] = i
	}
	if n > 0 {
		x.row = row
	}
}

func (x *index) find(k *key) (i int, ok bool) {
	switch {
	case x.row != nil:
		if k[0].High != 0 || k[0].Low >= uint64(len(x.row)) {
			return 0, false
		}
		return x.row[k[0].Low], true
	case x.one != nil:
		i, ok = x.one[k[0]]
	case x.few != nil:
		i, ok = x.few[[fewParts]Number(k[:])]
	default:
		i, ok = x.many[*k]
	}
	return i, ok
}

// each goes over all keys, in no order.
func (x *index) each(f func(k key, i int)) {
	for n, i := range x.one {
		f(key{n}, i)
	}
	for few, i := range x.few {
		var k key
		copy(k[:], few[:])
		f(k, i)
	}
	for k, i := range x.many {
		f(k, i)
	}
}
