package netns

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on an operating system thread that does nothing else and ends with it. The goroutine stays locked
// to the thread and never unlocks, so the runtime ends the thread with it and cannot give it, in whatever namespace it
// is, to another goroutine. The process's main thread cannot end and stands for the process in /proc/PID/ns, so it is
// never used.
func onOwnThread(f func() error) error {
	return apart(func() error {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			return onOwnThread(f) // this goroutine holds the main thread, so the next one is on another
		}
		return f()
	})
}

// apart runs f on a goroutine of its own. One that f ends (runtime.Goexit, as testing.T.FailNow does) ends the caller's.
func apart(f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		done <- f()
	}()
	err, returned := <-done
	if !returned {
		runtime.Goexit()
	}
	return err
}

// visiting calls enter, which takes the calling thread into another network namespace, and then f, and takes the thread back to where it
// was. It is locked to the goroutine meanwhile, so that no other runs elsewhere; threads that the runtime starts then are not children of
// it. Where the way back is closed, as that of a user namespace into a network namespace of the one above it is, f has a thread that ends
// with it.
func visiting(enter, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() == unix.Getpid() {
		return apart(func() error { return visiting(enter, f) }) // this goroutine holds the main thread
	}
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the thread's network namespace: %w", err)
	}
	defer unix.Close(home) //nolint:errcheck // it was opened to come back
	back := func() error { return unix.Setns(home, unix.CLONE_NEWNET) }
	if back() != nil {
		return entering(enter, f)
	}
	if err := enter(); err != nil {
		return err
	}
	defer func() {
		if err := back(); err != nil { // it was open a moment ago
			panic(fmt.Sprintf("leave a network namespace: %v", err))
		}
	}()
	return f()
}

// entering is visiting without a way back.
func entering(enter, f func() error) error {
	return onOwnThread(func() error {
		if err := enter(); err != nil {
			return err
		}
		return f()
	})
}
