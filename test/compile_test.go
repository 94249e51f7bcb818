package test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// A compiled table decides as the walk rule by rule does, and meets the same rules: on all goldens, for packets to and
// from the addresses and ports that their rules name.
func TestCompiledAsLinear(t *testing.T) {
	t.Parallel()
	packets := 0
	for _, g := range goldens(t) {
		for family, file := range families {
			rs, err := iptables.ParseString(string(g.files[file]), family)
			require.NoError(t, err, g.name)
			draw := newPacketDraw(rs)
			for _, table := range rs.Tables {
				linear, compiled := iptables.NewProgram(table), iptables.Compile(table)
				for i := range 40 {
					for _, hook := range nat.Hooks() {
						p := draw.packet(hook)
						a, b := p, p
						w := compiledWorld{seed: uint32(i)}
						want := linear.Run(hook, "node", &a, w)
						var hits []iptables.Hit
						verdict, target := compiled.Run(hook, &b, w, &hits)
						require.Equal(t, want.Verdict, verdict, "%s %s %s %+v", g.name, table.Name, hook, p)
						require.Equal(t, want.Effect, target, "%s %s %s %+v", g.name, table.Name, hook, p)
						require.Equal(t, want.Steps, compiled.Steps("node", hook, p.Tuple, hits), "%s %s %s %+v", g.name, table.Name, hook, p)
						require.Equal(t, a, b)
						packets++
					}
				}
			}
		}
	}
	require.Greater(t, packets, 50_000)
}

// packetDraw draws packets from what a rule set names.
type packetDraw struct {
	chance  *rand.Rand
	addrs   []netip.Addr
	ports   []uint16
	devices []string
}

func newPacketDraw(rs iptables.Ruleset) *packetDraw {
	d := &packetDraw{chance: rand.New(rand.NewPCG(1, 2)), ports: []uint16{1, 40000}, devices: []string{"eth0", "lo", "cali1"}} //nolint:gosec // a test's
	d.addrs = []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("127.0.0.1")}
	if rs.Family == nat.IPv6 {
		d.addrs = []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.IPv6Loopback()}
	}
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			for _, rule := range chain.Rules {
				for _, m := range rule.Matches {
					switch m := m.(type) {
					case iptables.Source:
						d.addrs = append(d.addrs, m.Prefix.Addr(), m.Prefix.Addr().Next())
					case iptables.Destination:
						d.addrs = append(d.addrs, m.Prefix.Addr(), m.Prefix.Addr().Next())
					case xt.Ports:
						if m.Destination != nil {
							d.ports = append(d.ports, m.Destination.Low, m.Destination.High)
						}
					}
				}
			}
		}
	}
	return d
}

func oneOf[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (d *packetDraw) packet(hook nat.Hook) rules.Packet {
	proto := oneOf(d.chance, []nat.Proto{nat.TCP, nat.UDP, nat.SCTP, nat.ICMP})
	p := rules.Packet{
		Tuple: nat.TupleOf(proto, netip.AddrPortFrom(oneOf(d.chance, d.addrs), oneOf(d.chance, d.ports)),
			netip.AddrPortFrom(oneOf(d.chance, d.addrs), oneOf(d.chance, d.ports))),
		TCPFlags: oneOf(d.chance, []uint8{2, 16, 18}), TTL: 64,
		Mark: oneOf(d.chance, []uint32{0, 0, 0x4000}), State: oneOf(d.chance, []rules.State{rules.New, rules.Established, rules.Invalid}),
	}
	if hook == nat.PreRouting || hook == nat.Input || hook == nat.Forward {
		p.In = oneOf(d.chance, d.devices)
	}
	if hook == nat.Output || hook == nat.PostRouting || hook == nat.Forward {
		p.Out = oneOf(d.chance, d.devices)
	}
	return p
}
