package main

import (
	"slices"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// remedies are the options that give what an explanation of one node depends on, by what its assumptions have in them.
var remedies = []struct{ part, option string }{
	{" is an address of the node", "--address DEVICE=ADDRESS/LENGTH, or --link FILE with what ip addr prints"},
	{"net.bridge.bridge-nf-call-", "--sysctl KEY=1, or KEY=0 where it is 0 or there is no such setting"},
	{"a rule of routing leads to table ", "--rule, a line of ip rule each"},
	{".route_localnet is ", "--sysctl KEY=VALUE"},
	{".rp_filter is ", "--sysctl KEY=VALUE"},
	{" is in hairpin mode", "--link FILE with what bridge -d link prints"},
	{" reach each other without the node", "--address DEVICE=ADDRESS/LENGTH, or --link FILE with what ip -d addr prints"},
	{" is behind ", "--route 'NETWORK dev DEVICE', or --link FILE with what ip addr prints"},
	{" is a bridge", "--link FILE with what ip -d link prints"},
	{"--match-set ", "--ipset FILE with what ipset save prints"},
	{"the packet comes in by ", "in DEVICE behind the packet, or --in DEVICE"},
	{"the hash of the flow chooses ", "--route with that next hop alone"},
	{" through the node alone", "--link FILE with what ip -d link prints"},
}

// tellRemedies tells on standard error, once each, which option gives what ways depend on, and that a device counts as a bridge for its name
// alone.
func (p *program) tellRemedies(ns topology.Namespace, all []explanation) {
	var told []string
	tell := func(text string) {
		if !slices.Contains(told, text) {
			told = append(told, text)
			p.logf("%s", text)
		}
	}
	for _, x := range all {
		for _, d := range ns.Devices {
			if d.Name == x.In && d.Kind == topology.Bridge && d.KindFrom == topology.KindByName {
				tell(d.Name + " counts as a bridge, by its name: --link FILE tells, with what ip -d link prints")
			}
		}
		for _, a := range assumptions(x.Ways) {
			for _, r := range remedies {
				if strings.Contains(a.What, r.part) {
					tell("whether " + a.What + " is not known: give it by " + r.option)
					break
				}
			}
		}
	}
}

func assumptions(ways nat.Prediction) (out []nat.Assumption) {
	for _, o := range ways {
		out = append(out, o.Assumed...)
	}
	return out
}
