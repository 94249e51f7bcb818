package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat"
)

// describedEntry is an element of conntrack -o json.
type describedEntry struct {
	nat.Entry
	Decoded string `json:"decoded"` // what was done to it, as extended has it
}

func described(all []nat.Entry) []describedEntry {
	out := make([]describedEntry, len(all))
	for i, e := range all {
		out[i] = describedEntry{e, e.Decoded()}
	}
	return out
}

func (p *program) conntrack() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conntrack NODE [--name N] [-o text|json|extended]",
		Short: "List the connections of a node of a lab, whoever tracks them",
		Long: `List the connection tracking entries of a node, or of any other member of a lab, in the form of conntrack -L: those of its
kernel, or where the lab is up with --dataplane userspace those of its gateway. extended tells behind each what was done to it, json has both in fields.`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return usage(cmd, errors.New("no node given"))
			case 1:
				return nil
			}
			return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
		},
	}
	name := named(cmd)
	form := output(cmd, "text", "json", "extended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		all, err := l.Entries(args[0])
		if err := joinClose(err, l); err != nil {
			return err
		}
		if form.value == "json" {
			return writeJSON(p.out, described(all))
		}
		var b strings.Builder
		for _, e := range all {
			if b.WriteString(e.String()); form.value == "extended" {
				b.WriteString("  # " + e.Decoded())
			}
			b.WriteByte('\n')
		}
		_, err = fmt.Fprint(p.out, b.String())
		return err
	}
	return cmd
}
