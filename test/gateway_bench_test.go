package test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
	"natlab/topology/topologytest"
)

// The sizes between which the emulator's cost has to be flat.
var serviceCounts = []int{10, 10_000}

func servicesRules(b *testing.B, n int) iptables.Ruleset {
	b.Helper()
	rs, err := kubeproxy.Rules(topologytest.ManyServices(n), "node-1", kubeproxy.Options{})
	require.NoError(b, err)
	return rs
}

// servicesGateway is a node that forwards between two networks, with the rules of n Services.
func servicesGateway(b *testing.B, n int) *gateway.Gateway {
	b.Helper()
	g, err := gateway.NewGateway(servicesNode(), gateway.Rules{servicesRules(b, n)}, gateway.NodeOptions{Chance: rand.New(rand.NewPCG(1, 2))}) //nolint:gosec // a benchmark's
	require.NoError(b, err)
	return g
}

// servicesNode is the node's namespace.
func servicesNode() topology.Namespace {
	ns := topology.Namespace{Member: "node-1", Kind: topology.KindNode}
	for _, d := range [][2]string{{"eth0", "192.168.26.10/24"}, {"pods", "10.255.255.1/9"}} {
		ns.Devices = append(ns.Devices, topology.Device{Name: d[0], Kind: topology.Veth, MTU: 1500})
		ns.Addresses = append(ns.Addresses, topology.Address{Device: d[0], Prefix: netip.MustParsePrefix(d[1])})
	}
	ns.Sysctls = []topology.Sysctl{{Key: "net/ipv4/ip_forward", Value: "1"}}
	return ns
}

// nftServicesGateway is servicesGateway with kube-proxy's table of nftables mode.
func nftServicesGateway(b *testing.B, n int) *gateway.Gateway {
	b.Helper()
	c := topologytest.ManyServices(n)
	c.KubeProxy.Mode = topology.ModeNFTables
	native, err := kubeproxy.Tables(c, "node-1", kubeproxy.Options{})
	require.NoError(b, err)
	g, err := gateway.NewGateway(servicesNode(), nil, gateway.NodeOptions{
		Chance: rand.New(rand.NewPCG(1, 2)), Facts: gateway.Facts{NFT: native}, //nolint:gosec // a benchmark's
	})
	require.NoError(b, err)
	return g
}

// serviceSYN is a client's first packet to one of n Services.
func serviceSYN(client uint32, service int) []byte {
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 26, byte(100 + client>>16)}), uint16(client))
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, byte(service >> 8), byte(service)}), 80)
	return packet.Build(nat.TupleOf(nat.TCP, from, to), packet.Fields{TCP: packet.TCP{Flags: 2, Seq: 1, Window: 64240}}).Bytes()
}

// The figure: 300,000 new flows a second on one core, flat from 10 to 10,000 Services.
func BenchmarkNewFlow(b *testing.B) { newFlows(b, servicesGateway) }

// The same figure in nftables mode.
func BenchmarkNewFlowNFT(b *testing.B) { newFlows(b, nftServicesGateway) }

func newFlows(b *testing.B, gatewayOf func(b *testing.B, n int) *gateway.Gateway) {
	b.Helper()
	for _, n := range serviceCounts {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			g := gatewayOf(b, n)
			at := time.Unix(1_800_000_000, 0)
			pkts := make([][]byte, 1<<16)
			for i := range pkts {
				pkts[i] = serviceSYN(uint32(1024+i%60000)|uint32(i&1)<<16, i*7%n)
			}
			buf := make([]byte, len(pkts[0]))
			b.ReportAllocs()
			i, from := 0, cpuTime(b)
			for b.Loop() {
				if i == len(pkts) {
					b.StopTimer()
					before := cpuTime(b)
					g.Conns().Flush()
					i = 0
					from += cpuTime(b) - before
					b.StartTimer()
				}
				copy(buf, pkts[i])
				if out, _, why := g.Handle(buf, "eth0", at); len(out) != 1 || out[0].Dev != "pods" {
					b.Fatal(why)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/(cpuTime(b)-from).Seconds(), "flows/cpu-s") // what the machine has to do besides is not in it
		})
	}
}

