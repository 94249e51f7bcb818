package netns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are mounted (NETNS_RUN_DIR of iproute2).
const Dir = "/run/netns"

// ErrNotNamespace is the error for a name whose file is there but holds no network namespace, as one is left behind
// when a process dies between making the file and mounting the namespace on it. Delete removes such a file too.
var ErrNotNamespace = errors.New("is not a network namespace")

// Handle is an open network namespace. It keeps the namespace alive, with or without its name, until Close. It may be
// copied and used by many goroutines at the same time; the zero Handle is closed.
type Handle struct {
	name  string
	file  *os.File
	lease io.Closer // nil but for CreateLeased
}

// ID tells namespaces apart: two handles are of one namespace exactly when their IDs are equal.
type ID struct {
	Dev, Inode uint64 // of the file in nsfs
}

// Create makes a network namespace with nothing in it but a loopback device that is down, and gives it a name as
// `ip netns add` does. A name that is taken is an error that is fs.ErrExist; nothing is left behind by an error.
func Create(name string) (Handle, error) {
	if err := checkName(name); err != nil {
		return Handle{}, err
	}
	var h Handle
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		h, err = open("/proc/thread-self/ns/net", name)
		if err != nil {
			return err
		}
		if err = mountName(name); err != nil {
			return errors.Join(err, h.Close())
		}
		return nil
	})
	if err != nil {
		return Handle{}, fmt.Errorf("network namespace %s: %w", name, err)
	}
	return h, nil
}

// Nameless makes a network namespace that nobody else finds: it ends with its Handle and the last socket in it.
func Nameless() (Handle, error) {
	var h Handle
	err := onOwnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		h, err = open("/proc/thread-self/ns/net", "")
		return err
	})
	if err != nil {
		return Handle{}, fmt.Errorf("network namespace without a name: %w", err)
	}
	return h, nil
}

// Open opens the namespace of that name, without entering it. A name that is not there is fs.ErrNotExist, a file that
// holds no namespace ErrNotNamespace.
func Open(name string) (Handle, error) {
	if err := checkName(name); err != nil {
		return Handle{}, err
	}
	h, err := open(path(name), name)
	if err != nil {
		return Handle{}, fmt.Errorf("network namespace %s: %w", name, err)
	}
	return h, nil
}

// Current opens the namespace that the calling program is in. It has no name.
func Current() (Handle, error) {
	h, err := open("/proc/self/ns/net", "")
	if err != nil {
		return Handle{}, fmt.Errorf("the program's network namespace: %w", err)
	}
	return h, nil
}

// Delete takes a name away, with its mount and its file. The namespace itself, with its devices, ends when the last
// process, socket or Handle in it does. A name that is not there is not an error: Delete may be called twice.
func Delete(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	// A mount can be stacked on another where two processes raced: all of them have to go. EINVAL: no mount is left.
	var err error
	for err == nil {
		err = unix.Unmount(path(name), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("network namespace %s: unmount: %w", name, err)
	}
	if err := os.Remove(path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	endLease(name)
	return nil
}

// Exists reports whether the name is taken, be it by a namespace or by a file that was left behind.
func Exists(name string) bool {
	_, err := os.Lstat(path(name))
	return err == nil
}

// OfProcess returns the namespace that a process's main thread is in.
func OfProcess(pid int) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st); err != nil {
		return ID{}, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return ID{Dev: st.Dev, Inode: st.Ino}, nil
}

// Outermost returns the namespace of the calling program's oldest ancestor whose namespace it may read: that of the machine, or of the
// container, as init is the oldest.
func Outermost() (ID, error) {
	id, err := OfProcess(os.Getpid())
	for pid := os.Getpid(); err == nil && pid > 1; {
		if pid = parentOf(pid); pid == 0 {
			break
		}
		if older, denied := OfProcess(pid); denied == nil {
			id = older
		}
	}
	return id, err
}

// parentOf is a process's parent, 0 where it has none, or none of this PID namespace.
func parentOf(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(parent))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// Name is the name under which the namespace was made or opened.
func (h Handle) Name() string { return h.name }

// ID returns what tells the namespace from others.
func (h Handle) ID() (ID, error) {
	var st unix.Stat_t
	if err := h.withFD(func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return ID{}, err
	}
	return ID{Dev: st.Dev, Inode: st.Ino}, nil
}

// Do runs f inside the namespace, on the caller's operating system thread, which nothing else runs on meanwhile and which is back where it
// was when Do returns; and returns f's error. Goroutines that f starts run outside the namespace; sockets and processes that f itself makes
// are inside for good. What else f does to its thread has to be undone by it.
func (h Handle) Do(f func() error) error {
	return visiting(h.enter, f)
}

// doApart is Do on a thread that ends with the call, for an f that leaves it as no other may be.
func (h Handle) doApart(f func() error) error { return entering(h.enter, f) }

// enter takes the calling thread into the namespace.
func (h Handle) enter() error {
	if err := h.withFD(func(fd int) error { return vnetns.Set(vnetns.NsHandle(fd)) }); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	return nil
}

// Netlink opens an rtnetlink socket in the namespace. The caller closes it; it may be used by one goroutine at a time.
func (h Handle) Netlink() (*netlink.Handle, error) {
	var nl *netlink.Handle
	err := h.Do(func() (err error) {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: rtnetlink: %w", h.name, err)
	}
	return nl, nil
}

// Fd is the descriptor that names this namespace in a netlink message (IFLA_NET_NS_FD). It is the Handle's own: valid
// until Close, and not to be closed by the caller.
func (h Handle) Fd() (int, error) {
	var out int
	err := h.withFD(func(fd int) error { out = fd; return nil })
	return out, err
}

// Close lets go of the namespace. A second Close does nothing.
func (h Handle) Close() error {
	if h.file == nil {
		return nil
	}
	if h.lease != nil {
		_ = h.lease.Close() // it holds nothing but a lock
	}
	if err := h.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("network namespace %s: %w", h.name, err)
	}
	return nil
}

// withFD calls f with the descriptor, which no Close can take away meanwhile.
func (h Handle) withFD(f func(fd int) error) error {
	raw, err := h.file.SyscallConn() // a nil file answers with an error
	if err != nil {
		return fmt.Errorf("network namespace %q is closed: %w", h.name, err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return fmt.Errorf("network namespace %q is closed: %w", h.name, err)
	}
	return inner
}

func open(file, name string) (Handle, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Handle{}, err
	}
	// The ioctl alone will not do: another file system may know a request of the same number.
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || int64(st.Type) != unix.NSFS_MAGIC {
		return Handle{}, errors.Join(ErrNotNamespace, unix.Close(fd))
	}
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return Handle{}, errors.Join(ErrNotNamespace, unix.Close(fd))
	}
	return Handle{name: name, file: os.NewFile(uintptr(fd), file)}, nil
}

func path(name string) string { return filepath.Join(Dir, name) }

// checkName refuses what ip(8) refuses, and what could not be a file's name.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > unix.NAME_MAX || strings.ContainsAny(name, "/\x00\n") {
		return fmt.Errorf("network namespace %q: not a file name of 1 to %d bytes", name, unix.NAME_MAX)
	}
	return nil
}
