package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/topology"
)

// Streams are a program's standard input, output and error. An *os.File is handed to the program as it is, so that a
// terminal stays one.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// StandIn is the natlab program, which stands in for iptables in nodes that the Lab document gives a version of it. "": there iptables
	// is what is installed.
	StandIn string
}

// environment is what a program in a member finds first: iptables as the lab has it.
func (l *Lab) environment(member, standIn string) (dirs, env []string, err error) {
	c := l.Cluster()
	if b := l.Backend(); b == dataplane.Userspace || c.KubeProxy.Mode == topology.ModeNFTables {
		return nil, nil, nil
	}
	state := filepath.Join(root, l.Name())
	console := filepath.Join(state, consoleDir)
	if err := dataplane.Link(console, l.Backend()); err != nil {
		return nil, nil, err
	}
	dirs = []string{console}
	if n, ok := c.Node(member); ok && n.IPTables != "" && standIn != "" {
		old := filepath.Join(state, standInDir)
		if err := dataplane.LinkTo(old, standIn); err != nil {
			return nil, nil, err
		}
		dirs = append([]string{old}, dirs...)
		as, err := dataplane.NewStandIn(n.IPTables, l.Backend())
		if err != nil {
			return nil, nil, err
		}
		env = append(env, dataplane.StandInVariable+"="+as.String())
	}
	path := strings.Join(append(dirs, os.Getenv("PATH")), string(filepath.ListSeparator))
	return dirs, append(env, "PATH="+path), nil
}

// findIn makes a command the program of its name in one of the directories, where one has it.
func findIn(cmd *exec.Cmd, dirs []string) {
	name := cmd.Args[0]
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && !strings.ContainsRune(name, filepath.Separator) {
			cmd.Path, cmd.Err = path, nil
			return
		}
	}
}

// noResolver has a program that asks for a name be refused at once: a lab has no DNS, and the machine's is out of reach.
const noResolver = "# There is no DNS in a lab: its nodes' names are in /etc/hosts.\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n"

// writeNames makes the files that a command in a member finds names by.
func (s *stateDir) writeNames(c topology.Cluster) error {
	for name, text := range map[string]string{hostsFile: hosts(c), resolverFile: noResolver} {
		if err := os.WriteFile(s.file(name), []byte(text), 0o644); err != nil { //nolint:gosec // for programs of whatever user
			return fmt.Errorf("lab %s: %w", s.lab, err)
		}
	}
	return nil
}

// names are these files in their places.
func (l *Lab) names() []netns.Over {
	dir := filepath.Join(root, l.Name())
	return []netns.Over{
		{File: filepath.Join(dir, hostsFile), At: "/etc/hosts"},
		{File: filepath.Join(dir, resolverFile), At: "/etc/resolv.conf"},
	}
}

// hosts is /etc/hosts in each member: the nodes and the clients, and the machine's own name, which sudo asks for. Pods have no name there, as on a
// real node.
func hosts(c topology.Cluster) string {
	var b strings.Builder
	local := "localhost"
	if name, err := os.Hostname(); err == nil {
		local += " " + name
	}
	fmt.Fprintf(&b, "127.0.0.1 %s\n::1 localhost ip6-localhost ip6-loopback\n", local)
	write := func(addrs []netip.Addr, name string) {
		for _, a := range addrs {
			fmt.Fprintf(&b, "%s %s\n", a, name)
		}
	}
	for _, n := range c.Nodes {
		write(n.Addresses, n.Name)
	}
	for _, client := range c.Clients {
		write(client.Addresses, client.Name)
	}
	return b.String()
}

// Exec runs a program in a member's namespace, as `ip netns exec` does, with iptables as the lab has it first in PATH and the nodes' names in /etc/hosts, and returns its exit status: 128 and the signal's
// number for one that a signal ended, as a shell has it. When ctx ends the program is asked to end (SIGTERM).
func (l *Lab) Exec(ctx context.Context, member string, argv []string, s Streams) (status int, err error) {
	if len(argv) == 0 {
		return 0, errors.New("no command to run")
	}
	h, err := l.Handle(member)
	if err != nil {
		return 0, err
	}
	dirs, env, err := l.environment(member, s.StandIn)
	if err != nil {
		return 0, fmt.Errorf("run %s in %s: %w", argv[0], member, err)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	findIn(cmd, dirs)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	// A program that it left running in the background may keep the output open.
	cmd.WaitDelay = time.Second
	if err := h.Start(cmd, l.names()...); err != nil {
		if missing := (*exec.Error)(nil); errors.As(err, &missing) {
			err = missing.Err // it names the program, too
		}
		return 0, fmt.Errorf("run %s in %s: %w", argv[0], member, err)
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		return 0, fmt.Errorf("run %s in %s: %w", argv[0], member, err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// ExecAll runs a program in several members at the same time, without standard input, each line of its output behind the
// member's name ("vms100 | "), in the order of the members, and returns their exit statuses in that order.
func (l *Lab) ExecAll(ctx context.Context, members, argv []string, s Streams) (statuses []int, err error) {
	width := 0
	for _, m := range members {
		width = max(width, len(m))
	}
	order := newTurns(len(members))
	statuses = make([]int, len(members))
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() {
			label := fmt.Sprintf("%-*s | ", width, m)
			stream := func(to io.Writer) *labeller {
				return &labeller{label: label, write: func(text []byte) error { return order.write(i, to, text) }}
			}
			out, problems := stream(s.Out), stream(s.Err)
			statuses[i], errs[i] = l.Exec(ctx, m, argv, Streams{Out: out, Err: problems, StandIn: s.StandIn})
			errs[i] = errors.Join(errs[i], out.flush(), problems.flush(), order.end(i))
		})
	}
	all.Wait()
	return statuses, errors.Join(errs...)
}

// labeller puts a label before every line.
type labeller struct {
	label string
	write func(lines []byte) error
	rest  []byte // of a line that is not complete
}

func (l *labeller) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	end := bytes.LastIndexByte(l.rest, '\n') + 1
	if end == 0 {
		return len(b), nil
	}
	err := l.print(l.rest[:end])
	l.rest = append(l.rest[:0], l.rest[end:]...)
	return len(b), err
}

// flush ends a last line that has no end.
func (l *labeller) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	return l.print(append(l.rest, '\n'))
}

func (l *labeller) print(lines []byte) error {
	var out bytes.Buffer
	for line := range bytes.Lines(lines) {
		out.WriteString(l.label)
		out.Write(line)
	}
	return l.write(out.Bytes())
}
