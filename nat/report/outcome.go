package report

import (
	"fmt"

	"natlab/nat"
	"natlab/nat/proof"
)

// Ways draws a prediction: each way that a probe can go, with its probability, as Way draws a flow that was seen.
func Ways(probe nat.Probe, all nat.Prediction, st Style) string {
	d := drawing{style: st}
	for i, o := range all {
		if i > 0 {
			d.b.WriteByte('\n')
		}
		d.outcome(probe, o, fmt.Sprintf("way %d of %d, probability %.4g", i+1, len(all), o.Probability))
	}
	return d.b.String()
}

func (d *drawing) outcome(probe nat.Probe, o nat.Outcome, way string) {
	d.flow = certificate(probe, o)
	fmt.Fprintf(&d.b, "%s  %s: %s\n", d.style.paint(heading, probe.Tuple.String()), way, o.End)
	d.journeys()
	d.evidence("at", o.Where)
	d.evidence("why", o.Why)
	d.conntrack()
	for _, rule := range o.Unknown {
		d.evidence("unknown", rule)
	}
}

// certificate is an outcome in the form in which flows are drawn.
func certificate(probe nat.Probe, o nat.Outcome) proof.Certificate {
	c := proof.Certificate{
		Flow: proof.Flow{Client: probe.From, From: probe.From, Protocol: probe.Tuple.Proto(), Target: probe.Tuple.Dst()},
		End:  o.End, Expect: o.End, Server: o.Server, Endpoint: o.Endpoint, Conntrack: o.Conns,
	}
	for dir, j := range map[nat.Direction]nat.Journey{nat.Original: o.Request, nat.Reply: o.Reply} {
		for _, h := range j.Hops {
			c.Hops = append(c.Hops, proof.Hop{Direction: dir, Hop: h})
		}
		for _, s := range j.Steps {
			c.Rules = append(c.Rules, proof.Step{Direction: dir, Step: s})
		}
	}
	return c
}
