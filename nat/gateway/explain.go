package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/topology"
)

// Ask is one packet for one node.
type Ask struct {
	Tuple nat.Tuple `json:"tuple"`
	In    string    `json:"in,omitempty"` // the device that it comes in by; "" for a packet of the node itself
	// Routed: In is where a route to its source leads, not what was told.
	Routed bool   `json:"-"`
	Mark   uint32 `json:"mark"` // skb mark that it comes with
	// Flags is a TCP segment's flag byte; 0 stands for a SYN.
	Flags uint8 `json:"flags,omitempty"`
	// Type and Code are those of an ICMP packet: 0 is an echo reply. AskOf makes it an echo request.
	Type uint8 `json:"icmpType,omitempty"`
	Code uint8 `json:"icmpCode,omitempty"`
	// UID and GID are those of the process that sends a packet of the node itself, where they are known.
	UID rules.ID `json:"uid,omitzero"`
	GID rules.ID `json:"gid,omitzero"`
}

// AskOf is a packet that somebody sends who wants an answer: of ICMP an echo request.
func AskOf(t nat.Tuple) Ask {
	a := Ask{Tuple: t}
	for _, family := range icmpOf {
		if t.Proto() == family.proto {
			a.Type = family.echo
		}
	}
	return a
}

// Explanation is every way that a packet can go through a node or a network, and an answer to it back.
type Explanation struct {
	Ask        Ask            `json:"packet"`
	Prediction nat.Prediction `json:"ways"`

	nodes   []*Gateway
	furnish func(*Gateway) error // gives one its rules; nil where all have them
	looks   [][]look             // of each way
}

// look is a packet as it came to a table.
type look struct {
	node   string
	hook   nat.Hook
	table  string
	base   string // of a table of nf_tables, its base chain
	packet rules.Packet
	answer bool
	reply  bool
}

// Explain follows a packet through a node with these rules, and what whoever gets it answers back through the same node:
// every way where chance decides or a rule is not known; a port that chance chooses is AnyPort. Where dice are given they
// choose one way, and ports. Of the rule sets those of
// the packet's family count. An error is a packet of two families, one for which there are no rules but for the other
// family, or a device that the node has not.
func Explain(ns topology.Namespace, rules Rules, f Facts, ask Ask, dice conntrack.Chance) (*Explanation, error) {
	family := nat.FamilyOf(ask.Tuple.Dst().Addr())
	if !ask.Tuple.IsValid() || nat.FamilyOf(ask.Tuple.Src().Addr()) != family {
		return nil, fmt.Errorf("packet %s: want two addresses of one family", ask.Tuple)
	}
	if (ask.UID.Known || ask.GID.Known) && ask.In != "" {
		return nil, fmt.Errorf("packet %s: it comes in by %s, so it has no uid or gid: only a packet of the node itself has", ask.Tuple, ask.In)
	}
	all := rules
	if rules = rules.of(family); len(rules) == 0 && len(all) > 0 && len(f.natives(family)) == 0 {
		return nil, fmt.Errorf("packet %s: there are rules of %s only", ask.Tuple, all[0].Family)
	}
	g, err := NewGateway(ns, rules, NodeOptions{Trace: true, Facts: f, Family: family})
	if err != nil {
		return nil, err
	}
	if ask.In != "" && g.devices[ask.In] == nil {
		return nil, fmt.Errorf("packet %s: %s has no device %q: it has %s", ask.Tuple, ns.Member, ask.In, strings.Join(g.deviceNames(), ", "))
	}
	x := &Explanation{Ask: ask, nodes: []*Gateway{g}}
	x.Prediction, x.looks = g.ways(ask, dice)
	return x, x.open(g, ns, rules, dice)
}

// of are the rule sets of a family.
func (r Rules) of(family nat.Family) (out Rules) {
	for _, rs := range r {
		if rs.Family == family {
			out = append(out, rs)
		}
	}
	return out
}

// ways goes every way of a packet, each from a node that has seen nothing.
func (g *Gateway) ways(ask Ask, dice conntrack.Chance) (all nat.Prediction, looks [][]look) {
	var spent effort
	for given := []int{}; given != nil; {
		if spent.enough() {
			return append(all, tooManyWays()), append(looks, nil)
		}
		fresh := g.fresh(predicting{choices: &choices{given: given, dice: dice}})
		fresh.remember(ask)
		o, l := fresh.explain(ask)
		all, looks = append(all, o), append(looks, l)
		spent.add(fresh.prediction.choices)
		given = fresh.prediction.choices.next()
	}
	return all, looks
}

// remember puts the entries into the connection table that a packet may belong to.
func (g *Gateway) remember(ask Ask) {
	g.conns.Advance(explainedAt)
	for _, c := range g.options.entriesOf(ask.Tuple) {
		g.conns.Restore(c)
	}
}

func (g *Gateway) deviceNames() []string {
	var names []string
	for _, d := range g.host.devices {
		names = append(names, d.Name)
	}
	return names
}

