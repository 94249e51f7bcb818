package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
)

// end is one node of the test: 192.0.2.N on the underlay, 10.0.N.1 on tunl0.
type end struct {
	netns.Handle
	tunnel  *Tunnel
	nl      *netlink.Handle
	address string
}

// pair makes two nodes with a tunnel between them.
func pair(tb testing.TB) [2]end {
	tb.Helper()
	return pairOf(tb, false)
}

// pairOf is pair with TUN devices, or with veth pairs.
func pairOf(tb testing.TB, wired bool) [2]end {
	tb.Helper()
	require.Zero(tb, os.Geteuid(), "network namespaces need root")
	var ends [2]end
	for i := range ends {
		name := fmt.Sprintf("natlab-tunnel-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), i)
		h, err := netns.CreateLeased(name)
		require.NoError(tb, err)
		tb.Cleanup(func() {
			require.NoError(tb, netns.Delete(name))
			require.NoError(tb, h.Close())
		})
		nl, err := h.Netlink()
		require.NoError(tb, err)
		tb.Cleanup(nl.Close)
		ends[i] = end{Handle: h, nl: nl, address: fmt.Sprintf("10.0.%d.1", i+1)}
	}
	fd, err := ends[1].Fd()
	require.NoError(tb, err)
	require.NoError(tb, ends[0].nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd),
	}))
	for i := range ends {
		ends[i].configure(tb, i+1, 2-i, wired)
	}
	return ends
}

func (e *end) configure(tb testing.TB, own, other int, wired bool) {
	tb.Helper()
	var err error
	c := Config{Device: "tunl0", Local: netip.AddrFrom4([4]byte{192, 0, 2, byte(own)}), Hops: []Hop{{
		Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(other), 0}), 24),
		Via: netip.AddrFrom4([4]byte{192, 0, 2, byte(other)}),
	}}}
	if wired {
		c.Wire = e.wire(tb, c.Device)
	}
	e.tunnel, err = Open(e, c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, e.tunnel.Close()) })
	for device, address := range map[string]string{"eth0": fmt.Sprintf("192.0.2.%d/24", own), "tunl0": e.address + "/32"} {
		link, err := e.nl.LinkByName(device)
		require.NoError(tb, err)
		a, err := netlink.ParseAddr(address)
		require.NoError(tb, err)
		require.NoError(tb, e.nl.AddrAdd(link, a))
		if device == "tunl0" {
			require.NoError(tb, e.nl.LinkSetMTU(link, 1480))
		}
		require.NoError(tb, e.nl.LinkSetUp(link))
		if device == "tunl0" {
			require.NoError(tb, e.nl.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index,
				Dst:       &net.IPNet{IP: net.IPv4(10, 0, byte(other), 0), Mask: net.CIDRMask(24, 32)},
				Gw:        net.IPv4(192, 0, 2, byte(other)),
				Flags:     int(netlink.FLAG_ONLINK),
			}))
		}
	}
}

// wire makes a device without neighbours that is one end of a veth pair, and returns the other.
func (e *end) wire(tb testing.TB, device string) *Wire {
	tb.Helper()
	far, err := netns.Nameless()
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, far.Close()) })
	fd, err := far.Fd()
	require.NoError(tb, err)
	require.NoError(tb, e.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: device, TxQLen: -1}, PeerName: "far", PeerTxQLen: -1, PeerNamespace: netlink.NsFd(fd),
	}))
	link, err := e.nl.LinkByName(device)
	require.NoError(tb, err)
	require.NoError(tb, e.nl.LinkSetARPOff(link))
	nl, err := far.Netlink()
	require.NoError(tb, err)
	defer nl.Close()
	other, err := nl.LinkByName("far")
	require.NoError(tb, err)
	require.NoError(tb, nl.LinkSetUp(other))
	return &Wire{Namespace: far, Device: "far", To: link.Attrs().HardwareAddr}
}

func (e *end) listenUDP(tb testing.TB) net.PacketConn {
	tb.Helper()
	var c net.PacketConn
	require.NoError(tb, e.Do(func() (err error) {
		c, err = (&net.ListenConfig{}).ListenPacket(context.Background(), "udp4", e.address+":0")
		return err
	}))
	tb.Cleanup(func() { _ = c.Close() })
	require.NoError(tb, c.SetDeadline(time.Now().Add(5*time.Second)))
	return c
}

