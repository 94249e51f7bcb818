package nftnl

import (
	"slices"
	"strings"

	"natlab/nat/nftables"
)

// loaded is a value of meta or ct: its key, and how a register has it.
type loaded struct {
	expr  string // "meta" or "ct"
	key   uint32
	bytes int
	host  bool
	side  int8 // of ct: 1 original, 2 reply; 0: of neither
}

// loads are the selectors that are no header fields (NFT_META_*, NFT_CT_*).
var loads = func() map[nftables.Selector]loaded {
	out := map[nftables.Selector]loaded{
		"meta length": {"meta", 0, 4, true, 0}, "meta protocol": {"meta", 1, 2, false, 0}, "meta priority": {"meta", 2, 4, true, 0},
		"meta mark": {"meta", 3, 4, true, 0}, "meta iif": {"meta", 4, 4, true, 0}, "meta oif": {"meta", 5, 4, true, 0},
		"meta iifname": {"meta", 6, 16, false, 0}, "meta oifname": {"meta", 7, 16, false, 0}, "meta skuid": {"meta", 10, 4, true, 0},
		"meta skgid": {"meta", 11, 4, true, 0}, "meta nftrace": {"meta", 12, 1, true, 0}, "meta nfproto": {"meta", 15, 1, false, 0},
		"meta l4proto": {"meta", 16, 1, false, 0}, "meta pkttype": {"meta", 19, 1, false, 0}, "meta cpu": {"meta", 20, 4, true, 0},
		"meta iifgroup": {"meta", 21, 4, true, 0}, "meta oifgroup": {"meta", 22, 4, true, 0}, "meta cgroup": {"meta", 23, 4, true, 0},
		"meta random": {"meta", 24, 4, false, 0}, "meta ipsec": {"meta", 25, 1, false, 0},
		"meta iiftype": {"meta", 8, 2, true, 0}, "meta oiftype": {"meta", 9, 2, true, 0}, "meta rtclassid": {"meta", 13, 4, true, 0},
		"meta ibrname": {"meta", 17, 16, false, 0}, "meta obrname": {"meta", 18, 16, false, 0}, "meta iifkind": {"meta", 26, 16, false, 0},
		"meta oifkind": {"meta", 27, 16, false, 0}, "meta sdif": {"meta", 33, 4, true, 0}, "meta sdifname": {"meta", 34, 16, false, 0},

		"ct state": {"ct", 0, 4, true, 0}, "ct direction": {"ct", 1, 1, false, 0}, "ct status": {"ct", 2, 4, true, 0}, "ct mark": {"ct", 3, 4, true, 0},
		"ct l3proto": {"ct", 7, 1, false, 0}, "ct protocol": {"ct", 10, 1, false, 0}, "ct packets": {"ct", 14, 8, true, 0}, "ct bytes": {"ct", 15, 8, true, 0},
		"ct zone": {"ct", 17, 2, true, 0},
	}
	for i, side := range []string{"original", "reply"} {
		for name, l := range map[string]loaded{
			"packets": {key: 14, bytes: 8, host: true}, "bytes": {key: 15, bytes: 8, host: true}, "zone": {key: 17, bytes: 2, host: true},
			"l3proto": {key: 7, bytes: 1}, "protocol": {key: 10, bytes: 1}, "proto-src": {key: 11, bytes: 2}, "proto-dst": {key: 12, bytes: 2},
			"ip saddr": {key: 19, bytes: 4}, "ip daddr": {key: 20, bytes: 4}, "ip6 saddr": {key: 21, bytes: 16}, "ip6 daddr": {key: 22, bytes: 16},
		} {
			l.expr, l.side = "ct", int8(i+1)
			out[nftables.Selector("ct "+side+" "+name)] = l
		}
	}
	return out
}()

// Keys of meta that the headers depend on.
const metaNFProto, metaL4Proto = 15, 16

