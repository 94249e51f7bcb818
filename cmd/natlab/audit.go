package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/nat"
	"natlab/nat/audit"
	"natlab/nat/bundle"
	"natlab/nat/iptables"
	"natlab/nat/kubeproxy"
	"natlab/nat/view"
	"natlab/topology"
)

// auditFlags are what the flags of audit ask for.
type auditFlags struct {
	in              inputFlags
	name            string
	all             bool
	as, bundle      []string
	backend, output *choice
	release         *releaseFlag
}

func (p *program) audit() *cobra.Command {
	a := auditFlags{
		backend: &choice{words: []string{string(dataplane.Legacy), string(dataplane.NFT)}},
	}
	cmd := &cobra.Command{
		Use:   "audit [NODE|--all] [--name N] [--as VERSION]... | audit -f FILE... [NODE | --bundle NODE=FILE...]",
		Short: "Compare what kube-proxy would have written with what the kernel holds",
		Long: `Compare what kube-proxy would have written for a node with what the kernel holds, in both backends of iptables, in
kube-proxy's table of nftables mode and in connection tracking, and find what other programs' rules, of iptables or nft, drop or translate of what
comes for Services. Each finding names what is wrong, what it does to packets, the issue that tells of it, and the
remedy. Nothing is changed.

Without -f it audits nodes of a lab: the one that is named, or all. With -f it audits this machine as the node that is
named (default: this machine's host name). With --bundle it audits the nodes from what the script of natlab collect printed on each, without
root.

Exit status 1 means that something was found.`,
	}
	a.in.add(cmd)
	f := cmd.Flags()
	f.StringVar(&a.name, "name", "", "the lab's name (default: the one that is up)")
	f.BoolVar(&a.all, "all", false, "all nodes of the lab")
	f.StringArrayVar(&a.bundle, "bundle", nil, "NODE=FILE, or FILE of a node by its own name: what the script of natlab collect printed on a node of the cluster (-f); may be repeated")
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
	switch {
	case len(a.bundle) > 0 && (!a.in.given() || len(args) > 0):
		return usage(cmd, errors.New("--bundle tells the node itself, and -f its cluster: want both, and no NODE"))
	case len(a.bundle) > 0:
		run = p.auditBundles
	case a.in.given():
		run = p.auditMachine
	}
	r, err := run(cmd, a, o, args)
	if err != nil {
		return err
	}
	if err := p.writeAudit(r, a.output.value); err != nil {
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

// auditBundles audits nodes from their bundles.
func (p *program) auditBundles(_ *cobra.Command, a auditFlags, o inspect.Options, _ []string) (auditReport, error) {
	c, err := p.cluster(&a.in, topology.LoadForRules)
	if err != nil {
		return auditReport{}, err
	}
	var r auditReport
	for _, text := range a.bundle {
		n, err := p.readBundle(text)
		if err != nil {
			return auditReport{}, err
		}
		if _, known := c.Node(n.Name); !known {
			return auditReport{}, fmt.Errorf("--bundle %s: the cluster has no node %q: want NODE=FILE", text, n.Name)
		}
		found, err := auditBundle(c, n, o)
		if err != nil {
			return auditReport{}, err
		}
		r.Nodes, r.Findings = append(r.Nodes, n.Name), append(r.Findings, found...)
	}
	return r, nil
}

// auditBundle compares a node's bundle with what kube-proxy would have written, for both families as far as the node has rules of them.
func auditBundle(c topology.Cluster, n *bundle.Node, o inspect.Options) (found []audit.Finding, err error) {
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		one := audit.Node{
			Cluster: c, Name: n.Name, Backend: string(o.Backend), Tools: o.Tools, Native: n.Facts.NFT, Untold: n.UntoldRules(family),
			Options: kubeproxy.Options{Release: o.Release, Family: family, NodeAddresses: n.Addresses},
			Bridged: audit.Bridged(c, n.Namespace), Namespace: n.Namespace,
		}
		if s, ok := n.Dump.Section("sysctl"); ok && s.OK() {
			one.Sysctls = n.Namespace.Sysctls
		}
		for _, e := range n.Facts.Entries {
			one.Conns = append(one.Conns, nat.Conn{Node: n.Name, Original: e.Original, Reply: e.Reply, Status: e.Status, Mark: e.Mark})
		}
		for _, h := range n.Held {
			held := audit.Held{Backend: h.Backend, Rules: iptables.Ruleset{Family: family}}
			for _, rs := range h.Rulesets {
				if rs.Family == family {
					held.Rules = rs
				}
			}
			one.Held = append(one.Held, held)
		}
		if family == nat.IPv6 && !slices.ContainsFunc(c.Services, func(s topology.Service) bool { return slices.ContainsFunc(s.ClusterIPs, netip.Addr.Is6) }) {
			continue
		}
		if what := one.Infer(); what != "" && o.Note != nil {
			o.Note(what)
		}
		more, err := audit.Check(one)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// auditLab audits one node of a lab, or all.
func (p *program) auditLab(cmd *cobra.Command, a auditFlags, o inspect.Options, args []string) (r auditReport, err error) {
	l, err := open(cmd.Context(), a.name)
	if err != nil {
		return auditReport{}, err
	}
	defer func() { err = joinClose(err, l) }()
	if l.Backend() == dataplane.Userspace {
		return auditReport{}, fmt.Errorf("audit: lab %s is up with --dataplane userspace: its nodes' kernels hold no rules; natlab verify proves it", l.Name())
	}
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

func (p *program) writeAudit(r auditReport, form string) error {
	if form == "json" {
		if r.Findings == nil {
			r.Findings = []audit.Finding{}
		}
		return writeJSON(p.out, r)
	}
	for _, f := range r.Findings {
		if _, err := io.WriteString(p.out, p.fit(f.String()+"\n")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.out, "%s audited, %s\n", plural(len(r.Nodes), "node"), plural(len(r.Findings), "finding"))
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
