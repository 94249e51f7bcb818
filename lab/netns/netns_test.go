package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// newName is a name no other test or process uses; it is gone when the test ends.
func newName(tb testing.TB) string {
	tb.Helper()
	require.Zero(tb, os.Geteuid(), "network namespaces need root")
	name := fmt.Sprintf("natlab-test-%d-%08x", os.Getpid(), rand32(tb))
	tb.Cleanup(func() { require.NoError(tb, Delete(name)) })
	return name
}

func rand32(tb testing.TB) uint32 {
	tb.Helper()
	b := make([]byte, 4)
	_, err := unix.Getrandom(b, 0)
	require.NoError(tb, err)
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func create(tb testing.TB) Handle {
	tb.Helper()
	h, err := Create(newName(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, h.Close()) })
	return h
}

func TestCreateOpenDelete(t *testing.T) {
	h := create(t)
	opened, err := Open(h.Name())
	require.NoError(t, err)
	require.Equal(t, id(t, h), id(t, opened))
	host, err := OfProcess(os.Getpid())
	require.NoError(t, err)
	require.NotEqual(t, host, id(t, h))

	_, err = Create(h.Name())
	require.ErrorIs(t, err, fs.ErrExist)

	require.True(t, Exists(h.Name()))
	require.NoError(t, Delete(h.Name()))
	require.False(t, Exists(h.Name()))
	require.NoError(t, Delete(h.Name()), "a second Delete")
	_, err = Open(h.Name())
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, opened.Do(func() error { return nil }), "an open handle outlives the name")
	require.NoError(t, opened.Close())
	require.NoError(t, opened.Close(), "a second Close")
	require.ErrorContains(t, opened.Do(func() error { return nil }), "is closed")
	require.ErrorContains(t, Handle{}.Do(func() error { return nil }), "is closed")
}

func TestIPToolSeesIt(t *testing.T) {
	ip, err := exec.LookPath("ip")
	require.NoError(t, err, "ip(8) to compare with")
	h := create(t)
	out, err := exec.CommandContext(t.Context(), ip, "netns", "list").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), h.Name())
	out, err = exec.CommandContext(t.Context(), ip, "netns", "exec", h.Name(), ip, "-o", "link").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, 1, strings.Count(string(out), "\n"), string(out))

	// A name is gone for everybody, in mount namespaces made before it was deleted as well.
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Regexp(t, `(?m) /run/netns .* shared:\d+`, string(mounts))
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "../x", "a\nb", "a\x00b", strings.Repeat("n", 256)} {
		_, err := Create(name)
		require.ErrorContains(t, err, "not a file name", "%q", name)
		_, err = Open(name)
		require.ErrorContains(t, err, "not a file name", "%q", name)
		require.ErrorContains(t, Delete(name), "not a file name", "%q", name)
	}
}

// TestLeftOverFile is what remains when a process dies between making the file and mounting on it.
func TestLeftOverFile(t *testing.T) {
	require.NoError(t, create(t).Close()) // makes /run/netns
	name := newName(t)
	require.NoError(t, os.WriteFile(filepath.Join(Dir, name), nil, 0o444))
	_, err := Open(name)
	require.ErrorIs(t, err, ErrNotNamespace)
	_, err = Create(name)
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, Delete(name))
	require.False(t, Exists(name))
}

// TestWrongKind mounts a namespace of another kind under the name.
func TestWrongKind(t *testing.T) {
	require.NoError(t, create(t).Close())
	name := newName(t)
	require.NoError(t, os.WriteFile(filepath.Join(Dir, name), nil, 0o444))
	require.NoError(t, unix.Mount("/proc/self/ns/uts", filepath.Join(Dir, name), "none", unix.MS_BIND, ""))
	_, err := Open(name)
	require.ErrorIs(t, err, ErrNotNamespace)
}

func TestDoErrors(t *testing.T) {
	h := create(t)
	boom := errors.New("boom")
	require.ErrorIs(t, h.Do(func() error { return boom }), boom)
}

// TestDoEndsWithItsGoroutine has f end the goroutine, as a test that fails at once does, on whatever thread: the caller's ends too.
func TestDoEndsWithItsGoroutine(t *testing.T) {
	h := create(t)
	for _, do := range []func(func() error) error{h.Do, h.doApart} {
		for range 20 {
			wentOn := make(chan bool, 1)
			go func() {
				defer close(wentOn)
				err := do(func() error { runtime.Goexit(); return nil })
				wentOn <- true
				t.Error(err)
			}()
			require.False(t, <-wentOn)
		}
	}
}

