package dataplane

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"natlab/nat"
	"natlab/nat/iptables"
)

// Install replaces the tables that rs lists. Both backends commit table by table, so a rule set that is refused in its
// second table has replaced the first: what was there before is read first, tried with --test, and put back on failure.
func (p *programs) Install(ctx context.Context, ns Namespace, rs iptables.Ruleset) error {
	if len(rs.Tables) == 0 {
		return nil
	}
	old, err := p.save(ctx, ns, rs.Family)
	if err != nil {
		return err
	}
	if err := MakeCounters(ns, accountingNames(rs)...); err != nil {
		return err
	}
	if old == "" && p.fresh(ctx, ns, rs) {
		return nil
	}
	input := rs.Restore()
	if old != "" {
		if err := p.restore(ctx, ns, rs.Family, input, "--test"); err != nil {
			return err
		}
	}
	err = p.restore(ctx, ns, rs.Family, input)
	if err == nil {
		return nil
	}
	// The caller's ctx may be what ended the restore; the old rules come back all the same.
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if undo := p.putBack(undoing, ns, rs, old); undo != nil {
		return errors.Join(err, fmt.Errorf("put the old %s rules back: %w", p.backend, undo))
	}
	return err
}

// undoTime bounds how long it may take to put the old rules back.
const undoTime = 30 * time.Second

// putBack installs the saved text, and empties those of rs's tables that were not there before.
func (p *programs) putBack(ctx context.Context, ns Namespace, rs iptables.Ruleset, old string) error {
	var input strings.Builder
	for _, t := range rs.Tables {
		if !strings.Contains(old, "*"+t.Name+"\n") {
			input.WriteString(emptyTable(t.Name))
		}
	}
	input.WriteString(old)
	return p.restore(ctx, ns, rs.Family, input.String(), "--counters")
}

// emptyTable is restore input that leaves a table without rules and user chains, every policy ACCEPT.
func emptyTable(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n", name)
	for _, chain := range nat.TableHooks(name) {
		fmt.Fprintf(&b, ":%s ACCEPT [0:0]\n", chain)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// restore feeds input to the backend's iptables-restore inside the namespace. A refusal is a *RefusedError.
func (p *programs) restore(ctx context.Context, ns Namespace, family nat.Family, input string, options ...string) error {
	name := p.program(family, "restore")
	_, stderr, err := run(ctx, ns, name, input, options...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	refused := refusal(name, input, stderr)
	if refused.Text == "COMMIT" {
		refused.narrow(ctx, input)
	}
	return refused
}

// program is the file name of one of the backend's programs.
func (p *programs) program(family nat.Family, verb string) string {
	word := "iptables"
	if family == nat.IPv6 {
		word = "ip6tables"
	}
	return word + "-" + p.command + "-" + verb
}

// Version is what the backend's iptables-restore prints of itself, "v1.8.9 (nf_tables)".
func Version(ctx context.Context, b Backend) (string, error) {
	d, err := New(b)
	if err != nil {
		return "", err
	}
	name := d.(*programs).program(nat.IPv4, "restore")
	path, err := find(name)
	if err != nil {
		return "", err
	}
	out, err := command(ctx, path, "", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", name, err)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return version, nil
}

// lockFile makes each namespace its own xtables lock: iptables-legacy would else take /run/xtables.lock of the host and
// wait there for the host's kube-proxy and for every other lab. The program itself resolves this to its own namespace.
const lockFile = "XTABLES_LOCKFILE=/proc/self/ns/net"

// run starts a program inside the namespace and waits for it. The error of one that ends by itself with a status other
// than 0 is an *exec.ExitError.
func run(ctx context.Context, ns Namespace, name, input string, options ...string) (stdout, stderr string, err error) {
	path, err := find(name)
	if err != nil {
		return "", "", err
	}
	var out, errs strings.Builder
	cmd := command(ctx, path, input, options...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	// The child is born in the namespace of the thread that forks.
	if err := ns.Do(cmd.Run); err != nil {
		return "", errs.String(), fmt.Errorf("%s: %w", name, err)
	}
	return out.String(), errs.String(), nil
}

func command(ctx context.Context, path, input string, options ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, options...)
	cmd.Env = []string{"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C", lockFile}
	cmd.Stdin = strings.NewReader(input)
	return cmd
}

// find looks for a program in PATH and where administrators' programs are, which an ordinary PATH may leave out.
func find(name string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: %w: apt-get install iptables", name, ErrUnsupported)
}

var lineNumber = regexp.MustCompile(`\bline:? (\d+)`)

// refusal reads the program's complaint and finds the line of the input that it is about.
func refusal(program, input, stderr string) *RefusedError {
	e := &RefusedError{Program: program, Reason: reason(stderr)}
	m := lineNumber.FindStringSubmatch(stderr)
	if m == nil {
		return e
	}
	n, err := strconv.Atoi(m[1])
	lines := strings.Split(input, "\n")
	if err != nil || n < 1 || n > len(lines) {
		return e
	}
	e.Line, e.Text = n, lines[n-1]
	e.Table = tableOf(lines[:n])
	return e
}

// tableOf names the table that the last of the lines is in.
func tableOf(lines []string) string {
	for _, line := range slices.Backward(lines) {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			return name
		}
	}
	return ""
}

// reason is what the program printed, without its advice on how to be used.
func reason(stderr string) string {
	var words []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "Try `") || strings.HasPrefix(line, "# Warning: ") {
			continue
		}
		words = append(words, line)
	}
	if len(words) == 0 {
		return "it gave no reason"
	}
	return strings.Join(words, " ")
}

// narrow finds the rule behind a refused COMMIT: iptables-legacy hands a table to the kernel as a whole and learns only
// that something in it is wrong. The shortest beginning of the table that is refused too ends with the culprit; it is
// tried in namespaces of its own, which are born and die with the program.
func (e *RefusedError) narrow(ctx context.Context, input string) {
	path, err := find(e.Program)
	if err != nil {
		return
	}
	lines := strings.Split(input, "\n")
	first := e.Line - 1 // the index after the last rule
	for first > 0 && !strings.HasPrefix(lines[first-1], "*") {
		first--
	}
	head := first // of the rules
	for head < e.Line-1 && strings.HasPrefix(lines[head], ":") {
		head++
	}
	table, rules := strings.Join(lines[first-1:head], "\n")+"\n", lines[head:e.Line-1]
	refused := func(n int) bool {
		var b strings.Builder
		b.WriteString(table)
		for _, rule := range rules[:n] {
			// A counter of the real namespace is not in the one where this is tried.
			if !strings.Contains(rule, "--nfacct-name") {
				b.WriteString(rule + "\n")
			}
		}
		b.WriteString("COMMIT\n")
		cmd := command(ctx, path, b.String())
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		return cmd.Run() != nil
	}
	low, high := 0, len(rules) // the answer is in (low, high]
	if refused(0) || !refused(high) || ctx.Err() != nil {
		return
	}
	for high-low > 1 {
		if mid := (low + high) / 2; refused(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	e.Line, e.Text = head+high, rules[high-1]
}
