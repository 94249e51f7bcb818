package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlab/lab/userspace"
	"natlab/nat/behaviour"
	"natlab/topology"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value string
	words []string
}

func (c *choice) String() string { return c.value }

// Type is what --help shows as the flag's argument.
func (c *choice) Type() string { return strings.Join(c.words, "|") }

// Set refuses a word that is not one of the choices.
func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("want %s", strings.Join(c.words, " or "))
	}
	c.value = s
	return nil
}

// applyFlag is --apply.
type applyFlag struct{ userspace.Apply }

// Type is what --help shows as the flag's argument.
func (*applyFlag) Type() string { return "mark|payload" }

// Set refuses a word that is neither.
func (a *applyFlag) Set(s string) (err error) {
	a.Apply, err = userspace.ParseApply(s)
	return err
}

// add makes the flag one of a command that lets natlab's own NAT run.
func (a *applyFlag) add(f *pflag.FlagSet) {
	f.Var(a, "apply", "how natlab's own NAT carries verdicts out: the kernel rewrites packets by a mark (where it can), or their bytes go back")
}

// ownNATFlags are --nat and --fault: what natlab's own NAT does otherwise than Linux's.
type ownNATFlags struct {
	nat   natFlag
	fault faultFlag
}

// faultFlag is --fault.
type faultFlag struct{ choice }

// Type is what --help shows as the flag's argument: all words are more than a line has room for.
func (*faultFlag) Type() string { return "FAULT" }

// add makes them flags of a command that lets natlab's own NAT run.
func (o *ownNATFlags) add(f *pflag.FlagSet) {
	o.fault.words = userspace.Faults()
	f.Var(&o.nat, "nat", "another NAT than Linux's, in the terms of RFC 4787: mapping=endpoint-independent and others, a comma between")
	f.Var(&o.fault, "fault", "what natlab's own NAT is to do wrong: "+strings.Join(o.fault.words, ", "))
}

// natFlag is --nat.
type natFlag struct{ behaviour.NAT }

// Type is what --help shows as the flag's argument.
func (*natFlag) Type() string { return "NAME=VALUE,..." }

// Set refuses what behaviour.Parse does.
func (n *natFlag) Set(s string) (err error) {
	n.NAT, err = behaviour.Parse(s)
	return err
}

// releaseFlag is --release: a release of kube-proxy, or a patch release of one, as it was given. In iptables mode they mean the same.
type releaseFlag struct{ value string }

func (r *releaseFlag) String() string { return r.value }

// Type is what --help shows as the flag's argument.
func (r *releaseFlag) Type() string {
	all := topology.Releases()
	return all[0] + ".." + all[len(all)-1]
}

// Set refuses what is no release that natlab knows.
func (r *releaseFlag) Set(s string) error {
	if _, err := topology.ParseRelease(s); err != nil {
		return err
	}
	r.value = s
	return nil
}

// release adds --release.
func release(cmd *cobra.Command) *releaseFlag {
	r := &releaseFlag{}
	cmd.Flags().Var(r, "release", "kube-proxy's release, or a patch release of one (default: the cluster's)")
	return r
}

// modeFlag is --mode: kube-proxy's.
type modeFlag struct{ choice }

// mode adds --mode.
func mode(cmd *cobra.Command) *modeFlag {
	m := &modeFlag{choice{words: []string{topology.ModeIPTables, topology.ModeNFTables}}}
	cmd.Flags().Var(m, "mode", "kube-proxy's mode (default: as its configuration has it)")
	return m
}

// of is the mode that is meant for a cluster.
func (m *modeFlag) of(c topology.Cluster) string {
	return cmp.Or(m.value, c.KubeProxy.Mode, topology.ModeIPTables)
}

// output adds -o; the first word is the default.
func output(cmd *cobra.Command, words ...string) *choice {
	c := &choice{value: words[0], words: words}
	cmd.Flags().VarP(c, "output", "o", "the form of the output")
	return c
}

// inputFlags is the flag -f: the files that describe a cluster.
type inputFlags struct {
	files []string
}

func (in *inputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&in.files, "file", "f", nil, "Kubernetes objects as kubectl get -o yaml prints them, and a Lab document; - is standard input; may be repeated (default: the reference cluster)")
}

// given reports whether there is any file.
func (in *inputFlags) given() bool { return len(in.files) > 0 }

// cluster loads the files, or the reference cluster where there are none, and prints the warnings.
func (p *program) cluster(in *inputFlags, load func(...topology.Source) (topology.Cluster, []topology.Warning, error)) (_ topology.Cluster, err error) {
	sources := []topology.Source{topology.ReferenceSource()}
	if in.given() {
		var done func() error
		if sources, done, err = p.sources(in.files); err != nil {
			return topology.Cluster{}, err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	c, warnings, err := load(sources...)
	for _, w := range warnings {
		p.logf("warning: %s", w)
	}
	return c, err
}

// reader opens a file; - is standard input, which stays open.
func (p *program) reader(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(p.in), nil
	}
	return openFile(file)
}

// sources opens files; done closes them.
func (p *program) sources(files []string) (_ []topology.Source, done func() error, err error) {
	var open []io.Closer
	done = func() error {
		var errs []error
		for _, f := range open {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	var out []topology.Source
	for i, name := range files {
		if name == "-" {
			if slices.Contains(files[:i], "-") {
				return nil, nil, errors.Join(errors.New("-f - given twice: standard input can be read only once"), done())
			}
			out = append(out, topology.Source{Name: "standard input", Reader: p.in})
			continue
		}
		f, err := openFile(name)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("-f: %w", err), done())
		}
		open = append(open, f)
		out = append(out, topology.Source{Name: name, Reader: f})
	}
	return out, done, nil
}

// timeout adds --timeout to a command that computes.
func timeout(cmd *cobra.Command, into *time.Duration) {
	cmd.Flags().DurationVar(into, "timeout", 0, "how long it may take, such as 10s; 0 for as long as it takes")
}

// within does what only computes, for so long and no longer: it is left where it is then.
func within(limit time.Duration, do func() error) error {
	if limit < 0 {
		return fmt.Errorf("--timeout %s: want 0 or more", limit)
	}
	if limit == 0 {
		return do()
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	over := time.NewTimer(limit)
	defer over.Stop()
	select {
	case err := <-done:
		return err
	case <-over.C:
		return fmt.Errorf("the time was over before the answer was there: it was %s (--timeout)", limit)
	}
}

// openFile opens a file that the user names. A folder is an error at once, and not only when it is read, where its name would be told twice.
func openFile(name string) (*os.File, error) {
	f, err := os.Open(name) // #nosec G304 -- the user names it
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.Join(&os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}, f.Close())
	}
	return f, nil
}
