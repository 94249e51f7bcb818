package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// instruction is a word of a compiled table: the head of a chain, the head of a rule behind it, or one of the conditions
// behind that. What a packet meets in a chain lies side by side, and the chains it calls lie behind it.
type instruction struct {
	op        op
	not       bool   // of a condition: inverted; of a rule: the target is more than its plain verdict
	operands  uint16 // of a rule: how many conditions it has; of a chain: the number of its index, from 1
	low, high uint32
}

type op uint8

const (
	opChain           op = iota // low: how many rules; high: its number
	opRule                      // low: the plain verdict; high: the head of the chain it calls, 0 for a missing one, or its target
	opAsk                       // low: of the ask
	opSource                    // IPv4; low: address; high: mask
	opDestination               //
	opWideSource                // IPv6; low: of the address and mask
	opWideDestination           //
	opProtocol                  // low: number
	opSourcePort                // low: a range, the last port in the upper half; high: protocol, whose header must be there
	opDestinationPort           //
	opTCPFlags                  // low: those that are set; high: of these
	opMark                      // low: value; high: mask
	opStates                    // low: any of them
	opIn                        // low: of the name
	opOut                       //
	opInPrefix                  // low: of the name, without its "+"
	opOutPrefix                 //
	opHeader                    // low: protocol; its header is there: not a later fragment
	opChance                    // low: of the probability
	opPart                      // as opRule; high: of the part that it calls
)

// compiler builds a Compiled.
type compiler struct {
	out     *Compiled
	byName  map[string]int
	heads   map[int]uint32 // of the chains that are there
	waiting []int          // chains to be put behind those that are there
	calls   []uint32       // rules whose high is still the number of a chain
	names   map[string]uint32
	chances map[float64]uint32
	parted  map[int]uint32 // the parts of the chains that have one; nil where all is compiled at once
}

func newCompiler(c *Compiled, byName map[string]int) *compiler {
	c.code = make([]instruction, 1) // no chain begins at 0
	return &compiler{out: c, byName: byName, heads: map[int]uint32{}, names: map[string]uint32{}, chances: map[float64]uint32{}}
}

func (w *compiler) emit(i instruction) { w.out.code = append(w.out.code, i) }

// chains puts a chain in, and then what it calls, each callee with its own callees behind it.
func (w *compiler) chains(first int) {
	w.waiting = append(w.waiting[:0], first)
	for len(w.waiting) > 0 {
		last := len(w.waiting) - 1
		number := w.waiting[last]
		w.waiting = w.waiting[:last]
		if _, there := w.heads[number]; !there {
			w.chain(number)
			slices.Reverse(w.waiting[last:])
		}
	}
}

func (w *compiler) chain(number int) {
	out := w.out
	c := &out.source[number]
	head := uint32(len(out.code))
	w.heads[number] = head
	w.emit(instruction{op: opChain, low: uint32(len(c.Rules)), high: uint32(number)})
	x := newIndex(c.Rules)
	for i := range c.Rules {
		if x != nil {
			x.rules[i+1].at = uint32(len(out.code))
		}
		w.rule(rules.Place{Table: out.name, Chain: c.Name, Rule: i + 1}, &c.Rules[i], x != nil)
	}
	if x != nil && len(out.indexes) < 1<<16-1 {
		out.indexes = append(out.indexes, x)
		out.code[head].operands = uint16(len(out.indexes))
	}
}

