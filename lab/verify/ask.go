package verify

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"natlab/lab"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
	"natlab/topology/near"
)

// Exchange is the flow of a client of a lab, a node, a pod (NAMESPACE/NAME) or an outside client, to any address. It asks from the
// address that the client's kernel chooses, and is a Service's where Flows has it as such.
func Exchange(l *lab.Lab, client string, proto nat.Proto, target netip.AddrPort) (proof.Flow, error) {
	if proto != nat.TCP && proto != nat.UDP && proto != nat.SCTP {
		return proof.Flow{}, fmt.Errorf("protocol %s has no client in a lab: want tcp, udp or sctp", proto)
	}
	if a := target.Addr(); a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || target.Port() == 0 {
		return proof.Flow{}, fmt.Errorf("address %s: want the address and the port of one host, without a zone", target)
	}
	if !slices.Contains(l.Families(), nat.FamilyOf(target.Addr())) {
		return proof.Flow{}, fmt.Errorf("address %s: lab %s has no %s", target, l.Name(), nat.FamilyOf(target.Addr()))
	}
	f := proof.Flow{Type: proof.ByAddress, Client: client, From: client, Target: target, Protocol: proto}
	c := l.Cluster()
	_, node := c.Node(client)
	switch pod := slices.IndexFunc(c.Pods, func(p topology.Pod) bool { return p.Namespace+"/"+p.Name == client }); {
	case node:
		f.Vantage = proof.FromOtherNode
	case pod >= 0 && c.Pods[pod].HostNetwork:
		f.From, f.Vantage = c.Pods[pod].Node, proof.FromHostNetworkedPod
	case pod >= 0:
		f.Vantage = proof.FromPodElsewhere
	case slices.ContainsFunc(c.Clients, func(cl topology.Client) bool { return cl.Name == client }):
		f.Vantage = proof.FromOutside
	default:
		return proof.Flow{}, fmt.Errorf("lab %s has no client %q; %s", l.Name(), client, near.There(client, clients(l)))
	}
	h, err := l.Handle(f.From)
	if err != nil {
		return proof.Flow{}, err
	}
	if f.Source, err = sourceOf(h, target); err != nil { // no route: then it is told so when it asks
		if f.Source = firstAddress(l.Plan(), f.From, nat.FamilyOf(target.Addr())); !f.Source.IsValid() {
			return proof.Flow{}, fmt.Errorf("client %s: %w", client, err)
		}
	}
	f.Name = fmt.Sprintf("%s -> %s %s", client, target, proto)
	for _, known := range proof.Flows(c, proof.Selector{To: target.String()}) {
		switch {
		case known.Protocol != proto || known.Type == proof.ByNothing:
		case known.Client == client && known.Source == f.Source:
			return known, nil
		default: // asked by others
			f.Service, f.Type = known.Service, known.Type
		}
	}
	return f, nil
}

// firstAddress is the first address of a family that a member was given.
func firstAddress(p topology.Plan, member string, family nat.Family) netip.Addr {
	ns, _ := p.Namespace(member)
	for _, a := range ns.Addresses {
		if nat.FamilyOf(a.Prefix.Addr()) == family {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// clients lists who can ask in a lab: nodes, pods and clients outside.
func clients(l *lab.Lab) []string {
	c := l.Cluster()
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Name)
	}
	for _, p := range c.Pods {
		out = append(out, p.Namespace+"/"+p.Name)
	}
	for _, cl := range c.Clients {
		out = append(out, cl.Name)
	}
	return out
}

// sourceOf is the address that the kernel gives a socket that asks the target: connect(2) of a datagram's chooses it and sends nothing.
// Where there is no route it is the first that the namespace has.
func sourceOf(h netns.Handle, target netip.AddrPort) (source netip.Addr, err error) {
	err = h.Do(func() error {
		family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet6{Port: int(target.Port()), Addr: target.Addr().As16()})
		if target.Addr().Is6() {
			family = unix.AF_INET6
		} else {
			to = &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // nothing was sent
		if err := unix.Connect(fd, to); err != nil {
			return fmt.Errorf("no way to %s: %w", target.Addr(), err)
		}
		name, err := unix.Getsockname(fd)
		switch at := name.(type) {
		case *unix.SockaddrInet4:
			source = netip.AddrFrom4(at.Addr)
		case *unix.SockaddrInet6:
			source = netip.AddrFrom16(at.Addr)
		}
		return err
	})
	return source, err
}
