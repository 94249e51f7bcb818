package iptables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// Packet is what rules can see of a packet, and what they change of it.
type Packet struct {
	Tuple    nat.Tuple
	TCPFlags uint8 // the header's flag byte
	ICMPType uint8
	ICMPCode uint8
	TTL      uint8  //
	Later    bool   // a second or later fragment
	In, Out  string // devices; "" where the hook has none
	Mark     uint32 // skb mark
	State    State  // what conntrack says of it: one of Invalid to Untracked, with SNATed and DNATed
	ConnMark uint32
	// Attached says that the node sends the packet because of an untracked one: no rule can say NOTRACK to it any more
	// (nf_conntrack_attach marks it RELATED, without a connection).
	Attached bool
}

// World is what a rule asks of its surroundings.
type World interface {
	// AddrType is an address's routing type in the node ("LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "BLACKHOLE", ...);
	// dev is the device the question is limited to, "" for none.
	AddrType(a netip.Addr, dev string) string
	// Take decides a question of chance that says yes with probability p.
	Take(p float64) bool
	// Unknown decides for a match or a target that is not modelled; rule is its text.
	Unknown(rule string) bool
}

// Result is what one table did to a packet at one hook.
type Result struct {
	Verdict nat.Verdict // Accept, Drop, Reject or Queue
	Target  Target      // what decided: the NAT target, the Reject, ...; nil for a policy
	Steps   nat.Trace
}

// Program is a table ready to be evaluated.
type Program struct {
	name   string
	chains []Chain
	index  map[string]int
}

// maxDepth bounds how deep chains call each other. The kernel refuses loops when rules are loaded; nf_tables allows 16
// levels.
const maxDepth = 128

// NewProgram prepares a table. The table must not be changed afterwards.
func NewProgram(t Table) *Program {
	p := &Program{name: t.Name, chains: t.Chains, index: make(map[string]int, len(t.Chains))}
	for i, c := range t.Chains {
		p.index[c.Name] = i
	}
	return p
}

// Has reports whether the table has a base chain at the hook.
func (p *Program) Has(hook nat.Hook) bool {
	i, ok := p.index[hook.String()]
	return ok && p.chains[i].BuiltIn()
}

// Run takes a packet through the table's chain for a hook (ipt_do_table, nft_do_chain). Steps name the node and hold
// every rule that matched, and the policy where it was reached; the packet's marks change as its rules say, its tuple
// does not: a NAT target is for conntrack to carry out. A table without the chain accepts, with no step.
func (p *Program) Run(hook nat.Hook, node string, pkt *Packet, w World) Result {
	i, ok := p.index[hook.String()]
	if !ok {
		return Result{Verdict: nat.Accept}
	}
	r := run{program: p, hook: hook, node: node, pkt: pkt, world: w, before: pkt.Tuple}
	if v := r.chain(i, 0); v != nat.Continue {
		return r.result(v)
	}
	c := &p.chains[i]
	v := nat.Accept
	if c.Policy == "DROP" {
		v = nat.Drop
	}
	r.target = nil
	r.steps = append(r.steps, nat.Step{
		Node: node, Hook: hook, Table: p.name, Chain: c.Name, Before: r.before, After: r.before, Mark: pkt.Mark, Verdict: v,
		Why: "policy of " + c.Name,
	})
	return r.result(v)
}

// run is one packet's way through one table.
type run struct {
	program *Program
	hook    nat.Hook
	node    string
	pkt     *Packet
	world   World
	before  nat.Tuple
	place   Place // of the match that is asked for, where it may need to be told from others
	target  Target
	steps   nat.Trace
}

func (r *run) result(v nat.Verdict) Result {
	return Result{Verdict: v, Target: r.target, Steps: r.steps}
}

// chain walks a chain; Continue says that the packet came out at its end or by a RETURN.
func (r *run) chain(at, depth int) nat.Verdict {
	if depth > maxDepth {
		return nat.Drop
	}
	c := &r.program.chains[at]
	for i := range c.Rules {
		rule := &c.Rules[i]
		r.place = Place{Table: r.program.name, Chain: c.Name, Rule: i + 1}
		if !r.matches(rule) {
			continue
		}
		v := r.verdict(rule.Target)
		r.step(c, i, rule, v)
		switch v {
		case nat.Continue:
		case nat.Return:
			return nat.Continue
		case nat.Jump:
			if v := r.call(rule.Target.(Jump).Chain, depth); v != nat.Continue {
				return v
			}
		case nat.Goto:
			return r.call(rule.Target.(Goto).Chain, depth)
		case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
			r.target = rule.Target
			return v
		}
	}
	return nat.Continue
}

