package vm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is one run in a VM.
type Config struct {
	Store     Store
	Kernel    Spec
	Iptables  string // a Debian release; "" for the kernel's own, and bookworm's for a kernel of sid
	Refresh   bool   // fetch the package lists anew
	Natlab    string // the static natlab binary; it is the VM's init and its /usr/bin/natlab
	Argv      []string
	Files     []File
	Env       []string // more environment, "KEY=VALUE"
	Out       string   // host folder for the files that the command left in /out; "" drops them
	Accel     Accel
	MemoryMiB int           // 0 means 1536
	Timeout   time.Duration // 0 means 10 minutes
	Stdout    io.Writer
	Stderr    io.Writer
	Console   io.Writer // gets the kernel's console as it comes; nil keeps only its end
}

// Fault is a VM that ended in another way than by its command's end: a panic, a hang, a full disk.
type Fault struct {
	Kernel  Kernel
	Cause   error
	Console string // its last lines
}

// Error tells what happened and shows the console's last lines.
func (f *Fault) Error() string {
	return fmt.Sprintf("VM with kernel %s: %v; its console's last lines:\n%s", f.Kernel.Version, f.Cause, f.Console)
}

func (f *Fault) Unwrap() error { return f.Cause }

// ErrTimeout is the class of a command that did not end in its time.
var ErrTimeout = errors.New("the command did not end in time")

// ErrNoExit is the class of a VM that went off before its command ended.
var ErrNoExit = errors.New("the VM went off before the command ended")

// Run boots a VM, runs the command in it and returns the command's exit status. What goes wrong in the VM itself is a
// Fault.
func Run(ctx context.Context, c Config) (int, error) {
	if err := CheckStatic(c.Natlab); err != nil {
		return 0, err
	}
	kernel, err := c.kernel(ctx)
	if err != nil {
		return 0, err
	}
	tools, err := c.Store.Tools(ctx, c.iptables(kernel))
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "natlab-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing can be done about it
	if c.Accel, err = c.accel(ctx, kernel, tools, dir); err != nil {
		return 0, err
	}
	return c.boot(ctx, kernel, tools, dir)
}

// kernel is the kernel that the Spec names, fetched, or built where it is a program of this machine.
func (c Config) kernel(ctx context.Context) (Kernel, error) {
	if c.Accel == AccelUML {
		return c.Store.UserMode(ctx, c.Kernel, c.Refresh)
	}
	if _, err := qemu(); err != nil { // before anything is fetched
		return Kernel{}, err
	}
	return c.Store.Kernel(ctx, c.Kernel, c.Refresh)
}

func (c Config) iptables(k Kernel) string {
	switch {
	case c.Iptables != "":
		return c.Iptables
	case k.Release == "sid":
		return "bookworm"
	}
	return k.Release
}

// boot packs the image, runs the machine and sorts what came out of it.
func (c Config) boot(ctx context.Context, kernel Kernel, tools, dir string) (int, error) {
	initrd := filepath.Join(dir, "initrd")
	if err := c.pack(initrd, kernel, tools); err != nil {
		return 0, err
	}
	limit := c.Timeout
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w (%v)", ErrTimeout, limit))
	defer cancel()
	m := machine{
		kernel: filepath.Join(kernel.Dir, "vmlinuz"), initrd: initrd, dir: dir,
		accel: c.Accel, memoryMiB: c.MemoryMiB,
	}
	if m.memoryMiB == 0 {
		m.memoryMiB = 1536
	}
	console := &tail{also: c.Console}
	got := reception{config: c}
	err := m.run(ctx, console, got.take)
	err = errors.Join(err, got.close())
	if err == nil && !got.ended {
		err = ErrNoExit
	}
	if err != nil && (!got.ended || !errors.Is(err, io.EOF)) {
		if errors.Is(err, context.Canceled) {
			return 0, err
		}
		return 0, &Fault{Kernel: kernel, Cause: err, Console: console.lastLines(60)}
	}
	return got.status, nil
}

func (c Config) pack(path string, kernel Kernel, tools string) error {
	chance := make([]byte, 64)
	_, _ = rand.Read(chance) // which never fails
	config, err := json.Marshal(guestConfig{
		Argv: c.Argv, Clock: time.Now(), Chance: chance, Modules: guestModules(),
		Env: append([]string{"PATH=" + guestPath, "HOME=/root", "TERM=dumb", "NATLAB_OUT=/out"}, c.Env...),
	})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	files := append([]File{{c.Natlab, "/usr/bin/natlab"}, {c.Natlab, "/init"}}, c.Files...)
	return errors.Join(image{kernel: kernel, tools: tools, files: files, config: config}.write(f), f.Close())
}

// reception takes a VM's frames: output at once, files into Out, and the exit status.
type reception struct {
	config Config
	ended  bool
	status int
	name   string
	file   *os.File
}

func (r *reception) take(kind frameKind, payload []byte) error {
	switch kind {
	case frameStdout:
		_, err := r.config.Stdout.Write(payload)
		return err
	case frameStderr:
		_, err := r.config.Stderr.Write(payload)
		return err
	case frameFile:
		return r.part(payload)
	case frameExit:
		if len(payload) != 1 {
			return fmt.Errorf("exit frame of %d bytes", len(payload))
		}
		r.ended, r.status = true, int(payload[0])
		return nil
	case frameFault:
		return errors.New(string(payload))
	}
	return fmt.Errorf("frame %q is not known", kind)
}

// part writes a piece of a file; the first piece makes the file.
func (r *reception) part(payload []byte) error {
	name, data, ok := bytes.Cut(payload, []byte{0})
	if !ok || !filepath.IsLocal(string(name)) {
		return fmt.Errorf("file frame for %q", name)
	}
	if r.config.Out == "" {
		return nil
	}
	if string(name) != r.name {
		if err := r.close(); err != nil {
			return err
		}
		path := filepath.Join(r.config.Out, string(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		r.name, r.file = string(name), f
	}
	_, err := r.file.Write(data)
	return err
}

func (r *reception) close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file, r.name = nil, ""
	return f.Close()
}

const kvmProbeLimit = 8 * time.Second

// accel settles AccelAuto by a probe boot with KVM, once a boot of this machine.
func (c Config) accel(ctx context.Context, kernel Kernel, tools, dir string) (Accel, error) {
	if c.Accel != AccelAuto {
		return c.Accel, nil
	}
	if !kvmUsable() {
		return AccelTCG, nil
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return AccelTCG, nil //nolint:nilerr // without an id the probe could not be remembered
	}
	memo := filepath.Join(c.Store.Dir, "kvm-"+strings.TrimSpace(string(boot)))
	if known, err := os.ReadFile(memo); err == nil {
		return Accel(known), nil
	}
	probe := c
	probe.Argv, probe.Accel, probe.Timeout, probe.Out = []string{"true"}, AccelKVM, kvmProbeLimit, ""
	probe.Stdout, probe.Stderr, probe.Console = io.Discard, io.Discard, nil
	probeDir := filepath.Join(dir, "kvm")
	if err := os.Mkdir(probeDir, 0o700); err != nil {
		return "", err
	}
	found := AccelTCG
	if status, err := probe.boot(ctx, kernel, tools, probeDir); err == nil && status == 0 {
		found = AccelKVM
	} else if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return found, writeFile(memo, string(found))
}
