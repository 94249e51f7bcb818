package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlab/lab"
	"natlab/lab/vm"
	"natlab/nat/diagnosis"
	"natlab/nat/view"
	"natlab/scenarios"
	"natlab/topology"
	"natlab/topology/kube"
)

// completer proposes the words that may stand in a place of the command line, each with a description behind a tab.
type completer func(cmd *cobra.Command, args []string) []cobra.Completion

// completers are those of flags, by the flag's name; flags that take one of a few words propose these.
func (p *program) completers() map[string]completer {
	return map[string]completer{
		"name":      func(*cobra.Command, []string) []cobra.Completion { return labNames() },
		"namespace": func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.namespaces(cmd) },
		"as":        func(*cobra.Command, []string) []cobra.Completion { return versions() },
		"from":      func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.members(cmd) },
		"node":      func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.nodes(cmd) },
		"service":   func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.services(cmd) },
		"code":      func(*cobra.Command, []string) []cobra.Completion { return codes() },
		"release":   func(*cobra.Command, []string) []cobra.Completion { return topology.Releases() },
		"kernel":    func(cmd *cobra.Command, _ []string) []cobra.Completion { return kernels(cmd) },
		"iptables":  func(*cobra.Command, []string) []cobra.Completion { return vm.Releases() },
		"to":        func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.addresses(cmd, "") },
	}
}

// argumentCompleters are those of arguments, by the command's path.
func (p *program) argumentCompleters() map[string]completer {
	names := func(*cobra.Command, []string) []cobra.Completion { return scenarioNames() }
	first := func(c completer) completer {
		return func(cmd *cobra.Command, args []string) []cobra.Completion {
			if len(args) > 0 {
				return nil
			}
			return c(cmd, args)
		}
	}
	return map[string]completer{
		"natlab conntrack":     first(func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.members(cmd) }),
		"natlab ports":         first(func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.members(cmd) }),
		"natlab exec":          first(func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.members(cmd) }),
		"natlab audit":         first(func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.nodes(cmd) }),
		"natlab watch":         func(cmd *cobra.Command, _ []string) []cobra.Completion { return p.nodes(cmd) },
		"natlab get":           p.objectNames,
		"natlab scenario show": first(names),
		"natlab scenario run":  names,
		"natlab ask": func(cmd *cobra.Command, args []string) []cobra.Completion {
			switch len(args) {
			case 0:
				return p.members(cmd)
			case 1:
				return []cobra.Completion{"tcp", "udp", "sctp"}
			case 2:
				return p.addresses(cmd, args[1])
			}
			return nil
		},
	}
}

// complete gives a command and those below it the completion of their flags and arguments. Where nothing is proposed the shell goes on
// as it likes, with files.
func (p *program) complete(cmd *cobra.Command) {
	flags := p.completers()
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		propose := flags[f.Name]
		if c, is := f.Value.(*choice); is {
			propose = func(*cobra.Command, []string) []cobra.Completion { return c.words }
		}
		if propose != nil {
			// It fails for a flag that is not there alone.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return propose(cmd, args), cobra.ShellCompDirectiveNoFileComp
			})
		}
	})
	if propose := p.argumentCompleters()[cmd.CommandPath()]; propose != nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			words := propose(cmd, args)
			if len(words) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		}
	}
	for _, sub := range cmd.Commands() {
		p.complete(sub)
	}
}

func labNames() (out []cobra.Completion) {
	all, _ := lab.List()
	for _, s := range all {
		out = append(out, cobra.CompletionWithDesc(s.Name, string(s.State)))
	}
	return out
}

// kernels are those of vm run, or where a command asks for the version that a node runs, versions alone.
func kernels(cmd *cobra.Command) []cobra.Completion {
	all := vm.Kernels()
	if cmd.Name() == "run" {
		return all
	}
	return slices.DeleteFunc(all, func(k string) bool { return k[0] < '0' || k[0] > '9' || strings.HasSuffix(k, ".x") })
}

