package lab

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

// A client that asks by link-local addresses, with its device as their zone, is translated like any other, and refused where its packet would go on
// to another link (RFC 4291, 2.5.6: ICMPv6's "beyond scope"); a process of the node's own hears it. A client whose device makes temporary
// addresses asks from one of them where it prefers those (RFC 6724, 5, rule 7), and is translated as what it is then.
func TestSourcesThatOnlyIPv6Has(t *testing.T) {
	c := dualStack(t).Narrowed(topology.IPv6)
	c.PodNetwork.Overlay6 = topology.VXLAN
	l := raise(t, c)
	client, err := l.Handle("outside")
	require.NoError(t, err)
	node, err := l.Handle("vms101")
	require.NoError(t, err)
	const nodePort = 30450
	at := addressesOf(t, node, "ens32")
	local := at[slices.IndexFunc(at, netip.Addr.IsLinkLocalUnicast)]

	t.Run("a link-local client of a node port", func(t *testing.T) {
		_, err := connect(t, client, unix.SOCK_STREAM, netip.AddrPortFrom(local, nodePort))
		require.ErrorIs(t, err, unix.EHOSTUNREACH)
		conns, err := l.Conns("vms101")
		require.NoError(t, err)
		require.False(t, slices.ContainsFunc(conns, func(o nat.Conn) bool { return o.Original.Dst().Addr() == local && o.Original.Proto() == nat.TCP }), "what was never sent on was not confirmed")
	})
	t.Run("a link-local client of a process", func(t *testing.T) {
		listenAt(t, node, 7777)
		src, err := connect(t, client, unix.SOCK_STREAM, netip.AddrPortFrom(local, 7777))
		require.NoError(t, err)
		require.True(t, src.IsLinkLocalUnicast(), src)
	})
	t.Run("a temporary address", func(t *testing.T) {
		target := mustAddrPort(t, "[fd00:192:168:26::101]:30450")
		before := addressesOf(t, client, "eth0")
		src, err := connect(t, client, unix.SOCK_DGRAM, target)
		require.NoError(t, err)
		require.Contains(t, before, src)
		setSysctl(t, client, "net/ipv6/conf/eth0/use_tempaddr", "2")
		made := manageTemporary(t, client, "eth0", "fd00:192:168:26::777/64")
		src, err = connect(t, client, unix.SOCK_DGRAM, target)
		require.NoError(t, err)
		require.Equal(t, made, src, "rule 7: the temporary one")
		_, err = traffic.Ask(t.Context(), client, nat.TupleOf(nat.TCP, netip.AddrPort{}, target))
		require.NoError(t, err)
		conns, err := l.Conns("vms101")
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(conns, func(o nat.Conn) bool {
			return o.Original.Src().Addr() == made && o.Original.Dst() == target && o.Reply.Dst().Addr() != made
		}), "it is masqueraded: %v", conns)
		setSysctl(t, client, "net/ipv6/conf/eth0/use_tempaddr", "1")
		src, err = connect(t, client, unix.SOCK_DGRAM, target)
		require.NoError(t, err)
		require.NotEqual(t, made, src, "there is one, and public ones are preferred")
	})
}

// connect connects a socket in a namespace, by its first device but lo where the address is of a link, and tells from which address.
func connect(t *testing.T, h netns.Handle, kind int, to netip.AddrPort) (src netip.Addr, err error) {
	t.Helper()
	err = h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // its connection is the news
		patience := unix.NsecToTimeval((20 * time.Second).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
			return err
		}
		peer := &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
		if to.Addr().IsLinkLocalUnicast() {
			nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer nl.Close()
			link, err := nl.LinkByName("eth0")
			if err != nil {
				return err
			}
			peer.ZoneId = uint32(link.Attrs().Index)
		}
		if err := unix.Connect(fd, peer); err != nil {
			return err
		}
		own, err := unix.Getsockname(fd)
		if six, ok := own.(*unix.SockaddrInet6); ok {
			src = netip.AddrFrom16(six.Addr)
		}
		return err
	})
	return src, err
}

// addressesOf are a device's addresses of IPv6.
func addressesOf(t *testing.T, h netns.Handle, device string) (out []netip.Addr) {
	t.Helper()
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	link, err := nl.LinkByName(device)
	require.NoError(t, err)
	all, err := nl.AddrList(link, netlink.FAMILY_V6)
	require.NoError(t, err)
	for _, a := range all {
		ip, _ := netip.AddrFromSlice(a.IP)
		out = append(out, ip)
	}
	return out
}

// manageTemporary gives a device an address of which it makes temporary ones, and tells the first of those.
func manageTemporary(t *testing.T, h netns.Handle, device, prefix string) netip.Addr {
	t.Helper()
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	link, err := nl.LinkByName(device)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(prefix)
	require.NoError(t, err)
	const day = 86400
	a.Flags, a.ValidLft, a.PreferedLft = unix.IFA_F_MANAGETEMPADDR, day, day
	require.NoError(t, nl.AddrAdd(link, a))
	var made netip.Addr
	require.Eventually(t, func() bool {
		all, err := nl.AddrList(link, netlink.FAMILY_V6)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			return false
		}
		require.NoError(t, err)
		for _, o := range all {
			if o.Flags&unix.IFA_F_TEMPORARY != 0 && o.Flags&unix.IFA_F_TENTATIVE == 0 {
				made, _ = netip.AddrFromSlice(o.IP)
			}
		}
		return made.IsValid()
	}, 20*time.Second, 20*time.Millisecond)
	return made
}

func setSysctl(t *testing.T, h netns.Handle, key, value string) {
	t.Helper()
	require.NoError(t, h.Do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) }))
}

// listenAt listens for TCP on a port of all of a namespace's addresses, until the end of the test.
func listenAt(t *testing.T, h netns.Handle, port int) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
		return errors.Join(unix.Bind(fd, &unix.SockaddrInet6{Port: port}), unix.Listen(fd, 1))
	}))
}
