package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// crowded is the reference cluster with so many more nodes.
func crowded(t *testing.T, more int) Cluster {
	t.Helper()
	c := reference(t)
	for i := range more {
		a := netip.AddrFrom4([4]byte{192, 168, 26, byte(120 + i)})
		block := netip.AddrFrom4([4]byte{10, 244, byte(200 + i), 1})
		c.Nodes = append(c.Nodes, Node{
			Name: fmt.Sprintf("more%d", i), Addresses: []netip.Addr{a}, TunnelAddresses: []netip.Addr{block}, PodBlocks: []netip.Prefix{netip.PrefixFrom(block, 24).Masked()},
		})
	}
	c.Clients = append(c.Clients, Client{Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	return c
}

// Few members find each other out, as hosts do; many would need more room than a kernel has for what is found out, and know each other: the other end of each link by its own MAC, on
// the underlay all, and a pod's next hop, which its node answers for.
func TestManyMembersKnowTheirNeighbours(t *testing.T) {
	t.Parallel()
	for _, overlay := range []Overlay{IPIP, VXLAN, None} {
		c := crowded(t, 0)
		c.PodNetwork.Overlay = overlay
		few := planOf(t, c)
		c = crowded(t, 24)
		c.PodNetwork.Overlay = overlay
		many := planOf(t, c)
		dynamic := planOf(t, c)
		dynamic.ForgetNeighbours()

		macs := map[string]string{} // by address
		for _, ns := range many.Namespaces {
			for _, a := range ns.Addresses {
				if d := ns.device(a.Device); d != nil && d.Kind == Veth {
					macs[a.Prefix.Addr().String()] = d.MAC
				}
			}
		}
		for i, ns := range many.Namespaces {
			statics := func(n Namespace) (out []Neighbour) {
				for _, e := range n.Neighbours {
					if d := n.device(e.Device); !e.Proxy && d != nil && d.Kind == Veth {
						out = append(out, e)
					}
				}
				return out
			}
			require.Empty(t, statics(dynamic.Namespaces[i]))
			if f, there := few.Namespace(ns.Member); there {
				require.Empty(t, statics(f), ns.Member)
			}
			got := statics(ns)
			require.True(t, slices.Equal(ns.Neighbours[:len(ns.Neighbours)-len(got)], dynamic.Namespaces[i].Neighbours), "%s: the others stay", ns.Member)
			known := map[string]bool{}
			for _, e := range got {
				require.False(t, known[e.Device+e.IP.String()], "twice")
				known[e.Device+e.IP.String()] = true
				if e.IP == nextHop4() {
					require.Contains(t, []string{caliMAC, ns.farMAC(many, e.Device)}, e.MAC)
				} else {
					require.Equal(t, macs[e.IP.String()], e.MAC, "%s %s", ns.Member, e.IP)
				}
			}
			switch ns.Kind {
			case KindNode: // the other nodes, the router, the client on the underlay, its pods
				pods := len(slices.DeleteFunc(slices.Clone(c.Pods), func(p Pod) bool { return p.Node != ns.Member || p.HostNetwork }))
				require.Len(t, got, len(c.Nodes)-1+1+1+pods, ns.Member)
			case KindPod:
				require.Equal(t, []Neighbour{{Device: "eth0", IP: nextHop4(), MAC: caliMAC}}, got)
			case KindRouter:
				require.Len(t, got, len(c.Nodes)+1+1, "the client behind it, too")
			case KindClient, KindUnderlay:
			}
		}

		// As a node is dumped it asks for itself, and is asked.
		for i := range dynamic.Namespaces {
			dynamic.Namespaces[i].Dumped = dynamic.Namespaces[i].Member == "more3"
		}
		dynamic.KnowNeighbours()
		at := netip.MustParseAddr("192.168.26.123")
		for _, ns := range dynamic.Namespaces {
			require.False(t, slices.ContainsFunc(ns.Neighbours, func(n Neighbour) bool { return n.IP == at && ns.device(n.Device).Kind == Veth }), ns.Member)
			if ns.Member == "more3" {
				require.False(t, slices.ContainsFunc(ns.Neighbours, func(n Neighbour) bool { return ns.device(n.Device).Kind == Veth && !n.Proxy }))
			}
		}
	}
}

// farMAC is the MAC of a link's other end.
func (n Namespace) farMAC(p Plan, device string) string {
	for _, ns := range p.Namespaces {
		if ns.Name == n.device(device).Peer.Namespace {
			return ns.device(n.device(device).Peer.Device).MAC
		}
	}
	return ""
}
