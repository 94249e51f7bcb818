package verify

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/lab"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/nat/service"
	"natlab/topology"
)

// byOutcomes reports whether the nodes of a lab translate by what natlab cannot predict: then a flow is judged by what comes of it.
func byOutcomes(l *lab.Lab) bool { return l.Cluster().KubeProxy.Mode == topology.ModeIPVS }

// checkOutcomes refuses what needs a prediction of paths.
func checkOutcomes(o Options) error {
	var what string
	switch {
	case o.Strict:
		what = "strict: natlab knows no rules of kube-proxy's own to ask for"
	case o.AsIs:
		what = "as is: natlab does not know what becomes of a flow by what the nodes hold"
	case o.Record != "":
		what = "record: there is no prediction to judge the run by again"
	default:
		return nil
	}
	return fmt.Errorf("in mode %s outcomes alone are proved; %s: %w", topology.ModeIPVS, what, errors.ErrUnsupported)
}

// outcomesNote is what the reader of such a proof should know.
const outcomesNote = "kube-proxy runs in ipvs mode: what comes of each flow is proved, and its way drawn as the kernel told of it; IPVS tells of none of its own steps"

// expectOutcomes notes what the objects call for of each flow, and leaves out those that no Service decides.
func (v *verification) expectOutcomes(flows []proof.Flow) error {
	undecided := 0
	var contended []string
	for _, f := range flows {
		q := &flowState{flow: f}
		var err error
		if q.needed, err = v.outcome(f); err != nil {
			return fmt.Errorf("what has to become of %s: %w", f.Name, err)
		}
		if h, ok := v.means.Health(f.Target); ok && f.Type == proof.ByHealthCheck {
			q.health = h.String()
		}
		if at := f.Target.Addr().String(); len(q.needed.Rivals) > 0 && !slices.Contains(contended, at) {
			contended = append(contended, at)
		}
		if !proof.Decides(q.needed) {
			undecided++
			continue
		}
		q.intent = proof.Outcomes(q.needed)
		q.live, q.sticks = q.intent, q.needed.AffinitySeconds > 0
		q.inTurn = !q.sticks && len(q.intent) > 1
		v.states = append(v.states, q)
	}
	v.about.Notes = append(slices.Clone(v.about.Notes), outcomesNote)
	if len(contended) > 0 {
		v.about.Notes = append(v.about.Notes, "each node answers ARP for "+strings.Join(contended, ", ")+", whoever announces it, as ipvs.strictARP is not set: a packet from outside may come to any of them")
	}
	if undecided > 0 {
		v.about.Notes = append(v.about.Notes, fmt.Sprintf("%d flows were not asked: no Service decides what has to become of them, and nothing predicts it", undecided))
	}
	return nil
}

// outcome is what has to become of a flow. A node itself answers a health check, and refuses a port that is nobody's, or nobody's there.
func (v *verification) outcome(f proof.Flow) (service.Answer, error) {
	switch f.Type { //nolint:exhaustive // all others are asked of Services
	case proof.ByNothing:
		return service.Answer{Endings: []service.Ending{{End: nat.EndRefused, Why: "no Service has the port"}}}, nil
	case proof.ByHealthCheck:
		return service.Answer{Endings: []service.Ending{{End: nat.EndAnswered, Endpoint: f.Target, Client: []netip.Addr{f.Source}, Why: "kube-proxy answers health checks"}}}, nil
	}
	a, err := v.means.Ask(service.Flow{From: f.From, Protocol: f.Protocol, Source: f.Source, Target: f.Target})
	if len(a.Endings) == 0 && f.Type == proof.ByNodePort && f.Target.Addr().IsLoopback() {
		a.Endings = []service.Ending{{End: nat.EndRefused, Why: "in ipvs mode node ports are not served at loopback"}}
	}
	return a, err
}

// sticksTo is the endpoint that has to serve a flow with session affinity again; invalid where none did yet.
func (q *flowState) sticksTo() (endpoint netip.AddrPort) {
	if !q.sticks {
		return endpoint
	}
	for _, c := range q.certs {
		if c.End == nat.EndAnswered && c.Verdict == proof.Proved {
			return c.Endpoint
		}
	}
	return endpoint
}
