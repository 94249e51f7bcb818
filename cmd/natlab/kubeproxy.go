package main

import (
	"context"

	"github.com/spf13/pflag"

	"natlab/lab/proxy"
	"natlab/topology"
)

// proxyFlags are --kube-proxy and --mode: whose rules the nodes of a new lab get.
type proxyFlags struct {
	what string
	mode *choice
}

func (f *proxyFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.what, "kube-proxy", "", "run this kube-proxy in each node, which writes the rules: a program, or a release such as 1.37.2, which is built once")
	f.mode = &choice{words: []string{topology.ModeIPTables, topology.ModeNFTables, topology.ModeIPVS}}
	flags.Var(f.mode, "mode", "how kube-proxy programs the nodes (default: as its configuration has it, else iptables)")
}

// into makes the cluster one whose rules are those of the chosen kube-proxy, and returns its program; "" where none was chosen. What natlab
// predicts is then what that release writes.
func (f *proxyFlags) into(ctx context.Context, p *program, c *topology.Cluster) (binary string, err error) {
	switch f.mode.value {
	case "":
	case topology.ModeIPTables:
		c.KubeProxy.Mode = ""
	default:
		c.KubeProxy.Mode = f.mode.value
	}
	if f.what == "" {
		return "", nil
	}
	found, err := proxy.Find(ctx, f.what, p.err)
	if err != nil {
		return "", err
	}
	if !found.Writes(c) {
		p.logf("note: this kube-proxy is %s, and natlab predicts the rules of %s", found.Version, c.KubeProxy.Release)
	}
	return found.Path, nil
}
