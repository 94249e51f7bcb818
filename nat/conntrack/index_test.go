package conntrack

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/nat"
)

// An index finds what a map finds, whatever was added and removed before, also where hashes are the same or lie side by
// side.
func TestIndex(t *testing.T) {
	t.Parallel()
	type entry struct {
		conn *Conn
		dir  nat.Direction
	}
	rapid.Check(t, func(t *rapid.T) {
		var x index
		want := map[entry]uint32{}
		conns := make([]*Conn, 12)
		for i := range conns {
			conns[i] = &Conn{}
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			e := entry{conns[rapid.IntRange(0, len(conns)-1).Draw(t, "conn")], nat.Direction(rapid.IntRange(0, 1).Draw(t, "dir"))}
			hash, there := want[e]
			switch {
			case !there:
				hash = rapid.Uint32Range(0, 20).Draw(t, "hash") * rapid.SampledFrom([]uint32{1, 1 << 30}).Draw(t, "far")
				x.add(slot{e.conn, hash, e.dir})
				want[e] = hash
			default:
				x.remove(hash, e.conn, e.dir)
				delete(want, e)
			}
			require.Equal(t, len(want), x.used)
			for _, c := range conns {
				for _, d := range []nat.Direction{nat.Original, nat.Reply} {
					h, there := want[entry{c, d}]
					s := x.find(h, func(conn *Conn, dir nat.Direction) bool { return conn == c && dir == d })
					require.Equal(t, there, s != nil)
				}
			}
		}
	})
}