// TestDoWithinDo enters a namespace from within another: each is left for the one before.
func TestDoWithinDo(t *testing.T) {
	host, outer, inner := current(t), create(t), create(t)
	seen := make([]ID, 3)
	err := outer.Do(func() error {
		seen[0] = current(t)
		err := inner.Do(func() error { seen[1] = current(t); return errors.New("boom") })
		seen[2] = current(t)
		return err
	})
	require.EqualError(t, err, "boom")
	require.Equal(t, []ID{id(t, outer), id(t, inner), id(t, outer)}, seen)
	require.Equal(t, host, current(t))
}

// TestNoGoroutineRunsElsewhere is the fault that field code has (a thread given back while it is in another namespace):
// after many calls, many new goroutines have to be in the process's own namespace.
func TestNoGoroutineRunsElsewhere(t *testing.T) {
	host := current(t)
	var many sync.WaitGroup
	for range 8 {
		h := create(t)
		want := id(t, h)
		for range 10 {
			many.Go(func() {
				err := h.Do(func() error {
					if got := current(t); got != want {
						return fmt.Errorf("in %v, want %v", got, want)
					}
					if unix.Gettid() == unix.Getpid() {
						return errors.New("on the main thread")
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	many.Wait()
	inside := make(chan ID, 200)
	var gate, ready sync.WaitGroup
	gate.Add(1)
	for range 200 {
		ready.Add(1)
		go func() {
			runtime.LockOSThread() // so that 200 threads are looked at and not two
			defer runtime.UnlockOSThread()
			ready.Done()
			gate.Wait()
			inside <- current(t)
		}()
	}
	ready.Wait()
	gate.Done()
	for range 200 {
		require.Equal(t, host, <-inside)
	}
}

func TestNetlink(t *testing.T) {
	h := create(t)
	nl, err := h.Netlink()
	require.NoError(t, err)
	defer nl.Close()
	require.NoError(t, nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br7"}}))
	links, err := nl.LinkList()
	require.NoError(t, err)
	require.Len(t, links, 2)
	fd, err := h.Fd()
	require.NoError(t, err)
	require.Positive(t, fd)
}

func TestStartShowsItsOwnSys(t *testing.T) {
	h := create(t)
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net")
	cmd.Stdout = &out
	require.NoError(t, h.Start(cmd))
	require.NoError(t, cmd.Wait())
	require.Equal(t, fmt.Sprintf("lo\nnet:[%d]\n", id(t, h).Inode), out.String())
	_, err := os.Stat("/sys/kernel")
	require.NoError(t, err, "the host's /sys is as it was")
}

func id(tb testing.TB, h Handle) ID {
	tb.Helper()
	got, err := h.ID()
	require.NoError(tb, err)
	return got
}

// current is the calling thread's namespace, asked of the kernel and not of the code under test.
func current(tb testing.TB) ID {
	tb.Helper()
	ns, err := vnetns.Get()
	if err != nil {
		tb.Error(err)
		return ID{}
	}
	defer ns.Close() //nolint:errcheck // opened for reading
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err != nil {
		tb.Error(err)
	}
	return ID{Dev: st.Dev, Inode: st.Ino}
}

func BenchmarkCreateDelete(b *testing.B) {
	name := newName(b)
	for b.Loop() {
		h, err := Create(name)
		require.NoError(b, err)
		require.NoError(b, h.Close())
		require.NoError(b, Delete(name))
	}
}

func BenchmarkDo(b *testing.B) {
	h := create(b)
	for b.Loop() {
		require.NoError(b, h.Do(func() error { return nil }))
	}
}

// Whoever enters a namespace has the outermost one still: that of the process that began it all.
func TestOutermost(t *testing.T) {
	machine, err := Outermost()
	require.NoError(t, err)
	own, err := OfProcess(os.Getpid())
	require.NoError(t, err)
	current, err := Current()
	require.NoError(t, err)
	id, err := current.ID()
	require.NoError(t, err)
	require.Equal(t, own, id)
	require.NoError(t, current.Close())
	if out, err := exec.CommandContext(t.Context(), "readlink", "/proc/1/ns/net").Output(); err == nil {
		require.Contains(t, string(out), fmt.Sprintf("[%d]", machine.Inode))
	}
}

// TestDoWithoutAWayBack runs itself in a user namespace of its own, whose network namespaces it may enter and leave only for one another:
// that of the machine is above it.
func TestDoWithoutAWayBack(t *testing.T) {
	if os.Getenv("NATLAB_TEST_NO_WAY_BACK") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoWithoutAWayBack$", "-test.v")
		cmd.Env = append(os.Environ(), "NATLAB_TEST_NO_WAY_BACK=1")
		root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: root, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "inside")
		return
	}
	host := current(t)
	h, err := Nameless()
	require.NoError(t, err)
	for range 10 {
		require.NoError(t, h.Do(func() error {
			if current(t) != id(t, h) {
				return errors.New("not inside")
			}
			return nil
		}))
		require.Equal(t, host, current(t))
	}
	t.Log("inside")
}
