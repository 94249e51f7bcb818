package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/ipset"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// Gateway is one node that packets pass through: its devices, addresses and routes, its rules, and the connections that
// it remembers. It works on the packets' bytes and does to them what the kernel does. It is to be used by one
// goroutine at a time.
//
// Not modelled: fragments of IPv6, IPv4-mapped addresses, which groups processes have joined, the neighbours on the links,
// redirects, what errors teach a node of the MTU behind its links. Where the backends differ it does as x_tables: it drops a packet whose transport header is
// cut short where a rule asks for it, which nf_tables passes by, and has no flags in a later fragment.
type Gateway struct {
	// Tap, where it is set, is called at each point at which natlab watches a namespace.
	Tap func(nat.Hop)

	host    *host
	rules   Rules
	devices map[string]*device
	options NodeOptions
	conns   conntrack.Table
	memory  rules.Memory
	sets    *ipset.State        // from the first question on
	parts   [3]packet.Fragments // of packets that came in, of the node's own, and of those that are delivered
	stages  [5]stages
	hasNAT  bool

	// What a prediction sets: who decides instead of options.Chance, whether matches remember, and who is told what.
	choices   *choices
	remembers bool
	older     bool // what comes may belong to a connection that is older than the packet
	look      func(look)
	met       func(answer bool, steps nat.Trace)
	confirmed func(*conntrack.Conn)
	chosen    []netip.AddrPort // ports that chance chose

	at       time.Time
	why      string
	where    string // the rule, or the node, that why is of
	rejected bool   // by a rule
	open     bool   // of a target it is not known what it does to the packet
	outs     []Out
	trace    nat.Trace
	hits     []iptables.Hit
	main     passage // of the packet that was handed in
	track    conntrack.Packet
	depth    int

	icmpBusy  bool     // the stack is sending an ICMP packet
	answering bool     // what the tap is told of is the node's own
	visiting  *passage // at the rules
	sender    string   // the hardware address that the packet came from; "" where it is not known

	process bool       // a process is sending: what it hears of it comes in at once
	pending []*passage // on their way through lo
	loops   int
}

