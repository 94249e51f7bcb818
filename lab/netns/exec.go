package netns

import (
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Start starts a program inside the namespace, with a /sys that shows the namespace's devices, as `ip netns exec` does.
// The caller waits for it with cmd.Wait. SysProcAttr.Pdeathsig must not be set: the thread that starts it dies at once.
func (h Handle) Start(cmd *exec.Cmd) error {
	err := h.Do(func() error {
		if err := ownSys(h.name); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", h.name, err)
	}
	return nil
}

// ownSys gives the calling thread its own mounts, with a fresh sysfs: a sysfs shows the network devices of the namespace
// in which it was mounted. Where the host's cannot be unmounted (a container's), the new one is read-only if that one is.
func ownSys(name string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount --make-rslave /: %w", err)
	}
	var flags uintptr
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
		var st unix.Statfs_t
		if err := unix.Statfs("/sys", &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
			flags = unix.MS_RDONLY
		}
	}
	if err := unix.Mount(name, "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return nil
}
