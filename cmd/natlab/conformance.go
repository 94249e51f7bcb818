package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/nat/report"
	"natlab/scenarios"
	"natlab/scenarios/conformance"
	"natlab/topology"
)

// conformanceFlags are what the flags of conformance ask for.
type conformanceFlags struct {
	focus, name     string
	backend, format *choice
	parallel        int
	timeout         time.Duration
	verbose, list   bool
	proxy           proxyFlags
}

func (p *program) conformance() *cobra.Command {
	r := conformanceFlags{
		backend: &choice{value: string(dataplane.Legacy), words: []string{string(dataplane.Legacy), string(dataplane.NFT), string(dataplane.Userspace)}},
		format:  &choice{value: "text", words: []string{"text", "json", "junit"}},
	}
	cmd := &cobra.Command{
		Use:   "conformance [--focus REGEXP] [--name LAB | --backend B | --kube-proxy BINARY|RELEASE [--mode iptables|nftables]] [-o text|json|junit]",
		Short: "Kubernetes' end-to-end tests of Services, by their names, on a lab",
		Long: `Run the 130 end-to-end tests of Kubernetes' Service data path (test/e2e/network), each by its upstream name and in natlab's own
scripts, on one lab: three nodes in two zones, both families, which is made for it and taken away. Each test has Services of its own, and most
run beside each other. With --name they run on a lab that is up, which has its own Services again in the end. Exit status 1: a test failed.

A test is skipped that needs what the lab does not have, and tells what; those about the process kube-proxy need --kube-proxy. With --verbose each
test lists its rows of the matrix: client, entry, endpoint and policy, as in "pod0 -> node1 -> pod2 Cluster".`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&r.focus, "focus", "", "only the tests whose file and name match this regular expression")
	f.StringVar(&r.name, "name", "", "run them on this lab, which is up")
	f.Var(r.backend, "backend", "of the lab that is made: which of the kernel's two, or natlab's own NAT")
	f.IntVar(&r.parallel, "parallel", conformance.DefaultParallel, "how many to run at a time")
	f.DurationVar(&r.timeout, "timeout", conformance.DefaultLimit, "how long a test may take; its clients' patience grows with it: for a slow machine")
	f.BoolVar(&r.list, "list", false, "list the tests, and run none")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "list the rows of each test")
	f.VarP(r.format, "output", "o", "the form")
	r.proxy.add(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.conform(cmd, r) }
	return cmd
}

func (p *program) conform(cmd *cobra.Command, r conformanceFlags) error {
	focus, err := regexp.Compile(r.focus)
	if err != nil {
		return usage(cmd, fmt.Errorf("--focus: %w", err))
	}
	if r.proxy.mode.value == topology.ModeIPVS {
		return usage(cmd, errors.New("--mode ipvs: the tests are asked in modes iptables and nftables"))
	}
	if r.name != "" && (cmd.Flags().Changed("backend") || r.proxy.what != "" || r.proxy.mode.value != "") {
		return usage(cmd, errors.New("--name takes a lab as it is: leave --backend, --kube-proxy and --mode out"))
	}
	tests, err := conformance.List()
	if err != nil {
		return err
	}
	var all []conformance.Test
	for _, t := range tests {
		if focus.MatchString(t.String()) {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return usage(cmd, fmt.Errorf("--focus %s: no test matches: natlab conformance --list names them", r.focus))
	}
	if r.list {
		return p.listTests(all, r.format.value)
	}
	results, err := p.runTests(cmd, r, all)
	if err != nil {
		return p.nothingRan(r.format, "natlab.conformance", err)
	}
	return p.conformed(results, r.format.value)
}

func (p *program) listTests(all []conformance.Test, format string) error {
	if format == "json" {
		return writeJSON(p.out, all)
	}
	for _, t := range all {
		if _, err := fmt.Fprint(p.out, p.fit(fmt.Sprintln(t))); err != nil {
			return err
		}
	}
	return nil
}

// runTests runs them on the named lab, or on one that it makes.
func (p *program) runTests(cmd *cobra.Command, r conformanceFlags, all []conformance.Test) (results []conformance.Result, err error) {
	l, err := p.conformanceLab(cmd, r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	o := conformance.Options{Parallel: r.parallel, Limit: r.timeout}
	if r.format.value == "text" {
		o.Done = func(result conformance.Result) { p.testLine(result, r.verbose) }
	}
	return conformance.Run(cmd.Context(), l, all, o)
}

func (p *program) conformanceLab(cmd *cobra.Command, r conformanceFlags) (*lab.Lab, error) {
	if r.name != "" {
		return lab.Open(cmd.Context(), r.name)
	}
	c, err := conformance.Cluster()
	if err != nil {
		return nil, err
	}
	binary, err := r.proxy.into(cmd.Context(), p, &c)
	if err != nil {
		return nil, err
	}
	return lab.Up(cmd.Context(), c, lab.Options{
		Name: fmt.Sprint("conformance", os.Getpid()), Backend: dataplane.Backend(r.backend.value), KubeProxy: binary,
	})
}

var testMarks = map[scenarios.Outcome]string{scenarios.Passed: "✔", scenarios.Failed: "✘", scenarios.Skipped: "-"}

// testLine prints one test as it ends, with its rows where they are asked for or it failed.
func (p *program) testLine(r conformance.Result, verbose bool) {
	st := p.style()
	line := fmt.Sprintf("%s %-7s  %-28s %s  %.1f s", testMarks[r.Outcome], r.Outcome, r.File, r.Name, r.Took.Seconds())
	if r.Why != "" {
		line += ": " + r.Why
	}
	_, _ = fmt.Fprintln(p.out, st.Letters(st.Fold(line, "    ")))
	if verbose || r.Outcome == scenarios.Failed {
		for _, row := range r.Rows {
			_, _ = fmt.Fprintln(p.out, st.Letters(fmt.Sprintf("    %-44s %s %s  %s", row.Key, row.Family, row.Protocol, row.End)))
		}
	}
	if r.Log != "" {
		_, _ = fmt.Fprintln(p.out, "    "+strings.ReplaceAll(st.Letters(strings.TrimSpace(r.Log)), "\n", "\n    "))
	}
}

// conformed reports what came out, and ends with exit status 1 where a test failed.
func (p *program) conformed(results []conformance.Result, format string) (err error) {
	n := map[scenarios.Outcome]int{}
	for _, r := range results {
		n[r.Outcome]++
	}
	switch format {
	case "json":
		err = writeJSON(p.out, results)
	case "junit":
		err = p.conformanceSuite(results).Write(p.out)
	default:
		_, err = fmt.Fprintf(p.out, "%d passed, %d failed, %d skipped\n", n[scenarios.Passed], n[scenarios.Failed], n[scenarios.Skipped])
	}
	if err == nil && n[scenarios.Failed] > 0 {
		return errDiffers
	}
	return err
}

// conformanceSuite is the results as a JUnit suite.
func (p *program) conformanceSuite(results []conformance.Result) report.Suite {
	run := p.junitRun()
	s := report.Suite{Name: "natlab conformance", Package: "natlab.conformance", Host: run.Host, At: run.At, Took: run.Took}
	for _, r := range results {
		s.Cases = append(s.Cases, ended(report.Case{Class: r.File, Name: r.Name, Took: r.Took}, r.Outcome, r.Log, r.Why))
	}
	return s
}
