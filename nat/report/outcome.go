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
		way := fmt.Sprintf("way %d of %d", i+1, len(all))
		if o.Probability < 1 || len(o.Assumed) == 0 { // what is assumed has none
			way += fmt.Sprintf(", probability %.4g", o.Probability)
		}
		d.outcome(probe, o, way)
	}
	return st.Letters(d.b.String())
}

func (d *drawing) outcome(probe nat.Probe, o nat.Outcome, way string) {
	d.flow = certificate(probe, o)
	d.b.WriteString(d.style.Fold(fmt.Sprintf("%s  %s: %s", d.style.paint(heading, probe.Tuple.String()), way, o.End), "  ") + "\n")
	d.journeys()
	d.evidence("at", o.Where)
	d.evidence("why", o.Why)
	d.conntrack()
	for _, a := range o.Assumed {
		d.evidence("depends on", assumption(a))
	}
	for _, what := range o.Unknown {
		d.evidence("not known", what+": it makes no difference")
	}
}

// certificate is an outcome in the form in which flows are drawn.
func certificate(probe nat.Probe, o nat.Outcome) proof.Certificate {
	c := proof.Certificate{
		Flow: proof.Flow{Type: proof.ByAddress, Client: probe.From, From: probe.From, Protocol: probe.Tuple.Proto(), Target: probe.Tuple.Dst()},
		End:  o.End, Expect: o.End, Server: o.Server, Endpoint: o.Endpoint, ClientPeer: o.ClientPeer, Conntrack: o.Conns,
	}
	for dir, j := range map[nat.Direction]nat.Journey{nat.Original: o.Request, nat.Reply: o.Reply} {
		for _, h := range j.Hops {
			c.Hops = append(c.Hops, proof.Hop{Direction: dir, Hop: h})
		}
		for _, s := range j.Steps {
			c.Met = append(c.Met, proof.Step{Direction: dir, Step: s})
		}
	}
	return c
}
