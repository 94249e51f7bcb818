//go:build kubeproxy

package test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab"
	"natlab/lab/labtest"
	"natlab/lab/proxy"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/scenarios"
	"natlab/topology"
)

// A race of kube-proxy's own goroutines is decided here by its log: that goes to a pipe, and who writes a line waits until the pipe has room. So an unmodified kube-proxy
// is slow between two steps, for as long as it takes to tell it of something else. `--vmodule` has it write lines in the files that matter.

// eachRace runs a test on the kube-proxies of NATLAB_KUBE_PROXY: those of releases that have a bug, as a scenario's page names them, and later ones.
func eachRace(t *testing.T, affected string, body func(t *testing.T, program string, buggy bool)) {
	t.Helper()
	seen := 0
	for _, what := range kubeProxies(t) {
		p, err := proxy.Find(t.Context(), what, t.Output())
		require.NoError(t, err)
		race := scenarios.Scenario{Issue: "a race", Affected: affected}
		for _, variant := range race.On(p.Version) {
			seen++
			t.Run(fmt.Sprintf("%s %s", p.Version, variant), func(t *testing.T) { body(t, p.Path, variant == scenarios.Buggy) })
		}
	}
	require.Positive(t, seen, "kube-proxies since %s", affected)
}

// pipedLog is a kube-proxy's log as a pipe of 4096 bytes.
type pipedLog struct {
	program string // the kube-proxy that writes it, in n1
	pipe    *os.File
	path    string
	began   chan struct{} // closed by heardAmid
}

const pipeSize = 4096

// pipeLog is a program that is a kube-proxy, and whose log is the pipe in node n1.
func pipeLog(t *testing.T, what, vmodule string) *pipedLog {
	t.Helper()
	dir := t.TempDir()
	p := &pipedLog{program: filepath.Join(dir, "kube-proxy"), path: filepath.Join(dir, "n1"), began: make(chan struct{})}
	require.NoError(t, unix.Mkfifo(p.path, 0o600))
	script := fmt.Sprintf("#!/bin/sh\n[ \"${PWD##*/}\" = n1 ] || exec %[1]s \"$@\"\nexec %[1]s \"$@\" --vmodule=%[2]s 2>%[3]s\n", what, vmodule, p.path)
	require.NoError(t, os.WriteFile(p.program, []byte(script), 0o700)) //nolint:gosec // it is run
	fd, err := unix.Open(p.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	p.pipe = os.NewFile(uintptr(fd), p.path)
	t.Cleanup(func() { require.NoError(t, p.pipe.Close()) })
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
	require.NoError(t, err)
	return p
}

// line reads one, unless ctx ends before.
func (p *pipedLog) line(ctx context.Context) string {
	var line []byte
	b := make([]byte, 1)
	for ctx.Err() == nil {
		_ = p.pipe.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := p.pipe.Read(b); err != nil || n == 0 {
			continue
		}
		if line = append(line, b[0]); b[0] == '\n' {
			break
		}
	}
	return string(line)
}

// read reads on in the background until the function that it returns is called.
func (p *pipedLog) read(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			p.line(ctx)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// answering are the endpoints that answer forty connections from n1's client pod to the small cluster's Service.
func answering(t *testing.T, l *lab.Lab) map[netip.AddrPort]bool {
	t.Helper()
	h, err := l.Handle("default/client-1")
	require.NoError(t, err)
	out := map[netip.AddrPort]bool{}
	for range 40 {
		a, err := traffic.Ask(t.Context(), h, nat.TupleOf(nat.TCP, netip.AddrPort{}, netip.MustParseAddrPort("10.96.0.10:80")))
		require.NoError(t, err)
		out[a.Endpoint] = true
	}
	return out
}

// spare is a Service without endpoints, by number, with so many ports from one on.
func spare(number, ports, from int) topology.Service {
	s := topology.Service{Namespace: "default", Name: fmt.Sprintf("spare-%d", number), Type: topology.ClusterIP, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 97, byte(number >> 8), byte(number)})}}
	for n := range ports {
		s.Ports = append(s.Ports, topology.ServicePort{Name: fmt.Sprintf("p%d", n), Protocol: "TCP", Port: uint16(from + n)})
	}
	return s
}

// An endpoint that comes while kube-proxy takes in which Services changed is not written (kubernetes#121362): what changed is asked before, and taken after.
func TestKubeProxyLosesAnEndpoint(t *testing.T) {
	eachRace(t, "v1.27.0 to v1.27.10, v1.28.0 to v1.28.6, v1.29.0 to v1.29.1", func(t *testing.T, program string, buggy bool) {
		t.Helper()
		log := pipeLog(t, program, "service*=4,config=4")
		stop := log.read(t)
		c := labtest.Load(t, "../scenarios/small.yaml")
		c.Services = append(c.Services, spare(0, manyPorts, 1))
		l := labtest.New(t, c, labtest.KubeProxy(log.program))
		stop()
		wide := clone(t, l.Cluster())
		*service(t, &wide, "spare-0") = spare(0, manyPorts, 1001)
		both := clone(t, wide)
		for i := range service(t, &both, "web").Ports {
			all := service(t, &both, "web").Ports[i].Endpoints
			for j := range all {
				all[j].Ready, all[j].Serving = true, true
			}
		}
		done := make(chan error, 1)
		go func() { done <- changeAmid(t, l, log, wide, both) }()
		require.True(t, log.heardAmid(t), "the endpoint is heard of while the ports of the Service are taken in")
		stop = log.read(t)
		defer stop()
		require.NoError(t, <-done)

		got, added := answering(t, l), netip.MustParseAddrPort("10.244.1.2:8080")
		require.True(t, got[netip.MustParseAddrPort("10.244.2.2:8080")])
		require.Equal(t, !buggy, got[added], "the endpoint that was added: %v", got)
	})
}

