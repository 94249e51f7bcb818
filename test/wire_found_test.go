package test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
)

// notOverTheWire are differences that a gateway cannot show, for what is the kernel's alone.
var notOverTheWire = map[string]string{
	"what comes back to a process of the copy comes before its packet has a connection": "the copy waits in the queue until its packet has its verdict",
	"at OUTPUT it does so for a connection of two addresses, whatever DNPT wrote":       "the kernel routes a packet anew whose addresses the verdict changes, and these are what they were before DNPT",
}

// What generated packets have shown between the emulator and the kernel is the same over the wire, too, by both ways to carry a verdict out.
func TestFoundOverTheWire(t *testing.T) {
	t.Parallel()
	for name := range notOverTheWire {
		require.True(t, slices.ContainsFunc(allFound(), func(c found) bool { return c.name == name }), name)
	}
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, apply := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
			t.Run(family.String()+"/"+apply.String(), func(t *testing.T) {
				t.Parallel()
				w := newTwins(t, dataplane.Legacy, family)
				w.wireNode = newKernelNode(t, w.node, family) // which is for all of them
				for _, c := range allFound() {
					if c.where.includes(w) && notOverTheWire[c.name] == "" {
						t.Run(c.name, func(t *testing.T) { w.foundOverTheWire(t, apply, c) })
					}
				}
			})
		}
	}
}

func (w *twins) foundOverTheWire(t *testing.T, apply userspace.Apply, c found) {
	t.Helper()
	w.rounds++
	rs := withAllTables(c.begin(t, w))
	sets, err := ipset.Parse(setsIn(w.family))
	require.NoError(t, err)
	x := w.wired(t, apply, gateway.Rules{rs}, gateway.Facts{Sets: sets})
	defer x.close(t)
	for _, g := range c.packets {
		pkt := g.packet(t, w.family)
		require.Empty(t, w.give(t, g.dev, pkt, 0), g.tuple)
		x.ports.next.Store(w.ports.next)
		want := joinedLines(t, w.left)
		require.Equal(t, want, x.give(t, g.dev, pkt, 0, want), "%q %s, %s", g.dev, described(pkt), x.gateway.Stats())
	}
	require.Equal(t, strings.Join(w.kernel.entries(t), "\n"), x.entries(w.family))
}
