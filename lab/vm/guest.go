package vm

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guestConfig is what the host tells the guest's init, as /natlab.json.
type guestConfig struct {
	Argv    []string
	Env     []string
	Clock   time.Time // the host's
	Chance  []byte    // random, for a kernel that finds nothing random of its own
	Modules []string  // to load before the command
}

// guestModules are loaded by init: those whose sysctls or devices must be there before anything asks for them, and those
// of kube-proxy's matches and targets. The latter would come by the kernel's own requests to modprobe too, but several
// iptables programs that ask for one at the same time may be told that it is not there. All others come by request.
func guestModules() []string {
	return []string{
		"tunnel4", "ip_tunnel", "ipip", "tun", "veth", "bridge", "br_netfilter", "vxlan",
		"nf_conntrack", "nf_conntrack_netlink", "nfnetlink_log", "nfnetlink_queue", "nfnetlink_acct", "nf_log_syslog",
		"ip_tables", "iptable_nat", "iptable_filter", "iptable_mangle", "iptable_raw", "ip6_tables", "ip6table_nat", "ip6table_filter", "ip6table_mangle",
		"xt_tcpudp", "xt_comment", "xt_addrtype", "xt_conntrack", "xt_mark", "xt_nat", "xt_MASQUERADE", "xt_statistic", "xt_recent",
		"xt_nfacct", "xt_multiport", "xt_sctp", "xt_NFQUEUE", "xt_TRACE", "xt_LOG", "ipt_REJECT", "ip6t_REJECT", "nf_reject_ipv4",
		"nf_tables", "nft_compat", "nft_chain_nat", "nft_ct", "nft_counter", "nft_log", "nft_queue", "nft_reject_ipv4", "nft_nat", "nft_masq",
	}
}

// guestPath is where the guest's programs are.
const guestPath = "/usr/sbin:/usr/bin"

// IsGuestInit reports whether this process is the init of a VM that natlab made.
func IsGuestInit() bool {
	if os.Getpid() != 1 {
		return false
	}
	_, err := os.Stat("/natlab.json")
	return err == nil
}

// GuestInit is the VM's first process: it sets the guest up, runs the command, sends its output, its files and its
// exit status to the host, and powers off. It does not return.
func GuestInit() {
	line, err := openLine("/dev/ttyS1")
	if err == nil {
		frames := &frameWriter{w: line}
		if err := runGuest(frames); err != nil {
			_ = frames.send(frameFault, []byte(err.Error())) // the host sees the line end
		}
		_ = unix.IoctlSetInt(int(line.Fd()), unix.TCSBRK, 1) // tcdrain: best effort
	} else {
		fmt.Fprintln(os.Stderr, "natlab: init:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // then by reset, below
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)   // qemu runs with -no-reboot
	select {}
}

// mount mounts a file system. What the initramfs has where a tmpfs comes, a file of the host's /tmp, stays there.
func mount(kind, at string) error {
	if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as /dev/pts is everywhere
		return err
	}
	packed := at + ".packed"
	if kind == "tmpfs" {
		if err := errors.Join(os.Rename(at, packed), os.Mkdir(at, 0o1777)); err != nil { //nolint:gosec // as /tmp is everywhere
			return err
		}
	}
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil || kind != "tmpfs" {
		return err
	}
	return errors.Join(os.CopyFS(at, os.DirFS(packed)), os.RemoveAll(packed))
}

// openLine opens the second serial line in raw mode, after mounting /dev.
func openLine(path string) (*os.File, error) {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"}, {"devpts", "/dev/pts"}} {
		if err := mount(m.kind, m.at); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	line, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	if err := unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, t); err != nil {
		return nil, err
	}
	_, err = io.WriteString(line, greeting)
	return line, err
}

func runGuest(frames *frameWriter) error {
	text, err := os.ReadFile("/natlab.json")
	if err != nil {
		return err
	}
	var config guestConfig
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("/natlab.json: %w", err)
	}
	if err := setUpGuest(config); err != nil {
		return err
	}
	status, err := runCommand(config, frames)
	if err != nil {
		return err
	}
	if status != 0 {
		if full := fullDisk(); full != "" {
			return fmt.Errorf("%s is full; the command ended with status %d", full, status)
		}
	}
	if err := sendFiles(frames, "/out"); err != nil {
		return err
	}
	return frames.send(frameExit, []byte{byte(status)})
}

