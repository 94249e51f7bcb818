package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"natlab/lab/userspace"
)

// addOffload makes --offload a flag of a command that lets natlab's own NAT run.
func addOffload(f *pflag.FlagSet, offload *bool) {
	f.BoolVar(offload, "offload", false, "have packets of established flows that no rule and no window check needs to see pass in the kernel")
}

// addFailOpen makes --fail-open one.
func addFailOpen(f *pflag.FlagSet, open *bool) {
	f.BoolVar(open, "fail-open", false, "let packets pass as they are where natlab is slow, stopped or killed")
}

// addQueues makes --queues one.
func addQueues(f *pflag.FlagSet, queues *int) {
	f.IntVar(queues, "queues", 1, "how many queues share the packets, each served beside the others")
}

// checkQueues tells of a number that --queues does not take.
func checkQueues(queues int) error {
	if queues < 1 || queues > userspace.MostQueues {
		return fmt.Errorf("--queues %d: want 1 to %d", queues, userspace.MostQueues)
	}
	return nil
}

// tellOffload prints which flows are offloaded.
func (p *program) tellOffload(g *userspace.Gateway, name string) error {
	which := "UDP pass in the kernel where no rule needs to see them; those of TCP do not, as their windows are looked at (nf_conntrack_tcp_be_liberal = 0)"
	if g.OffloadsTCP() {
		which = "TCP and UDP pass in the kernel where no rule needs to see them"
	}
	_, err := fmt.Fprintf(p.out, "%s: established flows of %s\n", name, which)
	return err
}
