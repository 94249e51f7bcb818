package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"natlab/lab/verify"
	"natlab/nat/proof"
)

func (p *program) replay() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "replay DIR [--strict] [--service NS/NAME[:PORT]] [--from CLIENT] [--to ADDRESS[:PORT]] [-o text|json|junit|mermaid|html|svg|pcapng]",
		Short: "Judge a recorded run again, without a kernel",
		Long: `Judge a run again that natlab verify --record DIR kept: each flow is predicted anew from the recorded lab and rules, and held
against what was seen then. It needs no root, no kernel and no lab. Exit status as of natlab verify.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, errors.New("want one directory: that of natlab verify --record"))
			}
			return nil
		},
	}
	v.selecting(cmd)
	cmd.Flags().BoolVar(&v.strict, "strict", false, "ask for kube-proxy's own rules too, whatever the run did")
	v.format = proofForms(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if v.brief && v.draw {
			return usage(cmd, errors.New("--brief and --draw exclude each other"))
		}
		if err := p.binary(v.format); err != nil {
			return usage(cmd, err)
		}
		found, err := verify.Replay(args[0], v.strict)
		if err != nil {
			return p.nothingRan(v.format, "natlab.replay", err)
		}
		if v.only != (proof.Selector{}) {
			found.Flows = slices.DeleteFunc(found.Flows, func(c proof.Certificate) bool { return !v.only.Takes(c.Flow) })
			if len(found.Flows) == 0 {
				return p.nothingRan(v.format, "natlab.replay", fmt.Errorf("recording %s has no flow%s", args[0], selection(v.only)))
			}
		}
		return p.reported(found, v)
	}
	return cmd
}
