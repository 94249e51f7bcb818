package userspace_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
)

// sumInSoftware has the kernel complete checksums before packets leave by a device, and not leave that to it: veth would hand on what is not complete.
func sumInSoftware(t *testing.T, h netns.Handle, device string) {
	t.Helper()
	const setTransmit = 0x17 // ETHTOOL_STXCSUM, and 0: off
	value := [2]uint32{setTransmit}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], device)
	require.NoError(t, h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			err = errno
		}
		return errors.Join(err, unix.Close(fd))
	}))
}

// What the kernel rewrites by mark has right checksums, those of the pseudo header alone, too.
func TestMarkedChecksums(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.translate(t, planeWire, rules6)
	for _, device := range []string{"left", "right"} {
		sumInSoftware(t, s.gateway, device)
	}
	for _, addr := range []string{"10.0.2.2", "[fd00:2::2]"} {
		serve(t, s.server, "tcp", addr+":8080")
		serve(t, s.server, "udp", addr+":5353")
	}
	huge, datagram, fragments := bytes.Repeat([]byte("0123456789abcdef"), 1<<16), bytes.Repeat([]byte("z"), 999), bytes.Repeat([]byte("y"), 4000)
	for _, row := range []struct {
		network, addr string
		payload       []byte
		want          string
	}{
		{"tcp", "10.96.0.1:80", huge, "seen as 10.0.1.2"},
		{"tcp", "10.0.1.1:30080", huge, "seen as 10.0.2.1"},
		{"udp", "10.96.0.1:53", datagram, "seen as 10.0.1.2"},
		{"udp", "10.96.0.1:53", fragments, "seen as 10.0.1.2"},
		{"tcp", "[fd00:96::1]:80", huge, "seen as fd00:1::2"},
		{"tcp", "[fd00:1::1]:30080", huge, "seen as fd00:2::1"},
		{"udp", "[fd00:96::1]:53", datagram, "seen as fd00:1::2"},
		{"udp", "[fd00:96::1]:53", fragments, "seen as fd00:1::2"},
		{"udp", "[fd00:96::5]:53", datagram, "seen as fd00:2::1"},
	} {
		before := g.Stats()
		require.Equal(t, row.want, ask(t.Context(), s.client, row.network, row.addr, row.payload, nil), row.addr)
		after := g.Stats()
		require.Greater(t, after.Marked, before.Marked, row.addr)
		require.Zero(t, after.Refused+after.Unwritten, after.String())
	}
}

// Verdicts are carried out by mark where nothing that the packet meets asks for more: not where rules read payload.
func TestApplies(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	open := func(text4 string, apply userspace.Apply) string {
		g, err := userspace.Open(s.gateway, userspace.Options{Apply: apply, Rules: map[nat.Family]gateway.Rules{
			nat.IPv4: {parse(t, text4, nat.IPv4)}, nat.IPv6: {parse(t, rules6, nat.IPv6)},
		}})
		require.NoError(t, err)
		by := g.Applies(nat.IPv4).String() + " " + g.Applies(nat.IPv6).String()
		require.NoError(t, g.Close())
		return by
	}
	reading := strings.Replace(rules4, "*filter\n", "*filter\n:INPUT ACCEPT\n-A INPUT -m string --string x --algo bm -j DROP\n", 1)
	require.Equal(t, "mark mark", open(rules4, userspace.ByMark))
	require.Equal(t, "payload payload", open(rules4, userspace.ByPayload))
	require.Equal(t, "payload mark", open(reading, userspace.ByMark))
	sets, facts := nativeSets(t)
	for rule, want := range map[string]userspace.Apply{"accept": userspace.ByMark, "@th,160,8 1 accept": userspace.ByPayload} {
		more, err := nftables.ParseText("table ip more {\n\tchain c {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\t" + rule + "\n\t}\n}\n")
		require.NoError(t, err)
		g, err := userspace.Open(s.gateway, userspace.Options{Apply: userspace.ByMark, Rules: sets, Facts: gateway.Facts{NFT: facts.NFT.And(more)}})
		require.NoError(t, err)
		require.Equal(t, want, g.Applies(nat.IPv4), rule)
		require.NoError(t, g.Close())
	}
	for _, a := range []userspace.Apply{userspace.ByMark, userspace.ByPayload} {
		parsed, err := userspace.ParseApply(a.String())
		require.NoError(t, err)
		require.Equal(t, a, parsed)
	}
	_, err := userspace.ParseApply("magic")
	require.Error(t, err)
}

// A long packet that a rule refuses is answered as the kernel does: with as much of it as it quotes, and its own mark is kept where it looks like one
// of the gateway's.
func TestRefusedLong(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.translate(t, planeWire, rules6)
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	serve(t, s.server, "udp", "10.0.2.2:5353")
	long := bytes.Repeat([]byte("q"), 1200)
	require.Equal(t, "connection refused", ask(t.Context(), s.client, "udp", "10.96.0.3:80", long, nil))
	require.Equal(t, "connection refused", ask(t.Context(), s.client, "udp", "[fd00:96::2]:80", long, nil))
	marked := func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0x4e600003) }
	for range 2 {
		require.Equal(t, "seen as 10.0.1.1", ask(t.Context(), s.gateway, "udp", "10.96.0.1:53", long, marked))
		require.Equal(t, "seen as 10.0.2.1", ask(t.Context(), s.gateway, "tcp", "10.0.2.2:8080", long, marked))
	}
}
