package scenarios

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// machineConditions are the conditions that ask for something of the machine. A script skips what it cannot run under
// one of them and under no other: [!kernel:6.12] skip 'why'.
var machineConditions = []string{"kernel:", "feature:", "exec:"}

// ofKernel are the verbs that ask the kernel's own tables, and its statistics of connection tracking.
var ofKernel = []string{"stat", "counter", "view", "audit"}

// kernelVerbs lists those of ofKernel that a script has for runs on the backend "userspace" too, sorted.
func kernelVerbs(text []byte) (out []string) {
	for line := range strings.Lines(string(txtar.Parse(text).Comment)) {
		words := strings.Fields(line)
		verb := slices.IndexFunc(words, func(w string) bool { return w != "!" && !strings.HasPrefix(w, "[") })
		if verb < 0 || !slices.Contains(ofKernel, words[verb]) || slices.Contains(out, words[verb]) {
			continue
		}
		if !slices.ContainsFunc(words[:verb], func(w string) bool {
			return w == "[legacy]" || w == "[nft]" || w == "[nftables]" || w == "[!userspace]"
		}) {
			out = append(out, words[verb])
		}
	}
	slices.Sort(out)
	return out
}

// skipsOf lists what a script needs of the machine, by the conditions of its skips. A skip that names nothing that is
// missing is an error: whatever the machine, it would not run, and nobody would know.
func skipsOf(text []byte) (needs []string, err error) {
	number := 0
	for line := range strings.Lines(string(txtar.Parse(text).Comment)) {
		number++
		words := strings.Fields(line)
		verb := slices.IndexFunc(words, func(w string) bool { return !strings.HasPrefix(w, "[") })
		if verb < 0 || words[verb] != "skip" {
			continue
		}
		found := false
		for _, w := range words[:verb] {
			need, negated := strings.CutPrefix(strings.Trim(w, "[]"), "!")
			if negated && slices.ContainsFunc(machineConditions, func(c string) bool { return strings.HasPrefix(need, c) }) {
				found = true
				if !slices.Contains(needs, need) {
					needs = append(needs, need)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("line %d: a skip has to name what the machine lacks: [!kernel:X.Y] skip, [!feature:NAME] skip or [!exec:PROGRAM] skip", number)
		}
	}
	return needs, nil
}

// earn looks at the machine once more after a run was skipped. If it lacks nothing that the scenario needs, the run failed.
func (s *stage) earn(r *Result, t *recorder) {
	for _, need := range s.job.scenario.Needs {
		has, err := s.has(need)
		if err != nil {
			fmt.Fprintf(&t.log, "skipped, and whether this machine has %s is not known: %v\n", need, err)
			r.Outcome = Failed
			return
		}
		if !has {
			r.Missing = append(r.Missing, need)
		}
	}
	if len(r.Missing) == 0 {
		fmt.Fprintf(&t.log, "skipped, and this machine has all that the scenario needs: %s\n", strings.Join(s.job.scenario.Needs, " "))
		r.Outcome = Failed
	}
}

// has reports whether the machine meets a condition of machineConditions.
func (s *stage) has(need string) (bool, error) {
	if program, ok := strings.CutPrefix(need, "exec:"); ok {
		_, err := exec.LookPath(program)
		return err == nil, nil
	}
	return s.condition(need)
}