// selectorOf is the selector of a value of meta or ct.
func selectorOf(expr string, key uint32, side int8) (nftables.Selector, loaded, bool) {
	for s, l := range loads {
		if l.expr == expr && l.key == key && l.side == side {
			return s, l, true
		}
	}
	return "", loaded{}, false
}

// Bases of payload.
const (
	baseLink, baseNetwork, baseTransport, baseInner = 0, 1, 2, 3
)

// baseOf is the base of a header's fields.
func baseOf(header string) (base uint32, ok bool) {
	switch header {
	case "ether", "vlan":
		return baseLink, true
	case "ip", "ip6", "arp":
		return baseNetwork, true
	case "th":
		return baseTransport, true
	}
	return baseTransport, nftables.HeaderProto(header) != 0
}

// fibResults and fibKeys are the numbers of what fib gives and of what it goes by.
var (
	fibResults = []string{"oif", "oifname", "type"} // from 1
	fibKeys    = []string{"saddr", "daddr", "mark", "iif", "oif"}
)

const fibPresent = 1 << 5

// value is how a register has an expression's value.
type value struct {
	bytes int
	host  bool
	kind  nftables.Type
}

// of tells how a register has the value of an expression of one part.
func (e *encoder) of(x nftables.Expr) (value, bool) {
	switch x := x.(type) {
	case nftables.Selector:
		kind := nftables.TypesOf(x)[0]
		if l, is := loads[x]; is {
			return value{l.bytes, l.host, kind}, true
		}
		header, at, bits, is := x.Field()
		_, known := baseOf(header)
		return value{(bits + 7) / 8, false, kind}, is && known && at%8 == 0 && bits%8 == 0
	case nftables.Operation:
		return e.of(x.Left)
	case nftables.Fib:
		switch x.Result {
		case "type", "oif":
			return value{4, true, nftables.TypesOf(x)[0]}, true
		}
		return value{16, false, nftables.IfName}, true
	case nftables.NumGen, nftables.Hash:
		return value{4, true, nftables.Integer}, true
	case nftables.Constant, nftables.Concat, nftables.MapOf, nftables.Raw, nftables.Other, *nftables.In:
	}
	return value{}, false
}

// register is the kernel's number of a word of the registers, counted in 32 bits: whole registers of 128 bits have numbers of their own.
func register(word int) uint32 {
	if word%4 == 0 {
		return uint32(1 + word/4) //nolint:gosec // below 16
	}
	return uint32(8 + word) //nolint:gosec // below 16
}

// load puts an expression's value into registers from a word on, each part of a concatenation into words of its own, and returns the word behind.
func (w *ruleWriter) load(x nftables.Expr, word int) (behind int, err error) {
	if parts, is := x.(nftables.Concat); is {
		for _, part := range parts { // what a header depends on is compared before registers are in use
			if header, _, _, is := selectorField(part); is {
				if err := w.depend(header); err != nil {
					return 0, err
				}
			}
		}
		for _, part := range parts {
			if word, err = w.load(part, word); err != nil {
				return 0, err
			}
		}
		return word, nil
	}
	v, ok := w.of(x)
	if _, is := x.(nftables.MapOf); !ok && !is || word+v.bytes/4 > 16 {
		return 0, unwritten("%q", x)
	}
	behind = word + padded(v.bytes)/4
	reg := register(word)
	switch x := x.(type) {
	case nftables.Selector:
		return behind, w.selector(x, reg)
	case nftables.Operation:
		return behind, w.operation(x, v, word)
	case nftables.Fib:
		return behind, w.fib(x, reg, 0)
	case nftables.NumGen:
		kind := uint32(1)
		if x.Inc {
			kind = 0
		}
		w.expr("numgen", attrs{}.u32(1, reg).u32(2, x.Mod).u32(3, kind).u32(4, x.Offset))
		return behind, nil
	case nftables.MapOf:
		return w.lookupData(x, word)
	case nftables.Constant, nftables.Concat, nftables.Hash, nftables.Raw, nftables.Other, *nftables.In:
	}
	return 0, unwritten("%q", x)
}

