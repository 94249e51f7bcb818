package nftnl

import (
	"fmt"
	"slices"
	"strings"

	"natlab/nat/nftables"
)

// cell is what a register holds, from its first word on.
type cell struct {
	value

	x         nftables.Expr
	data      []byte // of a constant
	mask, xor []byte // what it was made of by bits; nil: nothing
	base      uint32 // of a header's bytes, with at, from its first byte
	at        int
	header    string // whose bytes; "" for what is none
	present   bool   // whether there is a route, not which
}

// ruleReader reads a rule's expressions.
type ruleReader struct {
	*decoder

	table  *nftables.Table
	words  [16]cell
	out    []nftables.Statement
	lookAt string // the name of the expression that is read
	// network and transport are the protocols that the rule is known to be about, and where it says so for a header's sake: -1 for nowhere.
	network, transport     uint8
	networkAt, transportAt int
	rangeAt                int // a ">=" that may be the begin of a range; -1: none
}

func (r *decoder) rule(a *fields) error {
	t, err := r.of(a)
	if err != nil {
		return err
	}
	at, there := r.chain[[2]string{t.Name, a.text(ruleChain)}]
	if !there {
		return nil // of a chain that stands in a rule
	}
	exprs, err := list(a[ruleExpressions])
	if err != nil {
		return err
	}
	rr := &ruleReader{decoder: r, table: t, networkAt: -1, transportAt: -1, rangeAt: -1}
	for _, b := range exprs {
		if err := rr.expr(b); err != nil {
			return fmt.Errorf("chain %s, handle %d: %w", t.Chains[at].Name, a.u64(ruleHandle), err)
		}
	}
	t.Chains[at].Rules = append(t.Chains[at].Rules, nftables.Rule{
		Statements: rr.out, Handle: a.u64(ruleHandle), Comment: textOf(noted(a[ruleUserData], noteComment)),
	})
	return nil
}

// readers read expressions, by their names.
var readers = map[string]func(*ruleReader, *fields) error{
	"meta": (*ruleReader).meta, "ct": (*ruleReader).ct, "payload": (*ruleReader).payload, "fib": (*ruleReader).fib, "numgen": (*ruleReader).numgen,
	"immediate": (*ruleReader).immediate, "bitwise": (*ruleReader).bitwise, "byteorder": (*ruleReader).byteorder, "cmp": (*ruleReader).cmp,
	"range": (*ruleReader).between, "lookup": (*ruleReader).lookup, "dynset": (*ruleReader).dynset, "nat": (*ruleReader).nat, "masq": (*ruleReader).masquerade,
	"redir": (*ruleReader).redirect, "reject": (*ruleReader).reject, "objref": (*ruleReader).objref, "queue": (*ruleReader).queue, "log": (*ruleReader).log,
	"hash": (*ruleReader).hash, "match": (*ruleReader).compat, "target": (*ruleReader).compat,
}

func (r *ruleReader) expr(b []byte) error {
	a, err := parse(b)
	if err != nil {
		return err
	}
	data, err := parse(a[exprData])
	if err != nil {
		return err
	}
	r.lookAt = a.text(exprName)
	if r.lookAt == "notrack" {
		r.say(nftables.NoTrack{})
		return nil
	}
	if read := readers[r.lookAt]; read != nil {
		return read(r, &data)
	}
	if st, known := statefulOf(r.lookAt, &data); known {
		r.say(st)
		return nil
	}
	r.unread()
	return nil
}

// unread keeps an expression that is not known by its name: what it leaves in registers is not known either.
func (r *ruleReader) unread() {
	r.say(nftables.Opaque{Text: "[" + r.lookAt + "]"})
	for i := range r.words {
		r.words[i] = r.unknown()
	}
}

func (r *ruleReader) unknown() cell {
	return cell{x: nftables.Other{Text: "[" + r.lookAt + "]"}, value: value{bytes: 4, kind: nftables.Untold}}
}

func (r *ruleReader) say(s nftables.Statement) {
	r.out = append(r.out, s)
	r.rangeAt = -1
}

// word is the word of a register's number; -1 for the verdict's.
func word(reg uint32) int {
	switch {
	case reg == 0:
		return -1
	case reg <= 4:
		return int(reg-1) * 4
	}
	return int(reg) - 8
}

// held is what a register holds.
func (r *ruleReader) held(reg uint32) cell {
	if w := word(reg); w >= 0 && w < len(r.words) && (r.words[w].x != nil || r.words[w].data != nil) {
		return r.words[w]
	}
	return r.unknown()
}