// cpuTime is how long this process has had a processor.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The figure: 1,000,000 packets a second of established flows on one core, without an allocation.
func BenchmarkEstablished(b *testing.B) {
	for _, n := range serviceCounts {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			g := servicesGateway(b, n)
			at := time.Unix(1_800_000_000, 0)
			const flows = 1024
			var acks [flows][]byte
			for i := range acks {
				syn := serviceSYN(uint32(2000+i), i%n)
				out, _, _ := g.Handle(syn, "eth0", at)
				require.Len(b, out, 1)
				p, err := packet.Parse(out[0].Packet)
				require.NoError(b, err)
				back := packet.Build(p.Tuple().Reply(), packet.Fields{TCP: packet.TCP{Flags: 18, Seq: 1, Ack: 2, Window: 64240}})
				out, _, _ = g.Handle(back.Bytes(), "pods", at)
				require.Len(b, out, 1)
				asked, err := packet.Parse(out[0].Packet)
				require.NoError(b, err)
				acks[i] = packet.Build(asked.Tuple().Reply(), packet.Fields{TCP: packet.TCP{Flags: 16, Seq: 2, Ack: 2, Window: 64240}}).Bytes()
			}
			buf := make([]byte, len(acks[0]))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				copy(buf, acks[i%flows])
				if out, _, why := g.Handle(buf, "eth0", at); len(out) != 1 || out[0].Dev != "pods" {
					b.Fatal(why)
				}
				i++
			}
		})
	}
}

// BenchmarkCompile is the 0.3 s for 10,000 Services.
func BenchmarkCompile(b *testing.B) {
	rs := servicesRules(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		for _, t := range rs.Tables {
			iptables.Compile(t)
		}
	}
}

// BenchmarkNATTable takes the first packet of a flow through the nat table's PREROUTING, rule by rule and by index.
func BenchmarkNATTable(b *testing.B) {
	for _, n := range serviceCounts {
		rs := servicesRules(b, n)
		for _, t := range rs.Tables {
			if t.Name != "nat" {
				continue
			}
			linear, compiled := iptables.NewProgram(t), iptables.Compile(t)
			pkt := func(i int) rules.Packet {
				p, err := packet.Parse(serviceSYN(2000, i%n))
				require.NoError(b, err)
				return rules.Packet{Tuple: p.Tuple(), TCPFlags: 2, In: "eth0", State: rules.New}
			}
			run := func(name string, walk func(p *rules.Packet) rules.Effect) {
				b.Run(fmt.Sprintf("%s/services=%d", name, n), func(b *testing.B) {
					p := pkt(n / 2)
					for b.Loop() {
						q := p
						if _, ok := walk(&q).(*rules.Translation); !ok {
							b.Fatal("no DNAT")
						}
					}
				})
			}
			run("linear", func(p *rules.Packet) rules.Effect { return linear.Run(nat.PreRouting, "", p, unicast{}).Effect })
			run("compiled", func(p *rules.Packet) rules.Effect {
				_, effect := compiled.Run(nat.PreRouting, p, unicast{}, nil)
				return effect
			})
		}
	}
}

// unicast is a world in which every address is somebody else's, and chance says yes.
type unicast struct{}

func (unicast) AddrType(netip.Addr, string) string { return "UNICAST" }
func (unicast) Take(float64) bool                  { return true }
func (unicast) Unknown(string) bool                { return false }

// compiledWorld answers the same questions in the same way to two walks: by what is asked, not by when.
type compiledWorld struct{ seed uint32 }

func (w compiledWorld) AddrType(a netip.Addr, _ string) string {
	if b := a.As16(); binary.BigEndian.Uint32(b[12:])%5 == w.seed%5 {
		return "LOCAL"
	}
	return "UNICAST"
}
func (w compiledWorld) Take(p float64) bool { return p >= 1 || float64(w.seed%97)/97 < p }
func (w compiledWorld) Unknown(rule string) bool {
	return (w.seed+uint32(len(rule)))%2 == 0
}
