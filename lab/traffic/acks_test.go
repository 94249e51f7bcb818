package traffic

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
	each := func() (on int) {
		raw, err := tcp.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { on, err = unix.GetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_QUICKACK) }))
		require.NoError(t, err)
		return on
	}
	require.Equal(t, 1, each())
	delayAcks(tcp)
	require.Zero(t, each())
}
