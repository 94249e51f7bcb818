package nftnl

import (
	"slices"
	"strings"

	"natlab/nat/nftables"
)

// ruleWriter makes a rule's expressions.
type ruleWriter struct {
	*encoder

	exprs attrs
	// network and transport are the protocols that the rule is known to be about; 0: any.
	network, transport uint8
}

// expr appends an expression.
func (w *ruleWriter) expr(name string, data attrs) {
	w.exprs = w.exprs.nest(listElement, exprOf(name, data))
}

func exprOf(name string, data attrs) attrs {
	return attrs{}.text(exprName, name).nest(exprData, data)
}

func (w *ruleWriter) statement(s nftables.Statement) error {
	switch s := s.(type) {
	case nftables.Match:
		return w.match(s)
	case nftables.VMap:
		return w.vmap(s)
	case *nftables.Verdict:
		w.expr("immediate", attrs{}.u32(1, 0).nest(2, verdict(s)))
		return nil
	case nftables.Assign:
		return w.assign(s)
	case nftables.NAT:
		return w.nat(s)
	case nftables.Reject:
		return w.reject(s)
	case nftables.Counter, nftables.Limit, nftables.Quota:
		name, data, err := stateful(s)
		w.expr(name, data)
		return err
	case nftables.Update:
		return w.update(s)
	case nftables.ObjectRef:
		kind, known := objectTypes[s.Kind]
		if !known {
			return unwritten("%q", s)
		}
		w.expr("objref", attrs{}.u32(1, kind).text(2, s.Name))
		return nil
	case nftables.NoTrack:
		w.exprs = w.exprs.nest(listElement, attrs{}.text(exprName, "notrack"))
		return nil
	case nftables.Queue:
		return w.queue(s)
	case nftables.Log, nftables.Compat, nftables.Opaque:
	}
	return unwritten("%q", s)
}

var cmpOps = map[string]uint32{"": cmpEq, "==": cmpEq, "!=": cmpNeq, "<": cmpLt, "<=": cmpLte, ">": cmpGt, ">=": cmpGte}

// match compares the value of one part, or looks one of several up.
func (w *ruleWriter) match(m nftables.Match) error {
	switch right := m.Right.(type) {
	case *nftables.In:
		return w.lookup(m.Left, right, nil, m.Op == "!=", -1)
	case nftables.Constant:
		if f, is := m.Left.(nftables.Fib); is && (right.Raw == "missing" || right.Raw == "exists") {
			present := nftables.Number{}
			if right.Raw == "exists" {
				present.Low = 1
			}
			if err := w.fib(f, register(0), fibPresent); err != nil {
				return err
			}
			w.cmp(register(0), cmpOps[m.Op], bytesOf(present, 4, true))
			return nil
		}
		return w.compare(m, right)
	case nftables.Concat, nftables.Selector, nftables.Operation, nftables.MapOf, nftables.Fib, nftables.NumGen, nftables.Hash, nftables.Raw, nftables.Other:
	}
	return unwritten("%q", m)
}

