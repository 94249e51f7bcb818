package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/packet"
	"natlab/nat/proof"
	"natlab/topology"
)

// conversation is several packets through one node.
type conversation struct {
	g  *gateway.Gateway
	ns topology.Namespace
	at time.Time
}

// converse begins one at a node that has seen no packet.
func (s *side) converse(node string, family nat.Family) (*conversation, error) {
	ns, ok := s.plan.Namespace(node)
	if !ok {
		return nil, fmt.Errorf("node %q is not in the plan", node)
	}
	setup := s.setups[family]
	facts := setup.Facts
	facts.NFT = setup.NFTOf[node]
	g, err := gateway.NewGateway(ns, setup.Rules[node], gateway.NodeOptions{Family: family, Facts: facts, Trace: true, Chance: &draws{}})
	return &conversation{g: g, ns: ns, at: time.Unix(1<<30, 0)}, err
}

// draws is a fixed order of numbers that are as good as any for a choice (splitmix32).
type draws struct{ state uint32 }

func (d *draws) Uint32() uint32 {
	d.state += 0x9e3779b9
	z := d.state
	z = (z ^ z>>16) * 0x21f0aaad
	z = (z ^ z>>15) * 0x735a2d97
	return z ^ z>>15
}

// send takes a packet through the node as it comes from its source. The packet that leaves the node has another source or destination than an
// answer of the node's own; without bytes none leaves.
func (c *conversation) send(t nat.Tuple, f packet.Fields) (left nat.Tuple, met nat.Trace) {
	dev, ok := gateway.Arrives(c.ns, t.Src().Addr())
	if !ok || dev == "" {
		return nat.Tuple{}, nil
	}
	c.at = c.at.Add(time.Millisecond)
	outs, met, _ := c.g.Handle(packet.Build(t, f).Bytes(), dev, c.at)
	for _, out := range outs {
		if p, err := packet.Parse(out.Packet); err == nil && !out.Answer {
			return p.Tuple(), met
		}
	}
	return nat.Tuple{}, met
}

// The flags of a segment.
const (
	syn = 1 << 1
	ack = 1 << 4
)

// invalid asks, for each port of TCP that has an endpoint on another node than a pod's, what becomes of a segment of the endpoint's that is
// far out of the window of their connection.
func (m *move) invalid() (out []Difference, asked int, err error) {
	for _, family := range families(m.from.cluster) {
		for _, q := range m.invalidQuestions(family) {
			d := Difference{Question: q}
			for side, into := range map[*side]*[]Ending{m.from: &d.From, m.to: &d.To} {
				if *into, err = side.outOfWindow(q); err != nil {
					return nil, 0, err
				}
			}
			if d.From == nil || d.To == nil {
				continue
			}
			asked++
			if same(d.From, d.To) {
				continue
			}
			d.Breaks = only(d.To, nat.EndRefused)
			out = append(out, d)
		}
	}
	return out, asked, nil
}

func (m *move) invalidQuestions(family nat.Family) (out []Question) {
	c := &m.from.cluster
	for i := range c.Services {
		svc := &c.Services[i]
		for j := range svc.Ports {
			port := &svc.Ports[j]
			ip := slices.IndexFunc(svc.ClusterIPs, func(a netip.Addr) bool { return nat.FamilyOf(a) == family })
			client := farClient(c, port, family)
			if port.Protocol != "TCP" || ip < 0 || client == nil {
				continue
			}
			out = append(out, Question{
				Service: portName(svc, port), Type: proof.ByClusterIP, Aspect: InvalidSegment, Client: client.Member(), Source: client.Address(topology.Family(family)),
				Target: netip.AddrPortFrom(svc.ClusterIPs[ip], port.Port), Protocol: nat.TCP, svc: svc, port: port, owner: client.Node,
			})
		}
	}
	return out
}

// farClient is a pod on a node where the port has no endpoint.
func farClient(c *topology.Cluster, port *topology.ServicePort, family nat.Family) *topology.Pod {
	for i := range c.Pods {
		p := &c.Pods[i]
		if !p.HostNetwork && p.Address(topology.Family(family)).IsValid() && len(port.Endpoints) > 0 &&
			!slices.ContainsFunc(port.Endpoints, func(e topology.Endpoint) bool { return e.Node == p.Node }) {
			return p
		}
	}
	return nil
}

// outOfWindow has a connection made through the client's node, and the endpoint send a segment out of its window; nil where no connection
// comes about.
func (s *side) outOfWindow(q Question) ([]Ending, error) {
	c, err := s.converse(q.owner, nat.FamilyOf(q.Source))
	if err != nil {
		return nil, err
	}
	asked := q.Probe().Tuple
	const window = 64240
	sent, _ := c.send(asked, packet.Fields{TCP: packet.TCP{Flags: syn, Seq: 100, Window: window}})
	if !sent.IsValid() || sent.Dst() == asked.Dst() {
		return nil, nil
	}
	if back, _ := c.send(sent.Reply(), packet.Fields{TCP: packet.TCP{Flags: syn | ack, Seq: 500, Ack: 101, Window: window}}); back != asked.Reply() {
		return nil, nil
	}
	c.send(asked, packet.Fields{TCP: packet.TCP{Flags: ack, Seq: 101, Ack: 501, Window: window}})
	got, met := c.send(sent.Reply(), packet.Fields{TCP: packet.TCP{Flags: ack, Seq: 501 + 1<<30, Ack: 101, Window: window}, Payload: make([]byte, 10)})
	e := Ending{Share: 1}
	switch {
	case !got.IsValid():
		e.End, e.Dropped, e.Why = nat.EndLost, true, "dropped, and the connection lives"
		for i := range met {
			if met[i].Verdict == nat.Drop {
				e.by = &met[i]
			}
		}
	case got == asked.Reply():
		e.End, e.Why = nat.EndAnswered, "translated as any other segment"
	default:
		e.End, e.Why = nat.EndRefused, "reaches the client untranslated, from an endpoint that it never asked: the connection is reset"
	}
	return []Ending{e}, nil
}