// rule puts a rule in. What it calls is left for later where the table is large, and an index leads to the rule: then a packet comes to few.
func (w *compiler) rule(at rules.Place, rule *Rule, indexed bool) {
	out := w.out
	head := len(out.code)
	w.emit(instruction{op: opRule})
	w.conditions(at, rule)
	r := &out.code[head]
	r.operands = uint16(len(out.code) - head - 1)
	call := func(v nat.Verdict, chain string) {
		r.low = uint32(v)
		i, ok := w.byName[chain]
		switch {
		case ok && indexed && w.parted != nil:
			r.op, r.high = opPart, w.part(i)
		case ok:
			r.high = uint32(i)
			w.calls = append(w.calls, uint32(head))
			w.waiting = append(w.waiting, i)
		}
	}
	switch t := rule.Target.(type) {
	case nil, xt.Log, xt.NFLog, xt.Trace, xt.Audit, xt.Classify, xt.Checksum, xt.LED:
		r.low = uint32(nat.Continue)
	case xt.Return:
		r.low = uint32(nat.Return)
	case xt.Jump:
		call(nat.Jump, t.Chain)
	case xt.Goto:
		call(nat.Goto, t.Chain)
	case xt.Accept, xt.Drop, xt.Reject, xt.DNAT, xt.SNAT, xt.Masquerade, xt.Redirect, xt.NetMap: // alike for every packet
		a := t.Act(nil)
		r.low, r.high = uint32(a.Verdict), uint32(len(out.effects))
		out.effects = append(out.effects, a.Effect)
	default:
		r.not, r.high = true, uint32(len(out.targets))
		out.targets = append(out.targets, rule.Target)
	}
}

// link makes the numbers of chains that are called the places of their heads.
func (w *compiler) link() {
	for _, at := range w.calls {
		w.out.code[at].high = w.heads[int(w.out.code[at].high)]
	}
}

// conditions appends a rule's conditions; those that always hold are left out.
func (w *compiler) conditions(at rules.Place, rule *Rule) {
	for i, m := range rule.Matches {
		at.Match = i + 1
		switch m := m.(type) {
		case xt.Comment, xt.NFAcct:
		case Source:
			w.prefix(opSource, opWideSource, m.Not, m.Prefix)
		case Destination:
			w.prefix(opDestination, opWideDestination, m.Not, m.Prefix)
		case InInterface:
			w.device(opIn, opInPrefix, m.Not, m.Device)
		case OutInterface:
			w.device(opOut, opOutPrefix, m.Not, m.Device)
		case xt.Mark:
			w.emit(instruction{op: opMark, not: m.Not, low: m.Value, high: m.Mask})
		case xt.Conntrack:
			if m.Conn != nil {
				w.ask(at, m)
				continue
			}
			w.emit(instruction{op: opStates, not: m.Not, low: uint32(m.States)})
		case Protocol:
			w.protocol(at, m, rule.Matches[i+1:])
		case xt.Ports:
			w.ports(at, m)
		case xt.Statistic:
			if m.Every != 0 {
				w.ask(at, m)
				continue
			}
			w.emit(instruction{op: opChance, not: m.Not, low: numbered(w.chances, &w.out.chances, m.Chance())})
		default:
			w.ask(at, m)
		}
	}
}

// protocol appends -p, unless the protocol's own match stands right behind it and asks for it anyway.
func (w *compiler) protocol(at rules.Place, m Protocol, behind []xt.Match) {
	number, ok := m.Number()
	if !ok {
		w.ask(at, m)
		return
	}
	for _, b := range behind {
		if _, ok := b.(xt.Comment); ok {
			continue
		}
		if ports, ok := b.(xt.Ports); ok && !m.Not {
			if same, _ := protocolNumber(ports.Protocol); same == number {
				return
			}
		}
		break
	}
	w.emit(instruction{op: opProtocol, not: m.Not, low: uint32(number)})
}

// numbered is where a value is in a list, which takes it in where it is new.
func numbered[T comparable](known map[T]uint32, list *[]T, value T) uint32 {
	n, ok := known[value]
	if !ok {
		n = uint32(len(*list))
		known[value] = n
		*list = append(*list, value)
	}
	return n
}

func (w *compiler) ask(at rules.Place, m xt.Match) {
	w.emit(instruction{op: opAsk, low: uint32(len(w.out.asks))})
	w.out.asks = append(w.out.asks, ask{match: m, place: at})
}

func (w *compiler) prefix(narrow, wide op, not bool, p netip.Prefix) {
	value, mask := halves(p.Addr()), maskOf(p)
	if p.Addr().Is4() {
		w.emit(instruction{op: narrow, not: not, low: uint32(value.low), high: uint32(mask.low)})
		return
	}
	w.emit(instruction{op: wide, not: not, low: uint32(len(w.out.wide))})
	w.out.wide = append(w.out.wide, wideAddress{value, mask})
}

