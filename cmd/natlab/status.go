package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/topology"
)

// labStatus is a lab with what runs in it.
type labStatus struct {
	lab.Status
	Servers  []topology.Server  `json:"servers"`
	Gateways []lab.GatewayState `json:"gateways,omitempty"`
	members  []string           // a line each, for text
}

func (p *program) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--name N] [-o text|json]",
		Short: "List the labs, their nodes and what runs in them",
		Long:  "List the labs, their nodes and what runs in them. Exit status 1 means that a lab is not running: stopped, dead, or not there.",
		Args:  noArgs,
	}
	format := output(cmd, "text", "json")
	name := cmd.Flags().String("name", "", "show this lab only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := lab.List()
		if err != nil {
			return err
		}
		found := []labStatus{}
		running := true
		for _, s := range all {
			if *name == "" || s.Name == *name {
				found = append(found, look(cmd.Context(), s))
				running = running && s.State == lab.Running
			}
		}
		if *name != "" && len(found) == 0 {
			p.logf("%s", noLab(*name))
			running = false
		}
		left, err := lab.Orphans()
		if err != nil {
			return err
		}
		if *name != "" {
			left = nil
		}
		if err := p.writeLabs(labList{found, left}, format.value); err != nil {
			return err
		}
		if !running {
			return errDiffers
		}
		return nil
	}
	return cmd
}

// look asks a running lab what runs in it. A lab that is taken away meanwhile has nothing.
func look(ctx context.Context, s lab.Status) labStatus {
	out := labStatus{Status: s, Servers: []topology.Server{}}
	if s.State != lab.Running {
		return out
	}
	l, err := lab.Open(ctx, s.Name)
	if err != nil {
		return out
	}
	defer func() { _ = l.Close() }() // opened to look
	if servers, err := l.RunningServers(ctx); err == nil {
		out.Servers = slices.DeleteFunc(servers, func(s topology.Server) bool { return s.Name == topology.KubeProxyServer })
	}
	if gateways, err := l.GatewayStates(ctx); err == nil {
		out.Gateways = gateways
	}
	c := l.Cluster()
	for _, n := range c.Nodes {
		out.members = append(out.members, fmt.Sprintf("node    %-20s %s", n.Name, addresses(n.Addresses)))
	}
	for _, pod := range c.Pods {
		out.members = append(out.members, fmt.Sprintf("pod     %-20s %-15s %s", pod.Node, addresses(pod.IPs), pod.Member()))
	}
	for _, client := range c.Clients {
		out.members = append(out.members, fmt.Sprintf("client  %-20s %s", client.Name, addresses(client.Addresses)))
	}
	return out
}

// addresses are those of both families in a row.
func addresses(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}

// standsStill is what a lab whose process does not go on means for its traffic, and what to do.
func standsStill(s lab.Status) (out []string) {
	switch s.State {
	case lab.Stopped:
		out = append(out, fmt.Sprintf("its process was stopped by a signal: kill -CONT %d has it go on", s.PID))
	case lab.Dead:
		out = append(out, fmt.Sprintf("its process has ended: natlab down --name %s takes the rest away", s.Name))
	case lab.Running, lab.Unready:
		return nil
	}
	switch s.Fails {
	case "closed":
		out = append(out, "its nodes' gateways do not answer: packets at their hooks are lost")
	case "open":
		out = append(out, "its nodes' gateways do not answer: packets at their hooks pass as they are, untranslated")
	}
	return out
}

// headline is "reference  running  ipip (userspace ipip)  iptables-legacy  14 namespaces  process 4242".
func headline(s lab.Status) string {
	words := []string{s.Name, string(s.State)}
	if s.Overlay != "" {
		words = append(words, s.Overlay)
	}
	if s.Tunnel != "" {
		words[len(words)-1] += fmt.Sprintf(" (%s)", s.Tunnel)
	}
	if s.Backend != "" {
		words = append(words, s.Backend)
	}
	words = append(words, fmt.Sprintf("%d namespaces", len(s.Namespaces)))
	if s.PID != 0 {
		words = append(words, fmt.Sprintf("process %d", s.PID))
	}
	return strings.Join(words, "  ")
}

// labList is what status prints.
type labList struct {
	Labs    []labStatus `json:"labs"`
	Orphans []string    `json:"orphans,omitempty"` // namespaces of tests that have ended
}

func (p *program) writeLabs(all labList, format string) error {
	if format == "json" {
		return writeJSON(p.out, all)
	}
	labs := all.Labs
	var b strings.Builder
	for _, l := range labs {
		fmt.Fprintf(&b, "%s\n", headline(l.Status))
		for _, why := range standsStill(l.Status) {
			fmt.Fprintf(&b, "  %s\n", why)
		}
		for _, m := range l.members {
			fmt.Fprintf(&b, "  %s\n", m)
		}
		for _, s := range l.Servers {
			fmt.Fprintf(&b, "  server  %s\n", s)
		}
		for _, g := range l.Gateways {
			fmt.Fprintf(&b, "  gateway %-20s %s; fails %s\n", g.Node, g, l.Fails)
		}
	}
	if len(labs) == 0 {
		b.WriteString("no labs\n")
	}
	if len(all.Orphans) > 0 {
		fmt.Fprintf(&b, "of tests that have ended: %s (natlab down --dead takes them away)\n", strings.Join(all.Orphans, " "))
	}
	_, err := fmt.Fprint(p.out, p.fit(b.String()))
	return err
}
