package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
	"natlab/nat/packet"
	"natlab/topology"
)

// Hosts whose programs write tables of nf_tables' own, as their documentation has them: Docker 29, Calico and firewalld. What the kernel makes of a
// packet is what the emulator makes of it, and what an explanation of the listing tells.
func TestDifferentialNativeHosts(t *testing.T) {
	t.Parallel()
	for _, host := range []struct {
		name string
		rows []hostRow
	}{
		{"docker", dockerRows},
		{"calico", calicoRows},
		{"firewalld", firewalldRows},
	} {
		t.Run(host.name, func(t *testing.T) {
			t.Parallel()
			onNativeTwins(t, func(t *testing.T, w *twins) {
				t.Helper()
				if w.family == nat.IPv4 {
					w.host(t, host.name, host.rows)
				}
			})
		})
	}
}

// hostRow is a packet to a host, what leaves the kernel because of it, and how an explanation ends.
type hostRow struct{ packet, leaves, explained string }

var dockerRows = []hostRow{
	{"tcp 192.168.1.10:1000 > 192.168.1.1:8080", "pod0 tcp 192.168.1.10:1000 > 10.244.0.5:80", "answered 10.244.0.5:80"},
	{"tcp 192.168.1.10:1001 > 10.244.0.5:80", "", "lost"},
	{"udp 192.168.1.10:1000 > 192.168.1.2:53", "pod0 udp 192.168.1.10:1000 > 10.244.0.6:5353", "answered 10.244.0.6:5353"},
	{"udp 192.168.1.10:1001 > 192.168.1.1:53", "in0 icmp 192.168.1.1:0 > 192.168.1.10:0", "answered 192.168.1.1:53"},
	{"tcp 10.244.0.5:1000 > 203.0.113.7:443", "in0 tcp 192.168.1.1:1000 > 203.0.113.7:443", "answered 203.0.113.7:443"},
	{"tcp 10.244.0.6:1000 > 10.0.0.20:80", "out0 tcp 10.0.0.1:1000 > 10.0.0.20:80", "answered 10.0.0.20:80"},
	{"tcp 192.168.1.10:1002 > 10.244.0.6:80", "", "lost"},
	{"tcp 10.0.0.20:1000 > 10.0.0.1:8080", "pod0 tcp 10.0.0.20:1000 > 10.244.0.5:80", "answered 10.244.0.5:80"},
	{"tcp 192.168.1.10:1003 > 10.0.0.20:80", "", "lost"},
	{"tcp 192.168.1.1:1000 > 192.168.1.2:8080", "pod0 tcp 192.168.1.1:1000 > 10.244.0.5:80", "answered 10.244.0.5:80"},
	{"tcp 10.244.0.6:1001 > 192.168.1.1:8080", "pod0 tcp 192.168.1.1:8080 > 10.244.0.6:1001", "answered 192.168.1.1:8080"},
	{"tcp 10.244.0.6:1002 > 10.244.0.5:80", "pod0 tcp 10.244.0.6:1002 > 10.244.0.5:80", "answered 10.244.0.5:80"},
}

var calicoRows = []hostRow{
	{"tcp 192.168.1.10:1000 > 10.244.0.5:80", "pod0 tcp 192.168.1.10:1000 > 10.244.0.5:80", "answered 10.244.0.5:80"},
	{"tcp 192.168.1.20:1000 > 10.244.0.5:80", "", "lost"},
	{"tcp 192.168.1.10:1001 > 10.244.0.5:443", "", "lost"},
	{"tcp 192.168.1.11:1000 > 192.168.1.2:8085", "pod0 tcp 192.168.1.11:1000 > 10.244.0.6:8085", "answered 10.244.0.6:8085"},
	{"icmp 192.168.1.20:7 > 10.244.0.5:7", "pod0 icmp 192.168.1.20:7 > 10.244.0.5:7", "answered 10.244.0.5:7"},
	{"tcp 10.244.0.5:1000 > 203.0.113.7:443", "in0 tcp 192.168.1.1:1000 > 203.0.113.7:443", "answered 203.0.113.7:443"},
	{"tcp 10.244.0.5:1001 > 10.0.0.20:25", "pod0 icmp 10.244.0.1:0 > 10.244.0.5:0", "rejected"},
	{"udp 10.244.0.5:1000 > 10.0.0.20:4789", "", "lost"},
	{"tcp 10.244.0.5:1002 > 192.168.1.1:22", "pod0 tcp 192.168.1.1:22 > 10.244.0.5:1002", "answered 192.168.1.1:22"},
	{"tcp 192.168.1.10:1002 > 10.0.0.20:80", "out0 tcp 192.168.1.10:1002 > 10.0.0.20:80", "answered 10.0.0.20:80"},
	{"tcp 192.168.1.10:1003 > 192.168.1.1:22", "in0 tcp 192.168.1.1:22 > 192.168.1.10:1003", "answered 192.168.1.1:22"},
	{"tcp 192.168.1.1:1000 > 10.244.0.5:80", "pod0 tcp 192.168.1.1:1000 > 10.244.0.5:80", "answered 10.244.0.5:80"},
}