func (w *compiler) device(whole, prefix op, not bool, name string) {
	o := whole
	if cut, ok := strings.CutSuffix(name, "+"); ok {
		o, name = prefix, cut
	}
	w.emit(instruction{op: o, not: not, low: numbered(w.names, &w.out.names, name)})
}

// ports appends what -m tcp and its like ask. Ports of another protocol than the packet's match nothing.
func (w *compiler) ports(at rules.Place, m xt.Ports) {
	number, ok := protocolNumber(m.Protocol)
	if !ok || !m.Plain() {
		w.ask(at, m)
		return
	}
	side := func(o op, p *xt.PortRange) {
		if p != nil {
			w.emit(instruction{op: o, not: p.Not, low: uint32(p.Low) | uint32(p.High)<<16, high: uint32(number)})
		}
	}
	side(opSourcePort, m.Source)
	side(opDestinationPort, m.Destination)
	if m.Source == nil && m.Destination == nil {
		w.emit(instruction{op: opHeader, low: uint32(number)})
	}
	if f := m.Flags; f != nil {
		w.emit(instruction{op: opTCPFlags, not: f.Not, low: uint32(f.Set), high: uint32(f.Mask)})
	}
}

// protocolNumber is the number of a protocol as iptables-save prints it; ok is false for "all" and unknown names.
func protocolNumber(name string) (nat.Proto, bool) {
	p, ok := nat.ParseRuleProto(name)
	return p, ok && p != 0
}

func (r *compiledRun) holds(c *instruction) bool {
	p := r.visit.Packet
	switch c.op {
	case opSource:
		return (r.narrow && (uint32(r.src.low)^c.low)&c.high == 0) != c.not
	case opDestination:
		return (r.narrow && (uint32(r.dst.low)^c.low)&c.high == 0) != c.not
	case opWideSource:
		return r.within(r.src, c)
	case opWideDestination:
		return r.within(r.dst, c)
	case opProtocol:
		if r.short && r.visit.Later {
			r.visit.HotDrop = true
			return false
		}
		return (uint32(r.proto) == c.low) != c.not
	case opHeader:
		return r.header(c.low)
	case opSourcePort:
		return r.port(r.sport, c)
	case opDestinationPort:
		return r.port(r.dport, c)
	case opTCPFlags:
		return (uint32(p.TCPFlags)&c.high == c.low) != c.not
	case opMark:
		return (p.Mark&c.high == c.low) != c.not
	case opStates:
		return (uint32(p.State)&c.low != 0) != c.not
	case opIn:
		return (p.Input() == r.table.names[c.low]) != c.not
	case opOut:
		return (p.Out == r.table.names[c.low]) != c.not
	case opInPrefix:
		return strings.HasPrefix(p.Input(), r.table.names[c.low]) != c.not
	case opOutPrefix:
		return strings.HasPrefix(p.Out, r.table.names[c.low]) != c.not
	case opChance:
		return r.visit.Take(r.table.chances[c.low]) != c.not
	case opAsk, opChain, opRule, opPart:
	}
	a := &r.table.asks[c.low]
	r.visit.At = a.place
	return r.match(a.match)
}

// port is the question for a port of a protocol.
func (r *compiledRun) port(port uint16, c *instruction) bool {
	return r.header(c.high) && (port >= uint16(c.low) && port <= uint16(c.low>>16)) != c.not
}

// header is the question for the header of a protocol: it is there in the packet. One that is cut short drops it.
func (r *compiledRun) header(proto uint32) bool {
	if uint32(r.proto) != proto || r.visit.Later {
		return false
	}
	if r.short {
		r.visit.HotDrop = true
	}
	return !r.short
}

// within is the question for an IPv6 prefix.
func (r *compiledRun) within(a address, c *instruction) bool {
	w := &r.table.wide[c.low]
	return (!r.narrow && a.in(w.value, w.mask)) != c.not
}
