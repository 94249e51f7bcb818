package gateway

import (
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// What one packet can bring about in the node, one because of the other, is bounded.
const (
	maxDepth = 8
	maxLoops = 256 // the TTL ends what goes round
)

// visit is one packet handed in to a node, with all that it brings about there: answers, and what the node sends to itself. None is
// allocated: a Gateway has one, which is used again.
type visit struct {
	*Gateway
	at time.Time

	// What became of it.
	outs     []Out
	trace    nat.Trace
	why      string // it went no further, "" where it left or was delivered
	where    string // the rule, or the node, that why is of
	rejected bool   // by a rule
	unknown  string // what is not modelled of it
	switched string // the bridge that carried it past the rules
	open     bool   // of a target it is not known what it does to the packet

	// Where it is.
	ruled     *passage   // the packet that is at the rules
	depth     int        // of answers to answers
	icmpBusy  bool       // the stack is sending an ICMP packet (icmp_xmit_lock)
	answering bool       // what was tapped last is the node's own
	copying   bool       // what is sent is TEE's copy (nf_skb_duplicated)
	early     bool       // of a packet whose connection is not confirmed
	process   bool       // a process is sending: what it hears of it comes in at once
	pending   []*passage // on their way through lo
	loops     int

	// Of a packet that a kernel hands over at a hook.
	wire     bool // the kernel routes and sends
	unsummed bool // a device is to complete its transport checksum
	segments bool // it is several packets in one
	mac      []byte
	answers  []Answer

	// Used again, and written anew before they are read.
	main  passage // the packet that was handed in
	track conntrack.Packet
	hits  []iptables.Hit
	walk  iptables.Walk
}

// begin makes the Gateway's visit that of another packet.
func (g *Gateway) begin(at time.Time) *visit {
	v := &g.visit
	v.at, v.outs, v.trace, v.why, v.where, v.rejected, v.open, v.unknown, v.switched = at, v.outs[:0], nil, "", "", false, false, "", ""
	v.depth, v.icmpBusy, v.answering, v.copying, v.early, v.process, v.pending, v.loops = 0, false, false, false, false, false, nil, 0
	return v
}

// admits reports whether a packet is one that the node's rules are for.
func (v *visit) admits(p *packet.Packet) bool {
	t := p.Tuple()
	switch {
	case p.V6() != (v.host.family == nat.IPv6):
		v.lost("", "the packet is not of "+v.host.family.String())
	case p.V6() && (t.Src().Addr().Is4() || t.Dst().Addr().Is4()): // a tuple does not tell them from IPv4's
		v.unmodelled("IPv4-mapped addresses are not modelled")
	default:
		return true
	}
	return false
}

// lost notes why a packet goes no further, and at which stage of its way through the node; "" is no stage.
func (v *visit) lost(stage, why string) {
	v.why, v.where = why, strings.TrimSuffix(v.host.member+" "+stage, " ")
}

// unmodelled notes what is not modelled of a packet, of which no more is known.
func (v *visit) unmodelled(what string) {
	v.lost("", what)
	v.open, v.unknown = true, what
}

// tap notes a packet at one of the points at which natlab watches a namespace.
func (v *visit) tap(p *passage, tap nat.Tap) {
	if v.prediction.tapped == nil {
		return
	}
	dev := p.view.Out
	if tap.Hook() == nat.PreRouting {
		dev = p.view.In
	}
	v.answering = p.answer
	v.prediction.tapped(nat.Hop{Node: v.host.member, Tap: tap, Dev: dev, Tuple: p.view.Tuple, Mark: p.view.Mark}, p.answer)
}