func TestBothWays(t *testing.T) {
	ends := pair(t)
	a, b := ends[0].listenUDP(t), ends[1].listenUDP(t)
	ask(t, a, b, []byte("request"))
	ask(t, b, a, []byte("answer"))
	link, err := ends[0].nl.LinkByName("tunl0")
	require.NoError(t, err)
	require.Equal(t, "ipip", link.Attrs().EncapType)
	require.NoError(t, ends[0].tunnel.Close()) // the counts are final: a packet may arrive before it is counted
	got := ends[0].tunnel.Stats()
	require.Equal(t, uint64(1), got.Sent)
	require.Equal(t, uint64(1), got.Received)
	require.Zero(t, got.Malformed+got.SendErrors+got.TooBig)
}

func ask(t *testing.T, from, to net.PacketConn, text []byte) {
	t.Helper()
	_, err := from.WriteTo(text, to.LocalAddr())
	require.NoError(t, err)
	buf := make([]byte, 1<<16)
	n, peer, err := to.ReadFrom(buf)
	require.NoError(t, err)
	require.Equal(t, text, buf[:n])
	require.Equal(t, from.LocalAddr().String(), peer.String())
}

// TestOuterOnTheWire reads the outer packet as the other node's socket gets it.
func TestOuterOnTheWire(t *testing.T) {
	ends := pair(t)
	var raw *os.File
	require.NoError(t, ends[1].Do(func() (err error) {
		raw, err = openRaw(unix.IPPROTO_IPIP)
		return err
	}))
	t.Cleanup(func() { require.NoError(t, raw.Close()) })
	a, b := ends[0].listenUDP(t), ends[1].listenUDP(t)
	control(t, a, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 7) })
	ask(t, a, b, []byte("x"))
	require.NoError(t, raw.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 2000)
	n, err := raw.Read(buf)
	require.NoError(t, err)
	require.Equal(t, headerLen+headerLen+8+1, n)
	require.Equal(t, byte(7), buf[8], "TTL")
	require.Equal(t, []byte{192, 0, 2, 1, 192, 0, 2, 2}, buf[12:20])
	require.Equal(t, binary.BigEndian.Uint16(buf[26:])&flagDF, binary.BigEndian.Uint16(buf[6:])&flagDF)
}

// TestSmallUnderlay lowers the underlay's MTU under the tunnel's: DF is answered by ICMP, the rest goes in pieces.
func TestSmallUnderlay(t *testing.T) {
	testSmallUnderlay(t, pair(t))
}

func testSmallUnderlay(t *testing.T, ends [2]end) {
	t.Helper()
	link, err := ends[0].nl.LinkByName("eth0")
	require.NoError(t, err)
	require.NoError(t, ends[0].nl.LinkSetMTU(link, 700))
	a, b := ends[0].listenUDP(t), ends[1].listenUDP(t)

	control(t, a, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	})
	text := make([]byte, 1400)
	for i := range text {
		text[i] = byte(i)
	}
	ask(t, a, b, text)

	control(t, a, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	_, err = a.WriteTo(text, b.LocalAddr())
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the ICMP error, then the route's own MTU
		_, err = a.WriteTo(text, b.LocalAddr())
		return errors.Is(err, syscall.EMSGSIZE)
	}, 5*time.Second, time.Millisecond)
	require.NotZero(t, ends[0].tunnel.Stats().TooBig)
	ask(t, ends[0].listenUDP(t), b, text[:700-2*headerLen-8]) // a socket that no error waits for
}

func control(t *testing.T, c net.PacketConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var inner error
	require.NoError(t, raw.Control(func(fd uintptr) { inner = f(int(fd)) }))
	require.NoError(t, inner)
}

// A veth pair carries what a TUN device does: datagrams both ways, outer packets in pieces, ICMP's answer, and a stream whose segments and
// checksums are the kernel's to finish.
func TestWired(t *testing.T) {
	ends := pairOf(t, true)
	a, b := ends[0].listenUDP(t), ends[1].listenUDP(t)
	ask(t, a, b, []byte("request"))
	ask(t, b, a, []byte("answer"))
	stream(t, ends, 1<<20)
	testSmallUnderlay(t, ends)
	down, err := ends[0].nl.LinkByName("tunl0")
	require.NoError(t, err)
	require.NoError(t, ends[0].nl.LinkSetDown(down))
	require.NoError(t, ends[0].nl.LinkSetUp(down))
	require.NoError(t, ends[0].nl.RouteAdd(&netlink.Route{
		LinkIndex: down.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(10, 0, 2, 0), Mask: net.CIDRMask(24, 32)}, Gw: net.IPv4(192, 0, 2, 2), Flags: int(netlink.FLAG_ONLINK),
	}))
	ask(t, a, b, []byte("after it was down"))
	for i := range ends {
		require.NoError(t, ends[i].tunnel.Close())
		require.NoError(t, ends[i].tunnel.Close(), "a second Close")
		got := ends[i].tunnel.Stats()
		require.Zero(t, got.Malformed+got.NoRoute)
		require.NotZero(t, got.Received)
	}
}

