package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/verify"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/report"
)

func (p *program) ask() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "ask CLIENT PROTOCOL ADDRESS:PORT [--name N] [-o text|json|junit|mermaid|html|svg|pcapng]",
		Short: "Ask any address of a running lab, and draw the way of the exchange",
		Long: `Ask an address from a node, a pod (NAMESPACE/NAME) or an outside client of a running lab by tcp, udp or sctp, be it a Service's
or not, and draw the way of the request and of the answer, hop by hop, with the rules that both met. It is proved where they
went as the nodes' own rules, routes and sysctls have it, whoever wrote these and however it ended: natlab verify holds the
Services against what their objects call for.

Where chance decides who answers, it asks until everybody did who may. Exit status 1 means that the exchange is disproved, or
that too little was seen of it.`,
		Args: askArgs,
	}
	name := named(cmd)
	format := proofForms(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take; 0 for as long as it takes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		proto, target, err := askWords(args)
		if err != nil {
			return usage(cmd, err)
		}
		if timeout < 0 {
			return usage(cmd, fmt.Errorf("--timeout %s: want 0 or more", timeout))
		}
		if err := p.binary(format); err != nil {
			return usage(cmd, err)
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return p.nothingRan(format, "natlab.ask", err)
		}
		found, err := p.exchange(cmd.Context(), l, verify.Options{AsIs: true, WithoutControl: true, Timeout: timeout, Keep: format.value == formPcapng}, args[0], proto, target)
		if err := joinClose(err, l); err != nil {
			return p.nothingRan(format, "natlab.ask", err)
		}
		if err := p.printReport(found, format.value, report.DrawAll); err != nil {
			return err
		}
		if found.Outcome() != proof.Proved {
			return errDiffers
		}
		return nil
	}
	return cmd
}

// exchange has it asked.
func (p *program) exchange(ctx context.Context, l *lab.Lab, o verify.Options, client string, proto nat.Proto, target netip.AddrPort) (proof.Report, error) {
	flow, err := verify.Exchange(l, client, proto, target)
	if err != nil {
		return proof.Report{}, err
	}
	o.Flows = []proof.Flow{flow}
	found, err := verify.Lab(ctx, l, o)
	found.Coverage = proof.Coverage{} // what one flow does not meet is no news
	return found, err
}

// formPcapng is the form of a proof that has its packets byte for byte.
const formPcapng = "pcapng"

// proofForms adds -o with the forms of a proof.
func proofForms(cmd *cobra.Command) *choice {
	return output(cmd, "text", "json", "junit", "mermaid", "html", "svg", formPcapng)
}

// binary refuses a form that is no text where a person would have to look at it.
func (p *program) binary(format *choice) error {
	if format.value == formPcapng && terminal(p.out) {
		return errors.New("-o pcapng is no text: redirect it to a file, or to tshark -r -")
	}
	return nil
}

// printReport writes a report in one of the forms.
func (p *program) printReport(found proof.Report, format string, d report.Detail) error {
	switch format {
	case "json":
		return report.JSON(p.out, found)
	case "junit":
		return report.JUnit(p.out, found, p.junitRun())
	case formPcapng:
		return report.Pcapng(p.out, found)
	case "html":
		return report.HTML(p.out, found, d)
	case "mermaid":
		return report.Mermaid(p.out, found, d)
	case "svg":
		return report.SVG(p.out, found, d)
	}
	return report.Text(p.out, found, d, p.style())
}

// askArgs wants three words.
func askArgs(cmd *cobra.Command, args []string) error {
	missing := []string{"CLIENT", "PROTOCOL", "ADDRESS:PORT"}
	switch {
	case len(args) < len(missing):
		return usage(cmd, fmt.Errorf("%s is needed: who asks, by what, and which address", missing[len(args)]))
	case len(args) > len(missing):
		return usage(cmd, fmt.Errorf("unexpected argument %q", args[len(missing)]))
	}
	return nil
}

func askWords(args []string) (nat.Proto, netip.AddrPort, error) {
	proto, err := nat.ParseProto(args[1])
	if err != nil || proto != nat.TCP && proto != nat.UDP && proto != nat.SCTP {
		return 0, netip.AddrPort{}, fmt.Errorf("protocol %q: want tcp, udp or sctp", args[1])
	}
	target, err := netip.ParseAddrPort(args[2])
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("address %q: want ADDRESS:PORT, such as 10.96.0.10:53", args[2])
	}
	return proto, target, nil
}
