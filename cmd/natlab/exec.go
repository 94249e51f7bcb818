package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"

	"natlab/lab"
)

func (p *program) exec() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "exec NODE|--all [--name N] -- COMMAND [ARGUMENT]...",
		Short: "Run a command in one node, pod or client, or in all nodes with each line labelled",
		Long: `Run a command in the network namespace of a node, a pod (NAMESPACE/NAME), a client or the router, or in those of all
nodes at once with each line of its output labelled, in the order of the nodes. The exit status is the command's, with --all the highest, and each
that is not 0 is told; 128 and a signal's number where that ended it; 127 where there is no such command.`,
	}
	name := named(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "run it in all nodes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		member, argv, err := execArgs(cmd, args, all)
		if err != nil {
			return usage(cmd, err)
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		streams := lab.Streams{In: p.in, Out: p.out, Err: p.err, StandIn: p.self()}
		members, statuses := []string{member}, []int{0}
		if all {
			members = l.Nodes()
			statuses, err = l.ExecAll(cmd.Context(), members, argv, streams)
		} else {
			statuses[0], err = l.Exec(cmd.Context(), member, argv, streams)
		}
		if err := joinClose(err, l); err != nil {
			return notRun(err)
		}
		for i, status := range statuses {
			if status != 0 {
				p.logf("%s: %s ended with status %d", members[i], argv[0], status)
			}
		}
		if status := slices.Max(statuses); status != 0 {
			return exitStatus(status)
		}
		return nil
	}
	return cmd
}

// The statuses of a shell for a command that is not there, and for one that it may not run.
const (
	exitNotFound   = 127
	exitNotAllowed = 126
)

// notRun is an error with the status that a shell has for a command that it could not run.
func notRun(err error) error {
	var path *fs.PathError // of a command that is named by its path
	started := errors.As(err, &path) && path.Op == "fork/exec"
	switch {
	case errors.Is(err, exec.ErrNotFound), started && errors.Is(err, fs.ErrNotExist):
		return statusError{err, exitNotFound}
	case started && errors.Is(err, fs.ErrPermission):
		return statusError{err, exitNotAllowed}
	}
	return err
}

// execArgs takes the words of the command line apart: where to run, and what.
func execArgs(cmd *cobra.Command, args []string, all bool) (member string, argv []string, err error) {
	dash := cmd.ArgsLenAtDash()
	switch {
	case all && dash > 0:
		return "", nil, fmt.Errorf("--all is instead of a node: unexpected argument %q before --", args[0])
	case all:
		argv = args
	case len(args) == 0 || dash == 0:
		return "", nil, errors.New("no node given: name one, or use --all")
	case dash > 1:
		return "", nil, fmt.Errorf("unexpected argument %q before --", args[1])
	default:
		member, argv = args[0], args[1:]
	}
	if len(argv) == 0 {
		return "", nil, errors.New("no command given: it stands after --")
	}
	return member, argv, nil
}
