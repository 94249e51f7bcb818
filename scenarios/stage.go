package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab"
	"natlab/lab/dataplane"
	"natlab/lab/doctor"
	"natlab/lab/traffic"
	"natlab/lab/witness"
	"natlab/nat/proof"
	"natlab/topology"
)

// stage is what one run of a script acts on.
type stage struct {
	job job
	ctx context.Context //nolint:containedctx // the script engine calls the verbs, and hands no context on
	err error           // of close

	ground  *Ground // of a script on a lab that is not its own; else nil
	updated []byte  // with job.update: the script's file, with what cmp saw

	objects objects
	cluster topology.Cluster // as the script last changed it
	lab     *lab.Lab

	counts  *witness.Session // connection tracking statistics
	base    map[string]witness.Counters
	taps    *witness.Session // nil until watch
	holds   map[string]*witness.Hold
	conns   map[string]*traffic.Conn
	servers []io.Closer               // of listen
	opened  map[string]asked          // what open opened, by connection
	sent    map[string][]request      // and not yet received, by connection
	answers map[string]traffic.Answer // the last of each connection
	loads   map[string]*load          // that run
	loose   bool                      // packets were sent that are no request, and were not seen to come to rest
	last    asked
	seen    []proof.Observation // by the taps, since watch
	kept    []kept              // with job.draw
	shown   []Exchange          // of kept, when the script is over
}

// verb is a command of a script. not is the "!" in front of it, which most verbs refuse.
type verb func(s *stage, ts *testscript.TestScript, not bool, args []string) error

