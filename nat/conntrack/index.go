package conntrack

import (
	"hash/maphash"

	"natlab/nat"
)

// index finds connections by a hash of what is searched for: slots are looked at one after another from the hash's
// place on, until one is empty.
type index struct {
	slots []slot // a power of two, at least half of them empty
	used  int
}

type slot struct {
	conn *Conn // nil: empty
	hash uint32
	dir  nat.Direction
}

// find is the slot of a connection with that hash for which is holds, nil where there is none. It is good until the
// next change.
func (x *index) find(hash uint32, is func(c *Conn, d nat.Direction) bool) *slot {
	if x.used == 0 {
		return nil
	}
	mask := uint32(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &x.slots[i]
		if s.conn == nil {
			return nil
		}
		if s.hash == hash && is(s.conn, s.dir) {
			return s
		}
	}
}

func (x *index) add(s slot) {
	if 2*x.used >= len(x.slots) {
		x.grow()
	}
	mask := uint32(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].conn != nil {
		i = (i + 1) & mask
	}
	x.slots[i] = s
	x.used++
}

func (x *index) grow() {
	old := x.slots
	x.slots, x.used = make([]slot, max(8, 2*len(old))), 0
	for _, s := range old {
		if s.conn != nil {
			x.add(s)
		}
	}
}

// remove empties the slot of a connection's direction, if there is one. Those behind it move up where they would not be
// found any more.
func (x *index) remove(hash uint32, c *Conn, d nat.Direction) {
	if x.used == 0 {
		return
	}
	mask := uint32(len(x.slots) - 1)
	i := hash & mask
	for x.slots[i].conn != c || x.slots[i].dir != d {
		if x.slots[i].conn == nil {
			return
		}
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; x.slots[j].conn != nil; j = (j + 1) & mask {
		if home := x.slots[j].hash & mask; (j-home)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = slot{}
	x.used--
}

// hash is a tuple's place in an index. It has a secret, as the kernel's has (nf_conntrack_hash_rnd), so that nobody can
// send packets that all have the same one.
func (t *Table) hash(k nat.Tuple) uint32 {
	if t.seed == 0 {
		t.seed = maphash.Comparable(maphash.MakeSeed(), uint64(0)) | 1
	}
	return uint32(k.Hash(t.seed) >> 32)
}
