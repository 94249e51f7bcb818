package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/nftables"
)

// gatewayFlags are what the flags of gateway ask for.
type gatewayFlags struct {
	rules, rules6  string
	netns          string
	host, failOpen bool
	offload        bool
	queues         int
	apply          applyFlag
	own            ownNATFlags
	state          string
}

func (p *program) gateway() *cobra.Command {
	var g gatewayFlags
	cmd := &cobra.Command{
		Use:   "gateway --rules FILE [--rules6 FILE] [--netns NAME | --host] [--apply mark|payload] [--offload] [--queues N] [--fail-open] [--state FILE] [--nat NAME=VALUE,...] [--fault FAULT]",
		Short: "Translate and filter in a network namespace in place of its kernel",
		Long: `Be the NAT of a network namespace: the kernel routes, and hands each packet over at its hooks (NFQUEUE), where tables,
connection tracking and NAT are natlab's own, by saved rules that are not in the kernel, iptables' or nft's. It runs until it is interrupted,
and takes away what it made. Where it is killed, packets are dropped until it is started again, or with --fail-open pass
as they are.

With --state the connections are kept in a file, and what natlab made stays at the end: the next one that is started with the file takes over, and established
flows go on. With --offload packets of established flows that nobody needs to see pass in the kernel. --nat has ports given and packets let in as another NAT than Linux's does; which packets are translated is the rules'.`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&g.rules, "rules", "", "what iptables-save printed, ip6tables-save, or both, or nft list ruleset; - is standard input")
	f.StringVar(&g.rules6, "rules6", "", "what ip6tables-save printed, where --rules has IPv4's alone")
	f.StringVar(&g.netns, "netns", "", "the namespace, by its name in ip netns (default: the one that natlab is started in)")
	f.BoolVar(&g.host, "host", false, "translate in the machine's own namespace, where natlab is started there")
	addFailOpen(f, &g.failOpen)
	f.StringVar(&g.state, "state", "", "keep the connections in this file, and go on with those that it has")
	g.apply.add(f)
	addOffload(f, &g.offload)
	addQueues(f, &g.queues)
	g.own.add(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case g.rules == "" && g.rules6 == "":
			return usage(cmd, errors.New("--rules is missing: what the namespace is to obey"))
		case g.rules == "-" && g.rules6 == "-":
			return usage(cmd, errors.New("--rules and --rules6 are both -: standard input can be read only once"))
		case g.netns != "" && g.host:
			return usage(cmd, errors.New("--netns and --host exclude each other"))
		}
		if err := checkQueues(g.queues); err != nil {
			return usage(cmd, err)
		}
		return p.runGateway(cmd.Context(), g)
	}
	return cmd
}

func (p *program) runGateway(ctx context.Context, flags gatewayFlags) (err error) {
	sets, native, err := p.bothFamilies(flags)
	if err != nil {
		return err
	}
	ns, err := p.gatewayNamespace(flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	o := userspace.Options{Rules: sets, FailOpen: flags.failOpen, Apply: flags.apply.Apply, Offload: flags.offload, Queues: flags.queues, State: flags.state, Note: func(what string) { p.logf("%s", what) }}
	if o.Facts, err = p.gatewayFacts(ctx, ns, sets); err != nil {
		return err
	}
	o.Facts.NAT, o.Facts.NFT = flags.own.nat.NAT, native
	if o.Fault, err = userspace.ParseFault(flags.own.fault.value); err != nil {
		return err
	}
	g, err := userspace.Open(ns, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for _, note := range g.Notes() {
		p.logf("%s", note)
	}
	if err := p.tellGateway(g, flags, sets); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-g.Done():
	}
	_, err = fmt.Fprintf(p.out, "%s\n", g.Stats())
	return err
}

// tellGateway prints what is at work.
func (p *program) tellGateway(g *userspace.Gateway, flags gatewayFlags, sets map[nat.Family]gateway.Rules) error {
	name := flags.netns
	if name == "" {
		name = "this namespace"
	}
	broken := "dropped"
	if flags.failOpen {
		broken = "let pass as they are"
	}
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		if sets[family] == nil {
			continue
		}
		var hooks []string
		for _, h := range g.Feeds(family) {
			hooks = append(hooks, h.String())
		}
		if len(hooks) == 0 {
			hooks = []string{"no hook: its rules ask for nothing"}
		}
		if _, err := fmt.Fprintf(p.out, "%s: %s packets are handed over at %s, and rewritten by %s\n", name, family, strings.Join(hooks, ", "), g.Applies(family)); err != nil {
			return err
		}
	}
	end := "interrupt it to end the translation"
	if flags.state != "" {
		end = fmt.Sprintf("%s goes on from %s, and where it is interrupted the next one with that file goes on: nft delete table ip natlab-gateway ends it", count(g.Restored(), "connection"), flags.state)
	}
	if flags.offload {
		if err := p.tellOffload(g, name); err != nil {
			return err
		}
	}
	if n := flags.own.nat.NAT; n.Other() {
		if _, err := fmt.Fprintf(p.out, "%s: NAT with %s\n", name, n); err != nil {
			return err
		}
	}
	if f := flags.own.fault.value; f != "" {
		if _, err := fmt.Fprintf(p.out, "%s: NAT with the fault %s\n", name, f); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.out, "%s: packets are %s where natlab is slow, stopped or killed; %s\n", name, broken, end)
	return err
}

