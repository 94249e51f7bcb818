package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/verify"
	"natlab/nat/proof"
	"natlab/nat/report"
	"natlab/topology"
)

// planeWords are the words of --planes. The kernel's come first: they judge the one that is natlab's own.
var planeWords = []struct {
	word    string
	backend dataplane.Backend
}{{"legacy", dataplane.Legacy}, {"nft", dataplane.NFT}, {"userspace", dataplane.Userspace}}

// planes is the flag --planes: which of planeWords, by their index there, sorted.
type planes []int

func (s *planes) String() string {
	var words []string
	for _, i := range *s {
		words = append(words, planeWords[i].word)
	}
	return strings.Join(words, ",")
}

// Type is what --help shows as the flag's argument.
func (s *planes) Type() string { return "legacy,nft,userspace" }

// Set refuses what is no list of two or three planes.
func (s *planes) Set(list string) error {
	var all planes
	for word := range strings.SplitSeq(list, ",") {
		i := 0
		for i < len(planeWords) && planeWords[i].word != word {
			i++
		}
		switch {
		case i == len(planeWords):
			return fmt.Errorf("plane %q: want legacy, nft or userspace", word)
		case slices.Contains(all, i):
			return fmt.Errorf("plane %q is given twice", word)
		}
		all = append(all, i)
	}
	if len(all) < 2 {
		return errors.New("want two planes at least: what one does is held against the other")
	}
	slices.Sort(all)
	*s = all
	return nil
}

// verifyPlanes proves the same flows in a lab on each plane, and prints what differs.
func (p *program) verifyPlanes(cmd *cobra.Command, v verifyFlags) error {
	for _, with := range []string{"name", "brief", "draw", "fail-fast", "record"} {
		if cmd.Flags().Changed(with) {
			return usage(cmd, fmt.Errorf("--planes and --%s exclude each other", with))
		}
	}
	if v.format.value != "text" && v.format.value != "json" {
		return usage(cmd, fmt.Errorf("--planes has no -o %s: want text or json", v.format.value))
	}
	c, err := p.cluster(&v.in, topology.Load)
	if err != nil {
		return err
	}
	flows := proof.Flows(c, v.only)
	if len(flows) == 0 {
		return fmt.Errorf("the cluster has no flow%s", selection(v.only))
	}
	var found []proof.Plane
	for _, i := range v.planes {
		r := proof.Report{Ended: "interrupted"} // on a plane before: what was found until then is printed
		if cmd.Context().Err() == nil {
			if r, err = p.proveOn(cmd.Context(), c, planeWords[i].backend, v); err != nil {
				return fmt.Errorf("plane %s: %w", planeWords[i].word, err)
			}
		}
		found = append(found, proof.Plane{Name: planeWords[i].word, Report: r})
	}
	all := proof.Compare(flows, found)
	if v.format.value == "json" {
		err = writeJSON(p.out, all)
	} else {
		err = report.Planes(p.out, all, p.style())
	}
	if err == nil && (!all.Agrees() || len(all.NotAsked) > 0 && v.allow.value != allowNotAsked) {
		return errDiffers
	}
	return err
}

// proveOn proves a cluster in a lab of its own on one backend.
func (p *program) proveOn(ctx context.Context, c topology.Cluster, on dataplane.Backend, v verifyFlags) (proof.Report, error) {
	if c.Name = ownName(c.Name); on != dataplane.Userspace {
		c.NAT = ""
	}
	l, err := lab.Up(ctx, c, lab.Options{Backend: on, Gateways: lab.GatewayOptions{Apply: v.apply.Apply}, Progress: p.progress()})
	if err != nil {
		return proof.Report{}, err
	}
	r, err := verify.Lab(ctx, l, verify.Options{Selector: v.only, Strict: v.strict, Timeout: v.timeout, Progress: p.progress()})
	return r, joinClose(err, l)
}
