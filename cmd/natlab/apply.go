package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/topology"
)

func (p *program) apply() *cobra.Command {
	var in inputFlags
	var full bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE... [--name N] [--full] [-o text|json]",
		Short: "Change the Services and endpoints of a running lab, and let its nodes sync",
		Long: `Make a running lab that of the files: its nodes get the rules that their kube-proxies write after such a change, and servers
come and go with the endpoints. Since v1.27 kube-proxy writes the chains of what changed and those that all Services share,
so what somebody else did to the others stays; with --full it writes all its rules anew, as it does from time to time.

The lab keeps its name, its backend, its nodes, its pods and its links. Files that would need others are refused, with the
first thing that is otherwise, and nothing is changed. kube-proxies go on in their mode where the files name none, and real
ones, of --kube-proxy, are of their release, whatever the files tell of the nodes.`,
		Args: noArgs,
	}
	in.add(cmd)
	name := named(cmd)
	cmd.Flags().BoolVar(&full, "full", false, "write all rules anew, and not only those of what changed")
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !in.given() {
			return usage(cmd, errors.New("-f is needed: what the lab is to become"))
		}
		c, err := p.cluster(&in, topology.Load)
		if err != nil {
			return err
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		done, err := l.Apply(cmd.Context(), c, lab.Sync(full))
		if err := joinClose(err, l); err != nil {
			return err
		}
		if format.value == "json" {
			return writeJSON(p.out, done)
		}
		_, err = fmt.Fprint(p.out, appliedText(l, done))
		return err
	}
	return cmd
}

// appliedText tells what an apply changed, the lab itself last.
func appliedText(l *lab.Lab, a lab.Applied) string {
	var b strings.Builder
	for _, list := range []struct {
		what string
		all  []string
	}{{"changed", a.Services}, {"started", a.Started}, {"stopped", a.Stopped}} {
		for _, one := range list.all {
			fmt.Fprintf(&b, "%s  %s\n", list.what, one)
		}
	}
	fmt.Fprintf(&b, "lab %s: %s changed, %s started, %d stopped\n", l.Name(), count(len(a.Services), "Service"), count(len(a.Started), "server"), len(a.Stopped))
	return b.String()
}
