package test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/xt"
)

// Each golden is loaded on both sides, and packets go to each address and port that its rules name, and to each node
// port, from outside, from a pod and from the node itself; each twice, since affinity remembers. What several releases write alike is asked once.
func TestDifferentialGoldens(t *testing.T) {
	t.Parallel()
	all := goldens(t)
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		asked := map[string]bool{}
		for _, g := range all {
			rs, err := iptables.ParseString(inTurn(string(g.files[families[w.family]])), w.family)
			require.NoError(t, err, g.name)
			if rules := rs.String(); !asked[rules] {
				asked[rules] = true
				w.golden(t, g, rs)
			}
		}
		require.Greater(t, w.packets, 8000, "most of the targets were passed by")
		t.Logf("%d packets, %d rule sets of %d goldens: no difference", w.packets, len(asked), len(all))
	})
}

func (w *twins) golden(t *testing.T, g golden, rs iptables.Ruleset) {
	t.Helper()
	rs.Tables = slices.DeleteFunc(rs.Tables, func(t iptables.Table) bool { return t.Name == "security" })
	w.load(t, rs)
	targets := namedTargets(rs, addressIn(w.family, "192.168.1.1"), addressIn(w.family, "10.0.0.1"))
	for i, to := range targets {
		if i%(1+len(targets)/manyTargets) != 0 {
			continue
		}
		if time.Since(w.loaded) > maxRound/2 {
			w.load(t, rs)
		}
		for _, from := range []string{"192.168.1.10", "10.244.0.5", "192.168.1.1", "203.0.113.9"} {
			src := netip.AddrPortFrom(addressIn(w.family, from), uint16(1024+w.packets%60000))
			tuple := nat.TupleOf(to.proto, src, to.at)
			f := packet.Fields{ID: 0x8001, DF: true, TTL: 64, TCP: packet.TCP{Flags: 2, Seq: 1000, Window: 64240}}
			if to.proto == nat.SCTP {
				f.Payload = chunk(1, 0x1111)
			}
			for range 2 {
				if diff := w.give(t, deviceOf(src.Addr()), packet.Build(tuple, f).Bytes(), 0); diff != "" && diff != undecided {
					t.Fatalf("%s %s: %s\nwith\n%s", g.release, g.name, diff, rs.String())
				}
			}
		}
	}
	got, want := w.ends(t)
	require.Equal(t, want, got, "%s %s", g.release, g.name)
}

// manyTargets is about how many of a rule set's targets are tried.
const manyTargets = 100

var random = regexp.MustCompile(`--mode random --probability ([0-9.]+)`)

// inTurn makes chance go in turn, so that both sides choose alike.
func inTurn(text string) string {
	return random.ReplaceAllStringFunc(text, func(m string) string {
		p, _ := strconv.ParseFloat(random.FindStringSubmatch(m)[1], 64)
		return fmt.Sprintf("--mode nth --every %d --packet 0", int(1/p+0.5))
	})
}

type target struct {
	proto nat.Proto
	at    netip.AddrPort
}

// namedTargets are the addresses and ports that rules ask for, and the node's own addresses with each port.
func namedTargets(rs iptables.Ruleset, own ...netip.Addr) (out []target) {
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			if !strings.HasPrefix(chain.Name, "KUBE-") {
				continue
			}
			for _, rule := range chain.Rules {
				var dst netip.Addr
				var ports *xt.PortRange
				proto := nat.TCP
				for _, m := range rule.Matches {
					switch m := m.(type) {
					case iptables.Destination:
						dst = m.Prefix.Addr()
					case xt.Ports:
						ports = m.Destination
						proto, _ = nat.ParseProto(m.Protocol)
					}
				}
				if ports == nil {
					continue
				}
				for _, a := range append([]netip.Addr{dst}, own...) {
					one := target{proto, netip.AddrPortFrom(a, ports.Low)}
					if a.IsValid() && !slices.Contains(out, one) {
						out = append(out, one)
					}
				}
			}
		}
	}
	return out
}
