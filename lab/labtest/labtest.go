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
	"natlab/lab/proxy"
	"natlab/lab/rootless"
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

// Option is what New takes besides the cluster.
type Option func(tb testing.TB, c *topology.Cluster, o *lab.Options)

// KubeProxy has a real kube-proxy write the nodes' rules, one running in each: that of a path, or of a patch release such as "1.37.2", which is built
// once. What natlab predicts is then what that release writes; where it does not know the version, what the cluster's release does.
func KubeProxy(what string) Option {
	return func(tb testing.TB, c *topology.Cluster, o *lab.Options) {
		tb.Helper()
		found, err := proxy.Find(tb.Context(), what, tb.Output())
		if err != nil {
			tb.Fatalf("labtest: %v", err)
		}
		if !found.Writes(c) {
			tb.Logf("labtest: this kube-proxy is %s, and natlab predicts the rules of %s", found.Version, c.KubeProxy.Release)
		}
		o.KubeProxy = found.Path
	}
}

// Main is a package's TestMain for tests without root: it runs them in a user namespace of their own, in which they are root, and does not return.
// For root it runs them where they are. There is no network inside: the kube-proxies of releases that the tests run are named here, and built before.
func Main(m *testing.M, releases ...string) {
	for _, release := range releases {
		if _, err := proxy.Find(context.Background(), release, os.Stderr); err != nil {
			end(2, err)
		}
	}
	status, done, err := rootless.Run()
	if err != nil {
		end(2, err)
	}
	if !done {
		status = m.Run()
	}
	end(status, nil)
}

// end ends the program, and tells why if there is something to tell.
func end(status int, err error) {
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "labtest:", err)
	}
	os.Exit(status) //nolint:revive // a TestMain ends the program
}

// New brings a lab of the cluster up, under a name that no other lab has, and takes it away when the test ends. It
// needs root, or a TestMain that is Main, and fails the test without.
func New(tb testing.TB, c topology.Cluster, options ...Option) *lab.Lab {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("labtest: a lab needs root: sudo go test, or func TestMain(m *testing.M) { labtest.Main(m) }")
	}
	name := fmt.Sprintf("t%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8]))
	o := lab.Options{Name: name}
	for _, option := range options {
		option(tb, &c, &o)
	}
	l, err := lab.Up(tb.Context(), c, o)
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