// manyPorts are those of a Service that it takes long to take in, as a line of the log is written for each.
const manyPorts = 250

// changeAmid tells kube-proxies of a change of one Service, and of an endpoint more as soon as that of n1 begins to take it in.
func changeAmid(t *testing.T, l *lab.Lab, log *pipedLog, wide, both topology.Cluster) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- l.Change(ctx, wide) }()
	<-log.began
	cancel()
	_ = <-first // it was called off
	return l.Change(t.Context(), both)
}

// heardAmid reads the log slowly, closes began at the first line of a port that is taken in, and reports whether after it two changes of endpoints were heard of before the last
// port's: one that was on its way may be the first.
func (p *pipedLog) heardAmid(t *testing.T) bool {
	t.Helper()
	ports, heard := 0, 0
	for ports < manyPorts*9/10 && heard < 2 {
		line := p.line(t.Context())
		require.NoError(t, t.Context().Err())
		switch {
		case strings.Contains(line, "Updating existing service port"):
			if ports++; ports == 1 {
				close(p.began)
			}
		case ports > 0 && strings.Contains(line, "handler.OnEndpointSliceUpdate"):
			heard++
		}
		if ports > 0 {
			time.Sleep(40 * time.Millisecond)
		}
	}
	return heard >= 2
}

// A UDP client asks while no rule is there, and goes on asking; kube-proxy starts, and writes rules before it has heard of all Services, as it knows that they have come in, and not that
// they have been handed on: of what the client has in connection tracking it then never takes note (kubernetes#126468, mended by kubernetes#126532).
func TestKubeProxyStartsTooEarly(t *testing.T) {
	eachRace(t, "v1.25.0 to v1.28.13, v1.29.0 to v1.29.8, v1.30.0 to v1.30.4, v1.31.0", func(t *testing.T, program string, buggy bool) {
		t.Helper()
		log := pipeLog(t, program, "config=4")
		stop := log.read(t)
		c := labtest.Load(t, "../scenarios/small.yaml")
		for n := range others { // the last one that it is told of is the Service that the client asks
			c.Services = append(c.Services, spare(n, 1, 80))
		}
		l := labtest.New(t, c, labtest.KubeProxy(log.program))
		c = l.Cluster()
		stop()
		var stale func() bool
		for handed, tries := others, 0; handed > others-pipeSize/50; tries++ { // those that the pipe holds are handed on as well
			require.Less(t, tries, 5, "of %d Services it has heard of %d when it writes rules", others, handed)
			stop = log.read(t)
			stale = staleEntry(t, l)
			stop()
			restarted := make(chan error, 1)
			go func() { restarted <- l.Sync(t.Context(), c, "n1") }()
			handed = startSlowly(t, log)
			stop = log.read(t)
			if err := <-restarted; err != nil { // it counts less Services than it was told of as yet
				t.Log(err)
			}
			require.NoError(t, l.Change(t.Context(), c))
			stop()
			if !buggy { // it hears of all before
				break
			}
		}
		require.Equal(t, buggy, stale(), "the client's entry of before")
	})
}

// others are so many Services that it takes a kube-proxy long to hear of all, as a line of the log is written for each.
const others = 1000

// startSlowly reads the log of a kube-proxy that starts, a line at a time, until it writes rules, and counts of how many Services it has heard.
func startSlowly(t *testing.T, log *pipedLog) (services int) {
	t.Helper()
	for !strings.Contains(log.line(t.Context()), "Starting service config controller") { // those of the one before
		require.NoError(t, t.Context().Err())
	}
	for {
		line := log.line(t.Context())
		if strings.Contains(line, "handler.OnServiceAdd") {
			services++
		}
		if strings.Contains(line, "Syncing iptables rules") {
			return services
		}
		require.NoError(t, t.Context().Err())
		if services > 0 {
			time.Sleep(5 * time.Millisecond) // it looks ten times a second whether all have come in
		}
	}
}

// staleEntry takes the way to n1's rules away and has the client pod ask the Service, and reports later whether what connection tracking has of that is still there.
func staleEntry(t *testing.T, l *lab.Lab) (there func() bool) {
	t.Helper()
	script := "iptables-legacy -w -t nat -F PREROUTING; echo 600 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout"
	status, err := l.Exec(t.Context(), "n1", []string{"sh", "-c", script}, lab.Streams{Err: t.Output()})
	require.NoError(t, err)
	require.Zero(t, status)
	h, err := l.Handle("default/client-1")
	require.NoError(t, err)
	asked := nat.TupleOf(nat.UDP, netip.MustParseAddrPort("10.244.1.9:40030"), netip.MustParseAddrPort("10.96.0.10:53"))
	there = func() bool {
		entries, err := l.Entries("n1")
		require.NoError(t, err)
		for _, e := range entries {
			if e.Original.Proto() == nat.UDP && e.Original.Dst() == asked.Dst() && e.Reply.Src() == asked.Dst() {
				return true
			}
		}
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := traffic.Ask(ctx, h, asked)
		assert.Error(t, err, "nobody answers")
	}()
	require.Eventually(t, there, time.Minute, 10*time.Millisecond)
	cancel()
	<-ended
	return there
}
