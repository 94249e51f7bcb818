package service

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// Flow is what a client asks.
type Flow struct {
	From     string         // the member in whose namespace it asks: a node, a pod, a client outside of the cluster
	Protocol nat.Proto      //
	Source   netip.Addr     // its address
	Target   netip.AddrPort // the address it asks
}

// Answer is what has to become of a flow, by the objects.
type Answer struct {
	Service string   // "NAMESPACE/NAME:PORT"; "" where no Service has the address for this client: Endings is empty then
	Node    string   // the node that answers for the Service: where the client or its packet is
	Rivals  []string // other nodes that may take the packet in its place: they answer ARP for the address, too
	// Endings are the ways that the flow may end, each of them right: for each endpoint that may serve, in the order of the
	// objects, or for none. One with a Limit follows the one that the objects call for.
	Endings []Ending
	// AffinitySeconds is how long an endpoint that served the client goes on to; 0 for not at all.
	AffinitySeconds int32
}

// Ending is one way that a flow may end.
type Ending struct {
	End      nat.End        // EndAnswered, where its server listens; EndRejected; EndLost for what is dropped; EndUnknown for what the objects leave open
	Endpoint netip.AddrPort // that serves; invalid where none does
	// Client are the addresses as which its server may see the client: its own alone, or those of the node that masquerades it.
	Client      []netip.Addr
	Masqueraded bool   // the client's source is changed, if only its port
	Why         string // in the words of the objects
	// Limit names what data planes are known not to do although the objects call for it, and for EndUnknown what the objects leave
	// open; "" for neither.
	Limit string
}

// After is what is left of an answer for a client that an endpoint served before.
func (a Answer) After(endpoint netip.AddrPort) Answer {
	served := slices.DeleteFunc(slices.Clone(a.Endings), func(e Ending) bool { return e.Endpoint != endpoint })
	if a.AffinitySeconds > 0 && endpoint.IsValid() && len(served) > 0 {
		a.Endings = served
	}
	return a
}

// Model answers for the Services of one cluster. It is read only, and can be asked from several goroutines.
type Model struct {
	cluster topology.Cluster
	release release
	asked   map[spot][]asked      // the Service ports by their addresses
	places  map[netip.Addr]string // the nodes that addresses are on, their own or a pod's
}

// ErrNode is the class of a flow from a node that is not described.
var ErrNode = errors.New("no such node")

// New reads a cluster. An error names a release that is not known.
func New(c topology.Cluster) (*Model, error) {
	r, err := newRelease(c.KubeProxy)
	if err != nil {
		return nil, fmt.Errorf("services of cluster %q: %w", c.Name, err)
	}
	m := &Model{cluster: c, release: r, places: map[netip.Addr]string{}}
	m.asked = m.index()
	for _, p := range c.Pods {
		for _, a := range p.IPs {
			m.places[a] = p.Node
		}
	}
	for _, n := range c.Nodes {
		for _, a := range m.addressesOf(n) {
			m.places[a] = n.Name
		}
	}
	return m, nil
}

// Ask tells what has to become of a flow. The client's own node answers for every Service that it knows there; what is not
// one's there goes on to the node that has the address, or announces it, and that one answers. Nothing but Services is taken
// to change addresses on the way. An error is ErrNode.
func (m *Model) Ask(f Flow) (Answer, error) {
	home, device := m.home(f.From)
	if home != "" {
		a, err := m.at(home, device, f)
		if err != nil || len(a.Endings) > 0 {
			return m.returning(a, home, f), err
		}
	}
	owner := m.owner(f.Target.Addr())
	if owner == "" || owner == home {
		return Answer{}, nil
	}
	a, err := m.at(owner, m.cluster.Underlay.Interface, f)
	if err == nil && m.contended(f.Target.Addr()) {
		a, err = m.orElsewhere(a, f)
	}
	return m.returning(a, home, f), err
}

