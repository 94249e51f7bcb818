package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// mountName gives the calling thread's namespace its name. The file is made first and only by one (O_EXCL), so a name
// in use is never mounted over.
func mountName(name string) error {
	if err := prepareDir(); err != nil {
		return err
	}
	file, err := os.OpenFile(path(name), os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	err = file.Close()
	if err == nil {
		err = unix.Mount("/proc/thread-self/ns/net", path(name), "none", unix.MS_BIND, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("mount on %s: %w", path(name), whyNot(err)), os.Remove(path(name)))
	}
	return nil
}

// prepareDir makes /run/netns a shared mount point, so that a name mounted or unmounted here is so in every mount
// namespace, as `ip netns add` does: without it a namespace lives on in some process's old copy of the mounts.
// The lock on the directory is the one iproute2 takes against two first callers.
func prepareDir() error {
	if err := os.Mkdir(Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // opened for reading
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", Dir, err)
	}
	err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("make %s a shared mount point: %w", Dir, whyNot(err))
	}
	return nil
}

// whyNot tells of a mount that failed who forbids it. The kernel itself says EPERM to whom CAP_SYS_ADMIN is missing; EACCES is a security module's.
func whyNot(err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: something forbids mounts, such as a container's AppArmor profile: run it with --security-opt apparmor=unconfined", err)
	}
	return err
}
