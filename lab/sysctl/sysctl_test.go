package sysctl

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Where /proc/sys is read-only, as in a container, a namespace's settings are written all the same.
func TestWrite(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "network namespaces need root")
	const file, key = Root + "/net/ipv4/ip_forward", "net/ipv4/ip_forward"
	apart(func() {
		write := func(value string) {
			require.NoError(t, Write(key, value))
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, value+"\n", string(b))
		}
		require.NoError(t, unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
		require.False(t, ReadOnly(Root))
		write("1")
		write("0")
		require.NoError(t, unix.Mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, ""))
		require.NoError(t, unix.Mount(Root, Root, "none", unix.MS_BIND, ""))
		require.NoError(t, unix.Mount("", Root, "none", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		require.True(t, ReadOnly(Root))
		require.ErrorIs(t, os.WriteFile(file, []byte("1"), 0), unix.EROFS)
		write("1")

		err := Write("net/ipv4/none", "1")
		require.ErrorIs(t, err, os.ErrNotExist)
		require.EqualError(t, err, "write /proc/sys/net/ipv4/none: no such file or directory")
	})
}

// apart runs f on a thread that ends with it, and with the namespaces that it is in then.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		f()
	}()
	<-done
}
