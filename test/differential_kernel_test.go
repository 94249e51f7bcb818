package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	ctnetlink "github.com/ti-mo/conntrack"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/topology"
)

// kernelNode is a namespace whose devices are TUN devices held by this process, or TAP devices where they have hardware addresses: what is
// written to one is in the kernel as if it came in by it, and has left by another when the write returns.
type kernelNode struct {
	ns      netns.Handle
	family  nat.Family
	version nat.Kernel
	tuns    map[string]int
	frames  map[string][]byte // in front of what comes in by a TAP device
	raw     int               // a raw socket that sends whole IP packets from the node
	conns   *ctnetlink.Conn
	ask     int // nfnetlink, for one connection at a time
	listing int // the file that lists them; negative where the kernel has none
	tracer  *tracer
	nft     *nftProgram // of native twins, from the first rule set on
	tunnels bool        // of IPIP are there: the kernel gives each namespace one
	buf     []byte
}

// differentialNode is the namespace that both sides are: three networks, a default route, a blackhole.
func differentialNode(family nat.Family) topology.Namespace {
	ns := topology.Namespace{Member: "node", Kind: topology.KindNode}
	for _, d := range [][2]string{{"in0", "192.168.1.1/24"}, {"out0", "10.0.0.1/24"}, {"pod0", "10.244.0.1/24"}} {
		ns.Devices = append(ns.Devices, topology.Device{Name: d[0], Kind: topology.PointToPoint, MTU: mtus[d[0]]})
		ns.Addresses = append(ns.Addresses, topology.Address{Device: d[0], Prefix: prefixIn(family, d[1])})
	}
	ns.Addresses = append(ns.Addresses, topology.Address{Device: "in0", Prefix: prefixIn(family, "192.168.1.2/24")})
	ns.Routes = []topology.Route{
		{Dst: prefixIn(family, "0.0.0.0/0"), Via: addressIn(family, "192.168.1.254"), Device: "in0"},
		{Dst: prefixIn(family, "10.99.0.0/24"), Type: topology.Blackhole},
		{Dst: prefixIn(family, "10.98.0.0/24"), Type: topology.Unreachable},
		{Dst: prefixIn(family, "10.97.0.0/24"), Type: topology.Prohibit},
		{Dst: prefixIn(family, "10.94.0.0/24"), Type: topology.Throw},
	}
	if family == nat.IPv6 {
		ns.Routes[0].Dst = netip.MustParsePrefix("::/0")
	}
	sysctls := map[nat.Family]map[string]string{nat.IPv4: {
		"net/ipv4/ip_forward": "1", "net/ipv4/icmp_ratemask": "0", "net/ipv4/conf/all/send_redirects": "0",
		"net/ipv4/ip_no_pmtu_disc": "2", "net/ipv4/ipfrag_time": "100000", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0", "net/ipv4/conf/default/send_redirects": "0",
		"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1",
	}, nat.IPv6: { // nothing that the kernel sends of itself, and no label that it makes up
		forwarding6: "1", "net/ipv6/conf/default/addr_gen_mode": "1", "net/ipv6/conf/default/accept_ra": "0",
		"net/ipv6/conf/default/router_solicitations": "0", "net/ipv6/icmp/ratelimit": "0", "net/ipv6/icmp/ratemask": "255", "net/ipv6/auto_flowlabels": "0",
		"net/ipv6/ip6frag_time": "100000", // a packet that stays in pieces is told of when other rules are there
	}}
	for key, value := range sysctls[family] {
		ns.Sysctls = append(ns.Sysctls, topology.Sysctl{Key: key, Value: value})
	}
	return ns
}

// prefixIn and addressIn are an IPv4 prefix or address, or what stands for it in IPv6: fd00:: with the address as its last
// bits.
func prefixIn(family nat.Family, v4 string) netip.Prefix {
	p := netip.MustParsePrefix(v4)
	if family == nat.IPv4 {
		return p
	}
	return netip.PrefixFrom(addressIn(family, p.Addr().String()), p.Bits()+96)
}

