// Package labtest gives a Go test a lab of its own: a Kubernetes network on this kernel with kube-proxy's rules in it,
// which ends with the test, and proofs that fail the test with the packet's way drawn.
package labtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"

	"natlab/lab"
	"natlab/topology"
)

// Load reads a cluster from files: Kubernetes objects as `kubectl get -o yaml` prints them, and a Lab document. Input
// that is wrong fails the test.
func Load(tb testing.TB, files ...string) topology.Cluster {
	tb.Helper()
	var sources []topology.Source
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatalf("labtest: %v", err)
		}
		sources = append(sources, topology.Source{Name: name, Reader: strings.NewReader(string(text))})
	}
	c, warnings, err := topology.Load(sources...)
	if err != nil {
		tb.Fatalf("labtest: %v", err)
	}
	for _, w := range warnings {
		tb.Logf("labtest: %s", w)
	}
	return c
}

// New brings a lab of the cluster up, under a name that no other lab has, and takes it away when the test ends. It
// needs root, and fails the test without.
func New(tb testing.TB, c topology.Cluster) *lab.Lab {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("labtest: a lab needs root: sudo go test")
	}
	name := fmt.Sprintf("t%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8]))
	l, err := lab.Up(tb.Context(), c, lab.Options{Name: name})
	if err != nil {
		tb.Fatalf("labtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("labtest: %v", err)
		}
	})
	for _, note := range l.Notes() {
		tb.Logf("labtest: %s", note)
	}
	return l
}
