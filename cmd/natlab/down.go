package main

import (
	"errors"

	"github.com/spf13/cobra"

	"natlab/lab"
)

func (p *program) down() *cobra.Command {
	var all, dead bool
	cmd := &cobra.Command{
		Use:   "down [--name N | --all | --dead]",
		Short: "Take a lab away, whatever state it is in",
		Args:  noArgs,
	}
	name := named(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "take every lab away, and what tests left behind that have ended")
	cmd.Flags().BoolVar(&dead, "dead", false, "take away what programs and tests left behind that have ended, and nothing that runs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case all && *name != "":
			return usage(cmd, errors.New("--name and --all exclude each other"))
		case dead && (all || *name != ""):
			return usage(cmd, errors.New("--dead excludes --name and --all"))
		case dead:
			return lab.DownDead(cmd.Context())
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
			p.logf("%s", noLab(which))
			return nil
		}
		return err
	}
	return cmd
}