// versions are those of iptables that view and audit know.
func versions() (out []cobra.Completion) {
	for _, v := range view.Versions() {
		out = append(out, v.String())
	}
	return out
}

// namespaces are those of Kubernetes, of pods and Services.
func (p *program) namespaces(cmd *cobra.Command) (out []cobra.Completion) {
	c := p.at(cmd)
	for _, pod := range c.Pods {
		out = append(out, pod.Namespace)
	}
	for _, s := range c.Services {
		out = append(out, s.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func codes() (out []cobra.Completion) {
	for _, page := range diagnosis.Codes() {
		out = append(out, cobra.CompletionWithDesc(page.Code, page.Title))
	}
	return out
}

func scenarioNames() (out []cobra.Completion) {
	all, _ := scenarios.List()
	for _, s := range all {
		out = append(out, cobra.CompletionWithDesc(s.Name, s.Title))
	}
	return out
}

// at is the cluster that a command line is about: that of its files, of the lab that it names or would choose, or the reference.
func (p *program) at(cmd *cobra.Command) topology.Cluster {
	if files, err := cmd.Flags().GetStringArray("file"); err == nil && len(files) > 0 && !slices.Contains(files, "-") {
		slices.Sort(files) // cobra reads the flags twice
		if sources, done, err := p.sources(slices.Compact(files)); err == nil {
			c, _, _ := topology.Load(sources...)
			_ = done()
			return c
		}
	}
	if name, err := cmd.Flags().GetString("name"); err == nil {
		if l, err := open(cmd.Context(), name); err == nil {
			defer l.Close() //nolint:errcheck // it was read only
			return l.Cluster()
		}
	}
	c, _ := topology.Reference()
	return c
}

// objectNames are the types that get lists, and behind one the names of its objects.
func (p *program) objectNames(cmd *cobra.Command, args []string) (out []cobra.Completion) {
	if len(args) == 0 {
		for _, r := range kube.Resources() {
			out = append(out, cobra.CompletionWithDesc(r.Name, strings.Join(r.Short, ", ")))
		}
		return out
	}
	r, ok := kube.Find(args[0])
	if !ok {
		return nil
	}
	for _, o := range r.Objects(p.at(cmd)) {
		out = append(out, cobra.CompletionWithDesc(o.GetName(), o.GetNamespace()))
	}
	return out
}

func (p *program) nodes(cmd *cobra.Command) (out []cobra.Completion) {
	for _, n := range p.at(cmd).Nodes {
		out = append(out, cobra.CompletionWithDesc(n.Name, "node"))
	}
	return out
}

// members are who can ask: nodes, pods and clients.
func (p *program) members(cmd *cobra.Command) []cobra.Completion {
	out := p.nodes(cmd)
	c := p.at(cmd)
	for _, pod := range c.Pods {
		out = append(out, cobra.CompletionWithDesc(pod.Member(), "pod on "+pod.Node))
	}
	for _, client := range c.Clients {
		out = append(out, cobra.CompletionWithDesc(client.Name, "client"))
	}
	return out
}

func (p *program) services(cmd *cobra.Command) (out []cobra.Completion) {
	for _, s := range p.at(cmd).Services {
		out = append(out, cobra.CompletionWithDesc(s.Namespace+"/"+s.Name, s.Type.String()))
	}
	return out
}

// addresses are those that Services are asked at by a protocol, "" for any.
func (p *program) addresses(cmd *cobra.Command, protocol string) (out []cobra.Completion) {
	for _, s := range p.at(cmd).Services {
		for _, port := range s.Ports {
			if protocol != "" && !strings.EqualFold(port.Protocol, protocol) {
				continue
			}
			for _, ip := range s.ClusterIPs {
				out = append(out, cobra.CompletionWithDesc(netip.AddrPortFrom(ip, port.Port).String(), s.Namespace+"/"+s.Name))
			}
		}
	}
	return out
}
