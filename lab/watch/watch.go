// Package watch tells the flows of a running lab as they pass, whoever sends them. It takes copies of packets and holds none; who proves
// the lab at the same time is in its way, since the kernel reports its rules to one reader.
package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/nft"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/live"
	"natlab/nat/nftables"
	"natlab/topology"
)

// Options choose what is told.
type Options struct {
	Family  nat.Family           // of the flows: one that the lab has
	Nodes   []string             // whose flows; none is all nodes
	Timeout time.Duration        // how long; 0 is until ctx ends
	Count   int                  // ends with so many flows; 0 is no end
	Match   func(live.Flow) bool // of what is told, and counted; nil is everything
	Ready   func()               // is called when nothing is missed any more; nil for nobody
}

// Result is how a watch ended.
type Result struct {
	Told int    // flows
	Lost uint64 // events that the kernel could not deliver: what was told may lack something
}

// Lab tells flows until ctx, o.Timeout or o.Count ends it, each when it has come to its end, or is known to have none yet; one that was told
// of and is otherwise later is told again. Where the lab goes away its error is lab.ErrGone.
func Lab(ctx context.Context, l *lab.Lab, o Options, tell func(live.Flow) error) (Result, error) {
	attended, stop, err := l.Attend(ctx)
	if err != nil {
		return Result{}, err
	}
	defer stop()
	running, cancel := attended, context.CancelFunc(func() {})
	if o.Timeout > 0 {
		running, cancel = context.WithTimeout(attended, o.Timeout)
	}
	defer cancel()
	w := &watch{lab: l, options: o, tell: tell, rules: map[string]held{}, follower: live.NewFollower(live.NewNames(l.Cluster(), l.Plan()))}
	err = w.run(running)
	if err != nil && attended.Err() == nil { // of a lab that is being taken away parts are gone before it is told that it is
		grace := time.NewTimer(takenWithin)
		defer grace.Stop()
		select {
		case <-attended.Done():
		case <-grace.C:
		}
	}
	switch {
	case attended.Err() != nil && ctx.Err() == nil:
		return w.result, context.Cause(attended)
	case err != nil:
		return w.result, fmt.Errorf("watch lab %s: %w", l.Name(), err)
	}
	return w.result, nil
}

// takenWithin is how long it may take to take a lab away.
const takenWithin = 2 * time.Second

// watch is one call of Lab at work.
type watch struct {
	lab      *lab.Lab
	options  Options
	tell     func(live.Flow) error
	session  *witness.Session
	follower *live.Follower
	reader   dataplane.Reader
	rules    map[string]held // by node
	at       time.Time       // of this look
	result   Result
}

// held is what a node's kernel holds as it was read last.
type held struct {
	rules   []dataplane.Installed
	native  nftables.Ruleset // in nftables mode
	read    time.Time        // in the look of that time
	changed time.Time        // in the look that found them to be others than before; zero: in none
}

// The least time between two looks at what the kernel has reported, and how many times as long as a look took there is none.
const (
	restAfter   = 20 * time.Millisecond
	restOfLooks = 4
)

// tickOf is how often what is not the kernel's own is asked for news: it wakes nobody.
const tickOf = 500 * time.Millisecond

// run watches until ctx ends, which is no error: whatever did not come to its end then has been interrupted.
func (w *watch) run(ctx context.Context) error {
	if !slices.Contains(w.lab.Families(), w.options.Family) {
		return fmt.Errorf("it has no addresses of %s: want %s", w.options.Family, w.lab.Families()[0])
	}
	watched, wired, err := w.watched(ctx)
	if err == nil {
		w.session, err = witness.Start(ctx, watched, witness.Options{Family: w.options.Family, Copies: true})
	}
	if err == nil {
		err = w.follow(ctx, watched, wired)
	}
	if ctx.Err() != nil {
		err = nil
	}
	if w.session != nil {
		err = errors.Join(err, w.session.Close())
	}
	return err
}

func (w *watch) follow(ctx context.Context, watched []witness.Watched, wired bool) error {
	for _, in := range watched {
		conns, err := w.session.Conns(ctx, in.Member)
		if err != nil {
			return err
		}
		w.follower.Standing(conns)
	}
	if w.options.Ready != nil {
		w.options.Ready()
	}
	for {
		began := time.Now()
		enough, err := w.look(ctx)
		if err != nil || enough {
			return err
		}
		if err := w.rest(ctx, restAfter+restOfLooks*time.Since(began), wired); err != nil {
			return err
		}
	}
}

