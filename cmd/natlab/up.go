package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/userspace"
	"natlab/topology"
)

// withVariable is the environment variable that stands for --with.
const withVariable = "NATLAB_WITH"

func (p *program) up() *cobra.Command {
	var in inputFlags
	var o lab.Options
	var with int
	var bundles []string
	cmd := &cobra.Command{
		Use:   "up [-f FILE]... [--name N] [--backend iptables-legacy|iptables-nft | --dataplane userspace [--apply mark|payload] [--offload] [--queues N] [--fail-open] [--nat NAME=VALUE,...] [--fault FAULT]] [--bundle NODE=FILE]... [--kube-proxy BINARY|RELEASE] [--mode iptables|nftables|ipvs] [--with PID]",
		Short: "Build a lab and leave it running",
		Long: `Build a lab of the cluster that the files describe, or of the reference cluster, and leave it running.

With --bundle the nodes that are named hold what the script of natlab collect printed on them: their real rules of both backends and of nft's own
tables, sets, devices, bridges, addresses, routes, rules of routing, sysctls and connections. The other nodes and the pods are made up from the files; routers, load balancers and
what else is around the nodes is stood in for. What is, and what this kernel does not take, is listed. natlab verify then proves or
disproves what the Services call for on what the nodes hold, and names what is to blame.`,
		Args: noArgs,
	}
	in.add(cmd)
	cmd.Flags().StringVar(&o.Name, "name", "", "the lab's name (default: the cluster's)")
	backend := &choice{words: []string{topology.BackendLegacy, topology.BackendNFT}}
	cmd.Flags().Var(backend, "backend", "how rules reach the kernel (default: as the Lab document has it)")
	plane := &choice{value: planeKernel, words: []string{planeKernel, string(dataplane.Userspace)}}
	cmd.Flags().Var(plane, "dataplane", "whose the nodes' NAT is: their kernel's, or natlab's own, fed by NFQUEUE, without a rule of kube-proxy in the kernel")
	cmd.Flags().StringArrayVar(&bundles, "bundle", nil, "NODE=FILE, or FILE of a node by its own name: a node as the script of natlab collect printed it; may be repeated")
	var apply applyFlag
	apply.add(cmd.Flags())
	addOffload(cmd.Flags(), &o.Gateways.Offload)
	addFailOpen(cmd.Flags(), &o.Gateways.FailOpen)
	addQueues(cmd.Flags(), &o.Gateways.Queues)
	var own ownNATFlags
	own.add(cmd.Flags())
	var kp proxyFlags
	kp.add(cmd.Flags())
	cmd.Flags().IntVar(&with, "with", 0, "take the lab away when the process of this number ends (default: $"+withVariable+", if set)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkQueues(o.Gateways.Queues); err != nil {
			return usage(cmd, err)
		}
		if plane.value != planeKernel {
			if backend.value != "" {
				return usage(cmd, errors.New("--backend and --dataplane userspace exclude each other: no rule reaches the kernel"))
			}
			backend.value = plane.value
		}
		for _, flag := range []string{"apply", "offload", "queues", "fail-open", "nat", "fault"} {
			if plane.value == planeKernel && cmd.Flags().Changed(flag) {
				return usage(cmd, fmt.Errorf("--%s is of --dataplane userspace", flag))
			}
		}
		o.Gateways.Apply = apply.Apply
		if text, set := os.LookupEnv(withVariable); set && with == 0 {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%s=%s: want the number of a process", withVariable, text)
			}
			with = n
		}
		if o.With = with; with < 0 {
			return usage(cmd, fmt.Errorf("--with %d: want the number of a process", with))
		}
		var err error
		if o.Bundles, err = p.bundles(bundles); err != nil {
			return err
		}
		c, err := p.twinCluster(&in, o.Bundles)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("nat") {
			c.NAT = own.nat.String()
		}
		if o.Gateways.Fault, err = userspace.ParseFault(own.fault.value); err != nil {
			return err
		}
		if o.KubeProxy, err = kp.into(cmd.Context(), p, &c); err != nil {
			return err
		}
		o.Backend, o.Progress = dataplane.Backend(backend.value), p.progress()
		if err := lab.Start(cmd.Context(), c, o); err != nil {
			return err
		}
		name := o.Name
		if name == "" {
			name = c.Name
		}
		l, err := lab.Open(cmd.Context(), name)
		if err != nil {
			return err
		}
		for _, note := range l.Notes() {
			p.logf("note: %s", note)
		}
		_, err = fmt.Fprintf(p.out, "lab %s is up: %s\n", name, describe(l))
		return joinClose(err, l)
	}
	return cmd
}

// bundles reads the texts that --bundle names.
func (p *program) bundles(all []string) (out []lab.Bundle, err error) {
	for _, text := range all {
		var one lab.Bundle
		node, file := bundleName(text)
		if one.Node = node; file == "" {
			return nil, fmt.Errorf("--bundle %s: want NODE=FILE", text)
		}
		b, err := p.bundleText(file)
		if err != nil {
			return nil, err
		}
		one.Text = string(b)
		out = append(out, one)
	}
	return out, nil
}

// twinCluster is the cluster of the files, or of the bundles alone where there are bundles and no files.
func (p *program) twinCluster(in *inputFlags, bundles []lab.Bundle) (topology.Cluster, error) {
	if in.given() || len(bundles) == 0 {
		return p.cluster(in, topology.Load)
	}
	objects, err := lab.Objects(bundles)
	if err != nil {
		return topology.Cluster{}, err
	}
	p.logf("no -f: the nodes and pods are those that the bundles tell of, and no Service is known")
	c, warnings, err := topology.Load(topology.Source{Name: "the bundles", Reader: strings.NewReader(objects)})
	for _, w := range warnings {
		p.logf("warning: %s", w)
	}
	return c, err
}

// planeKernel is the word of --dataplane for NAT that is the kernel's.
const planeKernel = "kernel"

// describe is "6 nodes, 5 pods, 1 client; ipip (userspace ipip), iptables-legacy".
func describe(l *lab.Lab) string {
	c := l.Cluster()
	parts := []string{count(len(c.Nodes), "node"), count(len(c.Pods), "pod"), count(len(c.Clients), "client")}
	overlay := c.PodNetwork.Overlay.String()
	if t := l.Tunnel(); t != "" {
		overlay += " (" + string(t) + ")"
	}
	plane := string(l.Backend())
	if c.KubeProxy.Mode == topology.ModeNFTables {
		plane = "kube-proxy in nftables mode"
	}
	return fmt.Sprintf("%s; %s, %s", strings.Join(parts, ", "), overlay, plane)
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
