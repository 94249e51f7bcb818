package scenarios

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"natlab/lab/dataplane"
	"natlab/lab/proxy"
	"natlab/lab/userspace"
	"natlab/topology"
)

// Options are what Run is to do.
type Options struct {
	Variants []Variant // none means all that a scenario has
	Backends []string  // none means all that it is for; "userspace" is asked for by name alone, and skipped where Scenario.Kernel tells why, and so is "nftables", with Scenario.IPTables
	Apply    userspace.Apply
	Family   topology.Family // of the labs: with IPv6 each scenario that makes sense in it is run as InIPv6 has it, and the others are skipped
	Repeat   int             // how often each is run; 0 means once
	Parallel int             // how many at a time; 0 means 4
	Shard    int             // of Shards, from 1; 0 means all
	Shards   int
	Update   bool // rewrite the files that cmp compares with: see Result.Updated
	Verbose  bool // keep the log of runs that passed too
	Draw     bool // keep the exchanges: see Result.Exchanges. It takes time between them, so that what is about timing may end otherwise
	// Programs are real kube-proxies to run each scenario on; none means natlab's own copy of the rules. A scenario of a release's bugs is run on each in the
	// variant that it is of, and needs one.
	Programs []proxy.Program
	Prefix   string       // of the labs' names; "" means "sc"
	Done     func(Result) // called after each run, one at a time; may be nil
}

// Run runs scenarios, each in a lab of its own, and returns the results in the order of the scenarios, variants, backends
// and repetitions. It ends early, with what it has, when ctx does.
func Run(ctx context.Context, all []Scenario, o Options) []Result {
	jobs := plan(all, o)
	results := make([]Result, len(jobs))
	next := make(chan int)
	var tell sync.Mutex
	var workers sync.WaitGroup
	for range min(max(o.Parallel, 1), max(len(jobs), 1)) {
		workers.Go(func() {
			for i := range next {
				results[i] = jobs[i].do(ctx, o.Verbose)
				if o.Done != nil {
					tell.Lock()
					o.Done(results[i])
					tell.Unlock()
				}
			}
		})
	}
	made := 0
	for ; made < len(jobs); made++ {
		select {
		case next <- made:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return results[:made]
}

// DefaultParallel is how many scenarios run beside each other by default: they mostly wait.
const DefaultParallel = 4

// plan lists the runs.
func plan(all []Scenario, o Options) []job {
	var jobs []job
	prefix := o.Prefix
	if prefix == "" {
		prefix = "sc"
	}
	for i, s := range all {
		if o.Shard > 0 && o.Shards > 1 && i%o.Shards != o.Shard-1 {
			continue
		}
		for _, program := range o.programs() {
			jobs = append(jobs, o.jobs(s, program)...)
		}
	}
	for i := range jobs {
		jobs[i].name, jobs[i].update, jobs[i].draw = fmt.Sprintf("%s-%d", prefix, i+1), o.Update, o.Draw
	}
	return jobs
}

// programs are Programs, or the one that stands for none.
func (o Options) programs() []proxy.Program {
	if len(o.Programs) == 0 {
		return []proxy.Program{{}}
	}
	return o.Programs
}

// jobs are the runs of one scenario on one kube-proxy.
func (o Options) jobs(s Scenario, program proxy.Program) (jobs []job) {
	variants, backends := s.variants(), s.Backends
	if program.Path != "" {
		variants = s.On(program.Version)
	}
	for _, named := range []string{string(dataplane.Userspace), NFTables} {
		if slices.Contains(o.Backends, named) && !slices.Contains(backends, named) {
			backends = append(slices.Clip(backends), named)
		}
	}
	for _, v := range variants {
		for _, b := range backends {
			if len(o.Variants) > 0 && !slices.Contains(o.Variants, v) || len(o.Backends) > 0 && !slices.Contains(o.Backends, b) {
				continue
			}
			for run := range max(o.Repeat, 1) {
				jobs = append(jobs, job{scenario: s, variant: v, backend: b, apply: o.Apply, family: o.Family, run: run + 1, program: program})
			}
		}
	}
	return jobs
}

// Worst is Failed if one result is, else Passed; of nothing but skips it is Skipped.
func Worst(results []Result) Outcome {
	worst := Skipped
	for _, r := range results {
		switch r.Outcome {
		case Failed:
			return Failed
		case Passed:
			worst = Passed
		case Skipped:
		}
	}
	return worst
}
