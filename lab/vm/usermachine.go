package vm

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// name is what runs a machine, in errors.
func (m machine) name() string {
	if m.accel == AccelUML {
		return "the kernel as a program"
	}
	return "qemu"
}

// command is the program that the machine is, whose two lines are the sockets in its folder: qemu makes the connections itself, a kernel as a program is given
// them.
func (m machine) command(ctx context.Context) (*exec.Cmd, error) {
	if m.accel != AccelUML {
		program, err := qemu()
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(ctx, program, m.args()...), nil //nolint:gosec // the arguments are ours
	}
	cmd := exec.CommandContext(ctx, m.kernel, m.userModeArgs()...) //nolint:gosec // the Store's
	for _, line := range []string{"console", "line"} {
		f, err := connected(ctx, filepath.Join(m.dir, line))
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	// Its processes are in its group: those of the guest stay when it is killed alone.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd, nil
}

// userModeArgs are the arguments of a kernel as a program: the console and the line are files 3 and 4.
func (m machine) userModeArgs() []string {
	return []string{
		"mem=" + strconv.Itoa(m.memoryMiB) + "M", "initrd=" + m.initrd, "rdinit=/init",
		"con=null", "ssl=null", "ssl0=null,fd:3", "ssl1=null,fd:4", "console=ttyS0", "loglevel=4", "panic=-1", "oops=panic",
	}
}

// connected is a connection to a socket, as a file.
func connected(ctx context.Context, path string) (*os.File, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // the file is another descriptor of it
	return c.(*net.UnixConn).File()
}
