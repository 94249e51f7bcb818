package verify

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/ipset"
	"natlab/nat/proof"
	"natlab/nat/service"
	"natlab/topology"
)

// Replay judges a recorded run again (Options.Record): it predicts each flow anew from the recorded lab and rules, joins what was seen to the
// attempts, and issues the certificates. It needs no kernel, no root and no lab. strict asks for kube-proxy's own rules too, whatever
// the run did. A recording that breaks off is judged as far as it goes.
func Replay(dir string, strict bool) (proof.Report, error) {
	runs, err := recordings(dir)
	if err != nil {
		return proof.Report{}, fmt.Errorf("%s is no recording of natlab verify --record: %w", dir, err)
	}
	var all proof.Report
	for _, r := range runs {
		found, err := r.replay(strict)
		if err != nil {
			return proof.Report{}, err
		}
		all = joined(all, found, nat.Family(r.about.Family))
	}
	return all, nil
}

// recorded is the recording of a run of one family.
type recorded struct {
	dir   string
	about Recording
}

// recordings are those in a directory: its own, or where a run was of several families theirs side by side, in the lab's order.
func recordings(dir string) ([]recorded, error) {
	about, err := readRecording(dir)
	if err == nil {
		return []recorded{{dir, about}}, nil
	}
	var out []recorded
	for _, f := range []topology.Family{topology.IPv4, topology.IPv6} {
		part := filepath.Join(dir, f.String())
		about, failed := readRecording(part)
		switch {
		case errors.Is(failed, fs.ErrNotExist):
		case failed != nil:
			return nil, failed
		default:
			out = append(out, recorded{part, about})
		}
	}
	if len(out) == 0 {
		return nil, err
	}
	slices.SortFunc(out, func(a, b recorded) int {
		families := a.about.Plan.Families
		return slices.Index(families, a.about.Family) - slices.Index(families, b.about.Family)
	})
	return out, nil
}

func readRecording(dir string) (about Recording, err error) {
	b, err := os.ReadFile(filepath.Join(dir, runFile)) // #nosec G304 -- the user names the directory
	if err == nil {
		err = json.Unmarshal(b, &about)
	}
	return about, err
}

// replay judges it.
func (r recorded) replay(strict bool) (proof.Report, error) {
	v, err := replayed(r.about, strict)
	if err != nil {
		return proof.Report{}, fmt.Errorf("replay %s: %w", r.dir, err)
	}
	events, err := os.Open(filepath.Join(r.dir, eventsFile)) // #nosec G304 -- the user names the directory
	if err != nil {
		return proof.Report{}, fmt.Errorf("replay: %w", err)
	}
	defer events.Close() //nolint:errcheck // it was only read
	var end closing
	text, err := gzip.NewReader(events)
	if err == nil {
		end, err = v.replay(text)
	}
	if err != nil {
		return proof.Report{}, fmt.Errorf("replay %s: %w", filepath.Join(r.dir, eventsFile), err)
	}
	found := v.report(end.Ended)
	found.Notes = append(found.Notes, end.Notes...)
	return found, nil
}

// replayed is a verification of what was recorded, with its predictions.
func replayed(about Recording, strict bool) (*verification, error) {
	network := lab.Network{
		Setup: gateway.Setup{Plan: about.Now, Servers: about.Servers, KernelIPIP: about.KernelIPIP, Rules: map[string]gateway.Rules{}, SetsOf: map[string]ipset.Sets{}},
		Held:  map[string][]dataplane.Installed{}, World: about.World, SavedSets: about.Sets,
	}
	if err := restore(about.Beside, &network.Plan); err != nil {
		return nil, err
	}
	if about.Made != nil { // recordings that are older have none
		if err := restore(about.Made, &about.Plan); err != nil {
			return nil, err
		}
	}
	network.Kernel, network.IPsec, network.Family = about.Kernel, about.IPsec, nat.Family(about.Family)
	for node := range about.Held {
		held, err := about.rulesets(node)
		if err != nil {
			return nil, err
		}
		network.Held[node] = held
		for _, in := range held {
			network.Rules[node] = append(network.Rules[node], in.Rules)
		}
	}
	for member, saved := range about.Sets {
		sets, err := ipset.Parse(saved)
		if err != nil {
			return nil, fmt.Errorf("sets of %s: %w", member, err)
		}
		network.SetsOf[member] = sets
	}
	native, err := about.native()
	if err != nil {
		return nil, err
	}
	network.NFTOf = native
	held, err := rulesOf(network, about.Nodes, about.Intent)
	if err != nil {
		return nil, err
	}
	means, err := service.New(about.Intent)
	if err != nil {
		return nil, err
	}
	v := &verification{
		about: about, means: means, rules: held, chains: held.chains(), asIs: about.AsIs, strict: about.Strict || strict,
		meter: proof.Meter{}, discarded: map[string]int{}, selected: about.Selected, notAsked: about.NotAsked,
	}
	if about.AsIs {
		v.chains.Intent = v.chains.Live
	}
	v.driver = driver{wired: about.Wired, servers: about.MadeServers}
	return v, v.predict(about.Flows)
}

// replay judges event after event.
func (v *verification) replay(r io.Reader) (closing, error) {
	events := json.NewDecoder(r)
	for n := 1; ; n++ {
		var e event
		err := events.Decode(&e)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // whoever recorded it did not come to its end
			return closing{Ended: "the recording breaks off"}, nil
		case err != nil:
			return closing{}, fmt.Errorf("event %d: %w", n, err)
		case e.End != nil:
			return *e.End, nil
		case e.Round != nil:
			err = v.replayRound(*e.Round)
		case e.Batch != nil:
			err = v.replayBatch(*e.Batch)
		}
		if err != nil {
			return closing{}, fmt.Errorf("event %d: %w", n, err)
		}
	}
}

// state is the flow of a place in Recording.Flows.
func (v *verification) state(flow int) (*flowState, error) {
	if flow < 0 || flow >= len(v.states) {
		return nil, fmt.Errorf("flow %d: the recording has %d", flow, len(v.states))
	}
	return v.states[flow], nil
}

func (v *verification) replayRound(r roundRecord) error {
	if len(r.Controls) != len(r.Flows) {
		return fmt.Errorf("a round of %d flows has %d control runs", len(r.Flows), len(r.Controls))
	}
	for i, flow := range r.Flows {
		q, err := v.state(flow)
		if err != nil {
			return err
		}
		q.certs, q.controls = nil, r.Controls[i]
		q.expect(true)
	}
	return nil
}

func (v *verification) replayBatch(b batchRecord) error {
	var batch []*attempt
	for _, a := range b.Attempts {
		q, err := v.state(a.Flow)
		if err != nil {
			return err
		}
		t := &attempt{flowState: q, probe: a.Probe, intent: q.intent, live: q.live, bound: predictedPort, whole: a.Whole, ends: a.Ends, overdue: a.Overdue, lost: a.Lost}
		switch {
		case q.old != nil: // predicted from that port
			t.bound = a.Probe.Tuple.Src().Port()
		case a.Stuck.IsValid() && q.sticky != nil:
			q.secondContact(t, a.Stuck)
		}
		t.bind()
		if v.driver.live != nil && q.sticky == nil && q.old == nil {
			live, err := v.driver.live.Predict(t.probe)
			if err != nil {
				return err
			}
			t.live = v.driver.tapped(live)
		}
		batch = append(batch, t)
	}
	v.lost += b.Missed
	v.certify(batch, b)
	return nil
}