// watched are the nodes to watch, with their rules; wired reports whether the NAT of some is not their kernel's.
func (w *watch) watched(ctx context.Context) (out []witness.Watched, wired bool, err error) {
	nodes := w.options.Nodes
	if len(nodes) == 0 {
		nodes = w.lab.Nodes()
	}
	for _, node := range nodes {
		if !slices.Contains(w.lab.Nodes(), node) {
			return nil, false, fmt.Errorf("the lab has no node %q: want one of %s", node, strings.Join(w.lab.Nodes(), ", "))
		}
		h, err := w.lab.Handle(node)
		if err != nil {
			return nil, false, err
		}
		known, err := w.read(ctx, node, h)
		if err != nil {
			return nil, false, err
		}
		in := witness.Watched{Member: node, Kind: topology.KindNode, NS: h, Rules: known, Plane: w.lab.Plane(node)}
		wired = wired || in.Plane != nil
		out = append(out, in)
	}
	return out, wired, nil
}

// read reads what a node holds, and notes where that is otherwise than it was.
func (w *watch) read(ctx context.Context, node string, h netns.Handle) (witness.Known, error) {
	all, err := w.reader.DumpAll(ctx, h, w.options.Family)
	if err != nil {
		return witness.Known{}, fmt.Errorf("the rules of %s: %w", node, err)
	}
	before, known := w.rules[node]
	now := held{rules: all, read: w.at, changed: before.changed}
	if w.lab.Cluster().KubeProxy.Mode == topology.ModeNFTables {
		if now.native, err = nft.Tables(ctx, h, w.options.Family); err != nil {
			return witness.Known{}, fmt.Errorf("the tables of %s: %w", node, err)
		}
	}
	if known && (!same(before.rules, all) || !sameTables(before.native, now.native)) {
		now.changed = w.at
	}
	w.rules[node] = now
	out := witness.Known{Native: now.native}
	for _, in := range all {
		if in.Backend == dataplane.NFT {
			out.NFT = in.Rules
		} else {
			out.Legacy = in.Rules
		}
	}
	return out, nil
}

func same(a, b []dataplane.Installed) bool {
	return slices.EqualFunc(a, b, func(a, b dataplane.Installed) bool {
		return a.Backend == b.Backend && iptables.Ruleset.Same(a.Rules, b.Rules)
	})
}

func sameTables(a, b nftables.Ruleset) bool {
	return slices.EqualFunc(a.Tables, b.Tables, func(a, b nftables.Table) bool { return a.FullName() == b.FullName() && a.Same(&b) })
}

// refresh reads a node's rules again, where they are its kernel's.
func (w *watch) refresh(ctx context.Context, node string) error {
	if w.lab.Plane(node) != nil {
		return nil
	}
	h, err := w.lab.Handle(node)
	if err != nil {
		return err
	}
	known, err := w.read(ctx, node, h)
	if err != nil {
		return err
	}
	return w.session.SetRules(node, known)
}

// look reads all that there is, and tells what is to be told of it. What the kernel reports of a legacy table's rule is a number: the rules
// are read again before it is looked up in them.
func (w *watch) look(ctx context.Context) (enough bool, err error) {
	w.at = time.Now()
	pending, err := w.session.Pending()
	for _, node := range pending {
		if err == nil {
			err = w.refresh(ctx, node)
		}
	}
	if err != nil {
		return false, err
	}
	seen, err := w.session.DrainOf(ctx, pending)
	if err != nil {
		return false, err
	}
	w.follower.Take(seen, w.at)
	w.result.Lost = w.session.Lost()
	for _, f := range w.follower.Tell(time.Now()) {
		if w.options.Match != nil && !w.options.Match(f) {
			continue
		}
		for _, node := range f.Nodes() {
			if w.rules[node].read.Before(w.at) { // since what is told was read by them
				if err := w.refresh(ctx, node); err != nil {
					return false, err
				}
			}
			if changed := w.rules[node].changed; !f.Again && !changed.Before(f.Began) {
				f.Notes = append(f.Notes, "the rules of "+node+" were changed shortly before it passed, or since: what is told of them may be of others")
			}
		}
		if !f.Again {
			w.result.Told++
		}
		if err := w.tell(f); err != nil {
			return false, err
		}
		if w.options.Count > 0 && w.result.Told == w.options.Count {
			return true, nil
		}
	}
	return false, nil
}

// rest waits for the next look: for at least so long, and then for news, or for a flow of which there is something to tell without any.
func (w *watch) rest(ctx context.Context, least time.Duration, wired bool) error {
	pause := time.NewTimer(least)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
	}
	if w.follower.Unsettled() {
		return nil
	}
	var alarm <-chan time.Time
	due, some := w.follower.Due(time.Now())
	if wired {
		due, some = time.Now().Add(tickOf), true
	}
	if some {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.session.Notify():
	case <-alarm:
	}
	return nil
}