// verbs lists the commands that scenarios have beside the script engine's own (env, cmp, stdout, skip, stop, ...).
func (s *stage) verbs() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]verb{
		"lab": doLab, "apply": doApply, "sync": doSync, "iptables": doIptables, "run": doRun, "sysctl": doSysctl, "server": doServer, "listen": doListen,
		"ask": doAsk, "open": doOpen, "send": doSend, "receive": doReceive, "close": doClose, "segment": doSegment, "load": doLoad, "stream": doStream, "pause": doPause, "sweep": doSweep,
		"conntrack": doConntrack, "flush": doFlush, "stat": doStat, "counter": doCounter, "netstat": doNetstat,
		"watch": doWatch, "met": doMet, "hop": doHop, "way": doWay, "hold": doHold, "held": doHeld, "release": doRelease, "drop": doDrop, "duplicate": doDuplicate, "rewrite": doRewrite,
		"view": doView, "audit": doAudit, "http": doHTTP, "until": doUntil, "proxy": doProxy,
	}
	if s.ground != nil {
		all = s.groundVerbs(all)
	}
	out := make(map[string]func(*testscript.TestScript, bool, []string), len(all))
	for name, do := range all {
		out[name] = func(ts *testscript.TestScript, not bool, args []string) {
			if s.lab == nil && name != "lab" {
				ts.Fatalf("%s: there is no lab yet: the first verb is lab", name)
			}
			if err := do(s, ts, not, args); err != nil {
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	return out
}

// close takes away all that the script made.
func (s *stage) close() error {
	var errs []error
	for _, l := range s.loads {
		errs = append(errs, l.Close())
	}
	for _, c := range s.conns {
		errs = append(errs, c.Close())
	}
	errs = append(errs, closers(s.servers)...)
	for _, w := range []*witness.Session{s.taps, s.counts} {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	if s.lab != nil && s.ground == nil {
		errs = append(errs, s.lab.Down(context.WithoutCancel(s.ctx)))
	}
	return errors.Join(errs...)
}

// errUsage is a verb that was called wrongly.
var errUsage = errors.New("usage")

// usagef tells how a verb is called.
func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// options takes "key=value" arguments apart, of the keys that a verb knows.
func options(args []string, known ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || !slices.Contains(known, k) {
			return nil, usagef("%q: want %s", a, strings.Join(known, "=... ")+"=...")
		}
		out[k] = v
	}
	return out, nil
}

// doLab: lab [FILE...]. The first file is the cluster, "small" being the one of every scenario that brings none; the
// others change it, as apply does.
func doLab(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if s.lab != nil {
		return usagef("lab [FILE...], once")
	}
	if s.job.scenario.Affected != "" && s.job.program.Path == "" {
		return fmt.Errorf("the scenario needs a real kube-proxy: --kube-proxy RELEASE (it is about %s)", s.job.scenario.Affected)
	}
	if len(args) == 0 || args[0] != "small" && strings.HasPrefix(args[0], "+") {
		args = append([]string{"small"}, args...)
	}
	for i, name := range args {
		text := string(small)
		if name != "small" {
			text = ts.ReadFile(strings.TrimPrefix(name, "+"))
		} else if s.job.scenario.ipv6 {
			var err error
			if text, err = objectsInIPv6(text); err != nil {
				return err
			}
		}
		more, err := parseObjects([]byte(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i == 0 {
			s.objects = more
			continue
		}
		if s.objects, err = s.objects.merge(more); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var err error
	if s.objects, err = s.objects.released(s.job.program); err != nil {
		return err
	}
	if s.cluster, err = s.loaded(args[0]); err != nil {
		return err
	}
	up, err := lab.Up(s.ctx, s.cluster, lab.Options{Name: s.job.name, Backend: s.writes(), KubeProxy: s.job.program.Path, Gateways: lab.GatewayOptions{Apply: s.job.apply}})
	if err == nil {
		s.lab = up
	}
	if not {
		return s.refused(ts, "lab", err)
	}
	if err != nil {
		return err
	}
	s.cluster = s.lab.Cluster()
	if s.counts, err = witness.Start(s.ctx, s.watched(), witness.Options{Family: s.family(), Control: true}); err != nil {
		return err
	}
	s.holds = map[string]*witness.Hold{}
	s.openMaps()
	return s.baseline()
}

// loaded is the cluster of the objects, in the mode of the run.
func (s *stage) loaded(file string) (c topology.Cluster, err error) {
	all := s.objects
	if s.nftables() {
		if all, err = all.inNFTables(); err != nil {
			return c, err
		}
	}
	return all.cluster(file)
}

// nftables reports whether kube-proxy runs in nftables mode.
func (s *stage) nftables() bool { return s.job.backend == NFTables }

// writes is what the lab's rules are written with; in nftables mode those of other agents.
func (s *stage) writes() dataplane.Backend {
	if s.nftables() {
		return dataplane.NFT
	}
	return dataplane.Backend(s.job.backend)
}

// watched are the namespaces that are watched: all that packets cross.
func (s *stage) watched() []witness.Watched {
	var out []witness.Watched
	for _, ns := range s.lab.Plan().Namespaces {
		if ns.Kind == topology.KindUnderlay {
			continue
		}
		h, err := s.lab.Handle(ns.Member)
		if err != nil {
			continue // the plan has it, so the lab does
		}
		w := witness.Watched{Member: ns.Member, Kind: ns.Kind, NS: h}
		if ns.Kind == topology.KindNode {
			w.Plane = s.lab.Plane(ns.Member)
		}
		out = append(out, w)
	}
	return out
}

// baseline remembers the connection tracking statistics: stat asks what was added since.
func (s *stage) baseline() error {
	s.base = map[string]witness.Counters{}
	for _, n := range s.lab.Nodes() {
		c, err := s.counts.Stats(s.ctx, n)
		if err != nil {
			return err
		}
		s.base[n] = c
	}
	return nil
}

// doApply: apply FILE [node=NODE] [end=any|told]. The documents change the cluster's, and the nodes get the rules that kube-proxy then
// writes; with node= only those named, as when another node's kube-proxy is behind. With end=told nobody waits for the rules.
func doApply(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) == 0 {
		return usagef("apply FILE [node=NODE]... [end=any|told]")
	}
	patch, err := parseObjects([]byte(ts.ReadFile(args[0])))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if s.objects, err = s.objects.merge(patch); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	c, err := s.loaded(args[0])
	if err != nil {
		return err
	}
	c.Name, c.KubeProxy.Backend = s.cluster.Name, s.cluster.KubeProxy.Backend
	s.cluster = c
	end, rest := endOf(args[1:])
	nodes, err := nodesOf(rest)
	if err != nil {
		return err
	}
	switch {
	case end != "" && s.job.program.Path == "":
		return usagef("end=%s is of real kube-proxies", end)
	case end == "told" && not:
		return usagef("end=told waits for nothing that could be refused")
	case end == "told":
		return s.tell(nodes)
	}
	err = s.lab.Change(s.ctx, s.cluster, nodes...)
	if not {
		return s.refused(ts, "apply", err)
	}
	if end == "any" && err != nil {
		ts.Logf("apply: %v", err)
		return nil
	}
	return err
}

// endOf takes end= from words.
func endOf(words []string) (end string, rest []string) {
	for _, w := range words {
		if e, is := strings.CutPrefix(w, "end="); is && (e == "any" || e == "told") {
			end = e
			continue
		}
		rest = append(rest, w)
	}
	return end, rest
}

// doSync: sync [node=NODE]... gives the nodes all of kube-proxy's rules anew.
func doSync(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not {
		return usagef("sync [node=NODE]...")
	}
	nodes, err := nodesOf(args)
	if err != nil {
		return err
	}
	return s.lab.Sync(s.ctx, s.cluster, nodes...)
}

// nodesOf reads node=NODE words.
func nodesOf(args []string) ([]string, error) {
	var nodes []string
	for _, a := range args {
		name, ok := strings.CutPrefix(a, "node=")
		if !ok {
			return nil, usagef("%q: want node=NODE", a)
		}
		nodes = append(nodes, name)
	}
	return nodes, nil
}

// feature reports whether this machine has one of natlab doctor's features.
func (s *stage) feature(name string) (bool, error) {
	all := doctor.Examine(s.ctx)
	i := slices.IndexFunc(all, func(f doctor.Feature) bool { return f.Name == name })
	if i < 0 {
		return false, fmt.Errorf("feature %q: natlab doctor names them", name)
	}
	if all[i].Have == doctor.CannotTell {
		return false, fmt.Errorf("feature %q: whether this machine has it could not be told: %s", name, all[i].Detail)
	}
	return all[i].Have == doctor.Yes, nil
}
