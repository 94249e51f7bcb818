package scenarios

import (
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/proxy"
)

// doProxy: proxy NODE restart [v=N] [fair=yes] [slow=REGEXP] [halt=REGEXP] starts a node's real kube-proxy anew and reads its log at a pace: it halts behind a line that
// matches halt=, and behind each that matches slow= until another of its goroutines waits to log. proxy NODE halt REGEXP [slow=REGEXP] has it halt later, proxy NODE halted waits for
// that, proxy NODE waits TEXT until a goroutine with TEXT in its stack waits to log, proxy NODE go has it go on and waits until it has written all its rules.
func doProxy(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	const how = "proxy NODE restart [v=N] [fair=yes] [slow=REGEXP] [halt=REGEXP], proxy NODE halt REGEXP [slow=REGEXP], proxy NODE halted, proxy NODE waits TEXT, or proxy NODE go"
	if not || len(args) < 2 {
		return usagef(how)
	}
	all, err := s.lab.KubeProxies()
	if err != nil {
		return err
	}
	node, do, rest := args[0], args[1], args[2:]
	switch {
	case do == "restart":
		pace, err := paceOf(rest)
		if err != nil {
			return err
		}
		return all.RestartPaced(s.ctx, node, pace)
	case do == "halt" && len(rest) > 0:
		pace, err := paceOf(append([]string{"halt=" + rest[0]}, rest[1:]...))
		if err != nil {
			return err
		}
		return all.Halt(node, pace)
	case do == "halted" && len(rest) == 0:
		return all.Halted(s.ctx, node)
	case do == "waits" && len(rest) == 1:
		return all.Waits(s.ctx, node, rest[0])
	case do == "go" && len(rest) == 0:
		return all.Go(s.ctx, node)
	}
	return usagef(how)
}

// paceOf reads the options of proxy restart.
func paceOf(args []string) (pace proxy.Pace, err error) {
	o, err := options(args, "v", "fair", "slow", "halt")
	if err != nil {
		return pace, err
	}
	if o["v"] != "" {
		if pace.Verbosity, err = strconv.Atoi(o["v"]); err != nil {
			return pace, usagef("v=%s: want a number", o["v"])
		}
	}
	if pace.Fair = o["fair"] == "yes"; !pace.Fair && o["fair"] != "" {
		return proxy.Pace{}, usagef("fair=%s: want yes", o["fair"])
	}
	for key, line := range map[string]**regexp.Regexp{"slow": &pace.Slow, "halt": &pace.Halt} {
		if o[key] == "" {
			continue
		}
		if *line, err = regexp.Compile(o[key]); err != nil {
			return proxy.Pace{}, usagef("%s: %v", key, err)
		}
	}
	return pace, nil
}

// tell is apply with end=told: of a change that kube-proxies hear of while one has halted.
func (s *stage) tell(nodes []string) error {
	if len(nodes) > 0 {
		return usagef("end=told is of all nodes: they have one API server")
	}
	all, err := s.lab.KubeProxies()
	if err != nil {
		return err
	}
	all.Tell(s.cluster)
	return nil
}
