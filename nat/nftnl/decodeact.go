package nftnl

import (
	"math/bits"
	"time"

	"natlab/nat/nftables"
	"natlab/nat/rules"
)

func (r *ruleReader) nat(a *fields) error {
	n := nftables.NAT{Kind: rules.SNAT}
	if a.u32(1) == 1 {
		n.Kind = rules.DNAT
	}
	family, addr := nftables.Family(""), nftables.IPv4Addr
	for name, number := range families {
		if uint32(number) == a.u32(2) {
			family = nftables.Family(name)
		}
	}
	if family == nftables.IP6 {
		addr = nftables.IPv6Addr
	}
	flags := a.u32(7)
	n.Flags, n.Prefix = flagNames(flags), flags&netMap != 0
	if r.table.Family == nftables.Inet && family != nftables.Inet {
		n.Family = family
	}
	low, mapped := r.held(a.u32(3)), false
	switch {
	case a.has(3) && low.data == nil:
		m, is := low.x.(nftables.MapOf)
		n.To, mapped = low.expr(r.decoder), is
		if is && (r.width(m.Map) > 1 || n.Prefix) {
			n.Family, n.Concat = family, r.width(m.Map) > 1
		}
	case a.has(3):
		n.Addr = r.translated(addr, a, 3)
	}
	if a.has(5) && (!mapped || !n.Concat) {
		if port := r.held(a.u32(5)); port.data != nil {
			n.Port = r.translated(nftables.InetService, a, 5)
		} else if n.To == nil {
			n.To, n.ToPort = port.expr(r.decoder), true
		} else {
			r.unread()
			return nil
		}
	}
	r.say(n)
	return nil
}

// width is how many parts the data of a map have.
func (r *ruleReader) width(in *nftables.In) int {
	if in.Name != "" {
		return len(r.sets[SetName{r.table.Name, in.Name}].Data)
	}
	if len(in.Elements) > 0 {
		return len(in.Elements[0].Data)
	}
	return 0
}

// translated is the constant that registers have from one attribute to the next.
func (r *ruleReader) translated(t nftables.Type, a *fields, at uint16) nftables.Constant {
	low := r.held(a.u32(at)).data
	high := low
	if a.has(at + 1) {
		if c := r.held(a.u32(at + 1)); len(c.data) == len(low) {
			high = c.data
		}
	}
	size := min(datatypes[t].bytes, len(low))
	return r.constant(t, low[:size], high[:size], false)
}

// flagNames are NAT's flags in nft's order.
func flagNames(flags uint32) (out []string) {
	for _, name := range []string{"random", "fully-random", "persistent"} {
		if flags&natFlags[name] != 0 {
			out = append(out, name)
		}
	}
	return out
}

func (r *ruleReader) masquerade(a *fields) error {
	n := nftables.NAT{Kind: rules.Masquerade, Flags: flagNames(a.u32(1))}
	if a.has(2) {
		n.Port = r.translated(nftables.InetService, a, 2)
	}
	r.say(n)
	return nil
}

func (r *ruleReader) redirect(a *fields) error {
	n := nftables.NAT{Kind: rules.Redirect, Flags: flagNames(a.u32(3))}
	if a.has(1) {
		if c := r.held(a.u32(1)); c.data != nil {
			n.Port = r.translated(nftables.InetService, a, 1)
		} else {
			n.To, n.ToPort = c.expr(r.decoder), true
		}
	}
	r.say(n)
	return nil
}

func (r *ruleReader) dynset(a *fields) error {
	s := r.sets[SetName{r.table.Name, a.text(1)}]
	ops := []string{"add", "update", "delete"}
	if s == nil || int(a.u32(3)) >= len(ops) {
		r.unread()
		return nil
	}
	u := nftables.Update{Op: ops[a.u32(3)], Set: s.Name, Timeout: time.Duration(a.u64(6)) * time.Millisecond} //nolint:gosec // as the kernel has it
	u.Key = r.key(a.u32(4), s.keyLen)
	if a.has(5) {
		c := r.held(a.u32(5))
		if u.Data = c.expr(r.decoder); c.data != nil && len(s.Data) > 0 {
			b := c.data[:min(datatypes[s.Data[0]].bytes, len(c.data))]
			u.Data = r.constant(s.Data[0], b, b, datatypes[s.Data[0]].host)
		}
	}
	var exprs [][]byte
	switch {
	case a.has(7):
		exprs = [][]byte{a[7]}
	case a.has(10):
		var err error
		if exprs, err = list(a[10]); err != nil {
			return err
		}
	}
	for _, b := range exprs {
		st, err := statefulIn(b)
		if err != nil {
			return err
		}
		u.Statements = append(u.Statements, st)
	}
	r.say(u)
	return nil
}

// write gives a field of a header a value. Of one that is not whole bytes, or not two of them where the header is summed, the kernel's rule reads
// what is around it, and keeps that by a mask.
func (r *ruleReader) write(a *fields) {
	c := r.held(a.u32(5))
	base, at, bytes := a.u32(2), int(a.u32(3)), int(a.u32(4))
	header := r.headerAt(base)
	first, wide, value := at*8, bytes*8, c.data
	around := c.mask != nil && c.base == base && c.at == at && c.bytes == bytes && c.header == header && header != ""
	if around {
		low, width, one := run(c.mask)
		if !one {
			r.unread()
			return
		}
		first, wide = first+wide-low-width, width
	}
	to, is := nftables.FieldAt(header, first, wide)
	if !is {
		r.unread()
		return
	}
	kind := nftables.TypesOf(to)[0]
	_, _, size, _ := to.Field()
	switch {
	case size != wide, c.mask != nil && !around, value == nil && untold(c.x):
		r.unread()
		return
	}
	r.depends(header)
	switch {
	case around:
		low, _, _ := run(c.mask)
		r.say(nftables.Assign{To: to, Value: nftables.Value(kind, numberOf(c.xor, false).Low>>low&(1<<wide-1))})
	case value != nil:
		value = value[:min(bytes, len(value))]
		r.say(nftables.Assign{To: to, Value: r.constant(kind, value, value, false)})
	default:
		r.say(nftables.Assign{To: to, Value: c.expr(r.decoder)})
	}
}

// run are the zeros of a mask: the first one from the right, and how many there are; false where they are not side by side, or none.
func run(mask []byte) (low, width int, ok bool) {
	if len(mask) > 8 {
		return 0, 0, false
	}
	zeros := ^numberOf(mask, false).Low & (1<<(8*len(mask)) - 1)
	if zeros == 0 {
		return 0, 0, false
	}
	low = bits.TrailingZeros64(zeros)
	width = bits.TrailingZeros64(^(zeros >> low))
	return low, width, zeros>>low == 1<<width-1
}
