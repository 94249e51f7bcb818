package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/behaviour"
	"natlab/nat/conntrack"
	"natlab/nat/ipset"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
	"natlab/topology"
)

// Gateway is one node that packets pass through: its devices, addresses and routes, its rules, and the connections that
// it remembers. It works on the packets' bytes and does to them what the kernel does. It is to be used by one
// goroutine at a time.
//
// Not modelled: fragments of IPv6 and those that the node sends to itself, IPv4-mapped addresses, options of IPv4 that routers act on or write into, routing headers that are not at
// their end (Unmodelled tells of a packet with one of these), which groups processes have joined, the neighbours on the links,
// redirects, what errors teach a node of the MTU behind its links. Where the backends differ it does as x_tables: it drops a packet whose
// transport header is cut short where a rule asks for it, which nf_tables passes by, has no flags in a later fragment, looks behind
// an authentication header of IPv6, and for no ports in a later fragment of it, where nf_tables takes the IP header for the transport header.
type Gateway struct {
	*node
	options NodeOptions

	// What it remembers from one packet to the next.
	conns    conntrack.Table
	mappings *behaviour.Table // nil: Linux's own NAT
	memory   rules.Memory
	sets     *ipset.State        // from the first question on
	parts    [3]packet.Fragments // of packets that came in, of the node's own, and of those that are delivered
	peers    map[netip.Addr]peer // sources that were told of a missing way

	transit transit // packets that are between two hooks of a kernel

	prediction predicting
	visit      visit // of the packet that was handed in last
}

// predicting is what a prediction sets: who decides instead of the options' Chance, whether matches remember, where the packet
// comes from, and who is told what. All of it is zero for a Gateway that handles packets.
type predicting struct {
	choices   *choices
	forgets   bool   // matches remember nothing: the Gateway is of one packet
	replying  bool   // what is handed in answers an earlier packet: whoever sent that one waits for it
	older     bool   // what comes may belong to a connection that is older than the packet
	sender    string // the hardware address that the packet came from; "" where it is not known
	look      func(look)
	tapped    func(h nat.Hop, answer bool) // answer: the packet is the node's own, because of the one that was handed in
	met       func(answer bool, steps nat.Trace)
	confirmed func(*conntrack.Conn)
	chosen    []netip.AddrPort // ports that chance chose
	behind    netip.Addr       // who is behind the bridge's port that the packet came in by
	port      *device          // that port; nil where it is not told
}

// NodeOptions are what a namespace and its rules leave open.
type NodeOptions struct {
	// Chance decides statistic matches and random ports; nil takes every question of chance as yes and the first port.
	Chance conntrack.Chance
	// Trace asks for the rules that each packet met.
	Trace bool
	// Family is that of the node's rules and packets.
	Family nat.Family
	Facts
	// Listens reports whether a socket of the node takes a packet. Where it is nil all packets for the node are
	// delivered that one of Facts.Sockets may take; else the node answers the others itself, as its stack does, and answers pings.
	Listens func(nat.Tuple) bool
	// Unknown decides for rules with an extension that is not modelled; nil: they do not match.
	Unknown func(rule string) bool
	// Senders are the hardware addresses that what comes in by a device is from, where it comes from one alone.
	Senders map[string]string
	// UID and GID are those of the process whose packets Send takes, as far as they are known.
	UID, GID rules.ID
}

// Out is a packet that leaves the node, or that a process in it gets.
type Out struct {
	Dev    string     // "" for a packet that a process gets
	Via    netip.Addr // who is asked for on the link
	Packet []byte
	Mark   uint32
	Answer bool // the node's own, because of the packet: a REJECT rule's answer, an RST, an ICMP error, a pong
}

// Local reports whether a process of the node gets the packet.
func (o Out) Local() bool { return o.Dev == "" }

// NewGateway makes a node of a namespace of a Plan and the rule sets it holds, in the order in which their hooks run.
// Of the namespace's sysctls those of routing and of conntrack count. An error is a rule set of another family, or a
// sysctl that is no number.
func NewGateway(ns topology.Namespace, rules Rules, o NodeOptions) (*Gateway, error) {
	n, err := newNode(&ns, rules, o.Family, &o.Facts)
	if err != nil {
		return nil, err
	}
	g := &Gateway{node: n, options: o}
	g.visit.Gateway = g
	g.conns.Settings, g.conns.Chance = conntrack.Defaults(), o.Chance
	g.conns.Settings.Kernel = o.Kernel
	for _, s := range ns.Sysctls {
		if name, ok := strings.CutPrefix(s.Key, "net/netfilter/"); ok {
			if _, err := g.conns.Settings.Set(name, s.Value); err != nil {
				return nil, fmt.Errorf("%s: %w", ns.Member, err)
			}
		}
	}
	g.conns.Settings.Accounts = g.conns.Settings.Accounts || rules.any(counts)
	o.NAT.Age(&g.conns.Settings.Timeouts)
	g.behave()
	return g, nil
}

