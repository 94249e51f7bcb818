package behaviour_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/topology"
)

// box is a node with 10.0.0.1/24 on lan and a default route by wan.
func box() topology.Namespace {
	ns := topology.Namespace{Member: "box", Kind: topology.KindNode, Sysctls: []topology.Sysctl{{Key: "net/ipv4/ip_forward", Value: "1"}}}
	for _, d := range [][2]string{{"lan", "10.0.0.1/24"}, {"wan", "198.51.100.1/24"}} {
		ns.Devices = append(ns.Devices, topology.Device{Name: d[0], Kind: topology.Veth})
		ns.Addresses = append(ns.Addresses, topology.Address{Device: d[0], Prefix: netip.MustParsePrefix(d[1])})
	}
	ns.Routes = append(ns.Routes, topology.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("198.51.100.254"), Device: "wan"})
	return ns
}

const (
	masquerade = "-A POSTROUTING -o wan -j MASQUERADE"
	pool       = "-A POSTROUTING -o wan -j SNAT --to-source 198.51.100.10-198.51.100.12"
	ranged     = "-A POSTROUTING -o wan -p udp -j SNAT --to-source 198.51.100.1:7000-7001"
)

// steps are packets one after another, each with the tuple that it leaves with, "lost" where it does not, and "same" where nobody translates it; "+90s" lets time pass.
// x and X are hosts inside, w the box outside, y and z hosts outside.
var ends = strings.NewReplacer("x:", "10.0.0.2:", "X:", "10.0.0.3:", "w:", "198.51.100.1:", "y:", "203.0.113.1:", "z:", "203.0.113.2:", "p:", "198.51.100.10:", "q:", "198.51.100.11:", "r:", "198.51.100.12:")

