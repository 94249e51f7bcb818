package main

import (
	"io"

	"github.com/spf13/cobra"

	"natlab/topology"
)

func (p *program) plan() *cobra.Command {
	var in inputFlags
	cmd := &cobra.Command{
		Use:   "plan [-f FILE]... [-o text|json|mermaid]",
		Short: "Print the lab of a cluster without building it: namespaces, links, addresses, routes; no root",
		Args:  noArgs,
	}
	in.add(cmd)
	format := output(cmd, "text", "json", "mermaid")
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := p.cluster(&in, topology.Load)
		if err != nil {
			return err
		}
		plan, err := topology.NewPlan(c)
		if err != nil {
			return err
		}
		switch format.value {
		case "json":
			return writeJSON(p.out, plan)
		case "mermaid":
			_, err = io.WriteString(p.out, plan.Mermaid())
		default:
			err = plan.Write(p.out)
		}
		return err
	}
	return cmd
}
