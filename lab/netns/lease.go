package netns

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// leases is where a namespace that must not outlive its process has a file of its name, which that process has locked (flock).
// The kernel drops the lock of a process that dies.
const leases = "/run/natlab-leases"

// Lease notes that the namespace of that name, which is made next, is to be gone when this process is: where it dies before
// it deletes the namespace, Orphans lists it. The lease ends with Delete, or where it is closed. A name with a lease is fs.ErrExist.
func Lease(name string) (io.Closer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	for until := time.Now().Add(leasePatience); ; {
		if err := os.MkdirAll(leases, 0o700); err != nil {
			return nil, fmt.Errorf("network namespace %s: lease: %w", name, err)
		}
		f, err := os.OpenFile(leaseOf(name), os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the last lease took the directory along
		}
		if err != nil {
			return nil, fmt.Errorf("network namespace %s: lease: %w", name, err)
		}
		free, err := lockFile(f)
		switch {
		case err != nil || !free && time.Now().After(until):
			return nil, errors.Join(fmt.Errorf("network namespace %s: lease: %w", name, cmp.Or(err, fs.ErrExist)), f.Close())
		case free && isStill(f):
			return f, nil
		}
		_ = f.Close() // whoever looks for orphans locked it for a moment, or took it away before it was locked
		time.Sleep(time.Millisecond)
	}
}

// leasePatience is how long a lease may be locked before another process is taken to have it.
const leasePatience = time.Second

// CreateLeased is Create under a Lease, which the Handle holds.
func CreateLeased(name string) (Handle, error) {
	lease, err := Lease(name)
	if err != nil {
		return Handle{}, err
	}
	h, err := Create(name)
	if err != nil {
		return Handle{}, errors.Join(err, lease.Close())
	}
	h.lease = lease
	return h, nil
}

// Orphans lists the namespaces that were made under a Lease and whose processes ended without deleting them, sorted. Delete takes
// one away.
func Orphans() ([]string, error) {
	entries, err := os.ReadDir(leases)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var out []string
	for _, e := range entries {
		f, err := os.Open(leaseOf(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		free, err := lockFile(f)
		if free && isStill(f) {
			if Exists(e.Name()) {
				out = append(out, e.Name())
			} else {
				endLease(e.Name())
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
	}
	return out, nil
}

func leaseOf(name string) string { return filepath.Join(leases, name) }

// endLease takes a lease away; one that is not there is as wanted.
func endLease(name string) {
	_ = os.Remove(leaseOf(name))
	_ = os.Remove(leases) // others are in it
}

// lockFile takes a file's lock; false: another process has it.
func lockFile(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// isStill reports whether a file's path leads to it.
func isStill(f *os.File) bool {
	there, err1 := os.Stat(f.Name())
	open, err2 := f.Stat()
	return err1 == nil && err2 == nil && os.SameFile(there, open)
}
