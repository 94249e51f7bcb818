package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"natlab/lab/netns"
	"natlab/lab/proxy"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

// serverSet is the servers of a lab, each of which may be stopped and started again.
type serverSet struct {
	handles map[string]netns.Handle // by member
	cluster func() topology.Cluster // as it is now
	proxied bool                    // real kube-proxies run in the nodes, and listen themselves

	mu      sync.Mutex
	all     []topology.Server             // under mu
	running map[topology.Server]io.Closer // under mu
}

// openServers starts every server. After an error nothing runs.
func openServers(ctx context.Context, l *Lab) (*serverSet, error) {
	all := serversOf(l.cluster)
	p := &serverSet{all: all, handles: l.handles, running: map[topology.Server]io.Closer{}, cluster: l.Cluster, proxied: l.record.KubeProxy != ""}
	if err := each(ctx, all, p.start); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// serversOf lists all that listens in a lab: behind Services and hostPorts, and what is kube-proxy's.
func serversOf(c topology.Cluster) []topology.Server {
	return append(topology.Servers(c), topology.ProxyServers(c)...)
}

// start starts a server, if it does not run already.
func (p *serverSet) start(s topology.Server) error {
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
	proto, err := nat.ParseProto(s.Proto)
	if err != nil {
		return fmt.Errorf("server %s: %w", s, err)
	}
	c, err := p.serve(h, s, proto)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Member, err)
	}
	p.mu.Lock()
	p.running[s] = c
	p.mu.Unlock()
	return nil
}

// serve opens a server's socket.
func (p *serverSet) serve(h netns.Handle, s topology.Server, proto nat.Proto) (io.Closer, error) {
	switch {
	case s.Name != topology.KubeProxyServer:
		return traffic.Serve(h, s.Name, proto, s.Addr)
	case p.proxied:
		return io.NopCloser(nil), nil
	}
	return traffic.ServeHTTP(h, s.Addr, proxy.Health(s, p.cluster))
}

func (p *serverSet) stop(s topology.Server) error {
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
func (p *serverSet) which(name string) ([]topology.Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []topology.Server
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
func (p *serverSet) list() []topology.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []topology.Server
	for _, s := range p.all {
		if _, runs := p.running[s]; runs {
			out = append(out, s)
		}
	}
	return out
}

// Close stops them all. It may be called twice, and on nil.
func (p *serverSet) Close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	servers := slices.Clone(p.all)
	p.mu.Unlock()
	var all []error
	for _, s := range servers {
		all = append(all, p.stop(s))
	}
	return errors.Join(all...)
}

// add starts those of the servers that are new, and names them. After an error none of them runs.
func (p *serverSet) add(want []topology.Server) ([]string, error) {
	started := []string{}
	var fresh []topology.Server
	p.mu.Lock()
	for _, s := range want {
		if !slices.Contains(p.all, s) {
			fresh = append(fresh, s)
		}
	}
	p.mu.Unlock()
	for i, s := range fresh {
		if err := p.start(s); err != nil {
			for _, undone := range fresh[:i] {
				err = errors.Join(err, p.stop(undone))
			}
			return nil, err
		}
		started = append(started, s.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, fresh...)
	return started, nil
}

// keep stops all other servers, and names them.
func (p *serverSet) keep(want []topology.Server) ([]string, error) {
	p.mu.Lock()
	gone := slices.DeleteFunc(slices.Clone(p.all), func(s topology.Server) bool { return slices.Contains(want, s) })
	p.all = slices.Clone(want)
	p.mu.Unlock()
	stopped := []string{}
	var errs []error
	for _, s := range gone {
		errs = append(errs, p.stop(s))
		stopped = append(stopped, s.String())
	}
	return stopped, errors.Join(errs...)
}
