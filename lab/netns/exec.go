package netns

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"natlab/lab/sysctl"
)

// Over is a file that a program sees in the place of another. Where there is none at that place, the program sees none.
type Over struct{ File, At string }

// Start starts a program inside the namespace, with a /sys that shows the namespace's devices and with files of its own, as `ip netns exec` does.
// The caller waits for it with cmd.Wait. SysProcAttr.Pdeathsig must not be set: the thread that starts it dies at once.
func (h Handle) Start(cmd *exec.Cmd, files ...Over) error {
	err := h.doApart(func() error {
		if err := ownMounts(h.name); err != nil {
			return err
		}
		for _, f := range files {
			if err := unix.Mount(f.File, f.At, "none", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("mount %s over %s: %w", f.File, f.At, whyNot(err))
			}
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", h.name, err)
	}
	return nil
}

// StartTied is Start of a program that must not outlive the calling process: the kernel kills it when that ends, however it does. wait returns
// when the program has ended, and may be called by one goroutine.
func (h Handle) StartTied(cmd *exec.Cmd) (wait func() error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// It is sent when the thread that started the program ends, so that thread waits for it.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runs := false
		err := h.doApart(func() error {
			if err := ownMounts(h.name); err != nil {
				return err
			}
			if err := cmd.Start(); err != nil {
				return err
			}
			runs = true
			started <- nil
			return cmd.Wait()
		})
		if !runs {
			started <- err
		}
		ended <- err
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", h.name, err)
	}
	return func() error { return <-ended }, nil
}

// ownMounts gives the calling thread its own mounts, with a fresh sysfs: a sysfs shows the network devices of the namespace
// in which it was mounted. Where the host's cannot be unmounted (a container's), the new one is read-only if that one is.
// What is below /proc/sys/net is the namespace's own, and may be written there also where /proc/sys may not.
func ownMounts(name string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount --make-rslave /: %w", err)
	}
	var flags uintptr
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil && sysctl.ReadOnly("/sys") {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount(name, "/sys", "sysfs", flags, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	// Where that is forbidden, programs are told that it is read-only when they write there.
	if own := sysctl.Root + "/net"; sysctl.ReadOnly(sysctl.Root) && unix.Mount(own, own, "none", unix.MS_BIND, "") == nil {
		_ = unix.Mount("", own, "none", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	return nil
}