// explain goes one way.
func (g *Gateway) explain(ask Ask) (o nat.Outcome, looks []look) {
	reply := false
	g.prediction.look = func(l look) {
		l.reply = reply
		looks = append(looks, l)
	}
	journey := func(answer bool) *nat.Journey {
		if reply || answer {
			return &o.Reply
		}
		return &o.Request
	}
	g.prediction.tapped = func(h nat.Hop, answer bool) {
		j := journey(answer)
		j.Hops = append(j.Hops, h)
	}
	g.prediction.met = func(answer bool, steps nat.Trace) {
		j := journey(answer)
		j.Steps = append(j.Steps, steps...)
	}
	_, g.prediction.port = g.entry(ask.In)
	g.prediction.behind = ask.Tuple.Src().Addr()
	g.options.UID, g.options.GID = ask.UID, ask.GID
	outs := slices.Clone(g.pass(ask.packet(), ask.In, ask.Mark))
	g.options.UID, g.options.GID = rules.ID{}, rules.ID{} // whoever answers is another process
	o.Where, o.Why, o.End = g.visit.where, g.visit.why, nat.EndLost
	there := slices.IndexFunc(outs, func(out Out) bool { return !out.Answer })
	switch {
	case there >= 0:
		reply, g.prediction.replying = true, true
		g.answered(&o, ask, outs[there])
	case g.visit.rejected && (len(outs) > 0 || g.options.NoAddresses):
		o.End = nat.EndRejected
	case len(outs) > 0:
		o.End = nat.EndRefused
		if answer, err := packet.Parse(outs[0].Packet); err == nil {
			o.End = answerEnd(&answer)
		}
	}
	if g.visit.open {
		o.End = nat.EndUnknown
	}
	g.prediction.choices.tell(&o)
	for _, c := range g.conns.Conns() {
		o.Conns = append(o.Conns, nat.Conn{Node: g.host.member, Original: c.Original, Reply: c.Reply, Status: c.Status, Mark: c.Mark})
	}
	o.ForgetPorts(g.prediction.chosen)
	g.prediction.chosen = nil
	return o, looks
}

// explainedAt is the clock of an explanation, which nothing depends on.
var explainedAt = time.Unix(0, 1)

func (g *Gateway) pass(pkt []byte, in string, mark uint32) []Out {
	var outs []Out
	if in == "" {
		outs, _, _ = g.Send(pkt, mark, explainedAt)
	} else {
		outs, _, _ = g.Handle(pkt, in, explainedAt)
	}
	return outs
}

// packet is the packet's bytes.
func (a Ask) packet() []byte {
	f := packet.Fields{DF: true, Type: a.Type, Code: a.Code, TCP: packet.TCP{Flags: a.Flags, Seq: 1, Window: 64240}}
	switch {
	case a.Tuple.Proto() == nat.TCP && a.Flags == 0:
		f.TCP.Flags = tcpSYN
	case a.Tuple.Proto() == nat.SCTP: // an INIT
		f.Payload = make([]byte, 20)
		f.Payload[0], f.Payload[3] = 1, 20
	}
	return packet.Build(a.Tuple, f).Bytes()
}

// answered follows the answer of whoever got the packet.
func (g *Gateway) answered(o *nat.Outcome, ask Ask, there Out) {
	p, err := packet.Parse(there.Packet)
	if err != nil {
		o.Why = err.Error()
		return
	}
	got := p.Tuple()
	o.Server, o.Endpoint, o.ServerPeer = "the host behind "+there.Dev, got.Dst(), got.Src()
	if there.Local() {
		o.Server = "a process of " + g.host.member
	}
	if kind, _ := g.host.localTable(got.Dst().Addr()); kind == routeBroadcast || got.Dst().Addr().IsMulticast() || got.Dst().Addr() == limitedBroadcast {
		o.End, o.Why = nat.EndAnswered, "the packet is for many: whoever answers does so from an address of its own"
		return
	}
	answer, why := answerTo(&p)
	if !there.Local() && got.Src().Addr() == got.Dst().Addr() { // fib_validate_source; in IPv6 the answer stays in the host
		why = fmt.Sprintf("%s drops what comes from its own address", got.Dst().Addr())
	}
	if why != "" {
		o.Why = why
		return
	}
	t := got.Reply()
	if why := g.visit.past(g.devices[there.Dev], t, ask.Tuple.Reply()); why != "" {
		aside(o, ask, t, why)
		return
	}
	back := g.pass(answer, there.Dev, 0)
	if o.Where, o.Why = g.visit.where, g.visit.why; g.visit.switched != "" {
		aside(o, ask, t, g.visit.carried())
		return
	}
	i := slices.IndexFunc(back, func(out Out) bool { return !out.Answer })
	if i < 0 {
		return
	}
	if p, err = packet.Parse(back[i].Packet); err != nil {
		o.Why = err.Error()
		return
	}
	switch at := back[i].Dev; {
	case p.Tuple() != ask.Tuple.Reply():
		o.Why = fmt.Sprintf("the answer comes as %s", p.Tuple())
	case at != g.entryName(ask.In):
		o.End, o.ClientPeer = nat.EndAnswered, p.Tuple().Src()
		o.Why = fmt.Sprintf("the answer leaves by %s, the packet came in by %s", orNode(at), orNode(ask.In))
	default:
		o.End, o.ClientPeer = nat.EndAnswered, p.Tuple().Src()
	}
}

func orNode(dev string) string {
	if dev == "" {
		return "the node itself"
	}
	return dev
}

// Arrives is the device by which a packet from an address comes to a node, as far as its routes tell: "" for one of the
// node's own addresses, and ok is false where no route leads there.
func Arrives(ns topology.Namespace, from netip.Addr) (dev string, ok bool) {
	h, err := newHost(&ns, nil, nat.FamilyOf(from), nat.Kernel{})
	if err != nil {
		return "", false
	}
	next, why := h.lookup(from)
	switch {
	case why != "":
		return "", false
	case next.local():
		return "", true
	}
	return next.dev.Name, true
}

// Leaves is a packet as it leaves the node, or as a process of it gets it, on the first way of all; without bytes where it goes no further.
func (g *Gateway) Leaves(ask Ask) Out {
	f := g.fresh(predicting{choices: &choices{}})
	for _, out := range f.pass(ask.packet(), ask.In, ask.Mark) {
		if !out.Answer {
			return out
		}
	}
	return Out{}
}
