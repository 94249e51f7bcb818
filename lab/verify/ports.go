package verify

import (
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/topology"
)

// The source ports of natlab's clients: those that a kernel gives out itself (net.ipv4.ip_local_port_range). The first of them
// stands for all in a prediction and is never used. Each port is a stride from the one before, so that a few attempts meet what
// is done to any part of the range; the stride has no divisor in common with their number.
const (
	predictedPort = 32768
	firstPort     = predictedPort + 1
	lastPort      = 60999
	stride        = 7919
)

// portBook hands out source ports so that no two attempts of one client ever share one, and none meets an entry that an
// earlier connection left behind. All clients take from one sequence: what is masqueraded may keep its port, and then it is the
// node's, which may ask the same server itself.
type portBook struct {
	taken map[clientSocket]bool
	next  uint16
}

type clientSocket struct {
	proto nat.Proto
	addr  netip.AddrPort
}

// newPortBook keeps clear of every port that the cluster uses and of the entries that stand. start is where to
// begin; runs that begin elsewhere do not meet each other's sockets in TIME_WAIT.
func newPortBook(c topology.Cluster, standing []nat.Conn, start uint32) *portBook {
	b := &portBook{taken: map[clientSocket]bool{}, next: uint16(firstPort + start%(lastPort-firstPort+1))}
	for _, conn := range standing {
		b.taken[clientSocket{conn.Original.Proto(), conn.Original.Src()}] = true
		b.taken[clientSocket{conn.Reply.Proto(), conn.Reply.Dst()}] = true
	}
	for _, p := range c.Pods {
		for _, h := range p.HostPorts {
			b.reserve(h.Port)
			b.reserve(h.Container)
		}
	}
	for _, svc := range c.Services {
		b.reserve(svc.HealthCheckNodePort)
		for _, p := range svc.Ports {
			b.reserve(p.Port)
			b.reserve(p.NodePort)
			for _, e := range p.Endpoints {
				b.reserve(e.Addr.Port())
			}
		}
	}
	return b
}

// reserve keeps a port away from all clients.
func (b *portBook) reserve(port uint16) {
	b.taken[clientSocket{addr: netip.AddrPortFrom(netip.Addr{}, port)}] = true
}

// take returns the next free port of a client's address.
func (b *portBook) take(proto nat.Proto, client netip.Addr) (uint16, error) {
	for range lastPort - firstPort + 1 {
		port := b.next
		b.next = firstPort + uint16((uint32(port)-firstPort+stride)%(lastPort-firstPort+1))
		mine := clientSocket{proto, netip.AddrPortFrom(client, port)}
		if b.taken[mine] || b.taken[clientSocket{addr: netip.AddrPortFrom(netip.Addr{}, port)}] {
			continue
		}
		b.taken[mine] = true
		return port, nil
	}
	return 0, fmt.Errorf("client %s: no source port is left between %d and %d", client, firstPort, lastPort)
}
