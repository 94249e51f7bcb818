package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/nat/audit"
	"natlab/nat/view"
	"natlab/topology"
)

// auditFlags are what the flags of audit ask for.
type auditFlags struct {
	in              inputFlags
	name            string
	all             bool
	as              []string
	backend, output *choice
	release         *releaseFlag
}

func (p *program) audit() *cobra.Command {
	a := auditFlags{
		backend: &choice{words: []string{string(dataplane.Legacy), string(dataplane.NFT)}},
	}
	cmd := &cobra.Command{
		Use:   "audit [NODE|--all] [--name N] [--as VERSION]... | audit -f FILE... [NODE]",
		Short: "Compare what kube-proxy would have written with what the kernel holds",
		Long: `Compare what kube-proxy would have written for a node with what the kernel holds, in both backends of iptables and in
connection tracking. Each finding names what is wrong, what it does to packets, the issue that tells of it, and the
remedy. Nothing is changed.

Without -f it audits nodes of a lab: the one that is named, or all. With -f it audits this machine as the node that is
named (default: this machine's host name).

Exit status 1 means that something was found.`,
	}
	a.in.add(cmd)
	f := cmd.Flags()
	f.StringVar(&a.name, "name", "", "the lab's name (default: the one that is up)")
	f.BoolVar(&a.all, "all", false, "all nodes of the lab")
	f.StringArrayVar(&a.as, "as", nil, "a version of iptables that is used on the nodes; may be repeated (the installed one is always looked at)")
	f.Var(a.backend, "backend", "the backend that kube-proxy writes with (default: the lab's, or the one with its chains)")
	a.release = release(cmd)
	a.output = output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.runAudit(cmd, a, args) }
	return cmd
}

func (p *program) runAudit(cmd *cobra.Command, a auditFlags, args []string) error {
	if len(args) > 1 {
		return usage(cmd, fmt.Errorf("unexpected argument %q", args[1]))
	}
	if a.all && (len(args) > 0 || a.in.given()) {
		return usage(cmd, errors.New("--all is for the nodes of a lab, and instead of a NODE"))
	}
	o := inspect.Options{
		Backend: dataplane.Backend(a.backend.value), Release: a.release.value, Note: func(what string) { p.logf("%s", what) },
	}
	for _, s := range a.as {
		v, err := view.ParseVersion(s)
		if err != nil {
			return usage(cmd, fmt.Errorf("--as: %w", err))
		}
		o.Tools = append(o.Tools, v)
	}
	run := p.auditLab
	if a.in.given() {
		run = p.auditMachine
	}
	r, err := run(cmd, a, o, args)
	if err != nil {
		return err
	}
	if err := r.write(p.out, a.output.value); err != nil {
		return err
	}
	if len(r.Findings) > 0 {
		return errDiffers
	}
	return nil
}

// auditMachine audits the machine that natlab runs on.
func (p *program) auditMachine(cmd *cobra.Command, a auditFlags, o inspect.Options, args []string) (auditReport, error) {
	c, err := p.cluster(&a.in, topology.LoadForRules)
	if err != nil {
		return auditReport{}, err
	}
	node, err := os.Hostname()
	if len(args) > 0 {
		node, err = args[0], nil
	}
	if err != nil {
		return auditReport{}, err
	}
	found, err := inspect.AuditMachine(cmd.Context(), c, node, o)
	return auditReport{Nodes: []string{node}, Findings: found}, err
}

// auditLab audits one node of a lab, or all.
func (p *program) auditLab(cmd *cobra.Command, a auditFlags, o inspect.Options, args []string) (r auditReport, err error) {
	l, err := open(cmd.Context(), a.name)
	if err != nil {
		return auditReport{}, err
	}
	defer func() { err = joinClose(err, l) }()
	r = auditReport{Lab: l.Name(), Nodes: l.Nodes()}
	if len(args) > 0 {
		r.Nodes = args
	}
	if o.Lab = true; o.Backend == "" {
		o.Backend = l.Backend()
	}
	for _, node := range r.Nodes {
		h, err := l.Handle(node)
		if err != nil {
			return auditReport{}, err
		}
		found, err := inspect.Audit(cmd.Context(), h, l.Cluster(), node, o)
		if err != nil {
			return auditReport{}, err
		}
		r.Findings = append(r.Findings, found...)
	}
	return r, nil
}

// auditReport is what audit -o json prints.
type auditReport struct {
	Lab      string          `json:"lab,omitempty"`
	Nodes    []string        `json:"nodes"`
	Findings []audit.Finding `json:"findings"`
}

func (r auditReport) write(w io.Writer, form string) error {
	if form == "json" {
		if r.Findings == nil {
			r.Findings = []audit.Finding{}
		}
		return writeJSON(w, r)
	}
	for _, f := range r.Findings {
		if _, err := io.WriteString(w, f.String()+"\n"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s audited, %s\n", plural(len(r.Nodes), "node"), plural(len(r.Findings), "finding"))
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
