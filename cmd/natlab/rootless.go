package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlab/lab/proxy"
	"natlab/lab/rootless"
)

// rootless adds --rootless, which takes every command that needs root into the user's own namespaces before it does anything.
func (p *program) rootless(root *cobra.Command) {
	in := root.PersistentFlags().Bool("rootless", false, "work in a user namespace of yours, in which natlab is root; labs made with it are seen with it alone")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if !*in || rootless.Inside() || needsNoRoot(cmd) {
			return nil
		}
		// There is no network inside: a release is built before.
		for _, what := range kubeProxies(cmd.Flags().Lookup("kube-proxy")) {
			if _, err := proxy.Find(cmd.Context(), what, p.err); err != nil {
				return err
			}
		}
		space, err := rootless.Own()
		if err != nil {
			return err
		}
		return space.Enter(os.Args[1:])
	}
}

// kubeProxies are what a flag names that takes one kube-proxy, or several; nil is a command without the flag.
func kubeProxies(flag *pflag.Flag) []string {
	if flag == nil || !flag.Changed {
		return nil
	}
	if several, ok := flag.Value.(pflag.SliceValue); ok {
		return several.GetSlice()
	}
	return []string{flag.Value.String()}
}

// needsNoRoot reports whether a command reads files alone, or needs the machine's network, as those of VMs do.
func needsNoRoot(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.Annotations[computes] != "" || cmd.Name() == "vm" {
			return true
		}
	}
	return false
}

// held is the exit status of a process that holds namespaces, or that came into them.
func (p *program) held(err error) int {
	if err == nil {
		return exitOK
	}
	p.logf("%v", err)
	return exitError
}
