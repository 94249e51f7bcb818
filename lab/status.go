package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/realise"
	"natlab/lab/rootless"
	"natlab/topology"
	"natlab/topology/near"
)

// State is how a lab is.
type State string

// The states.
const (
	Unready State = "unready" // it is being made or taken away
	Running State = "running"
	Stopped State = "stopped" // its process was stopped by a signal, and serves nothing until SIGCONT
	Dead    State = "dead"    // its process has ended: Down takes the rest away
)

// Status is a lab as List finds it.
type Status struct {
	Name       string             `json:"name"`
	State      State              `json:"state"`
	PID        int                `json:"pid,omitempty"` // of the process that serves it; 0 for a dead lab
	Supervised bool               `json:"supervised"`    // by a natlab supervisor; else by a program that made it for itself
	Backend    string             `json:"backend,omitempty"`
	Overlay    string             `json:"overlay,omitempty"`
	Tunnel     realise.TunnelKind `json:"tunnel,omitempty"`
	Namespaces []string           `json:"namespaces,omitempty"` // as `ip netns` lists them
	Nodes      []string           `json:"nodes,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
	Fails      string             `json:"fails,omitempty"` // open or closed: what the nodes do with packets where natlab, whose NAT they have, does not answer
}

// othersThan is "there are A, B; ", of the labs that are there.
func othersThan(name string) string {
	all, _ := List() // an error is told in place of a lab that is there
	if len(all) == 0 {
		return ""
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return near.There(name, names) + "; "
}

// List finds all labs, sorted by name. It changes nothing, and asks nobody but the file system.
func List() ([]Status, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []Status
	for _, e := range entries {
		s, err := openState(e.Name())
		if errors.Is(err, ErrNoLab) {
			continue // taken away meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s.status())
		_ = s.dir.Close() // opened for reading
	}
	return out, nil
}

// Orphans lists the namespaces of no lab that tests left behind which have ended.
func Orphans() ([]string, error) { return netns.Orphans() }

func (s *stateDir) status() Status {
	st := Status{Name: s.lab, State: Dead}
	r, err := s.read()
	if s.owned() {
		st.State, st.PID = Unready, r.Owner.PID
		switch {
		case err == nil && rootless.Process(r.Owner).Stopped():
			st.State = Stopped
		case err == nil && r.Ready:
			st.State = Running
		}
	}
	st.Supervised, st.Backend, st.Tunnel, st.Namespaces, st.Notes = r.Supervised, r.Backend, r.Tunnel, r.Namespaces, r.Notes
	if dataplane.Backend(r.Backend) == dataplane.Userspace {
		st.Fails = "closed"
		if r.FailOpen {
			st.Fails = "open"
		}
	}
	var c topology.Cluster
	if err := s.readFile(clusterFile, &c); err == nil {
		st.Overlay = c.PodNetwork.Overlay.String()
		for _, n := range c.Nodes {
			st.Nodes = append(st.Nodes, n.Name)
		}
	}
	return st
}
