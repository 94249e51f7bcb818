package nftnl

import (
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
	if u.Timeout == s.Timeout {
		u.Timeout = 0
	}
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
