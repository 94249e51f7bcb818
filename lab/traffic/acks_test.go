package traffic

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// A connection is new, and acknowledges each segment, until it is told otherwise.
func TestDelayAcks(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // nothing was sent
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close() //nolint:errcheck // nothing was sent
	tcp, ok := conn.(*net.TCPConn)
	require.True(t, ok)
	require.True(t, acksEach(t, tcp))
	delayAcks(tcp)
	require.False(t, acksEach(t, tcp))
}

// Both ends of an exchange are told so: the server before it has answered anything.
func TestExchangeDelaysAcks(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // it has accepted
	local := addrPort(l.Addr())
	conns, errs := startWith(here{}, []nat.Tuple{nat.TupleOf(nat.TCP, netip.AddrPort{}, local)}, func(int, nat.Tuple) error { return nil })
	require.NoError(t, errs[0])
	far, err := l.Accept()
	require.NoError(t, err)
	tcp, ok := far.(*net.TCPConn)
	require.True(t, ok)
	require.True(t, acksEach(t, tcp))

	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := conns[0].Exchange(ctx, 0)
		over <- err
	}()
	require.Eventually(t, func() bool { return conns[0].Stage() == Asking }, time.Minute, time.Millisecond)
	require.False(t, acksEach(t, conns[0].file))
	cancel()
	require.Error(t, <-over)

	idle, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", local.String()) // it asks nothing
	require.NoError(t, err)
	if far, err = l.Accept(); err == nil {
		go (&server{name: "server"}).converse(far)
	}
	require.NoError(t, err)
	if tcp, ok = far.(*net.TCPConn); ok {
		require.Eventually(t, func() bool { return !acksEach(t, tcp) }, time.Minute, time.Millisecond)
	}
	require.True(t, ok)
	require.NoError(t, idle.Close())
}

// here is the namespace that the test is in.
type here struct{}

func (here) Do(f func() error) error { return f() }

// acksEach reports whether a connection acknowledges each segment.
func acksEach(t *testing.T, c syscall.Conn) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	on := 0
	require.NoError(t, raw.Control(func(fd uintptr) { on, err = unix.GetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_QUICKACK) }))
	require.NoError(t, err)
	return on == 1
}