func setUpGuest(config guestConfig) error {
	clock := unix.NsecToTimeval(config.Clock.UnixNano())
	if err := unix.Settimeofday(&clock); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := addEntropy(config.Chance); err != nil {
		return fmt.Errorf("/dev/urandom: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	if err := linkStreams(); err != nil {
		return err
	}
	loaded, err := loadModules(config.Modules)
	if err != nil {
		return err
	}
	return os.WriteFile("/run/natlab-modules", []byte(strings.Join(loaded, "\n")+"\n"), 0o644)
}

// addEntropy gives the kernel random bytes that count: without a device, a clock or interrupts that are random it makes those who ask wait for minutes.
func addEntropy(b []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()                                                 //nolint:errcheck // nothing is written to it but by ioctl
	pool := binary.NativeEndian.AppendUint32(nil, uint32(8*len(b))) // struct rand_pool_info
	pool = append(binary.NativeEndian.AppendUint32(pool, uint32(len(b))), b...)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool[0]))); errno != 0 { // #nosec G103 -- a struct of variable length
		return errno
	}
	return nil
}

// linkStreams makes the names that udev makes elsewhere, for those who read a file by name alone.
func linkStreams() error {
	for name, at := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink("/proc/self/"+at, "/dev/"+name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// loadModules loads what there is of the named modules with their dependencies. One that a kernel has built in, or not
// at all, is passed over: what a lab misses `natlab doctor` shows.
func loadModules(names []string) (loaded []string, err error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, err
	}
	dir := filepath.Join("/lib/modules", unix.ByteSliceToString(uts.Release[:]))
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // a module's file and those it needs, itself first
	for line := range strings.Lines(string(text)) {
		path, rest, _ := strings.Cut(line, ":")
		base, _, _ := strings.Cut(filepath.Base(path), ".")
		needs[moduleName(base)] = append([]string{path}, strings.Fields(rest)...)
	}
	done := map[string]bool{}
	for _, name := range names {
		files := needs[name]
		for _, file := range slices.Backward(files) {
			if done[file] {
				continue
			}
			done[file] = true
			if err := loadModule(filepath.Join(dir, file)); err != nil {
				return loaded, fmt.Errorf("load %s: %w", file, err)
			}
			loaded = append(loaded, file)
		}
	}
	return loaded, nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// runCommand starts the command and reaps every process that ends until it is the command: orphans come to init.
func runCommand(config guestConfig, frames *frameWriter) (int, error) {
	if err := os.Setenv("PATH", guestPath); err != nil { // the kernel gives init none
		return 0, err
	}
	path, err := exec.LookPath(config.Argv[0])
	if err != nil {
		return 0, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	process, err := os.StartProcess(path, config.Argv, &os.ProcAttr{Dir: "/work", Env: config.Env, Files: []*os.File{null, outW, errW}})
	if err != nil {
		return 0, err
	}
	pipes := map[frameKind]*os.File{frameStdout: outR, frameStderr: errR}
	copied := make(chan error, len(pipes))
	for kind, r := range pipes {
		go func() { _, err := io.Copy(stream{frames, kind}, r); copied <- err }()
	}
	status, err := reapUntil(process.Pid)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(outW.Close(), errW.Close()); err != nil {
		return 0, err
	}
	// A process that the command left behind may hold the pipes: what was written by now is in them, and is read until they are dry.
	for _, r := range pipes {
		if err := r.SetReadDeadline(time.Now()); err != nil {
			return 0, err
		}
	}
	for range pipes {
		if err := <-copied; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
	}
	for kind, r := range pipes {
		if err := copyRest(stream{frames, kind}, r); err != nil {
			return 0, err
		}
	}
	return status, nil
}

// What a pipe holds at most (fs/pipe.c: PIPE_DEF_BUFFERS pages; a command may have asked for more), and how long it is empty before it is taken to be dry.
const (
	pipeHolds = 1 << 20
	pipeDry   = 100 * time.Millisecond
)

// copyRest copies what a pipe holds, however long whoever takes it needs for that: a serial line may need seconds. Somebody may still write to it.
func copyRest(to io.Writer, r *os.File) error {
	buffer := make([]byte, maxFrame/2)
	for left := pipeHolds; left > 0; {
		if err := r.SetReadDeadline(time.Now().Add(pipeDry)); err != nil {
			return err
		}
		n, err := r.Read(buffer)
		left -= n
		if _, failed := to.Write(buffer[:n]); failed != nil {
			return failed
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reapUntil waits for children until pid ends, and gives its status as a shell would: 128 and the signal's number for
// a killed one.
func reapUntil(pid int) (int, error) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case got == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case got == pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

// fullDisk names a file system of the guest without a free block.
func fullDisk() string {
	for _, path := range []string{"/", "/tmp", "/run"} {
		var s unix.Statfs_t
		if err := unix.Statfs(path, &s); err == nil && s.Blocks > 0 && s.Bavail == 0 {
			return path
		}
	}
	return ""
}

// sendFiles sends every file below a folder.
func sendFiles(frames *frameWriter, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for first := true; first || len(data) > 0; first = false {
			part := data[:min(len(data), maxFrame-len(rel)-1)]
			data = data[len(part):]
			if err := frames.send(frameFile, append([]byte(rel+"\x00"), part...)); err != nil {
				return err
			}
		}
		return nil
	})
}
