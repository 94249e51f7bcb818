package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
)

func (p *program) down() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down [--name N | --all]",
		Short: "Take a lab away, whatever state it is in",
		Args:  noArgs,
	}
	name := named(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "take every lab away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if all && *name != "" {
			return usage(cmd, errors.New("--name and --all exclude each other"))
		}
		if all {
			return lab.DownAll(cmd.Context())
		}
		which, err := pick(*name)
		if err != nil {
			return err
		}
		if which != "" {
			err = lab.Down(cmd.Context(), which)
		}
		if which == "" || errors.Is(err, lab.ErrNoLab) { // as wanted, and worth a word where the name was mistyped
			p.logf("%s", strings.TrimSpace("there is no lab "+which))
			return nil
		}
		return err
	}
	return cmd
}
