package scenarios

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab"
	"natlab/lab/traffic"
)

// Script is what a verb may ask of the script that calls it.
type Script interface {
	Getenv(name string) string
	Setenv(name, value string)
	Logf(format string, args ...any)
}

// Verb is a command of a script that is not one of this package. not is the "!" in front of it.
type Verb func(s Script, not bool, args []string) error

// Ground is a lab that stands, on which scripts are played beside each other.
type Ground struct {
	Lab       *lab.Lab
	Env       map[string]string                     // what $NAME is in the script
	Verbs     map[string]Verb                       // besides those that a script may have on a lab that is not its own
	Condition func(word string) (known, holds bool) // [word], where this package knows none of the name; may be nil
}

// onGround are the verbs of this package that a script may have on a lab that is not its own: those that touch nothing but its own sockets,
// servers and entries, and those by which it edits a node as another agent would. Whoever plays it decides what may run beside that.
var onGround = []string{
	"ask", "open", "send", "receive", "close", "segment", "conntrack", "flush", "netstat", "run", "sysctl", "iptables", "server", "listen",
	"load", "stream", "pause", "sweep",
}

// Play runs a script on a lab that stands and that others use, too: it has no verb lab, and what it opened is closed in the end. The
// result has no variant, and its log is kept.
func Play(ctx context.Context, name string, script []byte, on Ground) Result {
	s := &stage{ctx: ctx, lab: on.Lab, cluster: on.Lab.Cluster(), ground: &on}
	s.job = job{scenario: Scenario{Name: name, Text: script}, backend: string(on.Lab.Backend())}
	s.openMaps()
	r := Result{Scenario: name, Backend: s.job.backend}
	t, err := s.perform(false)
	if err != nil {
		r.Outcome, r.Log = Failed, err.Error()
		return r
	}
	r.Outcome, r.Why = t.outcome()
	if s.err != nil {
		r.Outcome = Failed
		t.log.WriteString("close what the script opened: " + s.err.Error() + "\n")
	}
	r.Log = fromScript(t.log.String())
	return r
}

// perform runs the stage's script in a folder of its own. Whatever the script does, the stage is closed: see stage.err.
func (s *stage) perform(update bool) (*recorder, error) {
	dir, err := os.MkdirTemp("", "natlab-scenario-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	file := filepath.Join(dir, filepath.Base(s.job.scenario.Name)+".txtar")
	if err := os.WriteFile(file, s.job.scenario.Text, 0o600); err != nil {
		return nil, err
	}
	t := &recorder{}
	t.guard(func() {
		testscript.RunT(t, testscript.Params{
			UpdateScripts: update, Files: []string{file}, WorkdirRoot: dir, Cmds: s.verbs(), Condition: s.condition,
			Setup: func(e *testscript.Env) error {
				e.Defer(func() {
					s.draw()
					s.err = s.close()
				})
				if s.ground != nil {
					for _, name := range slices.Sorted(maps.Keys(s.ground.Env)) {
						e.Setenv(name, s.ground.Env[name])
					}
				}
				return nil
			},
		})
	})
	if update {
		s.updated, err = os.ReadFile(file)
	}
	return t, err
}

// groundVerbs are the verbs of a script on a lab that is not its own.
func (s *stage) groundVerbs(all map[string]verb) map[string]verb {
	out := map[string]verb{}
	for name, do := range all {
		if !slices.Contains(onGround, name) {
			do = func(*stage, *testscript.TestScript, bool, []string) error {
				return fmt.Errorf("a script on a lab that is not its own has no such verb")
			}
		}
		out[name] = do
	}
	for name, do := range s.ground.Verbs {
		out[name] = func(s *stage, ts *testscript.TestScript, not bool, args []string) error {
			err := do(ts, not, args)
			s.cluster = s.lab.Cluster()
			return err
		}
	}
	return out
}

// openMaps makes what verbs fill.
func (s *stage) openMaps() {
	s.answers, s.opened = map[string]traffic.Answer{}, map[string]asked{}
	s.loads = map[string]*load{}
	s.conns, s.sent = map[string]*traffic.Conn{}, map[string][]request{}
}

var _ Script = (*testscript.TestScript)(nil)

// closers closes all, and tells of all errors.
func closers(all []io.Closer) (errs []error) {
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errs
}