var firewalldRows = []hostRow{
	{"tcp 192.168.1.10:1000 > 192.168.1.1:22", "in0 tcp 192.168.1.1:22 > 192.168.1.10:1000", "answered 192.168.1.1:22"},
	{"tcp 192.168.1.10:1001 > 192.168.1.1:23", "in0 icmp 192.168.1.1:0 > 192.168.1.10:0", "rejected"},
	{"tcp 192.168.1.11:1000 > 192.168.1.1:22", "", "lost"},
	{"icmp 192.168.1.10:7 > 192.168.1.1:7", "in0 icmp 192.168.1.1:7 > 192.168.1.10:7", "answered 192.168.1.1:7"},
	{"tcp 192.168.1.10:1002 > 192.168.1.1:8080", "pod0 tcp 192.168.1.10:1002 > 10.244.0.5:80", "answered 10.244.0.5:80"},
	{"tcp 192.168.1.10:1003 > 192.168.1.1:2222", "in0 tcp 192.168.1.1:2222 > 192.168.1.10:1003", "answered 192.168.1.1:22"},
	{"tcp 192.168.1.10:1004 > 192.168.1.1:8081", "in0 tcp 192.168.1.1:8081 > 192.168.1.10:1004", "answered 192.168.1.1:8081"},
	{"tcp 192.168.1.10:1005 > 10.0.0.20:443", "out0 tcp 10.0.0.1:1005 > 10.0.0.20:443", "answered 10.0.0.20:443"},
	{"tcp 192.168.1.10:1006 > 10.0.0.20:80", "in0 icmp 192.168.1.1:0 > 192.168.1.10:0", "rejected"},
	{"tcp 10.244.0.5:1000 > 203.0.113.7:443", "in0 tcp 192.168.1.1:1000 > 203.0.113.7:443", "answered 203.0.113.7:443"},
	{"udp 10.244.0.5:1000 > 192.168.1.1:53", "pod0 icmp 192.168.1.1:0 > 10.244.0.5:0", "answered 192.168.1.1:53"},
	{"tcp 192.168.1.1:1000 > 10.0.0.20:80", "out0 tcp 10.0.0.1:1000 > 10.0.0.20:80", "answered 10.0.0.20:80"},
}

// host gives both sides a host's rules and its packets.
func (w *twins) host(t *testing.T, name string, rows []hostRow) {
	t.Helper()
	text, err := os.ReadFile("testdata/native/" + name + ".nft")
	require.NoError(t, err)
	rs := nativeRules{text: string(text), listed: true}
	w.settings = plainSettings(w.family)
	w.loadNative(t, &rs)
	require.Zero(t, rs.refused)
	require.True(t, rs.listed)
	listed, err := nftables.ParseText(string(text))
	require.NoError(t, err)
	require.Empty(t, listed.Unread())
	for _, row := range rows {
		tuple, err := nat.ParseTuple(row.packet)
		require.NoError(t, err)
		f := packet.Fields{ID: 0x8001, DF: true, TTL: 64, Type: 8, TCP: packet.TCP{Flags: 2, Seq: 1000, Window: 64240}}
		dev := deviceOf(tuple.Src().Addr())
		require.Empty(t, w.give(t, dev, packet.Build(tuple, f).Bytes(), 0), row.packet)
		require.Equal(t, row.leaves, leavesIn(t, w.left), row.packet)
		ask := gateway.AskOf(tuple)
		ask.In = dev
		x, err := gateway.Explain(onLinks(w.node), nil, gateway.Facts{Kernel: w.kernel.version, NFT: listed}, ask, nil)
		require.NoError(t, err)
		require.Len(t, x.Prediction, 1, "%s %v", row.packet, x.Prediction)
		require.Equal(t, row.explained, explainedEnd(x.Prediction[0]), row.packet)
	}
}

// onLinks is the node as a host has it, whose devices are ends of links, not of a test.
func onLinks(ns topology.Namespace) topology.Namespace {
	ns.Devices = slices.Clone(ns.Devices)
	for i := range ns.Devices {
		ns.Devices[i].Kind = topology.Veth
	}
	return ns
}

// explainedEnd is how a way ends: what became of the packet, and who got it.
func explainedEnd(w nat.Outcome) string {
	out := fmt.Sprint(w.End)
	if w.Endpoint.IsValid() {
		out += " " + w.Endpoint.String()
	}
	return out
}

// leavesIn are the tuples of packets by device.
func leavesIn(t *testing.T, out map[string][][]byte) string {
	t.Helper()
	var all []string
	for dev, list := range out {
		for _, b := range list {
			p, err := packet.Parse(b)
			require.NoError(t, err)
			all = append(all, dev+" "+p.Tuple().String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
