package rootless

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// actVariable makes this program another one in place of running its tests.
const actVariable = "NATLAB_TEST_ROOTLESS"

func TestMain(m *testing.M) {
	act := os.Getenv(actVariable)
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == HolderArgument:
		err = Hold()
	case act != "":
		err = perform(act)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// perform does what a command of natlab would, inside.
func perform(act string) error {
	if err := Arrive(); err != nil {
		return err
	}
	if act == "forbid" { // in a user namespace that has none below it
		status, done, err := Run()
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d", status)
		}
		if err != nil || done {
			return err
		}
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
		act = "tell"
	}
	if !Inside() || act == "tell" && sysctl("user.max_user_namespaces") == "0" {
		s, err := Own()
		if err != nil {
			return err
		}
		return s.Enter([]string{"an argument"})
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	namespace, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	fmt.Println(os.Geteuid(), folder, namespace, os.Args[1:])
	if act == "stay" {
		var b [1]byte
		_, _ = os.Stdin.Read(b[:]) // until it is closed
	}
	return nil
}

// nobody is a user who is not root, with a runtime directory and a copy of this program.
type nobody struct{ dir string }

const somebody = 65534

func newNobody(t *testing.T) nobody {
	t.Helper()
	require.Zero(t, os.Geteuid(), "it becomes another user: run as root")
	dir, err := os.MkdirTemp("", "natlab-rootless-") //nolint:usetesting // t.TempDir's parent is root's alone
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // another user reads it
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	// A program that another test starts meanwhile would hold the file open for writing, and then it cannot be run.
	syscall.ForkLock.RLock()
	err = os.WriteFile(filepath.Join(dir, "program"), program, 0o755) //nolint:gosec // another user runs it
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	for _, name := range []string{"runtime", "home"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.Chown(filepath.Join(dir, name), somebody, somebody))
	}
	return nobody{dir}
}

func (n nobody) command(t *testing.T, act string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(n.dir, "program"), "-test.run=none") // #nosec G204 -- this program
	cmd.Dir = filepath.Join(n.dir, "home")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), runtimeVariable + "=" + filepath.Join(n.dir, "runtime"), actVariable + "=" + act}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	return cmd
}

func (n nobody) space() Space { return Space{dir: filepath.Join(n.dir, "runtime", "natlab")} }

// stay starts a command that stays inside, and returns what it printed and how it is ended.
func (n nobody) stay(t *testing.T) (printed string, leave func()) {
	t.Helper()
	cmd := n.command(t, "stay")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 4096)
	k, err := out.Read(buf)
	require.NoError(t, err)
	return string(buf[:k]), func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	}
}

// All commands of one user are root in the same namespaces, where they were started, and the last one ends them.
func TestSpace(t *testing.T) {
	t.Parallel()
	n := newNobody(t)
	first, leave := n.stay(t)
	require.True(t, strings.HasPrefix(first, "0 "+filepath.Join(n.dir, "home")+" net:["), first)
	holder, ok := n.space().inhabitant()
	require.True(t, ok)
	second, err := n.command(t, "pass").CombinedOutput()
	require.NoError(t, err, "%s", second)
	require.Equal(t, strings.Replace(first, "[-test.run=none]", "[an argument]", 1), string(second))
	again, ok := n.space().inhabitant()
	require.True(t, ok)
	require.Equal(t, holder, again, "it stays while somebody is inside")
	own, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotContains(t, first, own)
	leave()
	require.Eventually(t, func() bool { _, ok := n.space().inhabitant(); return !ok }, 20*time.Second, 5*time.Millisecond)
	third, err := n.command(t, "pass").CombinedOutput()
	require.NoError(t, err, "%s", third)
}

// Where the holder was killed, the owner of a lab leads inside.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	n := newNobody(t)
	first, leave := n.stay(t)
	defer leave()
	holder, ok := n.space().inhabitant()
	require.True(t, ok)
	owner := childInside(t, first)
	require.NoError(t, unix.Kill(holder, unix.SIGKILL))
	require.Eventually(t, func() bool { _, ok := n.space().inhabitant(); return !ok }, 20*time.Second, 5*time.Millisecond)
	lab := n.space().file("run/natlab/shop")
	require.NoError(t, os.MkdirAll(lab, 0o755)) //nolint:gosec // as it is the other user's
	p, err := ProcessOf(owner)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(lab, "state.json"), fmt.Appendf(nil, `{"owner":{"pid":%d,"start":%d}}`, p.PID, p.Start), 0o644)) //nolint:gosec // the other user reads it
	second, err := n.command(t, "pass").CombinedOutput()
	require.NoError(t, err, "%s", second)
	require.Equal(t, strings.Replace(first, "[-test.run=none]", "[an argument]", 1), string(second))
}