// bothFamilies reads the rules of both families. Where they are nft's, those of iptables are empty, of each family whose packets meet a base chain.
func (p *program) bothFamilies(flags gatewayFlags) (sets map[nat.Family]gateway.Rules, native nftables.Ruleset, err error) {
	sets = map[nat.Family]gateway.Rules{}
	if flags.rules != "" {
		kept, err := p.keptRules(flags.rules)
		if err != nil {
			return nil, native, fmt.Errorf("--rules: %w", err)
		}
		for _, rs := range kept.rules {
			sets[rs.Family] = append(sets[rs.Family], rs)
		}
		if native = kept.native; len(native.Tables) > 0 {
			return p.nativeFamilies(flags, native)
		}
	}
	if flags.rules6 != "" {
		all, err := p.savedRules(flags.rules6)
		if err != nil {
			return nil, native, fmt.Errorf("--rules6: %w", err)
		}
		for _, rs := range all {
			switch {
			case rs.Family != nat.IPv6:
				return nil, native, fmt.Errorf("--rules6: %s has rules of IPv4: give them by --rules", flags.rules6)
			case len(sets[nat.IPv6]) > 0:
				return nil, native, fmt.Errorf("--rules6: %s has rules of IPv6 already: leave one of them out", flags.rules)
			}
		}
		sets[nat.IPv6] = append(sets[nat.IPv6], all...)
	}
	return sets, native, nil
}

// nativeFamilies are those whose packets meet a base chain of nft's tables.
func (p *program) nativeFamilies(flags gatewayFlags, native nftables.Ruleset) (map[nat.Family]gateway.Rules, nftables.Ruleset, error) {
	if flags.rules6 != "" {
		return nil, native, fmt.Errorf("--rules6: %s has nft's rules of both families: leave --rules6 out", flags.rules)
	}
	sets := map[nat.Family]gateway.Rules{}
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		if slices.ContainsFunc(native.Tables, func(t nftables.Table) bool { return len(t.Bases(family)) > 0 }) {
			sets[family] = gateway.Rules{{Family: family}}
		}
	}
	if len(sets) == 0 {
		return nil, native, fmt.Errorf("--rules: %s has no base chain that a packet of IP meets: there is nothing to obey", flags.rules)
	}
	return sets, native, nil
}

// gatewayNamespace opens the namespace that is meant. The machine's own has to be asked for.
func (p *program) gatewayNamespace(flags gatewayFlags) (netns.Handle, error) {
	var ns netns.Handle
	var err error
	if flags.netns != "" {
		ns, err = netns.Open(flags.netns)
	} else {
		ns, err = netns.Current()
	}
	if err != nil {
		return ns, fmt.Errorf("gateway: %w", err)
	}
	id, err := ns.ID()
	machine, err1 := netns.Outermost()
	if err := errors.Join(err, err1); err != nil {
		return ns, errors.Join(fmt.Errorf("gateway: %w", err), ns.Close())
	}
	if id == machine && !flags.host {
		return ns, errors.Join(errors.New("gateway: this is the machine's own network namespace: name another by --netns, or give --host"), ns.Close())
	}
	return ns, nil
}

// gatewayFacts is what rules may ask of the kernel that a namespace does not tell. Rules that the namespace has itself are told on standard
// error: packets meet them, too.
func (p *program) gatewayFacts(ctx context.Context, ns netns.Handle, sets map[nat.Family]gateway.Rules) (f gateway.Facts, err error) {
	if f.Kernel, err = dataplane.Kernel(); err != nil {
		return f, err
	}
	saved, err := dataplane.DumpSets(ns)
	if err != nil {
		return f, err
	}
	if f.Sets, err = ipset.Parse(saved); err != nil {
		return f, err
	}
	for family := range sets {
		held, err := dataplane.DumpAll(ctx, ns, family)
		if err != nil {
			return f, err
		}
		for _, h := range held {
			n := 0
			for _, t := range h.Rules.Tables {
				for _, c := range t.Chains {
					n += len(c.Rules)
				}
			}
			if n > 0 {
				p.logf("the namespace has %s of its own (%s, %s): packets meet them, too", count(n, "rule"), h.Backend, family)
			}
		}
	}
	return f, nil
}
