package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/realise"
)

// TestFacts holds a lab against what the real cluster printed (reference-cluster/facts.md), asking the kernel and not the
// Plan.
func TestFacts(t *testing.T) {
	l := raise(t, reference(t))
	blocks := map[string]struct{ address, block string }{
		"vms100": {"192.168.26.100", "10.244.239.128/26"},
		"vms101": {"192.168.26.101", "10.244.198.0/26"},
		"vms102": {"192.168.26.102", "10.244.63.64/26"},
		"vms103": {"192.168.26.103", "10.244.38.128/26"},
		"vms105": {"192.168.26.105", "10.244.169.64/26"},
		"vms106": {"192.168.26.106", "10.244.31.64/26"},
	}
	for node, own := range blocks {
		t.Run(node, func(t *testing.T) {
			k := look(t, l, node)
			require.Contains(t, k.routes, "default via 192.168.26.2 dev ens32")
			require.Contains(t, k.routes, "blackhole "+own.block+" proto bird")
			for _, other := range blocks {
				if other != own {
					require.Contains(t, k.routes, fmt.Sprintf("%s via %s dev tunl0 proto bird onlink", other.block, other.address))
				}
			}
			require.Equal(t, own.address+"/24", k.addresses["ens32"])
			require.Equal(t, strings.TrimSuffix(own.block, "/26")+"/32", k.addresses["tunl0"], "the first of its block")
			require.Equal(t, 1500, k.mtu["ens32"])
			require.Equal(t, 1480, k.mtu["tunl0"])
		})
	}
	for device, pod := range map[string]struct{ node, member, address string }{
		"calia011d753862": {"vms105", "velero/minio-b6d98746c-m7rzc", "10.244.169.89"},
		"calic2f7856928d": {"vms100", "kube-system/coredns-c676cc86f-kpvcj", "10.244.239.129"},
		"cali349ff1af8c4": {"vms100", "kube-system/coredns-c676cc86f-xqj8d", "10.244.239.132"},
	} {
		t.Run(device, func(t *testing.T) {
			node := look(t, l, pod.node)
			require.Contains(t, node.routes, fmt.Sprintf("%s dev %s scope link", pod.address, device))
			require.Equal(t, 1480, node.mtu[device])
			inside := look(t, l, pod.member)
			require.Equal(t, pod.address+"/32", inside.addresses["eth0"])
			require.Equal(t, []string{"default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"}, inside.routes)
			require.Equal(t, 1480, inside.mtu["eth0"])
		})
	}
	require.Equal(t, "192.168.26.2/24", look(t, l, "router").addresses["eth0"])
	require.Empty(t, look(t, l, "underlay").addresses, "a switch has no address")
	require.Contains(t, []realise.TunnelKind{realise.KernelTunnel, realise.UserspaceTunnel}, l.Tunnel())
}

// TestPlannedSettings reads every setting back.
func TestPlannedSettings(t *testing.T) {
	l := raise(t, reference(t))
	for _, ns := range l.Plan().Namespaces {
		h, err := l.Handle(ns.Member)
		require.NoError(t, err)
		require.NoError(t, h.Do(func() error {
			for _, s := range ns.Sysctls {
				got, err := os.ReadFile("/proc/sys/" + s.Key)
				if err != nil {
					return err
				}
				if strings.TrimSpace(string(got)) != s.Value {
					t.Errorf("%s: %s is %q, want %q", ns.Name, s.Key, got, s.Value)
				}
			}
			return nil
		}))
	}
}

// kernel is what is in a namespace: routes of the main table as ip(8) prints them, one address and the MTU of a device.
type kernel struct {
	routes    []string
	addresses map[string]string
	mtu       map[string]int
}

func look(t *testing.T, l *Lab, member string) kernel {
	t.Helper()
	h, err := l.Handle(member)
	require.NoError(t, err)
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	k := kernel{addresses: map[string]string{}, mtu: map[string]int{}}
	names := map[int]string{}
	links, err := nl.LinkList()
	require.NoError(t, err)
	for _, link := range links {
		a := link.Attrs()
		names[a.Index], k.mtu[a.Name] = a.Name, a.MTU
		addresses, err := nl.AddrList(link, netlink.FAMILY_V4)
		require.NoError(t, err)
		for _, address := range addresses {
			if a.Name != "lo" {
				k.addresses[a.Name] = address.IPNet.String()
			}
		}
	}
	routes, err := nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	require.NoError(t, err)
	for _, r := range routes {
		k.routes = append(k.routes, ipRoute(r, names[r.LinkIndex]))
	}
	return k
}

// ipRoute is a route as `ip route` prints it, of the things that a lab has.
func ipRoute(r netlink.Route, device string) string {
	var b strings.Builder
	if r.Type == unix.RTN_BLACKHOLE {
		b.WriteString("blackhole ")
	}
	dst := strings.TrimSuffix(r.Dst.String(), "/32")
	if dst == "0.0.0.0/0" {
		dst = "default"
	}
	b.WriteString(dst)
	if r.Gw != nil {
		b.WriteString(" via " + r.Gw.String())
	}
	if device != "" {
		b.WriteString(" dev " + device)
	}
	switch r.Protocol {
	case unix.RTPROT_BIRD:
		b.WriteString(" proto bird")
	case unix.RTPROT_KERNEL:
		b.WriteString(" proto kernel")
	}
	if r.Scope == netlink.SCOPE_LINK {
		b.WriteString(" scope link")
	}
	if r.Src != nil {
		b.WriteString(" src " + r.Src.String())
	}
	if r.Flags&unix.RTNH_F_ONLINK != 0 {
		b.WriteString(" onlink")
	}
	return b.String()
}
