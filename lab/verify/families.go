package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"natlab/lab"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// run is what the verifications of all families have in common: the lab as it was read, and what is asked.
type run struct {
	lab     *lab.Lab
	options Options
	intent  topology.Cluster // whose Services decide what must happen, in the lab's families
	flows   []proof.Flow
	members []string
	network lab.Network
}

// prove proves the flows of one family after the other, and joins what was found. Each family has rules, routes, sources and witnesses of
// its own: the flows of one tell nothing of the other's.
func prove(ctx context.Context, l *lab.Lab, o Options) (proof.Report, error) {
	r, err := newRun(ctx, l, o)
	if err != nil {
		return proof.Report{}, err
	}
	families := r.families()
	if o.Record != "" && len(families) > 1 {
		if err := emptyDirectory(o.Record); err != nil {
			return proof.Report{}, err
		}
	}
	var all proof.Report
	for i, f := range families {
		ended := all.Ended
		if i > 0 && ended == "" {
			ended = endedBy(ctx, ctx.Err())
		}
		var found proof.Report
		if ended == "" {
			found, err = r.prove(ctx, f, i == 0, len(families) > 1)
			ended = endedBy(ctx, err)
			if err != nil && (i == 0 || ended == "") {
				return proof.Report{}, err
			}
		}
		if i > 0 && found.Lab == "" { // nothing of it was asked
			all.NotAsked, all.Ended = append(all.NotAsked, proof.Unfinished(r.of(f), ended)...), ended
			continue
		}
		all = joined(all, found, f)
	}
	return all, nil
}

// newRun reads the lab.
func newRun(ctx context.Context, l *lab.Lab, o Options) (r run, err error) {
	if byOutcomes(l) {
		if err := checkOutcomes(o); err != nil {
			return run{}, err
		}
	}
	r = run{lab: l, options: o, intent: l.Cluster(), flows: o.Flows}
	if o.Intent != nil {
		r.intent = l.Here(*o.Intent)
		r.intent.Underlay = l.Cluster().Underlay // what is wired stays as it is
	}
	if r.flows == nil {
		r.flows = proof.Flows(r.intent, o.Selector)
	}
	r.members = concerned(l, r.intent, r.flows)
	if !o.AsIs && l.Cluster().KubeProxy.Mode == topology.ModeNFTables {
		if err := r.forget(); err != nil {
			return run{}, err
		}
	}
	r.network, err = l.NetworkOf(ctx, r.members)
	return r, err
}

// forget has nodes forget who served whom, where a flow has session affinity: it is asked by a client that no node remembers (runSticky), and such clients are elements of
// sets among the rules that its predictions are made of.
func (r run) forget() error {
	sticks := func(s topology.Service) bool { return s.AffinitySeconds > 0 }
	if !slices.ContainsFunc(r.intent.Services, sticks) && !slices.ContainsFunc(r.lab.Cluster().Services, sticks) {
		return nil
	}
	for _, node := range r.lab.Nodes() {
		if !slices.Contains(r.members, node) {
			continue
		}
		if err := r.lab.ForgetServed(node); err != nil {
			return fmt.Errorf("node %s: forget who was served by whom: %w", node, err)
		}
	}
	return nil
}

// of are the flows of a family.
func (r run) of(f nat.Family) []proof.Flow {
	return slices.DeleteFunc(slices.Clone(r.flows), func(flow proof.Flow) bool { return nat.FamilyOf(flow.Target.Addr()) != f })
}

// families are those of the lab that have flows, or the primary one where none has.
func (r run) families() []nat.Family {
	all := r.lab.Families()
	out := slices.DeleteFunc(slices.Clone(all), func(f nat.Family) bool { return len(r.of(f)) == 0 })
	if len(out) == 0 {
		return all[:1]
	}
	return out
}

// as is the lab as the packets of a family meet it. What one verification adds to it is not the other's.
func (r run) as(f nat.Family) lab.Network {
	n := r.network.Of(f)
	n.World = maps.Clone(n.World)
	return n
}

// record is the directory that keeps a family's run; "" for none. The runs of several families are kept side by side.
func (r run) record(f nat.Family, several bool) string {
	if r.options.Record == "" || !several {
		return r.options.Record
	}
	return filepath.Join(r.options.Record, f.String())
}

// joined is the report of a run with that of a further family's.
func joined(all, of proof.Report, f nat.Family) proof.Report {
	if all.Lab == "" {
		return of
	}
	all.Flows = append(all.Flows, of.Flows...)
	all.Coverage.Rules += of.Coverage.Rules
	all.Coverage.Met += of.Coverage.Met
	all.Coverage.Unmet = append(all.Coverage.Unmet, of.Coverage.Unmet...)
	all.Lost += of.Lost
	all.NotAsked = append(all.NotAsked, of.NotAsked...)
	all.Ended = of.Ended
	if of.Overlay != all.Overlay {
		all.Overlay = fmt.Sprintf("%s, %s %s", all.Overlay, f, of.Overlay)
	}
	for _, note := range of.Notes {
		if !slices.Contains(all.Notes, note) {
			all.Notes = append(all.Notes, note)
		}
	}
	return all
}

// emptyDirectory makes a directory, which must not be there or be empty.
func emptyDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("record: %s is not empty: name a directory that is, or none yet", dir))
	}
	return nil
}