// NodeOptions say what a namespace and its rules leave open.
type NodeOptions struct {
	// Chance decides statistic matches and random ports; nil takes every question of chance as yes and the first port.
	Chance conntrack.Chance
	// Trace asks for the rules that each packet met.
	Trace bool
	// Family is that of the node's rules and packets.
	Family nat.Family
	Facts
	// Listens reports whether a socket of the node takes a packet. Where it is nil all packets for the node are
	// delivered; else the node answers the others itself, as its stack does, and answers pings.
	Listens func(nat.Tuple) bool
	// Unknown decides for rules with an extension that is not modelled; nil: they do not match.
	Unknown func(rule string) bool
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

// The tables in the order of their priorities: raw -300, conntrack -200, mangle -150, nat -100 (destination), filter 0,
// security 50, nat 100 (source), confirm (enum nf_ip_hook_priorities).
const (
	tableRaw      = "raw"
	tableMangle   = "mangle"
	tableFilter   = "filter"
	tableSecurity = "security"
	tableNAT      = "nat"
)

// stages are the tables of a hook, by their place among the others.
type stages struct{ raw, mangle, nat, filter, security []*iptables.Compiled }

// NewGateway makes a node of a namespace of a Plan and the rule sets it holds, in the order in which their hooks run.
// Of the namespace's sysctls those of routing and of conntrack count. An error is a rule set of another family, or a
// sysctl that is no number.
func NewGateway(ns topology.Namespace, rules Rules, o NodeOptions) (*Gateway, error) {
	h, err := newHost(&ns, rules, o.Family, o.Kernel)
	if err != nil {
		return nil, err
	}
	g := &Gateway{host: h, rules: rules, options: o, devices: map[string]*device{}, remembers: true}
	for _, d := range h.devices {
		g.devices[d.Name] = d
	}
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
	for _, rs := range rules {
		for _, t := range rs.Tables {
			g.hasNAT = g.hasNAT || t.Name == tableNAT
			g.add(iptables.Compile(t))
		}
	}
	return g, nil
}

func (g *Gateway) add(c *iptables.Compiled) {
	for _, hook := range nat.Hooks() {
		if !c.Has(hook) {
			continue
		}
		s := &g.stages[hook]
		for name, list := range map[string]*[]*iptables.Compiled{
			tableRaw: &s.raw, tableMangle: &s.mangle, tableNAT: &s.nat, tableFilter: &s.filter, tableSecurity: &s.security,
		} {
			if name == c.Name() {
				*list = append(*list, c)
			}
		}
	}
}

// fresh is the same node before it has seen any packet. Chance is decided by a script; ports that it would choose are the
// dice's, or one that hardly anybody asks for, and noted.
func (g *Gateway) fresh(s *choices) *Gateway {
	f := &Gateway{host: g.host, devices: g.devices, options: g.options, stages: g.stages, hasNAT: g.hasNAT, choices: s}
	f.options.Trace = true
	f.conns.Settings, f.conns.Chance = g.conns.Settings, &unforeseen{}
	if s.dice != nil {
		f.conns.Chance = s.dice
	}
	return f
}

// unforeseen answers the question for a random port, and remembers that it was asked.
type unforeseen struct{ asked bool }

// Uint32 makes 1024 to 65535 the port 61234.
func (u *unforeseen) Uint32() uint32 { u.asked = true; return 61234 - 1024 }

// Conns is the node's connection table.
func (g *Gateway) Conns() *conntrack.Table { return &g.conns }

// Why says why the packet that was handled last went no further, "" where it left or was delivered.
func (g *Gateway) Why() string { return g.why }

// Handle is a packet that comes in by a device. What leaves the node because of it comes back, with the rules that were
// met if the Gateway traces. The packet's bytes change, and a packet that leaves may share them; what is returned is
// good until the next call. at is the time, which must not go back.
func (g *Gateway) Handle(pkt []byte, inDev string, at time.Time) ([]Out, nat.Trace) {
	g.begin(at)
	d := g.devices[inDev]
	p := &g.main
	p.reset()
	switch err := p.pkt.Parse(pkt); {
	case d == nil:
		g.lost("", "the node has no device "+inDev)
	case err != nil:
		g.lost("", err.Error())
	case !p.pkt.HeaderOK():
		g.lost("", "the IP header's checksum is wrong")
	case g.admits(&p.pkt):
		g.receive(p, d)
		g.settleDown()
	}
	return g.outs, g.trace
}

// admits reports whether a packet is one that the node's rules are for.
func (g *Gateway) admits(p *packet.Packet) bool {
	t := p.Tuple()
	switch {
	case p.V6() != (g.host.family == nat.IPv6):
		g.lost("", "the packet is not of "+g.host.family.String())
	case p.V6() && (t.Src().Addr().Is4() || t.Dst().Addr().Is4()): // a tuple does not tell them from IPv4's
		g.lost("", "IPv4-mapped addresses are not modelled")
		g.open = true
	default:
		return true
	}
	return false
}

// Send is a packet that a process of the node sends, with an skb mark of its socket (SO_MARK) or 0. It is sent as it is
// (IP_HDRINCL), but for what packet.Complete writes into pkt: its route is chosen by its destination alone.
func (g *Gateway) Send(pkt []byte, mark uint32, at time.Time) ([]Out, nat.Trace) {
	g.begin(at)
	p := &g.main
	p.reset()
	packet.Complete(pkt)
	if err := p.pkt.Parse(pkt); err != nil {
		g.lost("", err.Error())
		return g.outs, g.trace
	}
	if !g.admits(&p.pkt) {
		return g.outs, g.trace
	}
	p.view.Mark, p.raw = mark, true
	p.view.Sender = rules.Sender{Socket: rules.ProcessSocket, UID: g.options.UID, GID: g.options.GID}
	if p.pkt.TCPFlags()&(tcpFIN|tcpRST) != 0 { // its process may have closed it
		p.view.Sender.Socket = rules.SocketUnknown
	}
	g.process = true
	g.send(p)
	g.settleDown()
	return g.outs, g.trace
}

func (g *Gateway) begin(at time.Time) {
	g.at, g.why, g.where, g.rejected, g.open = at, "", "", false, false
	g.outs, g.trace, g.loops = g.outs[:0], nil, 0
}

// lost notes why a packet goes no further, and at which stage of its way through the node; "" says nothing of that.
func (g *Gateway) lost(stage, why string) {
	g.why, g.where = why, strings.TrimSuffix(g.host.member+" "+stage, " ")
}

// passage is a packet on its way through the node.
type passage struct {
	pkt  packet.Packet
	view rules.Packet // what rules see of it
	ref  conntrack.Ref
	in   *device // it came in by; nil for the node's own
	came string  // whose address it came for: that device, or of IPv6 the one that has the node's own
	out  *device // that it leaves by
	via  netip.Addr

	looped bool       // it came back by lo with its connection
	sent   netip.Addr // where the node sent it, when it came back
	onward bool       // it is forwarded
	group  bool       // it is for the node and others: broadcast or multicast
	echoes bool       // the node hears it, too
	echo   bool       // it is what the node hears of it
	answer bool       // the node's own, because of another
	raw    bool       // a process gave it as it is
	by     *device    // it has to leave by this device

	pieces  []int // data of the fragments that it came in; nil: it came whole
	laid    []int // data of the fragments that the stack laid an answer out in
	longest int   // of these, with its header
}

func (p *passage) reset() {
	*p = passage{}
	p.view.State = rules.Invalid
}

// look brings what rules see up to date with the bytes.
func (p *passage) look() {
	p.view.Tuple, p.view.TTL = p.pkt.Tuple(), p.pkt.TTL()
	p.view.Later = p.pkt.Later()
	p.view.TCPFlags = p.pkt.TCPFlags()
	p.view.ICMPType, p.view.ICMPCode, _ = p.pkt.ICMP()
	p.view.Wire = &p.pkt
}

// AddrType answers addrtype's question for the rules.
func (g *Gateway) AddrType(a netip.Addr, dev string) string {
	return g.host.routingType(a, dev)
}

// Take decides a question of chance.
func (g *Gateway) Take(p float64) bool {
	if g.choices != nil {
		return g.choices.Take(p)
	}
	if p >= 1 || g.options.Chance == nil {
		return p > 0
	}
	return float64(g.options.Chance.Uint32())/(1<<32) < p
}

// Unknown decides for a rule that is not modelled.
func (g *Gateway) Unknown(rule string) bool {
	if g.choices != nil {
		return g.choices.Unknown(rule, g.host.member)
	}
	return g.options.Unknown != nil && g.options.Unknown(rule)
}

// Memory is what the node's matches remember, nil in a prediction: it is of one packet.
func (g *Gateway) Memory() *rules.Memory {
	if !g.remembers {
		return nil
	}
	return &g.memory
}

// Now is the time of the packet that is handled.
func (g *Gateway) Now() time.Time { return g.at }

// Clock is the time of the packet that is handled. A prediction is of no time.
func (g *Gateway) Clock() (time.Time, bool) { return g.at, g.choices == nil && !g.at.IsZero() }

// Kernel is the node's, for what differs between kernels.
func (g *Gateway) Kernel() nat.Kernel { return g.options.Kernel }

// PathMTU is the MTU of the out device, or of the device that the source is reached by where that is less.
func (g *Gateway) PathMTU(p *rules.Packet) (mtu int, ok bool) {
	const longest = 65535 // IP_MAX_MTU
	out := g.devices[p.Out]
	if out == nil {
		return 0, false
	}
	mtu = min(mtuOf(out), longest)
	if back, why := g.host.lookup(p.Tuple.Src().Addr()); why == "" {
		mtu = min(mtu, mtuOf(back.dev))
	}
	return mtu, true
}

// Ethernet tells whether a device's frames are Ethernet's.
func (g *Gateway) Ethernet(dev string) rules.Answer {
	d := g.devices[dev]
	if d == nil {
		return rules.Unknown
	}
	return rules.Is(d.Kind == topology.Loopback || d.Kind == topology.TunnelIPIP, true)
}

// Sender is the hardware address that the packet that is handled came from, "" where it is not known.
func (g *Gateway) Sender() string { return g.sender }

// Conn is the connection of the packet that is at the rules.
func (g *Gateway) Conn() (rules.Conn, bool) {
	if g.visiting == nil || g.visiting.ref.Conn == nil {
		return rules.Conn{}, false
	}
	c := g.seen(g.visiting.ref.Conn)
	c.Dir = g.visiting.ref.Dir
	return c, true
}

// Find is a connection of the node, by one of its tuples as conntrack keeps them.
func (g *Gateway) Find(key nat.Tuple, z nat.Zone) (rules.Conn, bool) {
	c, dir := g.conns.Find(key, z)
	if c == nil {
		return rules.Conn{}, false
	}
	out := g.seen(c)
	out.Dir = dir
	return out, true
}

// seen is a connection as rules see it.
func (g *Gateway) seen(c *conntrack.Conn) rules.Conn {
	out := rules.Conn{
		Original: c.Key(nat.Original), Reply: c.Key(nat.Reply), Status: c.Status, Mark: c.Mark, Zone: c.Zone,
		Packets: c.Packets, Bytes: c.Bytes, Counted: c.Counted, Closed: c.Closed(), Policy: c.Policy,
	}
	if c.Has(nat.Confirmed) {
		out.Expires = c.Expires().Sub(g.at)
	}
	return out
}

// BridgePorts are empty for a packet that came in by no bridge. Whether a bridge's packets go through the IP tables with its
// ports, net.bridge.bridge-nf-call-iptables decides; the ports themselves are not known.
func (g *Gateway) BridgePorts(p *rules.Packet) (rules.BridgePorts, bool) {
	in := g.devices[p.In]
	if in == nil && g.visiting != nil {
		in = g.visiting.in
	}
	return rules.BridgePorts{}, in == nil || in.Kind != topology.Bridge || g.host.settings.unbridged
}

// Back is xt_rpfilter: whether the way back to the source leaves by the device that the packet came in by (ipt_rpfilter.c,
// ip6t_rpfilter.c): each link has the way to a link's addresses.
func (g *Gateway) Back(p *rules.Packet, o rules.BackOptions) rules.Answer {
	d := g.devices[p.In]
	if d == nil || d.Kind == topology.Loopback || d.Name == "lo" || g.visiting != nil && g.visiting.sent.IsValid() {
		return rules.Yes
	}
	src, dst := p.Tuple.Src().Addr(), p.Tuple.Dst().Addr()
	if src.IsUnspecified() && (src.Is6() || dst == limitedBroadcast || localGroup(dst)) {
		return rules.Yes
	}
	back, why := g.host.lookup(src)
	if src.Is6() && src.IsLinkLocalUnicast() && !back.local() {
		back, why = g.host.lookupBy(d, src)
	}
	switch {
	case why != "":
		return rules.No
	case back.local() && src.Is6():
		return rules.Is(o.AcceptLocal, false)
	case back.local():
		return rules.Is(o.AcceptLocal && (o.Loose || g.host.local[src] == d.Name), false)
	}
	return rules.Is(back.kind == routeUnicast && (o.Loose || back.dev == d), false)
}
