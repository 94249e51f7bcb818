package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"natlab/lab/realise"
	"natlab/lab/rootless"
)

// What a caller may want to tell apart, by errors.Is.
var (
	// ErrNoLab is the answer for a name under which nothing stands. Who takes labs away may take it for success.
	ErrNoLab = errors.New("there is no such lab")
	// ErrExists is the answer to Up and Start for a name that is in use, be it by a lab that is only half there.
	ErrExists = errors.New("the name is in use")
	// ErrDead is the answer to Open for a lab whose process has ended: Down is all that can be done with it.
	ErrDead = errors.New("is dead")
	// ErrStopped is the answer to Open for a lab whose process was stopped by a signal: nothing that it serves goes on before SIGCONT.
	ErrStopped = errors.New("is stopped")
	// ErrRewire is the answer to Apply for a cluster that would need another lab.
	ErrRewire = errors.New("a running lab keeps its nodes, pods and links: natlab down and natlab up make it anew")
	// ErrGone is why what was done with a lab ended: somebody took the lab away meanwhile.
	ErrGone = errors.New("was taken away meanwhile")
)

// root is where each lab has a directory, named after it. Down needs nothing else to take a lab away.
const root = "/run/natlab"

// What a lab's directory holds.
const (
	recordFile   = "state.json"
	clusterFile  = "cluster.json"
	bundlesFile  = "bundles.json"
	controlFile  = "control.sock"
	logFile      = "log"
	proxyDir     = "kube-proxy"  // what the nodes' kube-proxies read and log
	consoleDir   = "bin"         // iptables by its plain names, as a command in a node finds it
	standInDir   = "bin-as"      // the same where natlab stands in for it
	hostsFile    = "hosts"       // /etc/hosts of a command in a node
	resolverFile = "resolv.conf" // its /etc/resolv.conf
)

// record is what has to be known to take a lab away, whoever made it and whatever became of them. It is written before
// the first thing it names is made.
type record struct {
	Lab        string             `json:"lab"`
	Owner      process            `json:"owner"`      // who serves the lab
	Supervised bool               `json:"supervised"` // the owner is a natlab supervisor, with nothing else to do
	Ready      bool               `json:"ready"`      // all is made
	Namespaces []string           `json:"namespaces"`
	Backend    string             `json:"backend"`
	Tunnel     realise.TunnelKind `json:"tunnel,omitempty"`
	Notes      []string           `json:"notes,omitempty"`     // what this lab has not, and why
	Bundles    bool               `json:"bundles,omitempty"`   // some nodes hold what their bundles tell
	KubeProxy  string             `json:"kubeProxy,omitempty"` // the program that writes the nodes' rules; "" for natlab
	FailOpen   bool               `json:"failOpen,omitempty"`  // GatewayOptions.FailOpen
}

// stateDir is a lab's directory. Whoever has it locked (flock) owns the lab: the process that makes and serves it, and a
// Down at work. The kernel drops the lock of a process that dies, so a lab whose directory is not locked is dead.
type stateDir struct {
	lab  string
	path string
	dir  *os.File
}

// nameRule is topology's rule for the name of a lab, a DNS label of at most 32 characters: a name from a command line has to
// be one before it becomes part of a path.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func checkName(lab string) error {
	if !nameRule.MatchString(lab) {
		return fmt.Errorf("lab %q: not a name: want a DNS label of at most 32 characters", lab)
	}
	return nil
}