// stream sends so many bytes by TCP from the first end to the second, and reads them there.
func stream(t *testing.T, ends [2]end, bytes int) {
	t.Helper()
	var l net.Listener
	require.NoError(t, ends[1].Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", ends[1].address+":0")
		return err
	}))
	defer l.Close() //nolint:errcheck // all was read
	var c net.Conn
	require.NoError(t, ends[0].Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(t.Context(), "tcp4", l.Addr().String())
		return err
	}))
	go func() {
		_, _ = c.Write(make([]byte, bytes)) // less than that is read below
		_ = c.Close()
	}()
	got, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, got.SetDeadline(time.Now().Add(30*time.Second)))
	n, err := io.Copy(io.Discard, got)
	require.NoError(t, err)
	require.Equal(t, int64(bytes), n)
	require.NoError(t, got.Close())
}

func TestCloseTakesAllAway(t *testing.T) {
	before := runtime.NumGoroutine()
	ends := pair(t)
	for i := range ends {
		require.NoError(t, ends[i].tunnel.Close())
		require.NoError(t, ends[i].tunnel.Close(), "a second Close")
		_, err := ends[i].nl.LinkByName("tunl0")
		require.ErrorAs(t, err, &netlink.LinkNotFoundError{})
	}
	require.Eventually(t, func() bool { // a goroutine is counted for a moment after its last statement
		return runtime.NumGoroutine() <= before+1 // the one that asks this
	}, 5*time.Second, time.Millisecond)
}

func TestAbandonLeavesTheDevice(t *testing.T) {
	ends := pair(t)
	require.NoError(t, ends[0].tunnel.Abandon())
	require.NoError(t, ends[0].tunnel.Abandon(), "a second time")
	_, err := ends[0].nl.LinkByName("tunl0")
	require.NoError(t, err)
	require.NoError(t, ends[0].tunnel.Close(), "Close after it")
}

func TestDeletedDeviceEndsTheSender(t *testing.T) {
	ends := pair(t)
	link, err := ends[0].nl.LinkByName("tunl0")
	require.NoError(t, err)
	require.NoError(t, ends[0].nl.LinkDel(link))
	require.NoError(t, ends[0].tunnel.Close())
}

func TestRefusals(t *testing.T) {
	ends := pair(t)
	local := netip.MustParseAddr("192.0.2.1")
	_, err := Open(ends[0], Config{Device: "tunl0", Local: local})
	require.ErrorIs(t, err, unix.EBUSY, "the name is taken")
	_, err = Open(ends[0], Config{Device: "a-name-that-is-too-long", Local: local})
	require.Error(t, err)
	_, err = Open(ends[0], Config{Device: "tunl1"})
	require.ErrorContains(t, err, "not an IPv4 one")
}

func TestNoAllocationForAPacket(t *testing.T) {
	ends := pair(t)
	s, err := newSender(ends[0].tunnel)
	require.NoError(t, err)
	packet := s.buf[headerLen : headerLen+29]
	packet[0], packet[3], packet[8], packet[9] = 0x45, 29, 64, 17
	copy(packet[12:], []byte{10, 0, 1, 1, 10, 0, 2, 1})
	require.Zero(t, testing.AllocsPerRun(100, func() { s.packet(packet) }))
	require.Zero(t, ends[0].tunnel.Stats().SendErrors)
}

// BenchmarkTCP is bulk TCP through the tunnel.
func BenchmarkTCP(b *testing.B) {
	ends := pair(b)
	var l net.Listener
	require.NoError(b, ends[1].Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(b.Context(), "tcp4", ends[1].address+":0")
		return err
	}))
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		done <- err
	}()
	var c net.Conn
	require.NoError(b, ends[0].Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(b.Context(), "tcp4", l.Addr().String())
		return err
	}))
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		_, err := c.Write(chunk)
		require.NoError(b, err)
	}
	require.NoError(b, c.Close())
	require.NoError(b, <-done)
	require.NoError(b, l.Close())
}
