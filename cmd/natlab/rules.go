package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

func (p *program) rules() *cobra.Command {
	var in inputFlags
	var node string
	cmd := &cobra.Command{
		Use:   "rules -f FILE... --node NODE [--release v1.31] [--family ipv4|ipv6]",
		Short: "Print kube-proxy's rules of a node as iptables-save would; no root",
		Args:  noArgs,
	}
	in.add(cmd)
	cmd.Flags().StringVar(&node, "node", "", "the node whose rules to print")
	release := release(cmd)
	family := &choice{value: nat.IPv4.String(), words: []string{nat.IPv4.String(), nat.IPv6.String()}}
	cmd.Flags().Var(family, "family", "which of the two rule sets")
	addresses := cmd.Flags().IPSlice("node-address", nil, "an address of the node's devices that its Node object does not name, for nodePortAddresses")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if node == "" {
			return usage(cmd, errors.New("--node is missing: whose rules"))
		}
		c, err := p.cluster(&in, topology.LoadForRules)
		if err != nil {
			return err
		}
		o := kubeproxy.Options{Release: release.value}
		for _, ip := range *addresses {
			if a, ok := netip.AddrFromSlice(ip); ok {
				o.NodeAddresses = append(o.NodeAddresses, a.Unmap())
			}
		}
		if family.value == nat.IPv6.String() {
			o.Family = nat.IPv6
		}
		rs, err := kubeproxy.Rules(c, node, o)
		if err != nil {
			return fmt.Errorf("rules: %w", err)
		}
		_, err = io.WriteString(p.out, rs.String())
		return err
	}
	return cmd
}
