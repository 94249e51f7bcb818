package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"natlab/lab/watch"
	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/report"
)

func (p *program) watch() *cobra.Command {
	var o watch.Options
	var draw bool
	cmd := &cobra.Command{
		Use:   "watch [NODE...] [--name N] [-o text|json] [--proto P] [--src A] [--dst A] [--dport N] [--family ipv4|ipv6] [--count N] [--timeout T] [--draw]",
		Short: "Show the flows of a running lab as they pass, whoever sends them",
		Long: `Show the flows that pass through a lab's nodes, or through some of them, each when it has come to its end, or is known to have
none yet: who asks whom, what became of it, the chains that its first packet met in each node, what was translated, and its connection
tracking entries. A connection that goes on is told of after a second, and again at its end; a packet that nobody answers after three.

It takes copies of the packets that open and refuse connections, and one of each flow of datagrams a second: no packet waits for it.
Connections that were made before are not told of. A lab is watched by one at a time: natlab verify and natlab ask watch it, too.

Ctrl-C, --timeout and --count end it with exit status 0; where the lab is taken away it is 2.`,
		Args: cobra.ArbitraryArgs,
	}
	name := named(cmd)
	form := output(cmd, "text", "json")
	var by filter
	by.add(cmd)
	family := &choice{words: []string{nat.IPv4.String(), nat.IPv6.String()}}
	cmd.Flags().Var(family, "family", "whose flows (default: the one that the lab's network has first)")
	cmd.Flags().IntVar(&o.Count, "count", 0, "end after so many flows; 0 for no end")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 0, "end after so long; 0 for no end")
	cmd.Flags().BoolVar(&draw, "draw", false, "draw both ways hop by hop, with each rule")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case o.Timeout < 0:
			return usage(cmd, fmt.Errorf("--timeout %s: want 0 or more", o.Timeout))
		case o.Count < 0:
			return usage(cmd, fmt.Errorf("--count %d: want 0 or more", o.Count))
		}
		if err := by.read(); err != nil {
			return usage(cmd, err)
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		detail := report.Brief
		if draw {
			detail = report.DrawAll
		}
		o.Family, o.Nodes, o.Match = familyOf(family.value, l.Families()[0]), args, by.match
		o.Ready = func() { p.logf("watching lab %s since %s", l.Name(), time.Now().Format("15:04:05.000")) }
		result, err := watch.Lab(cmd.Context(), l, o, func(f live.Flow) error {
			if form.value == "json" {
				return report.LiveJSON(p.out, f)
			}
			return report.Live(p.out, f, detail, p.style())
		})
		if result.Lost > 0 {
			p.logf("the kernel could not deliver %d events: what is told may lack something", result.Lost)
		}
		return joinClose(err, l)
	}
	return cmd
}

// familyOf is the family of that name; "" is the usual one.
func familyOf(name string, usual nat.Family) nat.Family {
	for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
		if f.String() == name {
			return f
		}
	}
	return usual
}

// filter chooses flows, as the options of conntrack -L choose entries.
type filter struct {
	proto, src, dst string
	port            uint16
	number          nat.Proto // of proto
	from, to        netip.Prefix
}

func (f *filter) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.proto, "proto", "p", "", "flows of this protocol alone: tcp, udp, icmp")
	cmd.Flags().StringVarP(&f.src, "src", "s", "", "flows from this address or network alone")
	cmd.Flags().StringVarP(&f.dst, "dst", "d", "", "flows to this address or network alone, as the client asks or as it was translated")
	cmd.Flags().Uint16Var(&f.port, "dport", 0, "flows to this port alone, as the client asks or as it was translated; 0 for any")
}

// read reads what was given as words.
func (f *filter) read() (err error) {
	if f.proto != "" {
		if f.number, err = nat.ParseProto(f.proto); err != nil {
			return fmt.Errorf("--proto: %w", err)
		}
	}
	for _, one := range []struct {
		flag, word string
		into       *netip.Prefix
	}{{"src", f.src, &f.from}, {"dst", f.dst, &f.to}} {
		if one.word == "" {
			continue
		}
		if a, err := netip.ParseAddr(one.word); err == nil {
			*one.into = netip.PrefixFrom(a, a.BitLen())
			continue
		}
		if *one.into, err = netip.ParsePrefix(one.word); err != nil {
			return fmt.Errorf("--%s %q: want an address, or a network such as 10.244.0.0/16", one.flag, one.word)
		}
	}
	return nil
}

func (f *filter) match(flow live.Flow) bool {
	in := func(p netip.Prefix, all ...netip.Addr) bool {
		return !p.IsValid() || slices.ContainsFunc(all, p.Contains)
	}
	return (f.proto == "" || flow.Protocol == f.number) && in(f.from, flow.Source.Addr()) &&
		in(f.to, flow.Target.Addr(), flow.Endpoint.Addr()) &&
		(f.port == 0 || flow.Target.Port() == f.port || flow.Endpoint.Port() == f.port)
}