// createState makes the directory of a new lab, locked.
func createState(lab string) (*stateDir, error) {
	if err := checkName(lab); err != nil {
		return nil, err
	}
	if err := rootless.Power(); err != nil {
		return nil, fmt.Errorf("lab %s: %w", lab, err)
	}
	path := filepath.Join(root, lab)
	for {
		if err := os.MkdirAll(root, 0o700); err != nil {
			return nil, fmt.Errorf("lab %s: %w", lab, err)
		}
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the last lab's Down removed root in between
		}
		if errors.Is(err, fs.ErrExist) {
			return nil, alreadyThere(lab)
		}
		if err != nil {
			return nil, fmt.Errorf("lab %s: %w", lab, err)
		}
		s, err := openState(lab)
		if errors.Is(err, ErrNoLab) {
			continue // a Down came first and cleared the empty directory away
		}
		if err != nil {
			return nil, err
		}
		locked, err := s.lock(unix.LOCK_EX)
		if err != nil || locked {
			return s, err
		}
		_ = s.dir.Close() // opened for reading; removed by a Down
	}
}

// alreadyThere names in which of its states a lab is that stands in the way.
func alreadyThere(lab string) error {
	what := "is already up"
	if s, err := openState(lab); err == nil {
		defer s.dir.Close() //nolint:errcheck // opened for reading
		switch r, err := s.read(); {
		case !s.owned():
			what = "was left behind half made or half taken away"
		case err != nil || !r.Ready:
			what = "is being made or taken away by another process"
		}
	}
	return fmt.Errorf("%w: lab %s %s: natlab down --name %s first", ErrExists, lab, what, lab)
}

// openState opens the directory of a lab that may or may not be alive. It does not lock it.
func openState(lab string) (*stateDir, error) {
	if err := checkName(lab); err != nil {
		return nil, err
	}
	path := filepath.Join(root, lab)
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", lab, ErrNoLab)
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", lab, err)
	}
	return &stateDir{lab: lab, path: path, dir: dir}, nil
}

// lock takes the lock, waiting for it unless how has LOCK_NB. It is false where somebody else holds it, or where the
// directory was removed meanwhile.
func (s *stateDir) lock(how int) (bool, error) {
	free, err := s.flock(how)
	return free && s.stillThere(), err
}

// flock is lock of a directory that may have been removed.
func (s *stateDir) flock(how int) (bool, error) {
	err := unix.Flock(int(s.dir.Fd()), how)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lab %s: lock: %w", s.lab, err)
	}
	return true, nil
}

// stillThere reports whether the path leads to the directory that is open.
func (s *stateDir) stillThere() bool {
	there, err := os.Stat(s.path)
	if err != nil {
		return false
	}
	open, err := s.dir.Stat()
	return err == nil && os.SameFile(there, open)
}

// owned reports whether some process holds the lock.
func (s *stateDir) owned() bool {
	if err := unix.Flock(int(s.dir.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return true
	}
	_ = unix.Flock(int(s.dir.Fd()), unix.LOCK_UN) // only ever fails for a bad descriptor
	return false
}

func (s *stateDir) file(name string) string { return filepath.Join(s.path, name) }

// write replaces a file as a whole: a reader sees the old one or the new one.
func (s *stateDir) write(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		err = os.WriteFile(s.file(name+".new"), append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(s.file(name+".new"), s.file(name))
	}
	if err != nil {
		return fmt.Errorf("lab %s: write its state: %w", s.lab, err)
	}
	return nil
}

// read reads the record. None there means that nothing was made yet, or that all but the directory is gone.
func (s *stateDir) read() (record, error) {
	var r record
	if err := s.readFile(recordFile, &r); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return record{}, err
	}
	return r, nil
}

func (s *stateDir) readFile(name string, value any) error {
	text, err := os.ReadFile(s.file(name))
	if err == nil {
		err = json.Unmarshal(text, value)
	}
	if err != nil {
		return fmt.Errorf("lab %s: %s: %w", s.lab, s.file(name), err)
	}
	return nil
}

// remove takes the directory away and lets go of the lock. The last lab takes root with it.
func (s *stateDir) remove() error {
	if err := os.RemoveAll(s.path); err != nil {
		return fmt.Errorf("lab %s: %w", s.lab, err)
	}
	_ = os.Remove(root) // other labs are in it
	return s.dir.Close()
}
