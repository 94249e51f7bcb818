package scenarios

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab"
	"natlab/lab/proxy"
)

// doHTTP: http MEMBER URL [status=N] [body=REGEXP] gets a page inside a namespace until it is as wanted, or with ! is not.
func doHTTP(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if len(args) < 2 {
		return usagef("http MEMBER URL [status=N] [body=REGEXP]")
	}
	o, err := options(args[2:], "status", "body")
	if err != nil {
		return err
	}
	body, err := regexp.Compile("(?m)" + o["body"])
	if err != nil {
		return usagef("body: %v", err)
	}
	h, err := s.lab.Handle(args[0])
	if err != nil {
		return err
	}
	client := proxy.Client(h)
	defer client.CloseIdleConnections()
	return s.await(not, func() (bool, string, error) {
		status, text, err := proxy.Get(s.ctx, client, args[1])
		if err != nil {
			return false, err.Error(), nil //nolint:nilerr // it is asked again
		}
		if (o["status"] == "" || o["status"] == strconv.Itoa(status)) && body.MatchString(text) {
			ts.Logf("%s: status %d", args[1], status)
			return true, "", nil
		}
		return false, fmt.Sprintf("%s: status %d: %s", args[1], status, firstLines(text)), nil
	})
}

// firstLines cuts a long page.
func firstLines(text string) string {
	const few = 400
	if len(text) > few {
		text = text[:few] + "..."
	}
	return text
}

// doUntil: until NODE PROGRAM ARGS runs a program in a namespace until it ends with status 0: what a kube-proxy does by itself comes in its own time.
func doUntil(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	const long, pause = time.Minute, 50 * time.Millisecond
	if not || len(args) < 2 {
		return usagef("until MEMBER PROGRAM ARGS...")
	}
	ctx, cancel := context.WithTimeout(s.ctx, long)
	defer cancel()
	for {
		var out strings.Builder
		status, err := s.lab.Exec(ctx, args[0], args[1:], lab.Streams{Out: &out, Err: &out})
		if err != nil {
			return err
		}
		if status == 0 {
			_, err := io.WriteString(ts.Stdout(), out.String())
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s in %s: status %d: %s", strings.Join(args[1:], " "), args[0], status, firstLines(strings.TrimSpace(out.String())))
		case <-time.After(pause):
		}
	}
}

// refused turns the error of a change that has to fail into what stderr looks at; only a real kube-proxy can fail so.
func (s *stage) refused(ts *testscript.TestScript, verb string, err error) error {
	if s.job.program.Path == "" {
		return usagef("! %s is for scenarios of a real kube-proxy", verb)
	}
	if err == nil {
		return fmt.Errorf("%s: it works, and must not", verb)
	}
	_, err = fmt.Fprintln(ts.Stderr(), err)
	return err
}