// fresh is the same node before it has seen any packet. Chance is decided by a script; ports that it would choose are the
// dice's, or one that hardly anybody asks for, and noted.
func (g *Gateway) fresh(p predicting) *Gateway {
	f := &Gateway{node: g.node, options: g.options, prediction: p}
	f.visit.Gateway = f
	f.options.Trace = true
	f.memory.Midway = true
	f.conns.Settings, f.conns.Chance = g.conns.Settings, &unforeseen{}
	if p.choices.dice != nil {
		f.conns.Chance = p.choices.dice
	}
	f.behave()
	return f
}

// behave begins the mappings of another NAT than Linux's.
func (g *Gateway) behave() {
	if g.options.NAT.Other() {
		g.mappings = behaviour.New(g.options.NAT, &g.conns)
	}
}

// unforeseen answers the question for a random port, and remembers that it was asked.
type unforeseen struct{ asked bool }

// Uint32 makes 1024 to 65535 the port 61234.
func (u *unforeseen) Uint32() uint32 { u.asked = true; return 61234 - 1024 }

// ForgetRecent empties the lists of -m recent: no client is remembered to have been served.
func (g *Gateway) ForgetRecent() { xt.ForgetRecent(&g.memory) }

// Conns is the node's connection table.
func (g *Gateway) Conns() *conntrack.Table { return &g.conns }

// Unmodelled is what of the packet that was handled last the Gateway does not model, so that what came of it is not known; "" where it
// is known.
func (g *Gateway) Unmodelled() string {
	if g.visit.open {
		return cmp.Or(g.visit.unknown, g.visit.why)
	}
	return ""
}

// Handle is a packet that comes in by a device; by a bridge's port it comes in by the bridge. What leaves the node because of it comes back, with the rules that were
// met if the Gateway traces, and why the packet went no further, "" where it left or was delivered. The packet's bytes change,
// and a packet that leaves may share them; what is returned is good until the next call. at is the time, which must not go back.
func (g *Gateway) Handle(pkt []byte, inDev string, at time.Time) (outs []Out, met nat.Trace, why string) {
	v := g.begin(at)
	p := &v.main
	p.reset()
	var d *device
	d, p.port = g.entry(inDev)
	switch err := p.pkt.Parse(pkt); {
	case d == nil:
		v.lost("", "the node has no device "+inDev)
	case err != nil:
		v.lost("", err.Error())
	case !p.pkt.HeaderOK():
		v.lost("", "the IP header's checksum is wrong")
	case v.admits(&p.pkt):
		v.receive(p, d)
		v.drainLoopback()
	}
	return v.outs, v.trace, v.why
}

// Send is a packet that a process of the node sends, with an skb mark of its socket (SO_MARK) or 0. It is sent as it is
// (IP_HDRINCL), but for what packet.Complete writes into pkt: its route is chosen by its destination alone. What comes back is as
// of Handle.
func (g *Gateway) Send(pkt []byte, mark uint32, at time.Time) (outs []Out, met nat.Trace, why string) {
	v := g.begin(at)
	p := &v.main
	p.reset()
	packet.Complete(pkt)
	if err := p.pkt.Parse(pkt); err != nil {
		v.lost("", err.Error())
		return v.outs, v.trace, v.why
	}
	if !v.admits(&p.pkt) {
		return v.outs, v.trace, v.why
	}
	if p.pkt.V6() && p.pkt.Later() {
		v.unmodelled("a later fragment of IPv6 that a process writes is not modelled")
		return v.outs, v.trace, v.why
	}
	p.view.Mark, p.raw = mark, true
	p.view.Sender = rules.Sender{Socket: rules.ProcessSocket, UID: g.options.UID, GID: g.options.GID}
	if p.pkt.TCPFlags()&(tcpFIN|tcpRST) != 0 { // its process may have closed it
		p.view.Sender.Socket = rules.SocketUnknown
	}
	v.process = true
	v.send(p)
	v.drainLoopback()
	return v.outs, v.trace, v.why
}
