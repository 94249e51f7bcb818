// Natlab builds a multi-node Kubernetes network out of network namespaces, programs kube-proxy's iptables rules in it,
// sends traffic through it and proves what the NAT did.
//
// Each command is a file here: its flags, one call into the packages that do the work, and the report of what came
// out. The exit status is 0 where all is as wanted, 1 where something is disproved or differs, 2 for errors of
// usage, input or environment, and 130 for an interrupt; exec has its command's own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlab/lab/rootless"
	"natlab/lab/vm"
	"natlab/topology/near"
)

func main() {
	if vm.IsGuestInit() {
		vm.GuestInit()
	}
	p := program{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	if len(os.Args) == 2 && os.Args[1] == rootless.HolderArgument {
		os.Exit(p.held(rootless.Hold()))
	}
	if err := rootless.Arrive(); err != nil {
		os.Exit(p.held(err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the program at once
	if name, ok := standsIn(os.Args[0]); ok {
		os.Exit(p.iptables(name, os.Args[1:]))
	}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// The exit statuses.
const (
	exitOK          = 0
	exitDiffers     = 1
	exitError       = 2
	exitInterrupted = 130 // 128 and SIGINT, as a shell has it
)

// errDiffers ends a command with exitDiffers; what differs has been printed.
var errDiffers = errors.New("something differs")

// exitStatus ends a command with a status of its own; why has been printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// statusError is an error that ends a command with a status of its own.
type statusError struct {
	error
	status int
}

// program is what all commands share.
type program struct {
	in       io.Reader
	out, err io.Writer
	color    choice
	began    time.Time // when the command did
}

// run runs one command line and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	p.began = time.Now()
	root := p.root()
	root.SetArgs(args)
	err := execute(ctx, root, args)
	var status exitStatus
	var with statusError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &with):
		p.logf("%s", strings.TrimSpace(err.Error()))
		return with.status
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errDiffers) && ctx.Err() != nil: // a report of what was found until then
		return exitInterrupted
	case errors.Is(err, errDiffers):
		return exitDiffers
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		p.logf("interrupted")
		return exitInterrupted
	}
	p.logf("%s", strings.TrimSpace(err.Error()))
	return exitError
}

// execute runs the command. One that only reads files and computes is left where it is when it is interrupted: it has nothing to take away, and
// what it follows may take long. All others end by their context.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	cmd, _, err := root.Find(args)
	if err != nil || cmd.Annotations[computes] == "" {
		return root.ExecuteContext(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// computes marks commands that touch nothing but files that they read.
const computes = "computes"

// logf writes one line to standard error. Where that is gone, nobody is there to be told.
func (p *program) logf(format string, args ...any) {
	_, _ = fmt.Fprintln(p.err, "natlab: "+printable(fmt.Sprintf(format, args...)))
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "natlab",
		Short: "A multi-node Kubernetes network on one machine, and the proof of what its NAT did",
		Long: `natlab builds a multi-node Kubernetes network out of network namespaces, programs kube-proxy's iptables rules
in it, sends traffic through it, and proves what the NAT did: the DNAT of the request, the translation back of the
reply, the masquerade exactly where it has to be.

Exit status: 0 all as wanted; 1 something is disproved or differs; 2 usage, input or environment; 130 interrupted.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("there is no command %q%s", args[0], suggestion(cmd, args[0])))
			}
			return usage(cmd, errors.New("no command given"))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Version}}\n")
	p.color = choice{value: colorAuto, words: []string{colorAuto, colorAlways, colorNever}}
	root.PersistentFlags().Var(&p.color, "color", "whether texts have colours; auto: on a terminal, as NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE have it")
	p.rootless(root)
	root.AddCommand(p.up(), p.apply(), p.down(), p.status(), p.get(), p.exec(), p.conntrack(), p.ports(), p.verify(), p.replay(), p.ask(), p.watch(), p.serve(), p.rules(), p.explain(), p.view(), p.collect(), p.audit(), p.plan(), p.doctor(), p.diff(), p.migrate(), p.gateway(), p.scenario(), p.conformance(), p.vm(), p.man(), p.version(), p.supervise())
	root.AddCommand(p.topics()...)
	for _, cmd := range root.Commands() {
		if slices.Contains([]string{"explain", "rules", "diff", "migrate", "plan", "collect", "replay"}, cmd.Name()) {
			cmd.Annotations = map[string]string{computes: "yes"}
		}
	}
	for _, cmd := range append(root.Commands(), root) {
		cmd.DisableFlagsInUseLine = true // the usage lines name them
	}
	root.SetHelpCommand(helpCommand())
	p.complete(root)
	addExamples(root)
	p.fitHelp(root)
	return root
}

// usage adds where the command's flags are listed.
func usage(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
}

// flagError is usage of a flag that is wrong. For one that is not there it names the nearest one.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if nearest := near.To(unknown.GetSpecifiedName(), names); nearest != "" {
			err = fmt.Errorf("%w; did you mean --%s?", err, nearest)
		}
	}
	return usage(cmd, err)
}

func suggestion(cmd *cobra.Command, word string) string {
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}

// noArgs refuses arguments that are no flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}
