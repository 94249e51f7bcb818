package test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/topology"
)

// neighbour is the hardware address of a host on in0, where that is a link of Ethernet.
const neighbour = "02:00:00:00:00:07"

// What came in an Ethernet frame is told by its sender, in all the hooks that a packet which came in meets; what a process of the
// node sends came in none.
func TestDifferentialMAC(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, backend := range dataplane.Backends() {
			t.Run(strings.TrimPrefix(string(backend), "iptables-")+" "+family.String(), func(t *testing.T) {
				t.Parallel()
				node := differentialNode(family)
				node.Devices = slices.Clone(node.Devices)
				for i := range node.Devices {
					if node.Devices[i].Name == "in0" {
						node.Devices[i].Kind = topology.Veth
					}
				}
				w := twinsOf(t, node, backend, family)
				w.hears(t, "in0", neighbour)
				own := packetOf(t, family, "udp 10.0.0.20:1000 > 192.168.1.1:80") // an answer needs nobody to be asked for on in0
				w.content(t, macRules, append(contentPackets(t, family)[:3], own))
				w.content(t, macRules, [][]byte{own})
				w.hears(t, "in0", "02:00:00:00:00:09")
				w.content(t, macRules, contentPackets(t, family)[:3])
			})
		}
	}
}

// macRules ask for the neighbour's hardware address, and for another one.
var macRules = []string{
	"-A PREROUTING -m mac --mac-source " + neighbour, "-A PREROUTING -m mac ! --mac-source " + neighbour,
	"-A FORWARD -m mac --mac-source " + neighbour, "-A FORWARD -m mac ! --mac-source 02:00:00:00:00:08", "-A FORWARD -m mac --mac-source 02:00:00:00:00:08",
	"-A INPUT -m mac --mac-source " + neighbour, "-A INPUT -m mac ! --mac-source " + neighbour,
}

// hears makes what comes in by a TAP device come from a hardware address.
func (w *twins) hears(t *testing.T, dev, from string) {
	t.Helper()
	h, err := w.kernel.ns.Netlink()
	require.NoError(t, err)
	defer h.Close()
	link, err := h.LinkByName(dev)
	require.NoError(t, err)
	mac, err := net.ParseMAC(from)
	require.NoError(t, err)
	kind := map[nat.Family][]byte{nat.IPv4: {8, 0}, nat.IPv6: {0x86, 0xdd}}
	w.kernel.frames[dev] = slices.Concat(link.Attrs().HardwareAddr, mac, kind[w.family])
	w.senders = map[string]string{dev: from}
}

// packetOf is a packet of a flow.
func packetOf(t *testing.T, family nat.Family, flow string) []byte {
	t.Helper()
	return given{tuple: flow}.packet(t, family)
}