func (r *ruleReader) put(reg uint32, c cell) {
	if w := word(reg); w >= 0 && w < len(r.words) {
		r.words[w] = c
	}
}

func (r *ruleReader) meta(a *fields) error {
	s, l, known := selectorOf("meta", a.u32(2), 0)
	if !known {
		r.unread()
		return nil
	}
	if a.has(3) {
		r.assign(s, l, a.u32(3))
		return nil
	}
	r.put(a.u32(1), cell{x: s, value: value{l.bytes, l.host, nftables.TypesOf(s)[0]}})
	return nil
}

func (r *ruleReader) ct(a *fields) error {
	side := int8(0)
	if a.has(3) && len(a[3]) > 0 {
		side = int8(a[3][0]) + 1 //nolint:gosec // 0 or 1
	}
	s, l, known := selectorOf("ct", a.u32(2), side)
	if !known {
		r.unread()
		return nil
	}
	if a.has(4) {
		r.assign(s, l, a.u32(4))
		return nil
	}
	r.put(a.u32(1), cell{x: s, value: value{l.bytes, l.host, nftables.TypesOf(s)[0]}})
	return nil
}

// assign gives the packet a value.
func (r *ruleReader) assign(to nftables.Selector, l loaded, reg uint32) {
	c := r.held(reg)
	value := c.expr(r.decoder)
	if c.data != nil {
		b := c.data[:min(l.bytes, len(c.data))]
		value = r.constant(nftables.TypesOf(to)[0], b, b, l.host)
	}
	r.say(nftables.Assign{To: to, Value: value})
}

// expr is the value with what it was made of by bits, as nft takes it to pieces (netlink_parse_bitwise).
func (c cell) expr(d *decoder) nftables.Expr {
	if c.mask == nil {
		return c.x
	}
	bits := len(c.mask)
	and, xor, or := slices.Clone(c.mask), slices.Clone(c.xor), make([]byte, bits)
	all, none := true, true
	for i := range and {
		or[i] = and[i]&xor[i] ^ xor[i]
		xor[i] &= and[i]
		and[i] |= or[i]
		all = all && and[i] == 0xff
		none = none && or[i]|xor[i] == 0
	}
	out := c.x
	for _, step := range []struct {
		op   string
		b    []byte
		does bool
	}{{"&", and, !all || none}, {"^", xor, !zero(xor)}, {"|", or, !zero(or)}} {
		if step.does {
			out = nftables.Operation{Left: out, Op: step.op, Right: d.constant(c.kind, step.b, step.b, c.host)}
		}
	}
	return out
}

func zero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

func (r *ruleReader) payload(a *fields) error {
	if a.has(5) {
		r.write(a)
		return nil
	}
	c := cell{base: a.u32(2), at: int(a.u32(3)), value: value{bytes: int(a.u32(4))}}
	c.header = r.headerAt(c.base)
	if s, is := nftables.FieldAt(c.header, c.at*8, c.bytes*8); is {
		c.x, c.kind = s, nftables.TypesOf(s)[0]
		r.depends(c.header)
	} else { // bytes are of any protocol, whatever the rule says
		base := [...]string{"ll", "nh", "th", "ih"}[min(c.base, baseInner)]
		c.x, c.kind = nftables.Raw{Base: base, At: c.at * 8, Bits: c.bytes * 8}, nftables.RawBits
	}
	r.put(a.u32(1), c)
	return nil
}

// headerAt is the header that a rule reads at a base.
func (r *ruleReader) headerAt(base uint32) string {
	switch family := r.table.Family; {
	case base == baseTransport:
		return nftables.Transport(r.transport)
	case base != baseNetwork:
		return "ether"
	case family == nftables.IP || family == nftables.Inet && r.network == 2:
		return "ip"
	case family == nftables.IP6 || family == nftables.Inet && r.network == 10:
		return "ip6"
	}
	return ""
}

// depends takes away what the rule says for a header's sake alone.
func (r *ruleReader) depends(header string) {
	if nftables.HeaderProto(header) != 0 {
		r.forget(&r.transportAt)
	}
	if r.table.Family == nftables.Inet && slices.Contains([]string{"ip", "ip6", "icmp", "icmpv6"}, header) {
		r.forget(&r.networkAt)
	}
}

// forget takes away a condition, at a place, that another one holds as well; -1 for none. It stays where the rule does something behind it, which is for
// those packets alone.
func (r *ruleReader) forget(at *int) {
	if *at < 0 || slices.ContainsFunc(r.out[*at:], does) {
		return
	}
	r.out = slices.Delete(r.out, *at, *at+1)
	for _, other := range []*int{&r.networkAt, &r.transportAt, &r.rangeAt} {
		if other != at && *other > *at {
			*other--
		}
	}
	*at = -1
}

