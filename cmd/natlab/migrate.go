package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/outcome"
	"natlab/nat"
	"natlab/nat/migrate"
	"natlab/topology"
)

// defaultSample is how many flows that end alike --prove asks.
const defaultSample = 100

// allowDocumented is the word of migrate's --allow.
const allowDocumented = "documented"

// migrateFlags are what the flags of migrate ask for.
type migrateFlags struct {
	in                      inputFlags
	from, to, allow, output *choice
	release                 *releaseFlag
	beside                  []string
	prove                   bool
	sample                  int
	limit                   time.Duration
}

func (p *program) migrate() *cobra.Command {
	modes := []string{topology.ModeIPTables, topology.ModeNFTables}
	m := migrateFlags{from: &choice{words: modes}, to: &choice{words: modes}, allow: &choice{words: []string{allowDocumented}}}
	cmd := &cobra.Command{
		Use:   "migrate [-f FILE]... [--from iptables|nftables] [--to nftables|iptables] [--release v1.37] [--prove]",
		Short: "Tell which flows end otherwise once kube-proxy runs in another mode, and what to do about it; no root",
		Long: `Predict every flow that a client of the cluster could ask, under the rules of kube-proxy's one mode and of its other, on all nodes, of both
families, and print those that end otherwise: each Service at each of its addresses and ports, by each kind of client, allowed or not, and what
nobody has: other ports, protocols and cluster IPs, pings, node ports at every address of a node and on localhost, segments out of a
connection's window, clients with session affinity after many others.

Each difference is of a class that is documented, with what changes, for whom and what an administrator does, or it is not documented.
Where other agents have rules in the nodes' iptables, such as a policy of FORWARD, --beside has iptables-save's text of a node, or of all.

With --prove, as root, the flows that differ and a sample of the others are asked of the kernel, in a lab of each mode.

The exit status is 1 where a flow worked and no longer does, or a difference is not documented, and 0 otherwise; with --allow documented it is 1
for what is not documented alone, and with --prove also where packets show otherwise than was predicted.`,
		Args: noArgs,
	}
	m.in.add(cmd)
	cmd.Flags().Var(m.from, "from", "the mode that is left (default: the cluster's, or the other one than --to)")
	cmd.Flags().Var(m.to, "to", "the mode to move to (default: the other one)")
	m.release = release(cmd)
	cmd.Flags().StringArrayVar(&m.beside, "beside", nil, "what iptables-save or ip6tables-save printed on NODE, or on every other node; [NODE=]FILE; may be repeated")
	cmd.Flags().Var(m.allow, "allow", "documented: what is documented is no failure")
	m.output = output(cmd, "text", "json")
	cmd.Flags().BoolVar(&m.prove, "prove", false, "ask the flows that differ, and some that do not, of the kernel in a lab of each mode; as root")
	cmd.Flags().IntVar(&m.sample, "sample", defaultSample, "with --prove: how many of the flows that end alike are asked")
	timeout(cmd, &m.limit)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case m.prove && len(m.beside) > 0:
			return usage(cmd, errors.New("--prove and --beside exclude each other: a lab's nodes have kube-proxy's rules alone"))
		case m.sample < 0:
			return usage(cmd, fmt.Errorf("--sample %d: want 0 or more", m.sample))
		case m.prove && m.limit < 0:
			return usage(cmd, fmt.Errorf("--timeout %s: want 0 or more", m.limit))
		case m.prove:
			return p.runMigrate(cmd, m)
		}
		m.sample = 0
		return within(m.limit, func() error { return p.runMigrate(cmd, m) })
	}
	return cmd
}

