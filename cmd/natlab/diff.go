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
	var e explainFlags
	node := &e.node
	cmd := &cobra.Command{
		Use:   "diff A B [-f FILE]... [--node NODE | --bundle FILE | --address DEVICE=PREFIX... --route ROUTE...]",
		Short: "Tell for which packets two saved rule sets have different outcomes, or what two bundles tell otherwise; no root",
		Long: `Follow packets, and the answers to them, through a node that holds the rule set A, and through the same node with B, and print
one packet for each pair of rules at which their ways part: how it ends with either. A and B are what iptables-save
printed; - is standard input. The packets are made of what the rules of both ask for, from each kind of source. --bundle takes the node
from what the script of natlab collect printed on it.

Where A and B are bundles of a node, from two times, it prints what they tell otherwise: rules, routes, rules of routing, sysctls, sets, addresses,
devices, sockets, and connections that are translated otherwise.

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
	cmd.Flags().StringArrayVar(&e.bundle, "bundle", nil, "the node that the rules are held by: what the script of natlab collect printed on it")
	format := output(cmd, "text", "json")
	timeout(cmd, &e.limit)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		e.in = in
		return within(e.limit, func() error { return p.runDiff(&e, args, format.value) })
	}
	return cmd
}

// runDiff is the command behind its flags.
func (p *program) runDiff(e *explainFlags, args []string, format string) error {
	if done, err := p.diffBundles(args, format); done {
		return err
	}
	one, err := p.oneNode(e)
	if err != nil {
		return err
	}
	ns, facts := one.Namespace, one.Facts
	facts.Entries = nil // of packets that begin a connection
	var sets [2]gateway.Rules
	for i, file := range args {
		rs, err := p.savedRules(file)
		if err != nil {
			return err
		}
		sets[i] = rs
	}
	all, tried, err := gateway.Differences(ns, sets[0], sets[1], facts)
	if err != nil {
		return fmt.Errorf("diff: %w", err)
	}
	if err := p.printDifferences(all, tried, format); err != nil {
		return err
	}
	if len(all) > 0 {
		return errDiffers
	}
	return nil
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
	_, err := fmt.Fprint(p.out, printable(b.String()))
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