// does reports whether a statement is more than a question that may as well be asked later.
func does(s nftables.Statement) bool {
	m, is := s.(nftables.Match)
	if !is {
		return true
	}
	n, numbers := m.Left.(nftables.NumGen)
	return numbers && n.Inc
}

func (r *ruleReader) fib(a *fields) error {
	f, flags, result := nftables.Fib{}, a.u32(3), int(a.u32(2))-1
	for i, k := range fibKeys {
		if flags&(1<<i) != 0 {
			f.Keys = append(f.Keys, k)
		}
	}
	if result < 0 || result >= len(fibResults) {
		r.unread()
		return nil
	}
	f.Result = fibResults[result]
	v, _ := (&encoder{}).of(f)
	r.put(a.u32(1), cell{x: f, value: v, present: flags&fibPresent != 0})
	return nil
}

func (r *ruleReader) numgen(a *fields) error {
	n := nftables.NumGen{Inc: a.u32(3) == 0, Mod: a.u32(2), Offset: a.u32(4)}
	r.put(a.u32(1), cell{x: n, value: value{4, true, nftables.Integer}})
	return nil
}

func (r *ruleReader) immediate(a *fields) error {
	data, err := parse(a[2])
	if err != nil {
		return err
	}
	if a.u32(1) != 0 {
		r.put(a.u32(1), cell{data: data[dataValue], value: value{bytes: len(data[dataValue])}})
		return nil
	}
	v, err := verdictOf(data[dataVerdict])
	if err != nil {
		r.unread()
		return nil //nolint:nilerr // one that is not known is kept by its name
	}
	if strings.HasPrefix(v.Chain, "__chain") {
		r.say(nftables.Opaque{Text: v.Kind.String() + " {\n\t\t}"})
		return nil
	}
	r.say(v)
	return nil
}

func (r *ruleReader) bitwise(a *fields) error {
	c := r.held(a.u32(1))
	mask, err := dataOf(a[4])
	if err != nil {
		return err
	}
	xor, err := dataOf(a[5])
	if err != nil {
		return err
	}
	if a.u32(6) != 0 || len(mask) != len(xor) || len(mask) == 0 || c.data != nil {
		r.unread()
		return nil
	}
	if c.mask != nil {
		c.x = c.expr(r.decoder)
	}
	c.mask, c.xor = mask, xor
	r.put(a.u32(2), c)
	return nil
}

func (r *ruleReader) byteorder(a *fields) error {
	c := r.held(a.u32(1))
	if c.mask != nil || c.data != nil {
		r.unread()
		return nil
	}
	c.host = !c.host
	r.put(a.u32(2), c)
	return nil
}

// key are the values in registers from one on that are so many bytes together.
func (r *ruleReader) key(reg uint32, bytes int) nftables.Expr {
	var parts nftables.Concat
	for w := word(reg); bytes > 0 && w >= 0 && w < len(r.words); {
		c := r.words[w]
		if c.x == nil || c.bytes == 0 {
			return r.unknown().x
		}
		parts = append(parts, c.expr(r.decoder))
		w += padded(c.bytes) / 4
		bytes -= padded(c.bytes)
	}
	switch len(parts) {
	case 0:
		return r.unknown().x
	case 1:
		return parts[0]
	}
	return parts
}

func (r *ruleReader) lookup(a *fields) error {
	s := r.sets[SetName{r.table.Name, a.text(1)}]
	if s == nil {
		return fmt.Errorf("set %q is not there", a.text(1))
	}
	key := r.key(a.u32(2), s.keyLen)
	in := nftables.Ref(s.Name)
	if s.anonymous {
		in = &nftables.In{Elements: s.Elements}
	}
	switch {
	case !a.has(3):
		op := ""
		if _, is := key.(nftables.Operation); is {
			op = "=="
		}
		if a.u32(5)&1 != 0 {
			op = "!="
		}
		r.say(nftables.Match{Left: key, Op: op, Right: in})
	case a.u32(3) == 0:
		r.say(nftables.VMap{Key: key, Map: in})
	case len(s.Data) == 0:
		r.unread()
	default:
		r.put(a.u32(3), cell{x: nftables.MapOf{Key: key, Map: in}, value: value{bytes: sizeOf(s.Data), kind: s.Data[0]}})
	}
	return nil
}
