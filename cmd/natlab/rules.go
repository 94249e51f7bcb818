package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/nat/nftables"
	"natlab/topology"
)

func (p *program) rules() *cobra.Command {
	var in inputFlags
	var node string
	cmd := &cobra.Command{
		Use:   "rules -f FILE... --node NODE [--mode iptables|nftables] [--release v1.31] [--family ipv4|ipv6]",
		Short: "Print kube-proxy's rules of a node as iptables-save would, or nft list ruleset; no root",
		Args:  noArgs,
	}
	in.add(cmd)
	cmd.Flags().StringVar(&node, "node", "", "the node whose rules to print")
	mode := mode(cmd)
	release := release(cmd)
	family := &choice{words: []string{nat.IPv4.String(), nat.IPv6.String()}}
	cmd.Flags().Var(family, "family", "which of the two rule sets (default: ipv4; in nftables mode both)")
	addresses := cmd.Flags().IPSlice("node-address", nil, "an address of the node's devices that its Node object does not name, for nodePortAddresses")
	devices := cmd.Flags().StringSlice("node-device", nil, "a device of the node, which kube-proxy 1.31 to 1.34.1 in nftables mode looks for")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if node == "" {
			return usage(cmd, errors.New("--node is missing: whose rules"))
		}
		c, err := p.cluster(&in, topology.LoadForRules)
		if err != nil {
			return err
		}
		o := kubeproxy.Options{Release: release.value, NodeDevices: *devices}
		for _, ip := range *addresses {
			if a, ok := netip.AddrFromSlice(ip); ok {
				o.NodeAddresses = append(o.NodeAddresses, a.Unmap())
			}
		}
		text, err := rulesText(mode.of(c), c, node, family.value, o)
		if err != nil {
			return fmt.Errorf("rules: %w", err)
		}
		_, err = io.WriteString(p.out, text)
		return err
	}
	return cmd
}

// rulesText is a node's rules in a mode: of one family, or in nftables mode of both where none is named.
func rulesText(mode string, c topology.Cluster, node, family string, o kubeproxy.Options) (string, error) {
	families := []nat.Family{nat.IPv4, nat.IPv6}
	switch family {
	case nat.IPv4.String():
		families = families[:1]
	case nat.IPv6.String():
		families = families[1:]
	}
	if mode == topology.ModeIPTables {
		c.KubeProxy.Mode, o.Family = "", families[0]
		rs, err := kubeproxy.Rules(c, node, o)
		return rs.String(), err
	}
	var all nftables.Ruleset
	for _, f := range families {
		o.Family = f
		rs, err := kubeproxy.Tables(c, node, o)
		if err != nil {
			return "", err
		}
		all.Tables = append(all.Tables, rs.Tables...)
	}
	return all.String(), nil
}
