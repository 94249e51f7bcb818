package twin

import (
	"fmt"
	"slices"

	"natlab/nat"
	"natlab/nat/bundle"
	"natlab/nat/diagnosis"
	"natlab/nat/gateway"
	"natlab/nat/proof"
)

// Blame names, for each flow that a proof of a twin disproved, what of the dumped nodes is to blame, as an explanation of their bundles has it: the rule,
// route or setting without which the packet would work. Where the proof has named a rule already, that stays. A flow for which nothing is found keeps
// what the proof found: where a packet was seen last.
func Blame(r *proof.Report, nodes map[string]*bundle.Node) {
	if len(nodes) == 0 {
		return
	}
	known := map[string]*blamed{}
	for i := range r.Flows {
		c := &r.Flows[i]
		if c.Verdict != proof.Disproved || c.Wrong == nil {
			continue
		}
		key := fmt.Sprintf("%s %s %s %s", c.From, c.Protocol, c.Source, c.Target)
		b, done := known[key]
		if !done {
			b = blame(*c, nodes)
			known[key] = b
		}
		if b != nil {
			b.tell(c.Wrong)
		}
	}
}

// blamed is what is to blame, and in which node.
type blamed struct {
	node string
	diagnosis.Cause
}

// blame asks the dumped nodes on a flow's way in their order, one that it crosses twice about both packets.
func blame(c proof.Certificate, nodes map[string]*bundle.Node) *blamed {
	type met struct {
		node  string
		tuple nat.Tuple
	}
	var asked []met
	for _, h := range c.Hops {
		n := nodes[h.Node]
		if n == nil || h.Direction != nat.Original || slices.Contains(asked, met{h.Node, h.Tuple}) {
			continue
		}
		ask := gateway.AskOf(h.Tuple)
		switch h.Tap {
		case nat.TapPreRaw:
			ask.In = h.Dev
		case nat.TapOutRaw:
		case nat.TapPreNAT, nat.TapOutNAT, nat.TapPost:
			continue
		}
		asked = append(asked, met{h.Node, h.Tuple})
		if cause, ok := causeOf(n, ask); ok {
			return &blamed{h.Node, cause}
		}
	}
	return nil
}

// causeOf is the surest cause that a packet does not work in a node.
func causeOf(n *bundle.Node, ask gateway.Ask) (diagnosis.Cause, bool) {
	c := n.Case(ask)
	x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, ask, nil)
	if err != nil {
		return diagnosis.Cause{}, false
	}
	a := c.Diagnose(x.Prediction)
	if a.Verdict != diagnosis.Broken && a.Verdict != diagnosis.Depends || len(a.Causes) == 0 {
		return diagnosis.Cause{}, false
	}
	return a.Causes[0], true
}

// tell writes it into what is wrong.
func (b *blamed) tell(w *proof.Wrong) {
	why := fmt.Sprintf("%s: %s", b.Code, b.What)
	if w.WantRule != "" || w.LiveRule != "" {
		if w.Why != "" {
			why = w.Why + "; " + why
		}
		w.Why = why
		return
	}
	w.Node, w.Why, w.Model, w.Fault = b.node, why, "", proof.FaultNode
	if b.Rule != nil {
		w.LiveRule, w.Fault = b.Rule.Text, proof.FaultRules
	}
}