// contended reports whether an address that one node announces is one of the underlay for which every node with it answers.
func (m *Model) contended(a netip.Addr) bool {
	own := slices.ContainsFunc(m.cluster.Nodes, func(n topology.Node) bool { return m.own(n, a) })
	return !own && m.cluster.KubeProxy.BindsOnAllNodes(a) && slices.ContainsFunc(m.cluster.Underlay.CIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// orElsewhere adds to an answer what other nodes make of the flow: whose answer to ARP the client heard first gets the packet. Where it would end otherwise
// there, the objects leave open how it ends.
func (m *Model) orElsewhere(a Answer, f Flow) (Answer, error) {
	for _, n := range m.cluster.Nodes {
		if n.Name == a.Node {
			continue
		}
		b, err := m.at(n.Name, m.cluster.Underlay.Interface, f)
		if err != nil {
			return Answer{}, err
		}
		if len(b.Endings) == 0 {
			continue
		}
		a.Rivals = append(a.Rivals, n.Name)
		if !slices.EqualFunc(a.Endings, b.Endings, func(x, y Ending) bool { return x.End == y.End && x.Endpoint == y.Endpoint }) {
			a.Endings = []Ending{{End: nat.EndUnknown, Why: b.Endings[0].Why, Limit: fmt.Sprintf("%s answers ARP for %s as %s does: ipvs.strictARP is not set", n.Name, f.Target.Addr(), a.Node)}}
			return a, nil
		}
		for i, other := range b.Endings {
			for _, client := range other.Client {
				if !slices.Contains(a.Endings[i].Client, client) {
					a.Endings[i].Client = append(slices.Clone(a.Endings[i].Client), client)
				}
			}
		}
	}
	return a, nil
}

// home is the node of a client, "" outside of the cluster, and the device by which its packet comes in there, "" where it is
// made there.
func (m *Model) home(member string) (node, device string) {
	if n, ok := m.cluster.Node(member); ok {
		return n.Name, ""
	}
	p, ok := m.cluster.Pod(member)
	switch {
	case !ok:
		return "", ""
	case p.HostNetwork:
		return p.Node, ""
	}
	return p.Node, p.HostDevice()
}

// owner is the node whose own an address is, or that takes the packets for it.
func (m *Model) owner(a netip.Addr) string {
	for _, n := range m.cluster.Nodes {
		if slices.Contains(m.addressesOf(n), a) {
			return n.Name
		}
	}
	for _, lb := range m.cluster.LoadBalancers {
		if lb.Address == a {
			return lb.AnnouncedBy
		}
	}
	return ""
}

// returning adds that a flow may be lost where the answer does not come back by the node that translated the request: the
// client asked one address, hears of another, and drops it (kubernetes#74383).
func (m *Model) returning(a Answer, home string, f Flow) Answer {
	var out []Ending
	for _, e := range a.Endings {
		out = append(out, e)
		if e.End != nat.EndAnswered || e.Masqueraded || home == a.Node || m.placeOf(e.Endpoint.Addr()) == a.Node {
			continue
		}
		e.End = nat.EndLost
		e.Limit = fmt.Sprintf("%s asks %s by %s and is not masqueraded there: the answer of %s goes past that node, and the client drops it",
			f.From, f.Target, a.Node, e.Endpoint)
		out = append(out, e)
	}
	a.Endings = out
	return a
}

// placeOf is the node that an address is on, as its own or a pod's; "" outside of the cluster.
func (m *Model) placeOf(a netip.Addr) string { return m.places[a] }

// addressesOf are the addresses that a node has on its devices, loopback aside.
func (m *Model) addressesOf(n topology.Node) []netip.Addr {
	out := slices.Clone(n.Addresses)
	for _, a := range n.TunnelAddresses {
		if m.cluster.PodNetwork.Of(topology.FamilyOf(a)) != topology.None {
			out = append(out, a)
		}
	}
	for _, a := range n.DeviceAddrs {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// own reports whether an address is a node's own, loopback among them.
func (m *Model) own(n topology.Node, a netip.Addr) bool {
	return a.IsLoopback() || slices.Contains(m.addressesOf(n), a)
}

// same reports whether two addresses are of one family.
func same(a, b netip.Addr) bool { return a.IsValid() && b.IsValid() && a.Is4() == b.Is4() }