// runMigrate is the command behind its flags.
func (p *program) runMigrate(cmd *cobra.Command, m migrateFlags) error {
	c, err := p.cluster(&m.in, topology.Load)
	if err != nil {
		return err
	}
	o := migrate.Options{Release: m.release.value, Sample: m.sample}
	o.From, o.To = m.modes(c)
	if o.From == o.To {
		return usage(cmd, fmt.Errorf("from %s to %s: want two modes", o.From, o.To))
	}
	if o.Beside, err = p.rulesBeside(c, m.beside); err != nil {
		return err
	}
	r, err := migrate.Check(c, o)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if m.prove {
		if err := p.showMove(cmd.Context(), c, o, &r, m.limit); err != nil {
			return err
		}
	}
	if m.output.value == "json" {
		err = writeJSON(p.out, r)
	} else {
		err = r.Text(p.out, p.style().Width)
	}
	if err == nil && (r.Undocumented() > 0 || r.Otherwise() > 0 || r.Broken() > 0 && m.allow.value != allowDocumented) {
		return errDiffers
	}
	return err
}

// How long a lab's client waits for an answer: where one has to come, and where none may, as long as a SYN that is sent again twice.
const (
	answerWithin = 30 * time.Second
	silentFor    = 5 * time.Second
)

// showMove asks a report's flows in a lab of each mode.
func (p *program) showMove(ctx context.Context, c topology.Cluster, o migrate.Options, r *migrate.Report, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	c, err := migrate.Cluster(c, o)
	if err != nil {
		return err
	}
	flows := r.Askable()
	var seen [2][]migrate.Sight
	for i, mode := range []string{o.From, o.To} {
		wait := func(k int) time.Duration {
			if migrate.Silent([][]migrate.Ending{flows[k].From, flows[k].To}[i]) {
				return silentFor
			}
			return answerWithin
		}
		c.KubeProxy.Mode = ""
		if mode == topology.ModeNFTables {
			c.KubeProxy.Mode = mode
		}
		if seen[i], err = p.sights(ctx, c, flows, wait); err != nil {
			return fmt.Errorf("migrate: a lab of %s mode: %w", mode, err)
		}
	}
	r.Show(seen[0], seen[1])
	return nil
}

// sights asks flows in a lab of its own.
func (p *program) sights(ctx context.Context, c topology.Cluster, flows []*migrate.Difference, wait func(int) time.Duration) (out []migrate.Sight, err error) {
	c.Name = ownName(c.Name)
	l, err := lab.Up(ctx, c, lab.Options{Progress: p.progress()})
	if err != nil {
		return nil, err
	}
	defer func() { err = joinClose(err, l) }()
	probes := make([]nat.Probe, len(flows))
	for i, d := range flows {
		probes[i] = d.Probe()
	}
	all, err := outcome.Ask(ctx, l, probes, wait)
	for _, s := range all {
		out = append(out, migrate.Sight{End: s.End, Endpoint: s.Endpoint, As: s.As, Barred: s.Barred})
	}
	return out, err
}

// modes are those that are meant for a cluster.
func (m *migrateFlags) modes(c topology.Cluster) (from, to string) {
	other := map[string]string{topology.ModeIPTables: topology.ModeNFTables, topology.ModeNFTables: topology.ModeIPTables}
	from = cmp.Or(m.from.value, other[m.to.value], c.KubeProxy.Mode, topology.ModeIPTables)
	return from, cmp.Or(m.to.value, other[from])
}

// rulesBeside reads what other agents have on the nodes.
func (p *program) rulesBeside(c topology.Cluster, files []string) (migrate.Beside, error) {
	out := migrate.Beside{}
	for _, file := range files {
		node := ""
		if name, rest, named := strings.Cut(file, "="); named {
			if node, file = name, rest; node == "" {
				return nil, fmt.Errorf("--beside =%s: want NODE=FILE, or FILE alone for every node", file)
			}
			if _, known := c.Node(node); !known {
				return nil, fmt.Errorf("--beside %s=%s: the cluster has no node %q", node, file, node)
			}
		}
		rs, err := p.savedRules(file)
		if err != nil {
			return nil, fmt.Errorf("--beside: %w", err)
		}
		out[node] = append(out[node], rs...)
	}
	return out, nil
}
