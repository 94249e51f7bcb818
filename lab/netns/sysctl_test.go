package netns

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/sysctl"
)

// A program in a namespace may write the settings of that also where /proc/sys is read-only, as in a container, and no others then.
func TestProgramsWriteSettings(t *testing.T) {
	t.Parallel()
	h := create(t)
	require.NoError(t, onOwnThread(func() error {
		require.NoError(t, unix.Unshare(unix.CLONE_NEWNS))
		require.NoError(t, unix.Mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, ""))
		require.NoError(t, unix.Mount(sysctl.Root, sysctl.Root, "none", unix.MS_BIND, ""))
		require.NoError(t, unix.Mount("", sysctl.Root, "none", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		require.NoError(t, h.enter())
		require.NoError(t, ownMounts(h.name))
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `cd /proc/sys
			for value in 1 0; do
				echo $value > net/ipv4/ip_forward
				cat net/ipv4/ip_forward
			done
			echo 0 2>&1 > kernel/panic`).CombinedOutput()
		require.Error(t, err)
		require.Regexp(t, `^1\n0\n.*cannot create kernel/panic: `, string(out))
		return nil
	}))
}

func TestWhoForbidsMounts(t *testing.T) {
	t.Parallel()
	require.Equal(t, unix.EPERM, whyNot(unix.EPERM))
	require.ErrorIs(t, whyNot(unix.EACCES), unix.EACCES)
	require.EqualError(t, whyNot(unix.EACCES), "permission denied: something forbids mounts, such as a container's AppArmor profile: run it with --security-opt apparmor=unconfined")
}
