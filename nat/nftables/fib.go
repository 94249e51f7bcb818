package nftables

import (
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// value asks the routes (nft_fib).
func (f Fib) value() value {
	var dst, in, out, mark bool
	for _, k := range f.Keys {
		dst, in, out, mark = dst || k == "daddr", in || k == "iif", out || k == "oif", mark || k == "mark"
	}
	dev := func(r *run) string {
		switch {
		case in:
			return r.visit.Input()
		case out:
			return r.visit.Out
		}
		return ""
	}
	if f.Result == "type" {
		return func(r *run) (Number, rules.Answer) {
			a := r.visit.Tuple.Src().Addr()
			if dst {
				a = r.visit.Tuple.Dst().Addr()
			}
			if r.visit.World == nil {
				return Number{}, rules.Unknown
			}
			of := r.visit.World.AddrType
			if w, is := r.visit.World.(rules.RouteTeller); is {
				of = w.RouteType
			}
			kind, ok := FibAddrType.row().symbol(strings.ToLower(of(a, dev(r))))
			return kind, rules.Is(ok, false)
		}
	}
	return func(r *run) (Number, rules.Answer) {
		w, ok := r.visit.World.(rules.RouteTeller)
		if !ok || r.visit.Hook == nat.Output || r.visit.Hook == nat.PostRouting {
			return Number{}, rules.Unknown
		}
		name, ok := w.RouteDevice(r.visit.Packet, rules.RouteQuery{Hook: r.visit.Hook, Dst: dst, Dev: dev(r), Mark: mark})
		return nameNumber(name), rules.Is(ok, false)
	}
}