// compare is a comparison with a constant.
func (w *ruleWriter) compare(m nftables.Match, c nftables.Constant) error {
	v, ok := w.of(m.Left)
	op, known := cmpOps[m.Op]
	_, masked := m.Left.(nftables.Operation)
	bits := c.Type.Flags() && !masked && (m.Op == "" || m.Op == "!")
	if !ok || c.Raw != "" || c.Any || !known && !bits {
		return unwritten("%q", m)
	}
	if free, is := c.Wild(); is && free > 0 && op <= cmpNeq && (c.Type == nftables.IPv4Addr || c.Type == nftables.IPv6Addr || c.Type == nftables.IfName) {
		return w.prefix(m.Left, v, c, op, free)
	}
	if _, err := w.load(m.Left, 0); err != nil {
		return err
	}
	low, high := bytesOf(c.Low, v.bytes, v.host), bytesOf(c.High, v.bytes, v.host)
	if c.Type == nftables.IfIndex {
		index, err := w.device(c)
		if err != nil {
			return err
		}
		low = bytesOf(index, v.bytes, v.host)
		high = low
	}
	switch {
	case bits:
		w.bitwise(register(0), low, make([]byte, v.bytes))
		op = cmpNeq
		if m.Op == "!" {
			op = cmpEq
		}
		w.cmp(register(0), op, make([]byte, v.bytes))
		return nil
	case v.host && v.bytes > 1 && (op > cmpNeq || c.Low != c.High): // what is greater shows in the order of headers alone
		w.expr("byteorder", attrs{}.u32(1, 1).u32(2, 1).u32(3, 1).u32(4, uint32(v.bytes)).u32(5, uint32(v.bytes))) //nolint:gosec // small
		low, high = bytesOf(c.Low, v.bytes, false), bytesOf(c.High, v.bytes, false)
	}
	switch {
	case c.Low == c.High:
		w.cmp(register(0), op, low)
		w.known(m, op, low)
	case op == cmpEq:
		w.cmp(register(0), cmpGte, low)
		w.cmp(register(0), cmpLte, high)
	case op == cmpNeq:
		w.expr("range", attrs{}.u32(1, 1).u32(2, cmpNeq).nest(3, attrs{}.put(dataValue, low)).nest(4, attrs{}.put(dataValue, high)))
	default:
		return unwritten("%q", m)
	}
	return nil
}

// known notes which protocol the rule is about from here on.
func (w *ruleWriter) known(m nftables.Match, op uint32, b []byte) {
	if op != cmpEq {
		return
	}
	switch m.Left {
	case nftables.Selector("meta nfproto"):
		w.network = b[0]
	case nftables.Selector("meta l4proto"), nftables.Selector("ip protocol"), nftables.Selector("ip6 nexthdr"):
		w.transport = b[0]
	}
}

// prefix compares with the addresses of a network, or with names that begin alike: what is whole bytes is all that is loaded.
func (w *ruleWriter) prefix(left nftables.Expr, v value, c nftables.Constant, op uint32, free int) error {
	low := bytesOf(c.Low, v.bytes, false)
	s, is := left.(nftables.Selector)
	whole := v.bytes - free/8
	if !is || whole == 0 {
		return unwritten("%q", left.String()+" "+c.String())
	}
	if header, at, _, field := s.Field(); field && free%8 == 0 {
		if err := w.depend(header); err != nil {
			return err
		}
		base, _ := baseOf(header)
		w.payload(register(0), base, at/8, whole)
		w.cmp(register(0), op, low[:whole])
		return nil
	}
	if _, err := w.load(left, 0); err != nil {
		return err
	}
	if free%8 == 0 {
		w.cmp(register(0), op, low[:whole])
		return nil
	}
	mask := slices.Repeat([]byte{0xff}, v.bytes)
	for i := range free {
		mask[v.bytes-1-i/8] &^= 1 << (i % 8)
	}
	w.bitwise(register(0), mask, make([]byte, v.bytes))
	w.cmp(register(0), op, low)
	return nil
}

// lookup looks a key up; a map's data go to a word, a verdict to the rule where data are those of verdicts, and to nothing for -1.
func (w *ruleWriter) lookup(key nftables.Expr, in *nftables.In, data []nftables.Type, not bool, word int) error {
	name, id := in.Name, uint32(0)
	if name == "" {
		for _, t := range nftables.TypesOf(key) {
			if _, known := datatypes[t]; !known {
				return unwritten("%q", key)
			}
		}
		var err error
		if name, id, err = w.anonymous(in, nftables.TypesOf(key), data); err != nil {
			return err
		}
	}
	if _, err := w.load(key, 0); err != nil {
		return err
	}
	a := attrs{}.text(1, name).u32(2, register(0))
	switch {
	case len(data) == 1 && data[0] == nftables.VerdictType:
		a = a.u32(3, 0)
	case word >= 0:
		a = a.u32(3, register(word))
	}
	if id != 0 {
		a = a.u32(4, id)
	}
	if not {
		a = a.u32(5, 1)
	}
	w.expr("lookup", a)
	return nil
}

