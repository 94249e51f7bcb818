package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"natlab/nat/xt"
)

// ConsoleNames are the programs of iptables by the names under which a shell looks for them.
var ConsoleNames = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// StandIn is a program that stands in for iptables of a version that need not be installed, in a node of a backend.
type StandIn struct {
	Version xt.Version
	Backend Backend
}

// StandInVariable is the variable by which a program learns that it stands in, and for what.
const StandInVariable = "NATLAB_IPTABLES"

// NewStandIn checks a version, "1.4.21".
func NewStandIn(version string, b Backend) (StandIn, error) {
	v, err := xt.ParseVersion(version)
	return StandIn{v, b}, err
}

// String is what StandInVariable holds, "1.4.21 iptables-legacy".
func (s StandIn) String() string { return s.Version.String() + " " + string(s.Backend) }

// ParseStandIn is the reverse of String.
func ParseStandIn(text string) (StandIn, error) {
	version, backend, ok := strings.Cut(text, " ")
	if !ok || !slices.Contains(Backends(), Backend(backend)) {
		return StandIn{}, fmt.Errorf("%s is %q: want a version of iptables and a backend, as natlab exec sets it", StandInVariable, text)
	}
	return NewStandIn(version, Backend(backend))
}

// Link makes a directory in which a shell finds a backend's programs under their plain names: what "iptables" is on a host is up to its
// alternatives, and what it is in a lab's node up to the lab. A program that is not installed is left out.
func Link(dir string, b Backend) error {
	d, err := New(b)
	if err != nil {
		return err
	}
	command := d.(*programs).command
	return link(dir, func(name string) string {
		word, verb, _ := strings.Cut(name, "-")
		path, err := find(strings.TrimSuffix(word+"-"+command+"-"+verb, "-"))
		if err != nil {
			return ""
		}
		return path
	})
}

// LinkTo makes a directory in which one program stands for all of iptables; it is told which by the name that it is called by.
func LinkTo(dir, program string) error {
	return link(dir, func(string) string { return program })
}

// linking is held by who makes links: what is being made has a process's name.
var linking sync.Mutex

// link makes the links that are not there yet; several processes may be at it.
func link(dir string, target func(name string) string) error {
	linking.Lock()
	defer linking.Unlock()
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("programs of a node: %w", err)
	}
	for _, name := range ConsoleNames {
		to, path := target(name), filepath.Join(dir, name)
		if was, err := os.Readlink(path); to == "" || err == nil && was == to {
			continue
		}
		fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
		if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("programs of a node: %w", err)
		}
		if err := errors.Join(os.Symlink(to, fresh), os.Rename(fresh, path)); err != nil {
			return fmt.Errorf("programs of a node: %w", err)
		}
	}
	return nil
}
