package witness_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// each runs a test on a wire with the node's rules in each backend.
func each(t *testing.T, f func(t *testing.T, w wire, s *witness.Session)) {
	t.Helper()
	for _, b := range dataplane.Backends() {
		t.Run(string(b), func(t *testing.T) {
			w := newWire(t)
			f(t, w, w.watch(t, w.install(t, b, nodeRules), witness.Options{}))
		})
	}
}

// One connection to the Service, seen whole: every tap in every namespace and every rule, in order, both directions.
func TestForwarded(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:40001 > 10.9.0.9:80"))
		seen := drain(t, s)
		require.Empty(t, cmp.Diff(split(`
output-raw eth0 tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
output-nat eth0 tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
postrouting eth0 tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
prerouting-raw eth0 tcp 10.9.0.9:80 > 10.1.0.2:40001 0x0
prerouting-nat eth0 tcp 10.9.0.9:80 > 10.1.0.2:40001 0x0
`), lines(seen, "client")))
		require.Empty(t, cmp.Diff(split(`
prerouting-raw toclient tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
  nat PREROUTING:1 jump toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
  nat KUBE-SERVICES:2 jump toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
  nat KUBE-SVC-X:1 jump toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x0
  nat KUBE-MARK-MASQ:1 continue toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x4000
  nat KUBE-SVC-X:2 jump toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x4000
  nat KUBE-SEP-X:2 accept toclient> tcp 10.1.0.2:40001 > 10.9.0.9:80 0x4000
prerouting-nat toclient tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x4000
  filter FORWARD:3 jump toclient>toserver tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x4000
  filter KUBE-FORWARD:2 accept toclient>toserver tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x4000
  nat POSTROUTING:1 jump toclient>toserver tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x4000
  nat KUBE-POSTROUTING:2 continue toclient>toserver tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x0
  nat KUBE-POSTROUTING:3 accept toclient>toserver tcp 10.1.0.2:40001 > 10.2.0.2:8080 0x0
postrouting toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
prerouting-raw toserver tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
prerouting-nat toserver tcp 10.2.0.2:8080 > 10.1.0.2:40001 0x0
  filter FORWARD:3 jump toserver>toclient tcp 10.2.0.2:8080 > 10.1.0.2:40001 0x0
  filter KUBE-FORWARD:3 accept toserver>toclient tcp 10.2.0.2:8080 > 10.1.0.2:40001 0x0
postrouting toclient tcp 10.9.0.9:80 > 10.1.0.2:40001 0x0
`), lines(seen, "node")))
		require.Empty(t, cmp.Diff(split(`
prerouting-raw eth0 tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
prerouting-nat eth0 tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
output-raw eth0 tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
output-nat eth0 tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
postrouting eth0 tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
`), lines(seen, "server")))
		const masq = "tcp 10.2.0.2:8080 > 10.2.0.1:R "
		const nat = "CONFIRMED|SRC_NAT|DST_NAT|SRC_NAT_DONE|DST_NAT_DONE"
		require.Subset(t, conns(seen, "tcp 10.1.0.2:40001 > 10.9.0.9:80"),
			[]string{masq + nat, masq + "SEEN_REPLY|" + nat, masq + "SEEN_REPLY|ASSURED|" + nat})
	})
}

// What every observation carries beside the packet: the rule's text, flags, and which belong together.
func TestAttribution(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		require.Equal(t, "answered", ask(t, w.client, "tcp 10.1.0.2:40002 > 10.9.0.9:80"))
		seen := drain(t, s)
		last := map[string]uint64{}
		var flags []uint8
		var ids []uint32
		texts := map[string]string{}
		for _, o := range seen {
			require.Greater(t, o.Seq, last[o.Node], "the order within a namespace")
			last[o.Node] = o.Seq
			switch {
			case o.Kind == proof.PacketSeen && o.Node == "node":
				flags = append(flags, o.TCPFlags)
			case o.Kind == proof.RuleHit:
				ids = append(ids, o.TraceID)
				texts[o.Step.Chain] = o.Step.Text
				require.NotEmpty(t, o.Step.Why)
			}
		}
		require.Equal(t, []uint8{2, 2, 2, 18, 18, 18}, flags)
		require.Equal(t, "-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.2.0.2:8080", texts["KUBE-SEP-X"])
		if ids[0] != 0 { // nf_tables: the request's eleven hits are one packet, the answer's two another
			require.Len(t, ids, 13)
			for i, id := range ids {
				require.Equal(t, i < 11, id == ids[0], "hit %d", i)
			}
		}
	})
}

