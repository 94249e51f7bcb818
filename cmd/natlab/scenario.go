package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab/dataplane"
	"natlab/lab/proxy"
	"natlab/nat/report"
	"natlab/scenarios"
	"natlab/topology"
)

func (p *program) scenario() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scenario list|show|run|grid [NAME|FILE]...",
		Short: "The known bugs of the Service data path, on demand",
		Args: func(cmd *cobra.Command, _ []string) error {
			return usage(cmd, errors.New("no command given: want list, show, run or grid"))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(p.scenarioList(), p.scenarioShow(), p.scenarioRun(), p.scenarioGrid())
	for _, sub := range cmd.Commands() {
		sub.DisableFlagsInUseLine = true
	}
	return cmd
}

func (p *program) scenarioList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [-o text|json]", Short: "List the library", Args: noArgs}
	format := &choice{value: "text", words: []string{"text", "json"}}
	cmd.Flags().VarP(format, "output", "o", "the form")
	cmd.RunE = func(*cobra.Command, []string) error {
		all, err := scenarios.List()
		if err != nil {
			return err
		}
		more, err := scenarios.OfKubeProxy()
		if err != nil {
			return err
		}
		if format.value == "json" {
			return writeJSON(p.out, append(all, more...))
		}
		var text strings.Builder
		for _, s := range all {
			fmt.Fprintf(&text, "%-28s %s\n", s.Name, s.Title)
		}
		text.WriteString("\nwith --kube-proxy RELEASE:\n")
		for _, s := range more {
			fmt.Fprintf(&text, "%-28s %s (%s)\n", s.Name, s.Title, s.Affected)
		}
		_, err = fmt.Fprint(p.out, p.fit(text.String()))
		return err
	}
	return cmd
}

func (p *program) scenarioShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME|FILE [--script]",
		Short: "Show a scenario's page and script",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, errors.New("no scenario given: natlab scenario list names them"))
			}
			return nil
		},
	}
	script := cmd.Flags().Bool("script", false, "print the file that is run, and nothing else: a scenario of your own begins as a copy")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		s, err := scenarios.Find(args[0])
		if err != nil {
			return err
		}
		if *script {
			_, err = p.out.Write(s.Text)
			return err
		}
		return scenarios.Page(p.out, s, p.style().Width)
	}
	return cmd
}

// runFlags are what the flags of scenario run ask for.
type runFlags struct {
	all, verbose, update     bool
	family                   *choice
	variant, backend, format *choice
	apply                    applyFlag
	shard                    string
	repeat, parallel         int
	kubeProxy                []string
}

func (p *program) scenarioRun() *cobra.Command {
	r := runFlags{
		variant: &choice{value: "both", words: []string{"both", string(scenarios.Buggy), string(scenarios.Fixed)}},
		backend: &choice{value: "both", words: []string{"both", string(dataplane.Legacy), string(dataplane.NFT), scenarios.NFTables, string(dataplane.Userspace)}},
		family:  &choice{value: topology.IPv4.String(), words: []string{topology.IPv4.String(), topology.IPv6.String()}},
		format:  &choice{value: "text", words: []string{"text", "json", "junit", "mermaid", "html", "svg"}},
	}
	cmd := &cobra.Command{
		Use:   "run NAME|FILE...|--all [--kube-proxy RELEASE|BINARY]... [--variant buggy|fixed|both] [--backend B] [--apply mark|payload] [--repeat N] [--parallel N] [--shard I/N]",
		Short: "Run scenarios, each in a lab of its own",
		Long: `Run scenarios: each variant on each backend in a lab of its own, which is taken away however the run ends. Exit status 0
means that both variants ended as their script expects, 1 that one did not. Scripts of your own are files whose name ends
in .txtar; "natlab scenario show NAME --script" prints one to begin with, and "natlab help scenario-verbs" lists the verbs.

With -o html, svg or mermaid the exchanges of the scripts are drawn as the taps saw them, behind the verb watch; html has the grid of the runs, too. Drawing
takes time between exchanges.`,
	}
	f := cmd.Flags()
	f.BoolVar(&r.all, "all", false, "the whole library")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "show the log of runs that pass too")
	f.Var(r.variant, "variant", "which of the two")
	f.Var(r.family, "family", "of the labs: with ipv6 the same scripts with every address one of IPv6, and those that make no sense there are skipped")
	f.Var(r.backend, "backend", "`BACKEND`: both or one of iptables-legacy, iptables-nft; or nftables, kube-proxy's mode, or userspace, natlab's own NAT, where scenarios about what they have not are skipped")
	r.apply.add(f)
	f.VarP(r.format, "output", "o", "the form")
	f.IntVar(&r.repeat, "repeat", 1, "how often to run each")
	f.IntVar(&r.parallel, "parallel", scenarios.DefaultParallel, "how many to run at a time")
	f.BoolVar(&r.update, "update", false, "rewrite the files that the scripts compare with; of scenarios that are files")
	f.StringSliceVar(&r.kubeProxy, "kube-proxy", nil, "run a real kube-proxy in each node: a program, or a release such as 1.37.2, which is built once; may be repeated")
	f.StringVar(&r.shard, "shard", "", "I/N: the Ith of N parts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.runScenarios(cmd, r, args) }
	return cmd
}

