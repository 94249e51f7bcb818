package scenarios

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLettered(t *testing.T) {
	t.Parallel()
	known := func(port string) bool { return port == "80" }
	require.Equal(t, "  out eth0  10.0.0.1:a > 10.0.0.2:80\n  in eth0 10.0.0.1:b > 10.0.0.2:80  udp 10.0.0.1:a\n",
		lettered("  out eth0     10.0.0.1:4000 > 10.0.0.2:80\n  in eth0 10.0.0.1:5000 > 10.0.0.2:80   udp 10.0.0.1:4000\n", known))
}

// A drawing in which packets came twice holds that of the packets themselves, and no other one.
func TestDrawingHoldsAnother(t *testing.T) {
	t.Parallel()
	known := func(port string) bool { return port == "80" }
	for _, row := range []struct {
		name, have, want string
		holds            bool
	}{
		{"the same", "1.1.1.1:4000 > 2.2.2.2:80", "1.1.1.1:a > 2.2.2.2:80", true},
		{"a line more, whose port comes first", "1.1.1.1:7000\n1.1.1.1:4000 > 2.2.2.2:80\n1.1.1.1:4000", "1.1.1.1:a > 2.2.2.2:80\n1.1.1.1:a", true},
		{"the second line of the kind is the one", "1.1.1.1:7000\n1.1.1.1:4000\nto 1.1.1.1:4000", "1.1.1.1:a\nto 1.1.1.1:a", true},
		{"a line less", "1.1.1.1:4000", "1.1.1.1:a\n1.1.1.1:a", false},
		{"another order", "b\na", "a\nb", false},
		{"one port where two are wanted", "1.1.1.1:4000\n1.1.1.1:4000", "1.1.1.1:a\n1.1.1.1:b", false},
		{"two ports where one is wanted", "1.1.1.1:4000\n1.1.1.1:4001", "1.1.1.1:a\n1.1.1.1:a", false},
		{"a known port where chance's is wanted", "1.1.1.1:80", "1.1.1.1:a", false},
		{"chance's port where a known one is wanted", "1.1.1.1:4000", "1.1.1.1:80", false},
		{"no port where one is wanted", "1.1.1.1", "1.1.1.1:a", false},
		{"another address", "1.1.1.2:80", "1.1.1.1:80", false},
		{"an entry was given up since", "CONFIRMED|DYING", "CONFIRMED", true},
		{"an entry is to be given up", "CONFIRMED", "CONFIRMED|DYING", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.holds, holds(row.have+"\n", row.want+"\n", known))
		})
	}
}
