package verify

import (
	"context"
	"slices"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// controller notes the batches of a control run.
type controller struct {
	*verification
	session *witness.Session
	machine witness.Machine
	lost    uint64
}

func (w *controller) judge(_ context.Context, batch []*attempt, seen []proof.Observation) error {
	crowded, err := w.crowded()
	if err != nil {
		return err
	}
	w.note(batch, seen, crowded, w.session.Lost())
	return nil
}

// note is noteControl where no more events were lost than before: an entry that nobody told of may be the one that is looked for.
func (w *controller) note(batch []*attempt, seen []proof.Observation, crowded bool, lost uint64) {
	missed := lost > w.lost
	if w.lost = lost; !missed {
		w.noteControl(batch, seen, crowded)
		return
	}
	for _, t := range batch {
		w.againUncontrolled(t, eventsLost)
	}
}

// againUncontrolled has an attempt without taps made again, as often as one with taps may be.
func (v *verification) againUncontrolled(t *attempt, why string) {
	v.discarded[why]++
	t.retries++
}

// mayEndSo reports whether a prediction has a way with an end.
func mayEndSo(p nat.Prediction, end nat.End) bool {
	return slices.ContainsFunc(p, func(o nat.Outcome) bool { return o.End == end })
}

// crowded reports whether the kernel dropped packets since the last batch for want of what all namespaces share.
func (w *controller) crowded() (bool, error) {
	now, err := w.session.Machine()
	grown := now.Sub(w.machine)
	w.machine = now
	return len(lacks(grown)) > 0, err
}

// noteControl notes how the attempts went that only conntrack was asked about. crowded: the kernel dropped packets meanwhile for want of what all
// namespaces share, and what was lost may be one of them.
func (v *verification) noteControl(batch []*attempt, seen []proof.Observation, crowded bool) {
	joined := proof.Join(probesOf(batch), seen)
	proof.Displace(joined, v.holders(seen))
	for i, s := range joined {
		t := batch[i]
		if s.Mixed {
			t.retries++
			continue
		}
		by := proof.EndpointOf(t.probe.Tuple, s, t.ends)
		if t.ends.End == nat.EndUnreachable && !mayEndSo(t.intent, nat.EndUnreachable) && !mayEndSo(t.live, nat.EndUnreachable) {
			if v.driver.patient < controlPatient { // the watched run sees who says so
				t.givenUp = true
			} else {
				v.againUncontrolled(t, noNeighbour)
			}
			continue
		}
		// Lost at one endpoint and answered by another, by the live rules, is as it has to be.
		chance := proof.MayEnd(t.live, by, nat.EndLost) && answers(t.live)
		// So is, by the intent, answered where it came to, whatever is lost elsewhere.
		answered := by.IsValid() && proof.MayEnd(t.intent, by, nat.EndAnswered) && !proof.MayEnd(t.intent, by, nat.EndLost)
		if t.overdue && !chance && (answered || !loses(t.intent)) {
			// Lost, or late: the watched run tells, with its taps.
			t.givenUp = true
			if v.driver.patient < controlPatient {
				continue
			}
			if crowded {
				v.againUncontrolled(t, droppedElsewhere)
				t.givenUp = false
				continue
			}
		}
		t.controls = append(t.controls, proof.Control{Tuple: t.probe.Tuple, Ends: t.ends, Conns: s.Conns})
		t.saw(by)
	}
}
