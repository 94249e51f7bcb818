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
	"natlab/topology"
)

// withVariable is the environment variable that stands for --with.
const withVariable = "NATLAB_WITH"

func (p *program) up() *cobra.Command {
	var in inputFlags
	var o lab.Options
	var with int
	cmd := &cobra.Command{
		Use:   "up [-f FILE]... [--name N] [--backend iptables-legacy|iptables-nft | --dataplane userspace] [--with PID]",
		Short: "Build a lab and leave it running",
		Args:  noArgs,
	}
	in.add(cmd)
	cmd.Flags().StringVar(&o.Name, "name", "", "the lab's name (default: the cluster's)")
	backend := &choice{words: []string{topology.BackendLegacy, topology.BackendNFT}}
	cmd.Flags().Var(backend, "backend", "how rules reach the kernel (default: as the Lab document has it)")
	plane := &choice{value: planeKernel, words: []string{planeKernel, string(dataplane.Userspace)}}
	cmd.Flags().Var(plane, "dataplane", "whose the nodes' NAT is: their kernel's, or natlab's own, fed by NFQUEUE, without a rule of kube-proxy in the kernel")
	cmd.Flags().IntVar(&with, "with", 0, "take the lab away when the process of this number ends (default: $"+withVariable+", if set)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if plane.value != planeKernel {
			if backend.value != "" {
				return usage(cmd, errors.New("--backend and --dataplane userspace exclude each other: no rule reaches the kernel"))
			}
			backend.value = plane.value
		}
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
		c, err := p.cluster(&in, topology.Load)
		if err != nil {
			return err
		}
		o.Backend, o.Progress = dataplane.Backend(backend.value), lab.ShowProgress(p.err)
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
	return fmt.Sprintf("%s; %s, %s", strings.Join(parts, ", "), overlay, l.Backend())
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
