package scenarios

import (
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// longestPause is the most that a script may wait for the kernel's clock at a time.
const longestPause = 30 * time.Second

// doPause: pause DURATION lets so much time pass, for what the kernel keeps by its clock: a session affinity's timeoutSeconds, and conntrack's timeouts,
// which sysctl makes short. Both begin anew with each packet, so that nothing of what is to run out may be sent meanwhile.
func doPause(s *stage, _ *testscript.TestScript, not bool, args []string) error {
	if not || len(args) != 1 {
		return usagef("pause DURATION")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil || d <= 0 || d > longestPause {
		return usagef("pause %s: want a duration of up to %s, such as 1500ms", args[0], longestPause)
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}
