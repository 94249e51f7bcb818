package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

// Server is one socket that listens behind a Service.
type Server struct {
	Name   string         `json:"name"`   // as it calls itself: the pod, "NAMESPACE/NAME", also where it is on the host network
	Member string         `json:"member"` // whose namespace it is in: the pod, or the node of a pod on the host network
	Proto  nat.Proto      `json:"proto"`
	Addr   netip.AddrPort `json:"addr"`
}

// String is "tcp 10.244.169.89:9090 velero/minio-b6d98746c-m7rzc".
func (s Server) String() string { return s.Proto.String() + " " + s.Addr.String() + " " + s.Name }

// Servers lists what listens in a lab of the cluster: one server for each address, port and protocol that is an endpoint
// of some Service port, ready or not, sorted. What cannot have one is said in the notes, once each.
func Servers(c topology.Cluster) (servers []Server, notes []string) {
	type key struct {
		proto nat.Proto
		addr  netip.AddrPort
	}
	seen := map[key]bool{}
	for _, svc := range c.Services {
		for _, port := range svc.Ports {
			proto, err := nat.ParseProto(port.Protocol)
			if err != nil || (proto != nat.TCP && proto != nat.UDP) {
				notes = append(notes, fmt.Sprintf("Service %s/%s: port %d: no server: natlab has none for %s", svc.Namespace, svc.Name, port.Port, port.Protocol))
				continue
			}
			for _, e := range port.Endpoints {
				pod, ok := c.Pod(e.Pod)
				k := key{proto, e.Addr}
				if !ok || !e.Addr.Addr().Is4() || seen[k] { // a lab is IPv4; every endpoint that Load gives an address in it has a pod
					continue
				}
				seen[k] = true
				s := Server{Name: pod.Member(), Member: pod.Member(), Proto: proto, Addr: e.Addr}
				if pod.HostNetwork {
					s.Member = pod.Node
				}
				servers = append(servers, s)
			}
		}
	}
	slices.SortFunc(servers, func(a, b Server) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Proto, b.Proto), a.Addr.Compare(b.Addr))
	})
	slices.Sort(notes)
	return servers, slices.Compact(notes)
}

// park is the servers of a lab, each of which may be stopped and started again.
type park struct {
	all     []Server
	handles map[string]netns.Handle // by member

	mu      sync.Mutex
	running map[Server]io.Closer // under mu
}

// openPark starts every server. After an error nothing runs.
func openPark(ctx context.Context, all []Server, handles map[string]netns.Handle) (*park, error) {
	p := &park{all: all, handles: handles, running: map[Server]io.Closer{}}
	if err := each(ctx, all, p.start); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// start starts a server, if it does not run already.
func (p *park) start(s Server) error {
	h, ok := p.handles[s.Member]
	if !ok {
		return fmt.Errorf("server %s: %s has no namespace of its own", s, s.Member)
	}
	p.mu.Lock()
	_, runs := p.running[s]
	p.mu.Unlock()
	if runs {
		return nil
	}
	c, err := traffic.Serve(h, s.Name, s.Proto, s.Addr)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Member, err)
	}
	p.mu.Lock()
	p.running[s] = c
	p.mu.Unlock()
	return nil
}

func (p *park) stop(s Server) error {
	p.mu.Lock()
	c, runs := p.running[s]
	delete(p.running, s)
	p.mu.Unlock()
	if !runs {
		return nil
	}
	return c.Close()
}

// which finds the servers that a name stands for: a server's own ("velero/minio-b6d98746c-m7rzc": all its ports), or
// one of them by its whole String.
func (p *park) which(name string) ([]Server, error) {
	var out []Server
	for _, s := range p.all {
		if s.Name == name || s.String() == name {
			out = append(out, s)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("there is no server %q in this lab", name)
	}
	return out, nil
}

// list returns the servers that run.
func (p *park) list() []Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Server
	for _, s := range p.all {
		if _, runs := p.running[s]; runs {
			out = append(out, s)
		}
	}
	return out
}

// Close stops them all. It may be called twice, and on nil.
func (p *park) Close() error {
	if p == nil {
		return nil
	}
	var all []error
	for _, s := range p.all {
		all = append(all, p.stop(s))
	}
	return errors.Join(all...)
}