// documentedInvalid: iptables mode's rule for INVALID packets drops it, nftables mode has none.
func documentedInvalid(v *view) bool {
	return dropped(v.ipt) && v.ipt[0].by != nil && v.ipt[0].by.Chain == "KUBE-FORWARD" && only(v.nft, nat.EndRefused)
}

// How many clients ask a Service with affinity, and how many of them again.
const (
	manyClients = 400
	askAgain    = 60
)

// affinity asks each port with session affinity that has two endpoints from many addresses, and again from the first.
func (m *move) affinity() (out []Difference, asked int, err error) {
	c := &m.from.cluster
	for _, family := range families(*c) {
		for i := range c.Services {
			for j := range c.Services[i].Ports {
				q, ok := affinityQuestion(c, &c.Services[i], &c.Services[i].Ports[j], family)
				if !ok {
					continue
				}
				d := Difference{Question: q}
				for side, into := range map[*side]*[]Ending{m.from: &d.From, m.to: &d.To} {
					if *into, err = side.remembers(q); err != nil {
						return nil, 0, err
					}
				}
				if d.From == nil || d.To == nil {
					continue
				}
				asked++
				if (d.From[0].Share == 1) != (d.To[0].Share == 1) {
					d.Breaks = d.From[0].Share == 1
					out = append(out, d)
				}
			}
		}
	}
	return out, asked, nil
}

func affinityQuestion(c *topology.Cluster, svc *topology.Service, port *topology.ServicePort, family nat.Family) (Question, bool) {
	ip := slices.IndexFunc(svc.ClusterIPs, func(a netip.Addr) bool { return nat.FamilyOf(a) == family })
	proto, err := nat.ParseProto(strings.ToLower(port.Protocol))
	if svc.AffinitySeconds == 0 || ip < 0 || err != nil || proto == nat.SCTP || !usable(port) {
		return Question{}, false
	}
	node := c.Nodes[0].Name
	for _, e := range port.Endpoints { // with internalTrafficPolicy Local only a node that has one serves
		if _, ok := c.Node(e.Node); ok {
			node = e.Node
			break
		}
	}
	return Question{
		Service: portName(svc, port), Type: proof.ByClusterIP, Aspect: Remembered, Client: node, Protocol: proto,
		Target: netip.AddrPortFrom(svc.ClusterIPs[ip], port.Port), svc: svc, port: port, owner: node,
	}, true
}

// remembers asks from many addresses, and again from the first of them; nil where there is no choice. The share is of those that meet their
// endpoint again.
func (s *side) remembers(q Question) ([]Ending, error) {
	family := nat.FamilyOf(q.Target.Addr())
	c, err := s.converse(q.owner, family)
	if err != nil {
		return nil, err
	}
	first := map[netip.Addr]netip.AddrPort{}
	served := map[netip.AddrPort]bool{}
	var order []netip.Addr
	client := manyOf[family]
	ask := func(a netip.Addr, port uint16) netip.AddrPort {
		left, _ := c.send(nat.TupleOf(q.Protocol, netip.AddrPortFrom(a, port), q.Target), packet.Fields{TCP: packet.TCP{Flags: syn, Seq: 1, Window: 64240}})
		return left.Dst()
	}
	for range manyClients {
		client = client.Next()
		to := ask(client, predictedPort)
		if !to.IsValid() || to == q.Target {
			return nil, nil
		}
		first[client], served[to] = to, true
		order = append(order, client)
	}
	if len(served) < 2 {
		return nil, nil
	}
	stay := 0
	for _, a := range order[:askAgain] {
		if ask(a, predictedPort+1) == first[a] {
			stay++
		}
	}
	return []Ending{{
		End: nat.EndAnswered, Share: float64(stay) / askAgain,
		Why: fmt.Sprintf("%d of %d clients meet their endpoint again after %d others", stay, askAgain, manyClients-askAgain),
	}}, nil
}

// manyOf are addresses to count on from (RFC 2544, RFC 3849).
var manyOf = [...]netip.Addr{nat.IPv4: netip.MustParseAddr("198.18.0.0"), nat.IPv6: netip.MustParseAddr("2001:db8:2::")}

// documentedAffinity: iptables mode forgets, nftables mode does not.
func documentedAffinity(v *view) bool { return v.ipt[0].Share < 1 && v.nft[0].Share == 1 }