func TestUDP(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		require.Equal(t, "answered", ask(t, w.client, "udp 10.1.0.2:40003 > 10.9.0.9:80"))
		seen := drain(t, s)
		require.Contains(t, lines(seen, "node"), "  nat KUBE-SEP-X:3 accept toclient> udp 10.1.0.2:40003 > 10.9.0.9:80 0x4000")
		require.Contains(t, lines(seen, "node"), "postrouting toclient udp 10.9.0.9:80 > 10.1.0.2:40003 0x0")
		require.Len(t, lines(seen, "client"), 5)
	})
}

// REJECT hangs its answer on a connection that is not confirmed, which NFQUEUE would drop.
func TestRejected(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		for _, tuple := range []string{"udp 10.1.0.2:40004 > 10.9.0.7:80", "tcp 10.1.0.2:40004 > 10.9.0.7:80"} {
			require.Equal(t, traffic.Unreachable.String(), ask(t, w.client, tuple))
			seen := drain(t, s)
			require.Contains(t, lines(seen, "node"), "  filter FORWARD:1 reject toclient>toserver "+tuple+" 0x0")
			for _, line := range []string{"output-raw toclient", "output-nat toclient", "postrouting toclient"} {
				require.Contains(t, lines(seen, "node"), line+" icmp 10.1.0.1:0 > 10.1.0.2:0 0x0 about "+tuple)
			}
			require.Contains(t, lines(seen, "node"), "  filter OUTPUT:0 accept >toclient icmp 10.1.0.1:0 > 10.1.0.2:0 0x0")
			require.Contains(t, lines(seen, "client"), "prerouting-nat eth0 icmp 10.1.0.1:0 > 10.1.0.2:0 0x0 about "+tuple)
			require.Empty(t, conns(seen, tuple), "a packet that is rejected is never confirmed")
		}
		// And from the node itself, where the answer comes back by lo.
		require.Equal(t, traffic.Unreachable.String(), ask(t, w.node, "tcp 10.2.0.1:40005 > 10.9.0.7:80"))
		require.Contains(t, lines(drain(t, s), "node"), "prerouting-nat lo icmp 10.2.0.1:R > 10.2.0.1:R 0x0 about tcp 10.2.0.1:R > 10.9.0.7:80")
	})
}

func TestDropped(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		for _, row := range []struct{ tuple, want string }{
			{"udp 10.1.0.2:40006 > 10.9.0.6:80", "  filter FORWARD:2 drop toclient>toserver udp 10.1.0.2:40006 > 10.9.0.6:80 0x0"},
			{"udp 10.1.0.2:40007 > 10.2.0.2:80", "  filter FORWARD:0 drop toclient>toserver udp 10.1.0.2:40007 > 10.2.0.2:80 0x0"},
		} {
			seen := lose(t, s, w.client, row.tuple, func(o proof.Observation) bool { return o.Step.Verdict == nat.Drop })
			got := lines(seen, "node")
			require.Equal(t, row.want, got[len(got)-1])
			require.Empty(t, conns(seen, row.tuple))
		}
	})
}

// A client on the node enters at OUTPUT; without the mark KUBE-POSTROUTING returns to the policy.
func TestFromTheNode(t *testing.T) {
	each(t, func(t *testing.T, w wire, s *witness.Session) {
		t.Helper()
		require.Equal(t, "answered", ask(t, w.node, "tcp 10.2.0.1:40008 > 10.9.0.9:80"))
		require.Empty(t, cmp.Diff(split(`
output-raw toserver tcp 10.2.0.1:R > 10.9.0.9:80 0x0
  nat OUTPUT:1 jump >toserver tcp 10.2.0.1:R > 10.9.0.9:80 0x0
  nat KUBE-SERVICES:2 jump >toserver tcp 10.2.0.1:R > 10.9.0.9:80 0x0
  nat KUBE-SVC-X:2 jump >toserver tcp 10.2.0.1:R > 10.9.0.9:80 0x0
  nat KUBE-SEP-X:2 accept >toserver tcp 10.2.0.1:R > 10.9.0.9:80 0x0
output-nat toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
  filter OUTPUT:0 accept >toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
  nat POSTROUTING:1 jump >toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
  nat KUBE-POSTROUTING:1 return >toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
  nat POSTROUTING:0 accept >toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
postrouting toserver tcp 10.2.0.1:R > 10.2.0.2:8080 0x0
prerouting-raw toserver tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
prerouting-nat toserver tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
  filter INPUT:0 accept toserver> tcp 10.2.0.2:8080 > 10.2.0.1:R 0x0
`), lines(drain(t, s), "node")))
	})
}
