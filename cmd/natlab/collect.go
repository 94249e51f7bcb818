package main

import (
	"io"

	"github.com/spf13/cobra"

	"natlab/topology/dump"
)

func (p *program) collect() *cobra.Command {
	var kubectl bool
	cmd := &cobra.Command{
		Use:   "collect [--kubectl]",
		Short: "Print a shell script that gathers what explain, audit and diff read of a node",
		Long: `Print a POSIX shell script that gathers what natlab reads of a node: rules of both backends, addresses, routes, rules of
routing, sysctls, sets, connection tracking, sockets. It needs nothing of natlab on the node, changes nothing, and notes what it could not
do. It prints a bundle, one text file, which --bundle of explain, audit and diff reads:

    natlab collect | ssh NODE sudo sh > NODE.bundle

With --kubectl it gathers the cluster's objects, for -f, wherever kubectl works: natlab collect --kubectl | sh > cluster.yaml`,
		Args: noArgs,
	}
	cmd.Flags().BoolVar(&kubectl, "kubectl", false, "the script for the cluster's objects, by kubectl")
	cmd.RunE = func(*cobra.Command, []string) error {
		script := dump.Script
		if kubectl {
			script = dump.ClusterScript
		}
		_, err := io.WriteString(p.out, script)
		return err
	}
	return cmd
}
