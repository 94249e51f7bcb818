package main

import (
	"github.com/spf13/cobra"

	"natlab/lab"
)

// supervise is the process that serves a lab; up starts it.
func (p *program) supervise() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:    "supervise --name N",
		Short:  "Serve a lab: natlab up starts this",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return lab.Supervise(cmd.Context(), name) },
	}
	cmd.Flags().StringVar(&name, "name", "", "the lab's name")
	return cmd
}