func (p *program) runScenarios(cmd *cobra.Command, r runFlags, args []string) error {
	all, err := chosen(r, args)
	if err != nil {
		return p.nothingRan(r.format, report.ScenarioSuite, usage(cmd, err))
	}
	o := scenarios.Options{Apply: r.apply.Apply, Repeat: r.repeat, Parallel: r.parallel, Verbose: r.verbose, Prefix: "sc" + strconv.Itoa(os.Getpid())}
	if r.family.value == topology.IPv6.String() {
		o.Family = topology.IPv6
	}
	if r.variant.value != "both" {
		o.Variants = []scenarios.Variant{scenarios.Variant(r.variant.value)}
	}
	if r.backend.value != "both" {
		o.Backends = []string{r.backend.value}
	}
	if r.update {
		if err := updatable(r, args); err != nil {
			return usage(cmd, err)
		}
		o.Update, o.Parallel = true, 1
	}
	if r.shard != "" {
		if o.Shard, o.Shards, err = shardOf(r.shard); err != nil {
			return usage(cmd, err)
		}
	}
	o.Draw = slices.Contains([]string{"mermaid", "html", "svg"}, r.format.value)
	if r.format.value == "text" {
		o.Done = func(result scenarios.Result) { p.scenarioLine(result) }
	}
	for _, what := range r.kubeProxy {
		found, err := proxy.Find(cmd.Context(), what, p.err)
		if err != nil {
			return p.nothingRan(r.format, report.ScenarioSuite, err)
		}
		o.Programs = append(o.Programs, found)
	}
	results := scenarios.Run(cmd.Context(), all, o)
	if r.update {
		if err := rewrite(args, results); err != nil {
			return err
		}
	}
	if err := cmd.Context().Err(); err != nil {
		return p.nothingRan(r.format, report.ScenarioSuite, err)
	}
	switch r.format.value {
	case "json":
		err = writeJSON(p.out, results)
	case "junit":
		err = p.scenarioSuite(results).Write(p.out)
	case "mermaid", "html", "svg":
		err = p.scenes(r.format.value, results)
	default:
		err = p.scenarioSum(results)
	}
	if err == nil && scenarios.Worst(results) == scenarios.Failed {
		return errDiffers
	}
	return err
}

// updatable is why --update has nothing to write to. One run a file is made: two could not both be right.
func updatable(r runFlags, args []string) error {
	if r.all || r.repeat > 1 || r.variant.value == "both" || r.backend.value == "both" {
		return errors.New("--update takes files, one --variant and one --backend")
	}
	for _, a := range args {
		if !strings.HasSuffix(a, ".txtar") {
			return fmt.Errorf("--update: %s is not a file", a)
		}
	}
	return nil
}

// rewrite writes the scenarios back with what their scripts saw.
func rewrite(files []string, results []scenarios.Result) error {
	for i, r := range results {
		if r.Outcome != scenarios.Passed {
			continue
		}
		if err := os.WriteFile(files[i], r.Updated, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// chosen are the scenarios that are named; all of the library, or with real kube-proxies all that need one.
func chosen(r runFlags, names []string) ([]scenarios.Scenario, error) {
	switch {
	case r.all == (len(names) > 0):
		return nil, errors.New("no scenario given: name some, or use --all")
	case r.all && len(r.kubeProxy) > 0:
		return scenarios.OfKubeProxy()
	case r.all:
		return scenarios.List()
	}
	var all []scenarios.Scenario
	for _, name := range names {
		s, err := scenarios.Find(name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// scenarioLine prints one run as it ends.
func (p *program) scenarioLine(r scenarios.Result) {
	mark := map[scenarios.Outcome]string{scenarios.Passed: "✔", scenarios.Failed: "✘", scenarios.Skipped: "-"}[r.Outcome]
	name := r.Scenario
	if r.Run > 1 {
		name += fmt.Sprintf(" #%d", r.Run)
	}
	st, where := p.style(), r.Backend
	if r.Program != "" {
		where = "real " + r.Program
	}
	line := fmt.Sprintf("%s %-7s  %-28s %-5s  %-15s  %.1f s  %s", mark, r.Outcome, name, r.Variant, where, r.Took.Seconds(), r.Why)
	_, _ = fmt.Fprintln(p.out, st.Letters(st.Fold(line, "    ")))
	if r.Log != "" {
		_, _ = fmt.Fprintln(p.out, "    "+strings.ReplaceAll(st.Letters(strings.TrimSpace(r.Log)), "\n", "\n    "))
	}
}

func (p *program) scenarioSum(results []scenarios.Result) error {
	n := map[scenarios.Outcome]int{}
	for _, r := range results {
		n[r.Outcome]++
	}
	_, err := fmt.Fprintf(p.out, "%d passed, %d failed, %d skipped\n", n[scenarios.Passed], n[scenarios.Failed], n[scenarios.Skipped])
	return err
}
