package scenarios

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/dataplane"
	"natlab/lab/proxy"
	"natlab/lab/userspace"
	"natlab/nat"
	"natlab/topology"
)

// Outcome is how one run of a scenario ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is one run of a scenario.
type Result struct {
	Scenario string        `json:"scenario"`
	Variant  Variant       `json:"variant"`
	Backend  string        `json:"backend"`
	Kernel   string        `json:"kernel"`              // as uname -r prints it
	Run      int           `json:"run"`                 // 1 for the first
	Program  string        `json:"kubeProxy,omitempty"` // the version of the real kube-proxy, if there is one
	Outcome  Outcome       `json:"outcome"`
	Why      string        `json:"why,omitempty"`     // of a skip
	Missing  []string      `json:"missing,omitempty"` // of a skip: what the scenario needs and this machine has not
	Log      string        `json:"log,omitempty"`     // the script's, of a run that failed, or of each with Options.Verbose
	Took     time.Duration `json:"took"`              // nanoseconds
	Updated  []byte        `json:"-"`                 // with Options.Update: the scenario's text, with what cmp saw

	Exchanges []Exchange `json:"-"` // with Options.Draw: those that were watched, in their order
}

// job is one run that is to be made.
type job struct {
	scenario Scenario
	variant  Variant
	backend  string
	apply    userspace.Apply // of the backend "userspace"
	run      int
	name     string        // the lab's
	program  proxy.Program // the zero value is natlab's own copy of the rules
	family   topology.Family
	update   bool // rewrite the files that cmp compares with
	draw     bool // keep the exchanges for pictures
}

// limit bounds one run, so that a script that waits for ever ends. What needs IPVS runs in VMs, emulated ones too, where a kube-proxy is at work for minutes.
const limit, limitIPVS = 2 * time.Minute, 30 * time.Minute

// needsIPVS is the word of a script that is skipped where the kernel has no IPVS.
const needsIPVS = "feature:IPVS"

// limit is how long the job may take.
func (j job) limit() time.Duration {
	if slices.Contains(j.scenario.Needs, needsIPVS) {
		return limitIPVS
	}
	return limit
}

// do runs a job. Whatever the script does, its lab is taken away.
func (j job) do(ctx context.Context, verbose bool) (r Result) {
	start := time.Now()
	r = Result{Scenario: j.scenario.Name, Variant: j.variant, Backend: j.backend, Run: j.run, Program: j.program.Version}
	r.Kernel, _ = dataplane.Release() // "" where it is not told
	defer func() { r.Took = time.Since(start) }()
	if j.backend == string(dataplane.Userspace) && j.scenario.Kernel != "" {
		r.Outcome, r.Why = Skipped, j.scenario.Kernel
		return r
	}
	if j.backend == NFTables && j.scenario.IPTables != "" {
		r.Outcome, r.Why = Skipped, "about kube-proxy's iptables mode: "+j.scenario.IPTables
		return r
	}
	if j.family == topology.IPv6 {
		if why := j.inIPv6(); why != "" {
			r.Outcome, r.Why = Skipped, why
			return r
		}
	}
	ctx, cancel := context.WithTimeout(ctx, j.limit())
	defer cancel()
	s := &stage{job: j, ctx: ctx}
	t, err := s.perform(j.update)
	if err != nil {
		r.Outcome, r.Log = Failed, err.Error()
		return r
	}
	r.Outcome, r.Why = t.outcome()
	if r.Outcome == Skipped {
		s.earn(&r, t)
	}
	r.Updated, r.Exchanges = s.updated, s.shown
	if s.err != nil {
		r.Outcome = Failed
		t.log.WriteString("take the lab away: " + s.err.Error() + "\n")
	}
	if r.Outcome == Failed || verbose {
		r.Log = fromScript(t.log.String())
	}
	return r
}

// inIPv6 makes the job's scenario one of IPv6, or tells why it is none.
func (j *job) inIPv6() (why string) {
	s, err := j.scenario.InIPv6()
	if err != nil {
		return err.Error()
	}
	j.scenario = s
	return ""
}

// fromScript leaves out what the engine prints before the script's first verb: its environment, and the page.
func fromScript(log string) string {
	if i := strings.Index(log, "\n> "); i >= 0 {
		return log[i+1:]
	}
	return log
}

// condition decides [word] in front of a script's line.
func (s *stage) condition(word string) (bool, error) {
	switch key, value, _ := strings.Cut(word, ":"); key {
	case string(Buggy), string(Fixed):
		return word == string(s.job.variant), nil
	case "legacy":
		return s.job.backend == string(dataplane.Legacy), nil
	case "nft":
		return s.job.backend == string(dataplane.NFT), nil
	case "userspace":
		return s.job.backend == string(dataplane.Userspace), nil
	case NFTables:
		return s.nftables(), nil
	case "ipv4", "ipv6":
		if s.ground == nil {
			return word == s.family().String(), nil
		}
	case "feature":
		return s.feature(value)
	case "kernel":
		return kernelAtLeast(value)
	case "release":
		release, err := topology.ParseRelease(value)
		if err != nil {
			return false, fmt.Errorf("condition [%s]: %w", word, err)
		}
		if is, err := topology.ParseRelease(s.job.program.Version); err == nil {
			return is == release, nil
		}
		return s.cluster.KubeProxy.Release == release, nil
	}
	if s.ground != nil && s.ground.Condition != nil {
		if known, holds := s.ground.Condition(word); known {
			return holds, nil
		}
	}
	return false, fmt.Errorf("condition [%s]: want buggy, fixed, legacy, nft, userspace, nftables, ipv4, ipv6, release:vX.Y, kernel:X.Y (that or later) or feature:NAME (natlab doctor names them)", word)
}

// kernelAtLeast compares the running kernel's version with X.Y. What can be probed is a feature; this is for behaviour that
// only shows when it is too late.
func kernelAtLeast(want string) (bool, error) {
	version, err := nat.ParseKernel(want)
	if err != nil {
		return false, fmt.Errorf("condition [kernel:%s]: %w", want, err)
	}
	running, err := dataplane.Kernel()
	return !running.Before(version.Major, version.Minor), err
}

// recorder is what the script engine takes for a test: it keeps the log and how it ended.
type recorder struct {
	log             strings.Builder
	failed, skipped bool
	why             string
}

var _ testscript.T = (*recorder)(nil)

// guard runs f on a goroutine of its own, which FailNow and Skip end.
func (t *recorder) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (t *recorder) outcome() (Outcome, string) {
	switch {
	case t.failed:
		return Failed, ""
	case t.skipped:
		return Skipped, t.why
	}
	return Passed, ""
}

// Skip ends the run: the kernel cannot do what it is about.
func (t *recorder) Skip(args ...any) {
	t.skipped, t.why = true, strings.TrimSpace(fmt.Sprint(args...))
	runtime.Goexit()
}

// Fatal ends the run as failed.
func (t *recorder) Fatal(args ...any) {
	t.Log(args...)
	t.FailNow()
}

// Parallel does nothing: the Runner decides what runs beside what.
func (t *recorder) Parallel() {}

// Log keeps what the script prints.
func (t *recorder) Log(args ...any) { fmt.Fprintln(&t.log, args...) }

// FailNow ends the run as failed.
func (t *recorder) FailNow() {
	t.failed = true
	runtime.Goexit()
}

// Run runs the one script.
func (t *recorder) Run(_ string, f func(testscript.T)) {
	t.guard(func() { f(t) })
	if t.failed || t.skipped {
		runtime.Goexit()
	}
}

// Verbose keeps the log of what passes too.
func (t *recorder) Verbose() bool { return true }