func selectorField(x nftables.Expr) (header string, at, bits int, ok bool) {
	s, is := x.(nftables.Selector)
	if !is {
		return "", 0, 0, false
	}
	return s.Field()
}

func (w *ruleWriter) selector(s nftables.Selector, reg uint32) error {
	if l, is := loads[s]; is {
		a := attrs{}.u32(1, reg).u32(2, l.key)
		if l.side > 0 {
			a = a.put(3, []byte{byte(l.side - 1)})
		}
		w.expr(l.expr, a)
		return nil
	}
	header, at, bits, _ := s.Field()
	if err := w.depend(header); err != nil {
		return err
	}
	base, _ := baseOf(header)
	w.payload(reg, base, at/8, bits/8)
	return nil
}

func (w *ruleWriter) payload(reg, base uint32, at, bytes int) {
	w.expr("payload", attrs{}.u32(1, reg).u32(2, base).u32(3, uint32(at)).u32(4, uint32(bytes))) //nolint:gosec // small
}

// depend makes sure that the rule holds for packets with a header alone, as nft does.
func (w *ruleWriter) depend(header string) error {
	switch family := w.tx.Family; {
	case header == "ip" && family == nftables.IP6, header == "ip6" && family == nftables.IP, header == "arp", header == "ether" && family != nftables.Inet:
		return unwritten("the header %s in family %s", header, family)
	case header == "ip" && family == nftables.Inet:
		w.want(metaNFProto, &w.network, 2)
	case header == "ip6" && family == nftables.Inet:
		w.want(metaNFProto, &w.network, 10)
	case header == "ether":
		return unwritten("the header %s", header)
	}
	if proto := nftables.HeaderProto(header); proto != 0 {
		w.want(metaL4Proto, &w.transport, proto)
	}
	return nil
}

// want compares a protocol, unless the rule has done so.
func (w *ruleWriter) want(key uint32, known *uint8, proto uint8) {
	if *known == proto {
		return
	}
	*known = proto
	w.expr("meta", attrs{}.u32(1, register(0)).u32(2, key))
	w.cmp(register(0), cmpEq, []byte{proto})
}

func (w *ruleWriter) fib(f nftables.Fib, reg, flags uint32) error {
	result := slices.Index(fibResults, f.Result)
	for _, k := range f.Keys {
		i := slices.Index(fibKeys, k)
		if i < 0 || result < 0 {
			return unwritten("%q", f)
		}
		flags |= 1 << i
	}
	w.expr("fib", attrs{}.u32(1, reg).u32(2, uint32(result+1)).u32(3, flags)) //nolint:gosec // small
	return nil
}

// operation makes a value with a constant; the left one is in the same register.
func (w *ruleWriter) operation(o nftables.Operation, v value, word int) error {
	if _, err := w.load(o.Left, word); err != nil {
		return err
	}
	c, is := o.Right.(nftables.Constant)
	if !is || c.Raw != "" || c.Any || !strings.Contains("&|^", o.Op) {
		return unwritten("%q", o)
	}
	mask, xor := slices.Repeat([]byte{0xff}, v.bytes), make([]byte, v.bytes)
	right := bytesOf(c.Low, v.bytes, v.host)
	for i, b := range right {
		switch o.Op {
		case "&":
			mask[i] = b
		case "|":
			mask[i], xor[i] = ^b, b
		case "^":
			xor[i] = b
		}
	}
	w.bitwise(register(word), mask, xor)
	return nil
}

func (w *ruleWriter) bitwise(reg uint32, mask, xor []byte) {
	a := attrs{}.u32(1, reg).u32(2, reg).u32(3, uint32(len(mask))) //nolint:gosec // small
	w.expr("bitwise", a.nest(4, attrs{}.put(dataValue, mask)).nest(5, attrs{}.put(dataValue, xor)))
}

func (w *ruleWriter) cmp(reg, op uint32, data []byte) {
	w.expr("cmp", attrs{}.u32(1, reg).u32(2, op).nest(3, attrs{}.put(dataValue, data)))
}
