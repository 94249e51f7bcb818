package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"natlab/lab/apiserver"
	"natlab/lab/netns"
	"natlab/topology"
)

// node is one node's kube-proxy.
type node struct {
	name   string
	dir    string // its configuration and its log
	ns     netns.Handle
	client *http.Client
	web    *http.Server  // the API, as this node reaches it
	served chan struct{} // closed when web has ended
	pace   *Pace         // at which the log of the next process is read; nil for a log that nobody waits for

	mu      sync.Mutex
	process *process // under mu; nil where it is stopped
	// families is how often it counts a change of a Service: once for each IP family that it proxies. Under mu; 0 where that is not known yet.
	families int
}

// process is a kube-proxy that runs, or ran.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error     // why it ended; once ended is closed
	log   *pacedLog // nil where its log is a file
}

// serve opens the API in the node's namespace.
func (n *node) serve(s *apiserver.Server) error {
	handler, err := s.Handler(n.name)
	if err != nil {
		return err
	}
	var l net.Listener
	err = n.ns.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", apiAddress)
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s: API server: %w", n.name, err)
	}
	n.web, n.served = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, make(chan struct{})
	go func() {
		defer close(n.served)
		_ = n.web.Serve(l) // ends by Close
	}()
	return nil
}

// logFile is where a node's kube-proxy writes.
func (n *node) logFile() string { return filepath.Join(n.dir, "log") }

// start starts the program, with a configuration made of the cluster.
func (n *node) start(c topology.Cluster, o Options) error {
	kube, conf := filepath.Join(n.dir, "kubeconfig"), filepath.Join(n.dir, "config.yaml")
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	text, err := kubeconfig()
	if err == nil {
		err = os.WriteFile(kube, text, 0o600)
	}
	if err == nil {
		text, err = configuration(c, n.name, kube, n.pace != nil && n.pace.Fair)
	}
	if err == nil {
		err = os.WriteFile(conf, text, 0o600)
	}
	if err != nil {
		return err
	}
	return n.run(conf, o, c.KubeProxy)
}

// run starts the program with a configuration. Its log is the file, or is written there as fast as it is read.
func (n *node) run(conf string, o Options, kp topology.KubeProxy) error {
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	v, p := verbosity, &process{ended: make(chan struct{})}
	var more []string
	if n.pace != nil {
		v = cmp.Or(n.pace.Verbosity, v)
		if n.pace.Fair {
			more = fairLog(kp)
		}
		file := log
		if p.log, log, err = openPaced(file, *n.pace, n.turns); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	defer log.Close() //nolint:errcheck // the program has its own
	args := append([]string{"--config=" + conf, fmt.Sprintf("--v=%d", v)}, more...)
	p.cmd = exec.Command(o.Binary, args...)                                        //nolint:gosec,noctx // it lives as long as the lab
	p.cmd.Env = append(os.Environ(), "PATH="+o.path()+":"+os.Getenv("PATH"), lock) // the last one of a name counts
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = n.dir, log, log
	wait, err := n.ns.StartTied(p.cmd)
	if err != nil {
		return fmt.Errorf("kube-proxy %s: %w", o.Binary, err)
	}
	go func() {
		p.err = wait()
		if p.log != nil {
			<-p.log.ended
		}
		close(p.ended)
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process, n.families = p, 0
	return nil
}

// verbosity is that of `--v`: the beginning and the end of each sync are logged.
const verbosity = 2

// lock gives each namespace an xtables lock of its own, as that of another machine would be.
const lock = "XTABLES_LOCKFILE=/proc/self/ns/net"

// patience is how long a kube-proxy may take to end after SIGTERM.
const patience = 5 * time.Second

// stop ends the program; one that does not run is as wanted.
func (n *node) stop() error {
	n.mu.Lock()
	p := n.process
	n.process = nil
	n.mu.Unlock()
	n.client.CloseIdleConnections()
	if p == nil {
		return nil
	}
	p.log.release()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := p.cmd.Process.Signal(signal); errors.Is(err, os.ErrProcessDone) {
			break
		}
		select {
		case <-p.ended:
			return nil
		case <-time.After(patience):
		}
	}
	<-p.ended
	return nil
}

// runs reports why the program does not run; nil where it does.
func (n *node) runs() error {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p == nil {
		return fmt.Errorf("kube-proxy of node %s is stopped", n.name)
	}
	select {
	case <-p.ended:
		return fmt.Errorf("kube-proxy of node %s has ended: %w: %s", n.name, cmp.Or(p.err, errEnded), n.lastWords(3))
	default:
		return nil
	}
}

// errEnded is a kube-proxy that ended with status 0.
var errEnded = errors.New("exit status 0")

// lastWords are the last errors in the log, or its last lines: at most few.
func (n *node) lastWords(few int) string {
	text, err := os.ReadFile(n.logFile())
	if err != nil {
		return err.Error()
	}
	lines := logLines(string(text))
	var bad []string
	for _, l := range lines {
		if l != "" && (l[0] == 'E' || l[0] == 'F' || strings.Contains(l, "panic")) {
			bad = append(bad, l)
		}
	}
	if len(bad) == 0 {
		bad = lines
	}
	return strings.Join(bad[max(0, len(bad)-few):], "; ") + " (" + n.logFile() + ")"
}

// logLines are the entries of a log. A value of several lines stands between "<" and " >" in lines of its own, which begin with a tab (klog: serialize); the carets
// with which nft points at the line above are left out.
func logLines(text string) (out []string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\n")
		rest, within := strings.CutPrefix(line, "\t")
		if last := len(out) - 1; last >= 0 && (within || line == " >") {
			if rest = strings.Trim(rest, "^ \t>"); rest != "" {
				out[last] = strings.TrimSuffix(out[last], "<") + " " + rest
			}
			continue
		}
		out = append(out, line)
	}
	return out
}

// metrics reads what the kube-proxy tells of itself.
func (n *node) metrics(ctx context.Context) (metrics, error) {
	status, text, err := Get(ctx, n.client, "http://"+metricsAddress+"/metrics")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("metrics of node %s: status %d", n.name, status)
	}
	return parseMetrics(text)
}

// await asks for the metrics until they are as wanted, or cannot become so. who is told what was waited for where that did not come.
func (n *node) await(ctx context.Context, what string, done func(metrics) bool) error {
	const pause = 5 * time.Millisecond
	for {
		m, err := n.metrics(ctx)
		if err == nil && done(m) {
			return nil
		}
		if dead := n.runs(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-proxy of node %s: %s: %w: %s", n.name, what, context.Cause(ctx), n.lastWords(3))
		case <-time.After(pause):
		}
	}
}
