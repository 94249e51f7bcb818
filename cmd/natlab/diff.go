package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/gateway"
)

func (p *program) diff() *cobra.Command {
	var in inputFlags
	var node nodeFlags
	cmd := &cobra.Command{
		Use:   "diff A B [-f FILE]... [--node NODE | --address DEVICE=PREFIX... --route ROUTE...]",
		Short: "Tell for which packets two saved rule sets have different outcomes; no root",
		Long: `Follow packets, and the answers to them, through a node that holds the rule set A, and through the same node with B, and print
one packet for each pair of rules at which their ways part: how it ends with either. A and B are what iptables-save
printed; - is standard input. The packets are made of what the rules of both ask for, from each kind of source.

The exit status is 0 where no outcome differs and 1 where one does.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(cmd, fmt.Errorf("want two rule sets, got %d", len(args)))
			}
			return nil
		},
	}
	in.add(cmd)
	node.add(cmd)
	format := output(cmd, "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		ns, _, err := p.place(&in, &node)
		if err != nil {
			return err
		}
		var sets [2]gateway.Rules
		for i, file := range args {
			rs, err := p.savedRules(file)
			if err != nil {
				return err
			}
			sets[i] = rs
		}
		facts, err := p.facts(&node, ns)
		if err != nil {
			return err
		}
		all, tried, err := gateway.Differences(ns, sets[0], sets[1], facts)
		if err != nil {
			return fmt.Errorf("diff: %w", err)
		}
		if err := p.printDifferences(all, tried, format.value); err != nil {
			return err
		}
		if len(all) > 0 {
			return errDiffers
		}
		return nil
	}
	return cmd
}

func (p *program) printDifferences(all []gateway.Difference, tried int, format string) error {
	if format == "json" {
		if all == nil {
			all = []gateway.Difference{}
		}
		return writeJSON(p.out, all)
	}
	var b strings.Builder
	differ := 0
	for i, d := range all {
		differ += d.Alike
		from := "from the node itself"
		if d.Packet.In != "" {
			from = "in by " + d.Packet.In
		}
		fmt.Fprintf(&b, "%d. %s %s", i+1, d.Packet.Tuple, from)
		if d.Alike > 1 {
			fmt.Fprintf(&b, ", and %d packets like it", d.Alike-1)
		}
		b.WriteByte('\n')
		for _, side := range []struct {
			name string
			ways nat.Prediction
			part *nat.Step
		}{{"A", d.A, d.PartA}, {"B", d.B, d.PartB}} {
			for k, o := range side.ways {
				name := side.name
				if k > 0 {
					name = " "
				}
				fmt.Fprintf(&b, "   %s  %-6.4g %s\n", name, o.Probability, o.Summary())
			}
			fmt.Fprintf(&b, "      diverges at %s\n", partText(side.part))
		}
	}
	if differ == 0 {
		fmt.Fprintf(&b, "%d packets tried: no outcome differs\n", tried)
	} else {
		fmt.Fprintf(&b, "%d packets tried: the outcomes of %d differ; diverging rules: %d\n", tried, differ, len(all))
	}
	_, err := fmt.Fprint(p.out, b.String())
	return err
}

// partText is a rule with its place.
func partText(s *nat.Step) string {
	switch {
	case s == nil:
		return "the end of the way"
	case s.Rule == 0:
		return fmt.Sprintf("%s %s: %s", s.Table, s.Chain, s.Why)
	}
	return fmt.Sprintf("%s %s:%d (line %d): %s", s.Table, s.Chain, s.Rule, s.Line, s.Text)
}