func addressIn(family nat.Family, v4 string) netip.Addr {
	a := netip.MustParseAddr(v4)
	switch {
	case family == nat.IPv4:
		return a
	case a.IsLoopback():
		return netip.IPv6Loopback()
	}
	b := a.As4()
	return netip.AddrFrom16([16]byte{0: 0xfd, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})
}

// mtus are the devices' MTUs, in bytes; IPv6 wants at least 1280.
var mtus = map[string]int{"in0": 1500, "out0": 1300, "pod0": 1400}

func newKernelNode(t *testing.T, plan topology.Namespace, family nat.Family) *kernelNode {
	t.Helper()
	name := strings.Replace(uniqueName(t), "plan-", "diff-", 1)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	version, err := dataplane.Kernel()
	require.NoError(t, err)
	k := &kernelNode{ns: h, family: family, version: version, tuns: map[string]int{}, frames: map[string][]byte{}, buf: make([]byte, 1<<16)}
	t.Cleanup(func() {
		for _, fd := range k.tuns {
			_ = unix.Close(fd)
		}
		_ = unix.Close(k.raw)
		_ = unix.Close(k.ask)
		_ = unix.Close(k.listing)
		_ = k.conns.Close()
		k.tracer.close()
		k.nft.close()
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	require.NoError(t, h.Do(func() error { return k.build(plan) }))
	require.NoError(t, k.makeSets())
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	require.NoError(t, k.address(nl, plan))
	_, err = nl.LinkByName("tunl0")
	k.tunnels = err == nil
	if family == nat.IPv6 {
		require.Eventually(t, func() bool { return settled(nl, plan) }, 10*time.Second, time.Millisecond)
		require.NoError(t, k.set(topology.Sysctl{Key: forwarding6, Value: "1"}))
	}
	return k
}

// settled reports whether the kernel has taken all addresses in, which it does by and by. One that becomes a router's before counts
// twice, and is its subnet's anycast address ever after.
func settled(nl *netlink.Handle, plan topology.Namespace) bool {
	list, err := nl.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	return err == nil && len(list) > len(plan.Addresses) // and loopback's
}

// forwarding6 is switched on when the devices no longer take part in multicast: a router tells of its groups, and that
// would meet the rules too.
const forwarding6 = "net/ipv6/conf/all/forwarding"

// build opens what has to be opened inside the namespace.
func (k *kernelNode) build(plan topology.Namespace) (err error) {
	for _, s := range plan.Sysctls {
		if s.Key == forwarding6 {
			continue
		}
		if err := os.WriteFile("/proc/sys/"+s.Key, []byte(s.Value), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for _, d := range plan.Devices {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		k.tuns[d.Name] = fd
		req, err := unix.NewIfreq(d.Name)
		if err != nil {
			return err
		}
		kind := uint16(unix.IFF_TUN)
		if d.Kind == topology.Veth {
			kind = unix.IFF_TAP
		}
		req.SetUint16(kind | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return fmt.Errorf("TUNSETIFF %s: %w", d.Name, err)
		}
	}
	domain := unix.AF_INET
	if k.family == nat.IPv6 {
		domain = unix.AF_INET6
	}
	if k.raw, err = rawSocket(domain); err != nil {
		return err
	}
	if k.tracer, err = newTracer(); err != nil {
		return err
	}
	if k.ask, err = openNetfilter(); err != nil {
		return err
	}
	if k.listing, err = unix.Open("/proc/thread-self/net/nf_conntrack", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	k.conns, err = ctnetlink.Dial(nil)
	return err
}

// rawSocket sends whole IP packets, to all if they want it.
func rawSocket(domain int) (int, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
}

func (k *kernelNode) address(nl *netlink.Handle, plan topology.Namespace) error {
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := nl.LinkSetUp(lo); err != nil {
		return err
	}
	index := map[string]int{}
	for _, a := range plan.Addresses {
		link, err := nl.LinkByName(a.Device)
		if err != nil {
			return err
		}
		index[a.Device] = link.Attrs().Index
		addr, err := netlink.ParseAddr(a.Prefix.String())
		if err != nil {
			return err
		}
		addr.Flags |= unix.IFA_F_NODAD
		if err := nl.LinkSetMTU(link, mtus[a.Device]); err != nil {
			return err
		}
		// The node has nothing to tell of itself: no groups that it joins where neighbours ask for its addresses (addrconf_join_solict).
		if err := errors.Join(nl.LinkSetMulticastOff(link), nl.LinkSetARPOff(link)); err != nil {
			return err
		}
		if err := errors.Join(nl.AddrAdd(link, addr), nl.LinkSetUp(link)); err != nil {
			return err
		}
	}
	for _, r := range plan.Routes {
		_, dst, err := parseCIDR(r.Dst)
		if err != nil {
			return err
		}
		route := &netlink.Route{Dst: dst, LinkIndex: index[r.Device], Gw: r.Via.AsSlice()}
		route.Type = map[topology.RouteType]int{
			topology.Unicast: unix.RTN_UNICAST, topology.Blackhole: unix.RTN_BLACKHOLE, topology.Unreachable: unix.RTN_UNREACHABLE,
			topology.Prohibit: unix.RTN_PROHIBIT, topology.Throw: unix.RTN_THROW,
		}[r.Type]
		if err := nl.RouteAdd(route); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	return nil
}

// restore replaces all rules of the namespace.
func (k *kernelNode) restore(ctx context.Context, backend dataplane.Backend, rs iptables.Ruleset) error {
	program := "iptables-nft-restore"
	if backend == dataplane.Legacy {
		program = "iptables-legacy-restore"
	}
	if k.family == nat.IPv6 {
		program = "ip6" + strings.TrimPrefix(program, "ip")
	}
	if err := dataplane.MakeCounters(k.ns, "ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"); err != nil {
		return err
	}
	return k.ns.Do(func() error {
		if err := traceAll(k.family); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, program)
		cmd.Stdin = strings.NewReader(rs.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", program, err, out)
		}
		return nil
	})
}

// fragments6 is how long conntrack waits for fragments of IPv6.
var fragments6 = topology.Sysctl{Key: "net/netfilter/nf_conntrack_frag6_timeout", Value: "100000"}

// set changes sysctls of the namespace, in order.
func (k *kernelNode) set(list ...topology.Sysctl) error {
	return k.ns.Do(func() error {
		for _, s := range list {
			if err := os.WriteFile("/proc/sys/"+s.Key, []byte(s.Value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// inject lets a packet come in by a device.
func (k *kernelNode) inject(t *testing.T, dev string, pkt []byte) {
	t.Helper()
	_, err := unix.Write(k.tuns[dev], slices.Concat(k.frames[dev], pkt))
	require.NoError(t, err)
}

// send lets a process of the node send a packet. That the rules drop it is no error of the test.
func (k *kernelNode) send(t *testing.T, pkt []byte, mark uint32) {
	t.Helper()
	require.NoError(t, unix.SetsockoptInt(k.raw, unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])}
	if k.family == nat.IPv6 {
		to = &unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])}
	}
	err := unix.Sendto(k.raw, pkt, 0, to)
	for _, expected := range []error{unix.EPERM, unix.ENETUNREACH, unix.EINVAL, unix.EHOSTUNREACH, unix.EMSGSIZE, unix.EACCES} {
		if errors.Is(err, expected) {
			return
		}
	}
	require.NoError(t, err)
}

// collect returns what has left, device by device.
func (k *kernelNode) collect(t *testing.T) map[string][][]byte {
	t.Helper()
	out := map[string][][]byte{}
	for dev, fd := range k.tuns {
		for {
			n, err := unix.Read(fd, k.buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			require.NoError(t, err)
			if n > 0 {
				out[dev] = append(out[dev], slices.Clone(k.buf[:n]))
			}
		}
	}
	return out
}

func parseCIDR(p netip.Prefix) (net.IP, *net.IPNet, error) { return net.ParseCIDR(p.String()) }
