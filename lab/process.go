package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/rootless"
)

// process names a process for longer than its number lasts.
type process rootless.Process

// self is the calling process.
func self() (process, error) { return processOf(os.Getpid()) }

func processOf(pid int) (process, error) {
	p, err := rootless.ProcessOf(pid)
	return process(p), err
}

// open returns a descriptor of the process, which no later process of the same number can be taken for. A process that
// has ended is fs.ErrNotExist.
func (p process) open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("process %d: %w", p.PID, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", p.PID, err)
	}
	file := os.NewFile(uintptr(fd), fmt.Sprintf("process %d", p.PID))
	if now, err := processOf(p.PID); err != nil || now != p {
		return nil, errors.Join(fmt.Errorf("process %d: %w", p.PID, fs.ErrNotExist), file.Close())
	}
	return file, nil
}

// end sends the process a signal and waits until it is gone; one that is still there after patience is killed.
func (p process) end(ctx context.Context, signal unix.Signal, patience time.Duration) error {
	file, err := p.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // holds no data
	fd := int(file.Fd())
	for _, try := range []unix.Signal{signal, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, try, nil, 0); err != nil {
			if errors.Is(err, unix.ESRCH) {
				return nil
			}
			return fmt.Errorf("end process %d: %w", p.PID, err)
		}
		_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0) // one that was stopped hears of the signal only then; one that is gone is looked for next
		gone, err := waitGone(ctx, fd, patience)
		if err != nil || gone {
			return err
		}
	}
	return fmt.Errorf("process %d does not end, not even by SIGKILL", p.PID)
}

// waitGone waits until the process of a pidfd has ended.
func waitGone(ctx context.Context, fd int, patience time.Duration) (bool, error) {
	const slice = 20 * time.Millisecond // after which ctx is looked at
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(slice.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

// await cancels ctx when the process has ended, and returns then or when ctx has ended otherwise.
func (p process) await(ctx context.Context, cancel context.CancelCauseFunc) {
	file, err := p.open()
	if err != nil {
		cancel(err)
		return
	}
	defer file.Close() //nolint:errcheck // holds no data
	ended, end, err := os.Pipe()
	if err != nil {
		cancel(err)
		return
	}
	defer ended.Close()                                        //nolint:errcheck // nothing is written
	stop := context.AfterFunc(ctx, func() { _ = end.Close() }) // wakes the poll
	defer func() {
		if stop() {
			_ = end.Close()
		}
	}()
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}, {Fd: int32(ended.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if fds[0].Revents != 0 || err != nil && !errors.Is(err, unix.EINTR) {
			cancel(fmt.Errorf("process %d has ended", p.PID))
		}
	}
}

// inhabitants lists the processes that are in one of the namespaces, but for the calling one.
func inhabitants(ids map[netns.ID]bool) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		id, err := netns.OfProcess(pid)
		if err != nil || !ids[id] {
			continue // ended meanwhile, or not ours
		}
		p, err := processOf(pid)
		if err != nil {
			continue
		}
		// Once more: the number may have become another process's in between.
		if id, err := netns.OfProcess(pid); err == nil && ids[id] {
			out = append(out, p)
		}
	}
	return out, nil
}
