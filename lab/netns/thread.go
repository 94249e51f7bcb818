package netns

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// errGone is the answer for a function that ended its goroutine (runtime.Goexit, as testing.T.FailNow does).
var errGone = errors.New("the function in the namespace did not return")

// onOwnThread runs f on an operating system thread that does nothing else and ends with it. The goroutine stays locked
// to the thread and never unlocks, so the runtime ends the thread with it and cannot give it, in whatever namespace it
// is, to another goroutine. The process's main thread cannot end and stands for the process in /proc/PID/ns, so it is
// never used.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(f) // this goroutine holds the main thread, so the next one is on another
			runtime.UnlockOSThread()
			return
		}
		err := errGone
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}