// call enters a user chain. One that is not there lets the packet come out again; no kernel holds such a rule.
func (r *run) call(name string, depth int) nat.Verdict {
	i, ok := r.program.index[name]
	if !ok {
		return nat.Continue
	}
	return r.chain(i, depth+1)
}

func (r *run) step(c *Chain, i int, rule *Rule, v nat.Verdict) {
	after := r.before
	if d, ok := rule.Target.(DNAT); ok && d.Range.MinAddr.IsValid() {
		after = after.WithDst(netip.AddrPortFrom(d.Range.MinAddr, portOr(d.Range.MinPort, after.Dst().Port())))
	}
	r.steps = append(r.steps, nat.Step{
		Node: r.node, Hook: r.hook, Table: r.program.name, Chain: c.Name, Rule: i + 1, Text: rule.Text(c.Name), Line: rule.Line,
		Before: r.before, After: after, Mark: r.pkt.Mark, Verdict: v, Why: why(rule, v),
	})
}

func portOr(port, other uint16) uint16 {
	if port != 0 {
		return port
	}
	return other
}

// why says in words what a rule that ended the walk did.
func why(rule *Rule, v nat.Verdict) string {
	switch v {
	case nat.Accept, nat.Drop, nat.Reject, nat.Queue, nat.Stolen:
		return strings.TrimPrefix(string(rule.Target.appendText(nil)), " -j ")
	case nat.Continue, nat.Return, nat.Jump, nat.Goto:
	}
	return ""
}

// verdict carries a target out as far as it concerns marks, and says what it means for the walk.
func (r *run) verdict(target Target) nat.Verdict {
	switch t := target.(type) {
	case nil:
		return nat.Continue
	case Accept:
		return nat.Accept
	case Drop:
		return nat.Drop
	case Return:
		return nat.Return
	case Jump:
		return nat.Jump
	case Goto:
		return nat.Goto
	case Reject:
		return nat.Reject
	case DNAT, SNAT, Masquerade, Redirect, NetMap:
		return nat.Accept
	case QueueTo:
		return nat.Queue
	case SetMark:
		r.pkt.Mark = r.pkt.Mark&^t.Mask ^ t.Value
		return nat.Continue
	case SetConnMark:
		r.setConnMark(t)
		return nat.Continue
	case NoTrack: // what has a connection already keeps it (notrack_tg)
		if !r.pkt.tracked() && !r.pkt.Attached {
			r.pkt.State = Untracked
		}
		return nat.Continue
	case Passive:
		return nat.Continue
	case TProxy:
		return r.unknown("-j TPROXY "+t.Options, nat.Accept)
	case RawTarget:
		return r.unknown("-j "+t.Target+" "+t.Options, nat.Drop)
	}
	return nat.Continue
}

// unknown asks the world whether a target that is not modelled does what it may do, or lets the packet go on.
func (r *run) unknown(text string, v nat.Verdict) nat.Verdict {
	if r.world.Unknown(text) {
		return v
	}
	return nat.Continue
}

// setConnMark is xt_connmark.c: ctmark and nfmask select bits of the two marks.
func (r *run) setConnMark(t SetConnMark) {
	if !r.pkt.tracked() {
		return
	}
	switch t.Action {
	case ConnMarkSet:
		r.pkt.ConnMark = r.pkt.ConnMark&^t.Mask ^ t.Value
	case ConnMarkSave:
		r.pkt.ConnMark = r.pkt.ConnMark&^t.CTMask ^ r.pkt.Mark&t.NFMask
	case ConnMarkRestore:
		r.pkt.Mark = r.pkt.Mark&^t.NFMask ^ r.pkt.ConnMark&t.CTMask
	}
}

func (r *run) matches(rule *Rule) bool {
	for i, m := range rule.Matches {
		r.place.Match = i + 1
		if !r.match(m) {
			return false
		}
	}
	return true
}
