package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/serve"
	"natlab/lab/verify"
	"natlab/lab/watch"
	"natlab/nat"
	"natlab/nat/live"
	"natlab/nat/proof"
)

func (p *program) serve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [--name N] [--listen ADDRESS:PORT] [--family ipv4|ipv6]",
		Short: "Show a running lab and its proofs in a browser, as they come",
		Long: `Serve one page that shows a running lab: the flows that pass, as natlab watch tells them, and the proofs of all flows, which a button on the
page asks for, one Service after the other. Each flow has its mind map, its path over the nodes, its checks and its entries, as on the page of
natlab verify -o html. The page needs no other server.

Whoever gets to the address may look, and may ask for a proof: it is one of this machine alone unless --listen gives another. Requests that name the
server otherwise than by its address, by localhost or by the name in --listen are refused, and so is what pages of others ask.

A lab is watched by one at a time: while natlab verify, ask or watch does, the page waits. Ctrl-C ends it with exit status 0; where the lab is taken
away it is 2.`,
		Args: noArgs,
	}
	name := named(cmd)
	listen := cmd.Flags().String("listen", "127.0.0.1:7480", "where it listens; port 0 takes a free one")
	family := &choice{words: []string{nat.IPv4.String(), nat.IPv6.String()}}
	cmd.Flags().Var(family, "family", "of the flows that pass (default: the one that the lab's network has first)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		host, _, err := net.SplitHostPort(*listen)
		if err != nil {
			return usage(cmd, fmt.Errorf("--listen %q: want ADDRESS:PORT, such as 127.0.0.1:7480", *listen))
		}
		l, err := open(cmd.Context(), *name)
		if err != nil {
			return err
		}
		var config net.ListenConfig
		at, err := config.Listen(cmd.Context(), "tcp", *listen)
		if err != nil {
			return joinClose(fmt.Errorf("--listen: %w", err), l)
		}
		p.logf("serving lab %s at http://%s/", l.Name(), at.Addr())
		return joinClose(serve.Run(cmd.Context(), at, host, p.served(l, familyOf(family.value, l.Families()[0]))), l)
	}
	return cmd
}

// served is a lab as the page shows it.
func (p *program) served(l *lab.Lab, f nat.Family) serve.Source {
	over := func(err error) error {
		if errors.Is(err, lab.ErrGone) {
			return fmt.Errorf("%w: %w", serve.ErrOver, err)
		}
		return err
	}
	return serve.Source{
		Title: "natlab: " + l.Name(),
		Watch: func(ctx context.Context, ready func(), tell func(live.Flow) error) error {
			_, err := watch.Lab(ctx, l, watch.Options{Family: f, Ready: ready}, tell)
			return over(err)
		},
		Prove: func(ctx context.Context, tell func(proof.Report) error) error {
			for _, part := range byService(proof.Flows(l.Cluster(), proof.Selector{})) {
				r, err := verify.Lab(ctx, l, verify.Options{Flows: part})
				if err == nil {
					err = tell(r)
				}
				if err != nil || ctx.Err() != nil {
					return over(err)
				}
			}
			return nil
		},
	}
}

// byService are flows, those of a Service together, in the order in which its first one stands.
func byService(all []proof.Flow) (parts [][]proof.Flow) {
	for _, f := range all {
		at := slices.IndexFunc(parts, func(part []proof.Flow) bool { return part[0].Service == f.Service })
		if at < 0 {
			parts = append(parts, []proof.Flow{f})
			continue
		}
		parts[at] = append(parts[at], f)
	}
	return parts
}
