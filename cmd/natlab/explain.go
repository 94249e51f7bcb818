package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/kubeproxy"
	"natlab/nat/report"
	"natlab/topology"
)

func (p *program) explain() *cobra.Command {
	var in input
	var from, packet string
	cmd := &cobra.Command{
		Use:   "explain [-f FILE]... --from CLIENT --packet 'tcp SRC:PORT > DST:PORT'",
		Short: "Predict a packet's path through the cluster and back: rules, translations, conntrack; no root",
		Args:  noArgs,
	}
	in.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the node, pod or client that sends the packet")
	cmd.Flags().StringVar(&packet, "packet", "", "the packet: tcp or udp, SRC:PORT > DST:PORT")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if from == "" || packet == "" {
			return usage(cmd, errors.New("--from and --packet are needed: say who sends what"))
		}
		tuple, err := nat.ParseTuple(packet)
		if err != nil {
			return fmt.Errorf("--packet: %w", err)
		}
		if tuple.Proto() != nat.TCP && tuple.Proto() != nat.UDP {
			return fmt.Errorf("--packet: %s: want tcp or udp", tuple.Proto())
		}
		c, err := p.cluster(&in, topology.Load)
		if err != nil {
			return err
		}
		network, err := clusterNetwork(c)
		if err != nil {
			return err
		}
		probe := gateway.Probe{From: from, Tuple: tuple}
		all, err := network.Predict(probe)
		if err != nil {
			return fmt.Errorf("explain: %w", err)
		}
		_, err = io.WriteString(p.out, report.Ways(probe, all, p.style()))
		return err
	}
	return cmd
}

// clusterNetwork is a cluster with kube-proxy's rules on every node and a server behind every endpoint.
func clusterNetwork(c topology.Cluster) (*gateway.Network, error) {
	plan, err := topology.NewPlan(c)
	if err != nil {
		return nil, err
	}
	rules := map[string]gateway.Rules{}
	for _, n := range c.Nodes {
		rs, err := kubeproxy.Rules(c, n.Name, kubeproxy.Options{})
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		rules[n.Name] = gateway.Rules{rs}
	}
	listen, _ := lab.Servers(c)
	servers := make([]gateway.Server, 0, len(listen))
	for _, s := range listen {
		servers = append(servers, gateway.Server{Member: s.Member, Name: s.Name, Proto: s.Proto, Addr: s.Addr})
	}
	return gateway.NewNetwork(plan, rules, servers, gateway.Options{})
}