// The requirements of RFC 4787, and of RFC 5382 for TCP and RFC 5508 for queries, each with what another NAT does instead.
func TestRequirements(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, nat, rule, steps string }{
		// REQ-1: mapping
		{"Linux maps by connection, and does not filter", "", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp x:5000>z:80 = w:5000>z:80; udp z:9>w:5000 = lost"},
		{"endpoint-independent", "mapping=endpoint-independent,ports=sequential,parity=off", masquerade, "udp x:5000>y:80 = w:1024>y:80; udp x:5000>y:81 = w:1024>y:81; udp x:5000>z:80 = w:1024>z:80; udp x:5001>y:80 = w:1025>y:80"},
		{"address-dependent", "mapping=address-dependent,ports=sequential,parity=off", masquerade, "udp x:5000>y:80 = w:1024>y:80; udp x:5000>y:81 = w:1024>y:81; udp x:5000>z:80 = w:1025>z:80; udp x:5000>y:82 = w:1024>y:82"},
		{"address- and port-dependent", "mapping=address-and-port-dependent,ports=sequential,parity=off", masquerade, "udp x:5000>y:80 = w:1024>y:80; udp x:5000>y:81 = w:1025>y:81; udp x:5000>z:80 = w:1026>z:80; udp x:5000>y:80 = w:1024>y:80"},
		{"of TCP (RFC 5382, REQ-1)", "mapping=endpoint-independent,ports=sequential,parity=off", masquerade, "tcp x:5000>y:80 = w:1024>y:80; tcp x:5000>z:80 = w:1024>z:80; udp x:5000>y:80 = w:1024>y:80"},
		{"of queries (RFC 5508, REQ-1)", "mapping=endpoint-independent,ports=sequential", masquerade, "icmp x:7>y:7 = w:0>y:0; icmp x:7>z:7 = w:0>z:0; icmp X:7>y:7 = w:1>y:1"},
		// REQ-2: pooling
		{"paired", "pooling=paired", pool, "udp x:5000>y:80 = p:5000>y:80; udp x:5001>y:80 = p:5001>y:80; udp X:5000>y:80 = q:5000>y:80; udp X:6000>z:80 = q:6000>z:80"},
		{"arbitrary", "pooling=arbitrary", pool, "udp x:5000>y:80 = p:5000>y:80; udp x:5001>y:80 = q:5001>y:80; udp x:5002>y:80 = r:5002>y:80; udp x:5003>y:80 = p:5003>y:80"},
		// REQ-3: ports
		{"preserved, and not given twice", "ports=preserve,parity=off", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:5000>y:80 = w:5001>y:80; tcp X:5000>y:80 = w:5000>y:80"},
		{"well-known ports stay so", "ports=preserve,parity=off", masquerade, "udp x:500>y:500 = w:500>y:500; udp X:500>y:500 = w:501>y:500; udp x:1023>y:1 = w:1023>y:1; udp X:1023>y:1 = w:1>y:1"},
		{"overloaded: the port is given twice, and an answer is for the first", "ports=overload", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:5000>z:80 = w:5000>z:80; udp X:5000>y:80 = lost; udp y:80>w:5000 = y:80>x:5000"},
		{"a range of the NAT", "range=6000-6001,parity=off", masquerade, "udp x:5000>y:80 = w:6000>y:80; udp x:6000>y:80 = w:6001>y:80; udp x:7>y:80 = lost; tcp x:7>y:80 = w:6000>y:80"},
		{"a rule has its own", "range=6000-6001,parity=off", ranged, "udp x:5000>y:80 = w:7000>y:80; udp x:7001>y:80 = w:7001>y:80; udp x:7>y:80 = lost"},
		{"blocks", "ports=sequential,parity=off,range=6000-6007,block=2,blocks=2", masquerade, "udp x:1>y:1 = w:6000>y:1; udp X:1>y:1 = w:6002>y:1; udp x:2>y:1 = w:6001>y:1; udp x:3>y:1 = w:6004>y:1; udp x:4>y:1 = w:6005>y:1; udp x:5>y:1 = lost; tcp x:5>y:1 = w:6000>y:1"},
		{"a block is given back", "ports=sequential,parity=off,range=6000-6001,block=2,udp-timeout=60s", masquerade, "udp x:1>y:1 = w:6000>y:1; udp X:1>y:1 = lost; +61s; udp X:1>y:1 = w:6001>y:1"},
		// REQ-4: parity
		{"parity", "range=6000-6009", masquerade, "udp x:5000>y:80 = w:6000>y:80; udp x:5002>y:80 = w:6002>y:80; udp x:5001>y:80 = w:6001>y:80; udp x:7003>y:80 = w:6003>y:80"},
		{"parity where the port is taken", "ports=preserve", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:5000>y:80 = w:5002>y:80"},
		{"any parity", "range=6000-6009,parity=off", masquerade, "udp x:5001>y:80 = w:6000>y:80; udp x:5003>y:80 = w:6001>y:80"},
		// REQ-5, REQ-6: a mapping's time, and what keeps it alive
		{"a mapping ends", "filtering=endpoint-independent,udp-timeout=2m", masquerade, "udp x:5000>y:80 = w:5000>y:80; +119s; udp z:9>w:5000 = z:9>x:5000; +121s; udp z:9>w:5000 = lost"},
		{"what leaves keeps it", "filtering=endpoint-independent,udp-timeout=2m", masquerade, "udp x:5000>y:80 = w:5000>y:80; +119s; udp x:5000>z:80 = w:5000>z:80; +119s; udp y:9>w:5000 = y:9>x:5000"},
		{"what leaves of the same connection, too", "udp-timeout=2m", masquerade, "udp x:5000>y:80 = w:5000>y:80; +119s; udp x:5000>y:80 = w:5000>y:80; +119s; udp y:9>w:5000 = y:9>x:5000"},
		{"the port is free again", "udp-timeout=2m", masquerade, "udp x:5000>y:80 = w:5000>y:80; +121s; udp X:5000>y:80 = w:5000>y:80"},
		// REQ-8: filtering
		{"endpoint-independent filter", "filtering=endpoint-independent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp y:81>w:5000 = y:81>x:5000; udp z:9>w:5000 = z:9>x:5000; udp x:5000>z:9 = w:5000>z:9; udp z:9>w:5001 = lost"},
		{"address-dependent filter", "filtering=address-dependent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp y:81>w:5000 = y:81>x:5000; udp z:9>w:5000 = lost; udp x:5000>z:1 = w:5000>z:1; udp z:9>w:5000 = z:9>x:5000"},
		{"address- and port-dependent filter", "filtering=address-and-port-dependent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp y:80>w:5000 = y:80>x:5000; udp y:81>w:5000 = lost; udp x:5000>y:81 = w:5000>y:81; udp y:81>w:5000 = y:81>x:5000"},
		{"who was let in lets nobody in", "filtering=endpoint-independent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp z:9>w:5000 = z:9>x:5000; udp x:5000>z:9 = w:5000>z:9"},
		{"of TCP (RFC 5382, REQ-3)", "filtering=address-dependent", masquerade, "tcp x:5000>y:80 = w:5000>y:80; tcp y:81>w:5000 = y:81>x:5000; tcp z:9>w:5000 = lost"},
		// REQ-9: hairpinning
		{"hairpin", "filtering=endpoint-independent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:6000>w:5000 = w:6000>x:5000; udp x:5000>w:6000 = w:5000>X:6000"},
		{"hairpin is filtered by the external source", "filtering=address-and-port-dependent", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:6000>w:5000 = lost; udp x:5000>w:6000 = w:5000>X:6000; udp X:6000>w:5000 = w:6000>x:5000"},
		{"no hairpin", "filtering=endpoint-independent,hairpin=off", masquerade, "udp x:5000>y:80 = w:5000>y:80; udp X:6000>w:5000 = lost; udp y:1>w:5000 = y:1>x:5000"},
		// what is no mapping is Linux's
		{"the box's own address", "", masquerade, "udp y:1>w:5000 = lost"},
		{"inside to inside", "filtering=endpoint-independent", masquerade, "udp x:5000>X:80 = same"},
		{"without a rule nothing is mapped", "filtering=endpoint-independent", "", "udp x:5000>y:80 = same; udp y:1>w:5000 = lost"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, err := behaviour.Parse(row.nat)
			require.NoError(t, err)
			g := boxOf(t, n, row.rule)
			at := time.Unix(1_000_000, 0)
			for step := range strings.SplitSeq(row.steps, "; ") {
				if pause, ok := strings.CutPrefix(step, "+"); ok {
					d, err := time.ParseDuration(pause)
					require.NoError(t, err)
					at = at.Add(d)
					continue
				}
				given, want, ok := strings.Cut(ends.Replace(step), " = ")
				require.True(t, ok, step)
				if want == "same" {
					want = strings.Fields(given)[1]
				}
				require.Equal(t, want, pass(t, g, given, at), "%s, of %s", step, row.steps)
				at = at.Add(time.Millisecond)
			}
		})
	}
}

func boxOf(t *testing.T, n behaviour.NAT, rule string) *gateway.Gateway {
	t.Helper()
	rs, err := iptables.ParseString("*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"+rule+"\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	g, err := gateway.NewGateway(box(), gateway.Rules{rs}, gateway.NodeOptions{Facts: gateway.Facts{NAT: n}})
	require.NoError(t, err)
	return g
}

// pass has a box take "udp SRC>DST", and tells what leaves it by a device.
func pass(t *testing.T, g *gateway.Gateway, given string, at time.Time) string {
	t.Helper()
	words := strings.Fields(given)
	src, dst, _ := strings.Cut(words[1], ">")
	proto, err := nat.ParseProto(words[0])
	require.NoError(t, err)
	f := packet.Fields{Type: 8, TCP: packet.TCP{Flags: 2, Seq: 1, Window: 1000}}
	in := "wan"
	if strings.HasPrefix(src, "10.") {
		in = "lan"
	}
	outs, _, _ := g.Handle(packet.Build(nat.TupleOf(proto, netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)), f).Bytes(), in, at)
	for _, o := range outs {
		if p, err := packet.Parse(o.Packet); err == nil && !o.Answer && !o.Local() {
			return fmt.Sprintf("%s>%s", p.Tuple().Src(), p.Tuple().Dst())
		}
	}
	return "lost"
}
