package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Accel is how the guest's instructions are run: by qemu, or by this machine itself.
type Accel string

// The ways. AccelAuto is KVM where a probe boot with it works, else emulation. AccelUML is no qemu at all: the kernel is a program (User-mode Linux), built of
// the same source, which runs its processes as its own.
const (
	AccelAuto Accel = ""
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
	AccelUML  Accel = "uml"
)

// ErrNoQemu is the class of a machine without qemu.
var ErrNoQemu = errors.New("qemu-system-x86_64 is not installed: it is in the package qemu-system-x86")

// qemu is where the program is.
func qemu() (string, error) {
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return "", ErrNoQemu
	}
	return program, nil
}

// machine is one run of qemu, or of a kernel that is a program: a boot, two serial lines, and nothing else.
type machine struct {
	kernel, initrd string
	accel          Accel
	memoryMiB      int
	dir            string // for the two sockets
}

func (m machine) args() []string {
	// Emulated, more than one CPU is not safe: where one rewrites the kernel's text (static keys), another may run into
	// the breakpoint of the rewriting when it is over, and the kernel dies of it.
	// Nor is its TSC a clock: Linux measures it against a PIT that does not keep up where the machine is busy, once 161 MHz for 2,594, and all timeouts were over
	// sixteen times too early. The HPET tells its own frequency.
	cpu, clock := []string{"-accel", "tcg", "-cpu", "max", "-smp", "1"}, "tsc=unstable clocksource=hpet"
	if m.accel == AccelKVM {
		cpu, clock = []string{"-accel", "kvm", "-cpu", "host", "-smp", "2"}, "tsc=reliable"
	}
	// The timer is not checked: where the machine is busy an emulated one does not tick often enough in the time that the kernel gives it, and it panics.
	return append(cpu,
		"-machine", "pc", "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
		"-m", strconv.Itoa(m.memoryMiB),
		"-chardev", "socket,id=console,path="+filepath.Join(m.dir, "console"), "-serial", "chardev:console",
		"-chardev", "socket,id=line,path="+filepath.Join(m.dir, "line"), "-serial", "chardev:line",
		"-kernel", m.kernel, "-initrd", m.initrd,
		"-append", "console=ttyS0 loglevel=4 panic=-1 oops=panic rdinit=/init mitigations=off random.trust_cpu=on nokaslr no_timer_check "+clock,
	)
}

// run boots the machine and serves its lines until it is off: the console goes to console, frames to handle. It ends
// with an error when qemu does, when the second line is not what the guest's init writes, or when ctx ends.
func (m machine) run(ctx context.Context, console io.Writer, handle func(frameKind, []byte) error) error {
	consoleAt, err := listen(ctx, m.dir, "console")
	if err != nil {
		return err
	}
	defer consoleAt.Close() //nolint:errcheck // its folder goes too
	lineAt, err := listen(ctx, m.dir, "line")
	if err != nil {
		return err
	}
	defer lineAt.Close() //nolint:errcheck // its folder goes too

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd, err := m.command(ctx)
	if err != nil {
		return err
	}
	printed := &tail{}
	cmd.Stderr = printed
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err = cmd.Start()
	for _, f := range cmd.ExtraFiles { // the guest's ends, which are its own now
		_ = f.Close() // nothing was written to it
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.name(), err)
	}
	var lines sync.WaitGroup
	var lineErr error
	lines.Go(func() {
		_ = serve(consoleAt, func(r io.Reader) error { _, err := io.Copy(console, r); return err }) // what there is of it was copied
	})
	lines.Go(func() {
		if lineErr = serve(lineAt, func(r io.Reader) error { return readFrames(r, handle) }); lineErr != nil && !errors.Is(lineErr, io.EOF) {
			stop()
		}
	})
	waited := cmd.Wait()
	// qemu is gone: an accept that it never answered ends, a line that it held is at its end.
	_ = consoleAt.Close() // closed twice
	_ = lineAt.Close()    // closed twice
	lines.Wait()
	ended := lineErr == nil || errors.Is(lineErr, io.EOF)
	if !ended && !errors.Is(lineErr, net.ErrClosed) {
		return lineErr
	}
	if cause := context.Cause(ctx); cause != nil && waited != nil {
		return cause
	}
	if said := printed.lastLines(20); waited != nil && said != "" {
		return fmt.Errorf("%s: %w: %s", m.name(), waited, said)
	}
	if ended {
		return nil
	}
	return lineErr
}

func listen(ctx context.Context, dir, name string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "unix", filepath.Join(dir, name))
}

// serve takes the one connection that qemu makes and hands it to use.
func serve(l net.Listener, use func(io.Reader) error) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // qemu's end closes it
	return use(c)
}

// tail keeps the last lines written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
	also io.Writer // gets all of it, may be nil
}

const tailBytes = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	if t.also != nil {
		return t.also.Write(p)
	}
	return len(p), nil
}

// lastLines is the end of what was written, at most n lines.
func (t *tail) lastLines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(t.text), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// kvmUsable reports whether /dev/kvm can be opened for writing.
func kvmUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
