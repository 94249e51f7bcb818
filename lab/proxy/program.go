package proxy

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"natlab/topology"
)

// Program is a kube-proxy that can be run.
type Program struct {
	Path    string // absolute
	Version string // as it prints it: "v1.37.2", and of a build without one "v0.0.0-master+$Format:%H$"
}

// Find is the program that a path leads to, or that of a patch release ("1.37.2"), which is built unless it was before; log is told so.
func Find(ctx context.Context, what string, log io.Writer) (Program, error) {
	var p Program
	var err error
	if release, is := Release(what); is {
		dir, err := DefaultDir()
		if err != nil {
			return Program{}, err
		}
		if p.Path, err = (Builder{Dir: dir, Log: log}).Build(ctx, release); err != nil {
			return Program{}, err
		}
	} else if p.Path, err = filepath.Abs(what); err != nil {
		return Program{}, err
	}
	if _, err := os.Stat(p.Path); err != nil {
		return Program{}, fmt.Errorf("kube-proxy %s: want a program or a patch release, such as 1.37.2: %w", what, err)
	}
	out, err := exec.CommandContext(ctx, p.Path, "--version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("%s --version: %w", p.Path, err)
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "Kubernetes ")
	if !ok {
		return Program{}, fmt.Errorf("%s --version: %q: not a kube-proxy", p.Path, lastLine(string(out)))
	}
	p.Version = version
	return p, nil
}

// Writes notes in a cluster that the program writes its rules, so that those of its release are predicted. It is false where natlab does not know
// the release: the cluster's own then stays.
func (p Program) Writes(c *topology.Cluster) bool {
	release, err := topology.ParseRelease(p.Version)
	if err != nil {
		return false
	}
	c.KubeProxy.Release, c.KubeProxy.Version = release, topology.PatchOf(p.Version)
	return true
}
