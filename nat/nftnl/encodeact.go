package nftnl

import (
	"slices"
	"time"

	"natlab/nat/nftables"
	"natlab/nat/rules"
)

// natFlags are the numbers of NAT's flags (NF_NAT_RANGE_*); netMap that of a translation of networks.
var natFlags = map[string]uint32{"random": 1 << 2, "persistent": 1 << 3, "fully-random": 1 << 4}

const netMap = 1 << 6

// The words where a translation's values are: each has a register of 128 bits.
const (
	minAddrWord, maxAddrWord, minPortWord, maxPortWord = 0, 4, 8, 12
)

func (w *ruleWriter) nat(n nftables.NAT) error {
	family := n.Family
	switch {
	case family != "":
	case w.tx.Family != nftables.Inet:
		family = w.tx.Family
	case n.Addr.Type == nftables.IPv4Addr:
		family = nftables.IP
	case n.Addr.Type == nftables.IPv6Addr:
		family = nftables.IP6
	default:
		family = nftables.Inet
	}
	flags := uint32(0)
	for _, f := range n.Flags {
		flags |= natFlags[f]
	}
	at := attrs{} // where its values are
	if n.Kind == rules.DNAT || n.Kind == rules.SNAT {
		kind := uint32(0)
		if n.Kind == rules.DNAT {
			kind = 1
		}
		at = at.u32(1, kind).u32(2, uint32(families[string(family)]))
	}
	at, err := w.natTo(n, at)
	if err != nil {
		return err
	}
	if n.Prefix {
		flags |= netMap
	}
	if n.Prefix && n.To != nil {
		return unwritten("%q", n)
	}
	names := map[rules.TranslationKind]struct {
		expr  string
		flags uint16
	}{rules.DNAT: {"nat", 7}, rules.SNAT: {"nat", 7}, rules.Masquerade: {"masq", 1}, rules.Redirect: {"redir", 3}}
	row, known := names[n.Kind]
	if !known {
		return unwritten("%q", n)
	}
	if flags != 0 {
		at = at.u32(row.flags, flags)
	}
	w.expr(row.expr, at)
	return nil
}

// natTo loads what a translation leads to, and adds which registers have it.
func (w *ruleWriter) natTo(n nftables.NAT, a attrs) (attrs, error) {
	ports := map[rules.TranslationKind]uint16{rules.DNAT: 5, rules.SNAT: 5, rules.Masquerade: 2, rules.Redirect: 1}[n.Kind]
	if n.To != nil {
		var err error
		if a, err = w.natValue(n, a, ports); err != nil {
			return nil, err
		}
	}
	none := nftables.Constant{}
	put := func(c nftables.Constant, at uint16, low, high int) error {
		from, to, err := w.constant(c)
		if err != nil {
			return err
		}
		w.immediate(low, from)
		a = a.u32(at, register(low))
		if c.Low != c.High {
			w.immediate(high, to)
			a = a.u32(at+1, register(high))
		}
		return nil
	}
	if n.Addr != none {
		if err := put(n.Addr, 3, minAddrWord, maxAddrWord); err != nil {
			return nil, err
		}
	}
	if n.Port != none {
		if err := put(n.Port, ports, minPortWord, maxPortWord); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// natValue is of a translation to an expression's value.
func (w *ruleWriter) natValue(n nftables.NAT, a attrs, ports uint16) (attrs, error) {
	var data []nftables.Type
	m, is := n.To.(nftables.MapOf)
	if is {
		var err error
		if data, err = w.dataOf(m.Map); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(m.Map.Elements, func(el nftables.Element) bool { return slices.ContainsFunc(el.Data, spans) }) {
			return nil, unwritten("%q", n)
		}
	}
	at := 0
	if n.Addr != (nftables.Constant{}) { // which is loaded, too
		at = minPortWord
	}
	if _, err := w.load(n.To, at); err != nil {
		return nil, err
	}
	switch {
	case n.ToPort, len(data) == 1 && data[0] == nftables.InetService:
		return a.u32(ports, register(at)), nil
	case len(data) == 2:
		return a.u32(3, register(0)).u32(ports, register(padded(datatypes[data[0]].bytes)/4)), nil
	}
	return a.u32(3, register(0)), nil
}

// update puts a key into a set, or takes it out.
func (w *ruleWriter) update(u nftables.Update) error {
	op := slices.Index([]string{"add", "update", "delete"}, u.Op)
	if op < 0 || len(u.Statements) > 1 {
		return unwritten("%q", u)
	}
	behind, err := w.load(u.Key, 0)
	if err != nil {
		return err
	}
	a := attrs{}.text(1, u.Set).u32(3, uint32(op)).u32(4, register(0)) //nolint:gosec // small
	if u.Data != nil {
		behind = (behind + 3) &^ 3
		if c, is := u.Data.(nftables.Constant); is {
			low, _, err := w.constant(c)
			if err != nil || !c.Single() {
				return unwritten("%q", u)
			}
			w.immediate(behind, low)
		} else if _, err := w.load(u.Data, behind); err != nil {
			return err
		}
		a = a.u32(5, register(behind))
	}
	if u.Timeout > 0 {
		a = a.u64(6, uint64(u.Timeout/time.Millisecond)) //nolint:gosec // positive
	}
	for _, s := range u.Statements {
		expr, err := statefulExpr(s)
		if err != nil {
			return err
		}
		a = a.nest(7, expr)
	}
	w.expr("dynset", a)
	return nil
}

var periods = map[string]uint64{"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}

// defaultBurst is how many packets a limit lets through at once where nothing is told of it (nft).
const defaultBurst = 5

// stateful is a statement that remembers what has passed, as an expression's name and data.
func stateful(s nftables.Statement) (name string, a attrs, err error) {
	switch s := s.(type) {
	case nftables.Counter:
		return "counter", a.u64(1, s.Bytes).u64(2, s.Packets), nil
	case nftables.Limit:
		kind, flags, burst := uint32(0), uint32(0), s.Burst
		if s.Bytes {
			kind = 1
		} else if burst == 0 {
			burst = defaultBurst
		}
		if s.Over {
			flags = 1
		}
		return "limit", a.u64(1, s.Rate).u64(2, periods[s.Per]).u32(3, uint32(burst)).u32(4, kind).u32(5, flags), nil //nolint:gosec // as the kernel has it
	case nftables.Quota:
		flags := uint32(0)
		if s.Over {
			flags = 1
		}
		return "quota", a.u64(1, s.Bytes).u32(2, flags).u64(4, s.Used), nil
	}
	return "", nil, unwritten("%q", s)
}

func statefulExpr(s nftables.Statement) (attrs, error) {
	name, data, err := stateful(s)
	return exprOf(name, data), err
}