// childInside is the process that is in the network namespace that a line names, and that a test started.
func childInside(t *testing.T, line string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	require.NoError(t, err)
	for _, file := range all {
		if to, err := os.Readlink(file); err == nil && strings.Contains(line, to) {
			command, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(file)), "cmdline"))
			if err == nil && !strings.Contains(string(command), HolderArgument) {
				var pid int
				_, err := fmt.Sscanf(file, "/proc/%d/", &pid)
				require.NoError(t, err)
				return pid
			}
		}
	}
	t.Fatal("nobody is inside")
	return 0
}

// A machine that allows no user namespace is told of by the setting's name. The setting is one of a user namespace of the test's own.
func TestForbidden(t *testing.T) {
	t.Parallel()
	n := newNobody(t)
	before := sysctl("user.max_user_namespaces")
	out, err := n.command(t, "forbid").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "rootless: fork/exec /proc/self/exe: no space left on device: user namespaces are switched off by user.max_user_namespaces=0: sysctl -w user.max_user_namespaces=15000")
	require.Equal(t, before, sysctl("user.max_user_namespaces"))

	cmd := n.command(t, "pass")
	cmd.Env[0] = "PATH=" + n.dir
	out, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "rootless: there is no nsenter in PATH: install util-linux")

	cmd = n.command(t, "pass")
	require.NoError(t, os.Mkdir(filepath.Join(n.dir, "runtime", "of root"), 0o755))           //nolint:gosec // it is to be refused
	require.NoError(t, os.Mkdir(filepath.Join(n.dir, "runtime", "of root", "natlab"), 0o755)) //nolint:gosec // it is to be refused
	cmd.Env[1] = runtimeVariable + "=" + filepath.Join(n.dir, "runtime", "of root")
	out, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "natlab is not a directory that you alone write: set XDG_RUNTIME_DIR to one")
}

func TestWhy(t *testing.T) {
	t.Parallel()
	const clone, apparmor = "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"
	for _, row := range []struct {
		err  error
		set  map[string]string
		want string
	}{
		{unix.EPERM, map[string]string{clone: "0"}, "operation not permitted: user namespaces are switched off by kernel.unprivileged_userns_clone=0: sysctl -w kernel.unprivileged_userns_clone=1"},
		{unix.EACCES, map[string]string{clone: "1", apparmor: "1"}, "permission denied: user namespaces are switched off by kernel.apparmor_restrict_unprivileged_userns=1: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{unix.EPERM, nil, "operation not permitted: something forbids user namespaces, such as a container's seccomp profile"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "9", "user.max_net_namespaces": "0"}, "user.max_net_namespaces=0: sysctl -w user.max_net_namespaces=15000"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "9"}, "there are as many namespaces as user.max_user_namespaces, user.max_net_namespaces, user.max_mnt_namespaces allow"},
		{unix.EINVAL, nil, "a kernel with CONFIG_USER_NS and CONFIG_NET_NS is needed"},
	} {
		got := why(fmt.Errorf("clone: %w", row.err), func(name string) string { return row.set[name] })
		require.ErrorIs(t, got, row.err)
		require.ErrorContains(t, got, row.want)
	}
	other := errors.New("another")
	require.Equal(t, other, why(other, func(string) string { return "0" }))
}

func TestPower(t *testing.T) {
	t.Parallel()
	for caps, want := range map[string]string{
		"000001fffeffffff": "",
		"0000000000203400": "",
		"0000000000203000": "this process lacks CAP_NET_BIND_SERVICE (servers at ports below 1024): run it",
		"0000000000000000": "this process lacks CAP_NET_ADMIN (links, rules, conntrack), CAP_NET_RAW (raw sockets and iptables), CAP_SYS_ADMIN (namespaces and mounts), CAP_NET_BIND_SERVICE (servers at ports below 1024): run it with sudo",
		"0000000000201400": "this process lacks CAP_NET_RAW (raw sockets and iptables): run it",
		"x":                `CapEff: "x" is no set of capabilities`,
	} {
		err := powerOf("Name:\tnatlab\nCapPrm:\t0000000000000000\nCapEff:\t" + caps + "\nCapBnd:\t0\n")
		if want == "" {
			require.NoError(t, err, caps)
		} else {
			require.ErrorContains(t, err, want, caps)
		}
	}
	require.Error(t, powerOf(""))
	require.NoError(t, Power())
}

// Threads that end meanwhile, as those do that were in another namespace, are no error: what is read is of one that does not.
func TestPowerWhileThreadsEnd(t *testing.T) {
	t.Parallel()
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for range 300 {
				done := make(chan struct{})
				go func() {
					runtime.LockOSThread() // and never unlocked: the thread ends with it
					close(done)
				}()
				<-done
				if err := Power(); err != nil { // of what is lacked, where the test runs so
					require.NotErrorIs(t, err, unix.ESRCH)
				}
			}
		})
	}
	busy.Wait()
}