func (w *ruleWriter) vmap(m nftables.VMap) error {
	return w.lookup(m.Key, m.Map, []nftables.Type{nftables.VerdictType}, false, -1)
}

// lookupData puts what a map has into registers from a word on.
func (w *ruleWriter) lookupData(m nftables.MapOf, word int) (behind int, err error) {
	data, err := w.dataOf(m.Map)
	if err != nil {
		return 0, err
	}
	return word + padded(sizeOf(data))/4, w.lookup(m.Key, m.Map, data, false, word)
}

// dataOf are the types of a map's data.
func (w *ruleWriter) dataOf(in *nftables.In) (out []nftables.Type, err error) {
	if in.Name != "" {
		s := w.sets[in.Name]
		if s == nil {
			return nil, unwritten("a map %s, which is not known", in.Name)
		}
		return s.Data, nil
	}
	for _, el := range in.Elements[:min(1, len(in.Elements))] {
		for _, c := range el.Data {
			out = append(out, c.Type)
		}
	}
	if _, known := typeID(out); !known {
		return nil, unwritten("%q", in)
	}
	return out, nil
}

func (w *ruleWriter) assign(a nftables.Assign) error {
	to, is := loads[a.To]
	if !is || !slices.Contains([]nftables.Selector{"meta mark", "meta priority", "meta nftrace", "ct mark"}, a.To) {
		return unwritten("%q", a)
	}
	if c, constant := a.Value.(nftables.Constant); constant {
		if !c.Single() {
			return unwritten("%q", a)
		}
		w.immediate(0, bytesOf(c.Low, to.bytes, to.host))
	} else if _, err := w.load(a.Value, 0); err != nil {
		return err
	}
	sreg := uint16(3) // of meta
	if to.expr == "ct" {
		sreg = 4
	}
	w.expr(to.expr, attrs{}.u32(2, to.key).u32(sreg, register(0)))
	return nil
}

// immediate puts bytes into registers from a word on.
func (w *ruleWriter) immediate(word int, b []byte) {
	w.expr("immediate", attrs{}.u32(1, register(word)).nest(2, attrs{}.put(dataValue, b)))
}

// rejections are the codes behind "reject with", by the kind in front of them.
var rejections = map[string]struct {
	kind  uint32
	codes nftables.Type
}{"icmp": {0, nftables.ICMPCode}, "icmpv6": {0, nftables.ICMPv6Code}, "icmpx": {2, nftables.ICMPXCode}}

func (w *ruleWriter) reject(r nftables.Reject) error {
	kind, word, _ := strings.Cut(r.With, " ")
	switch {
	case kind == "tcp":
		w.want(metaL4Proto, &w.transport, 6)
		w.expr("reject", attrs{}.u32(1, 1))
		return nil
	case kind != "":
	case w.tx.Family == nftables.IP:
		kind, word = "icmp", "port-unreachable"
	case w.tx.Family == nftables.IP6:
		kind, word = "icmpv6", "port-unreachable"
	default:
		kind, word = "icmpx", "port-unreachable"
	}
	row, known := rejections[kind]
	code := nftables.ReadConstant(row.codes, word)
	if !known || code.Raw != "" {
		return unwritten("%q", r)
	}
	if kind != "icmpx" {
		header := map[string]string{"icmp": "ip", "icmpv6": "ip6"}[kind]
		if err := w.depend(header); err != nil {
			return err
		}
	}
	w.expr("reject", attrs{}.u32(1, row.kind).put(2, []byte{byte(code.Low.Low)}))
	return nil
}

func (w *ruleWriter) queue(q nftables.Queue) error {
	flags := uint16(0)
	if q.Bypass {
		flags |= 1
	}
	if q.Fanout {
		flags |= 2
	}
	short := func(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }
	w.expr("queue", attrs{}.put(1, short(q.First)).put(2, short(q.Last-q.First+1)).put(3, short(flags)))
	return nil
}
