package rootless

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Space is the place that the commands of one user share. Its directory holds
//
//	run     what is /run inside, with the labs' state in run/natlab
//	holder  the process that keeps the namespaces, a file of its number and start
//	users   locked shared by every process inside, which inherit the descriptor: the holder ends when it gets the lock alone
//	start   locked by who looks for the holder, or starts it
type Space struct{ dir string }

// The user's directory is $XDG_RUNTIME_DIR/natlab, or natlab-UID in the folder of temporary files.
const runtimeVariable = "XDG_RUNTIME_DIR"

// Own is the place of the calling user, whose directory is made when missing.
func Own() (Space, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("natlab-%d", os.Geteuid()))
	if runtime := os.Getenv(runtimeVariable); filepath.IsAbs(runtime) {
		dir = filepath.Join(runtime, "natlab")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Space{}, fmt.Errorf("rootless: %w: set %s to a directory of yours", err, runtimeVariable)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return Space{}, fmt.Errorf("rootless: %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return Space{}, fmt.Errorf("rootless: %s is not a directory that you alone write: set %s to one", dir, runtimeVariable)
	}
	return Space{dir: dir}, nil
}

func (s Space) file(name string) string { return filepath.Join(s.dir, name) }

// firstShared is the lowest descriptor of the lock of users: those below are given to programs by their number.
const firstShared = 100

// Enter makes the calling process another, which runs the calling program with these arguments inside, from the same working directory and with
// the same files and environment. It returns only if it cannot: the error tells what the machine lacks.
func (s Space) Enter(args []string) error {
	users, err := s.join()
	if err != nil {
		return fmt.Errorf("rootless: %w", err)
	}
	defer users.Close() //nolint:errcheck // holds no data
	pid, err := s.holder()
	if err != nil {
		return fmt.Errorf("rootless: %w", err)
	}
	// What this process becomes has it, and what that starts, but not the holder.
	if _, err := unix.FcntlInt(users.Fd(), unix.F_DUPFD, firstShared); err != nil {
		return fmt.Errorf("rootless: %w", err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return errors.New("rootless: there is no nsenter in PATH: install util-linux")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("rootless: %w", err)
	}
	folder, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("rootless: %w", err)
	}
	argv := append([]string{nsenter, "--preserve-credentials", "-U", "-m", "-n", "-t", fmt.Sprint(pid), program}, args...)
	return fmt.Errorf("rootless: %s: %w", nsenter, unix.Exec(nsenter, argv, append(os.Environ(), folderVariable+"="+folder)))
}

// folderVariable tells the program inside its working directory: who enters a mount namespace is at its root.
const folderVariable = "NATLAB_ROOTLESS_FOLDER"

// Arrive is called first by a program that Enter may have started.
func Arrive() error {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		return nil
	}
	return errors.Join(os.Unsetenv(folderVariable), os.Chdir(folder))
}

// marker is in the /run of every such place, and nowhere else.
const marker = "/run/natlab-rootless"

// Inside reports whether the calling process is in such a place.
func Inside() bool {
	_, err := os.Lstat(marker)
	return err == nil
}

// join locks the users' file for as long as its descriptor is open here, or where it is inherited.
func (s Space) join() (*os.File, error) {
	users, err := os.OpenFile(s.file("users"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Flock(int(users.Fd()), unix.LOCK_SH) }); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", users.Name(), err), users.Close())
	}
	return users, nil
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// holder is a process inside, started where there is none.
func (s Space) holder() (pid int, err error) {
	lock, err := os.OpenFile(s.file("start"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, err
	}
	defer lock.Close() //nolint:errcheck // holds no data
	if err := retry(func() error { return unix.Flock(int(lock.Fd()), unix.LOCK_EX) }); err != nil {
		return 0, fmt.Errorf("lock %s: %w", s.file("start"), err)
	}
	if pid, ok := s.inhabitant(); ok {
		return pid, nil
	}
	return s.start()
}

// HolderArgument is the only argument of the program that keeps a place: what is called so has to call Hold.
const HolderArgument = "rootless-holder"

// start starts the holder, and waits until the place is made.
func (s Space) start() (int, error) {
	if err := os.RemoveAll(s.file("run")); err != nil { // nobody is inside
		return 0, err
	}
	answer, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer answer.Close()                                  //nolint:errcheck // read
	cmd := exec.Command("/proc/self/exe", HolderArgument) //nolint:noctx // it outlives its starter
	cmd.Args[0], cmd.Dir = "natlab", "/"                  // stdio is /dev/null
	cmd.Env = append(os.Environ(), spaceVariable+"="+s.dir)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = namespaces()
	cmd.SysProcAttr.Setsid = true
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return 0, why(err, sysctl)
	}
	text, err := io.ReadAll(answer)
	if err == nil && string(text) != ready {
		err = errors.New(strings.TrimSpace(string(text)))
		if len(text) == 0 {
			err = errors.New("the process that was to hold the namespaces ended")
		}
	}
	if err != nil {
		return 0, errors.Join(err, cmd.Process.Kill())
	}
	return cmd.Process.Pid, nil
}

// namespaces are what a place is made of: the caller is its root, and nobody else is there.
func namespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

const (
	spaceVariable = "NATLAB_ROOTLESS_SPACE"
	ready         = "ready"
	answerFD      = 3
)

// Hold is the body of the process that keeps a place: it makes it, and returns when nobody is inside any more.
func Hold() error {
	answer := os.NewFile(answerFD, "starter")
	s := Space{dir: os.Getenv(spaceVariable)}
	if s.dir == "" {
		return errors.New("rootless: natlab --rootless starts this")
	}
	if err := os.Unsetenv(spaceVariable); err != nil {
		return err
	}
	users, err := os.OpenFile(s.file("users"), os.O_RDWR, 0)
	if err == nil {
		err = s.make()
	}
	if err != nil {
		_, _ = answer.WriteString(why(err, sysctl).Error()) // a starter that is gone asks nothing
		return err
	}
	_, err = answer.WriteString(ready)
	if err := errors.Join(err, answer.Close()); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Flock(int(users.Fd()), unix.LOCK_EX) }); err != nil {
		return err
	}
	if err := os.Remove(s.file("holder")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// make makes the calling process, which is alone in its namespaces, the holder of the place.
func (s Space) make() error {
	run := s.file("run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		return err
	}
	if err := furnish(func() error {
		if err := unix.Mount(run, "/run", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount --bind %s /run: %w", run, err)
		}
		return nil
	}); err != nil {
		return err
	}
	self, err := ProcessOf(os.Getpid())
	if err != nil {
		return err
	}
	return os.WriteFile(s.file("holder"), fmt.Appendf(nil, "%d %d\n", self.PID, self.Start), 0o600)
}
