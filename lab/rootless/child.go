package rootless

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// childVariable is set in the process that Run starts.
const childVariable = "NATLAB_ROOTLESS_CHILD"

// Run runs the calling program once more, with the same arguments and files, in a place of its own, and returns its exit status. In that process,
// and in one that is root, done is false: it goes on.
func Run() (status int, done bool, err error) {
	if os.Getenv(childVariable) != "" {
		err := errors.Join(os.Unsetenv(childVariable), furnish(func() error {
			return unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700")
		}))
		if err != nil {
			err = fmt.Errorf("rootless: %w", why(err, sysctl))
		}
		return 0, false, err
	}
	if os.Geteuid() == 0 {
		return 0, false, nil
	}
	runtime.LockOSThread() // the child dies with the thread that starts it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // it is this program
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.SysProcAttr = namespaces()
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	// Those of a terminal reach the child by themselves. go test ends a test that takes too long by SIGQUIT.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, true, fmt.Errorf("rootless: %w", why(err, sysctl))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != unix.SIGINT {
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, true, fmt.Errorf("rootless: %w", err)
			}
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), true, nil
			}
			return cmd.ProcessState.ExitCode(), true, nil
		}
	}
}
