// Package sysctl writes a network namespace's settings below /proc/sys, also where a container's is read-only. Which settings there are, and what they
// should be, is not its business.
package sysctl

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Root is where the settings are.
const Root = "/proc/sys"

// Open opens Root, to look from there: what is below net is of the namespace of the thread that looks. Where it is read-only, as that of a
// container is, it is the one of a procfs that is mounted nowhere (fsmount(2), Linux 5.2), which takes CAP_SYS_ADMIN; where that is forbidden, too,
// it is the read-only one. The caller closes it.
func Open() (dir int, err error) {
	const place = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if dir, err = unix.Open(Root, place, 0); err != nil {
		return -1, fmt.Errorf("%s: %w", Root, err)
	}
	if !ReadOnly(Root) {
		return dir, nil
	}
	proc, err := detached("proc")
	if err != nil {
		return dir, nil // who writes there is told that it is read-only
	}
	defer unix.Close(proc) //nolint:errcheck // what is below it is open
	own, err := unix.Openat(proc, "sys", place, 0)
	if err != nil {
		return dir, nil
	}
	_ = unix.Close(dir) // a place and no more
	return own, nil
}

// Write gives a setting of the calling thread's namespace a value, by its path below /proc/sys.
func Write(key, value string) error {
	dir, err := Open()
	if err != nil {
		return err
	}
	defer unix.Close(dir) //nolint:errcheck // a place and no more
	fd, err := unix.Openat(dir, key, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(value))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: Root + "/" + key, Err: err}
	}
	return nil
}

// ReadOnly reports whether what a path leads to is mounted read-only; false where that cannot be told.
func ReadOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// detached makes a file system that has no place in the tree of directories, and ends with its descriptor.
func detached(kind string) (fd int, err error) {
	made, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen %s: %w", kind, err)
	}
	defer unix.Close(made) //nolint:errcheck // it made what is wanted, or nothing
	if err := unix.FsconfigCreate(made); err != nil {
		return -1, fmt.Errorf("fsconfig %s: %w", kind, err)
	}
	return unix.Fsmount(made, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}
