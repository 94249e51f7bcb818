package verify

import (
	"context"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// controller notes the batches of a control run.
type controller struct {
	*verification
	session *witness.Session
	machine witness.Machine
}

func (w *controller) judge(_ context.Context, batch []*attempt, seen []proof.Observation) error {
	crowded, err := w.crowded()
	if err != nil {
		return err
	}
	w.noteControl(batch, seen, crowded)
	return nil
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
				v.discarded[droppedElsewhere]++
				t.retries++
				t.givenUp = false
				continue
			}
		}
		t.controls = append(t.controls, proof.Control{Tuple: t.probe.Tuple, Ends: t.ends, Conns: s.Conns})
		t.saw(by)
	}
}
