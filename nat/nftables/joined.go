package nftables

import "slices"

// joined reports whether two neighbouring conditions may be one in the kernel: nft joins values of one header that lie side by side in up to 32
// bits into one that it compares once (payload_can_merge), also where they are compared with "!=", of which either is enough then: of
// "tcp sport != 600 tcp dport != 8080" nft 1.0.6 makes "@th,0,32 != ...", and lists it as the two.
func joined(a, b Statement) bool {
	f, ok := differs(a)
	g, too := differs(b)
	return ok && too && f.header == g.header && (f.at+f.bits == g.at || g.at+g.bits == f.at) && f.bits+g.bits <= 32
}

// differs is the field that a condition wants not to have a value.
func differs(s Statement) (f field, ok bool) {
	m, is := s.(Match)
	if !is || m.Op != "!=" {
		return field{}, false
	}
	left, is := m.Left.(Selector)
	value, one := m.Right.(Constant)
	at := slices.IndexFunc(fields, func(f field) bool { return f.header+" "+f.name == string(left) })
	if !is || !one || at < 0 || value.Raw != "" || value.Low != value.High {
		return field{}, false
	}
	return fields[at], true
}

// joinedStep is of two conditions that may be one: where one of them alone holds it is open whether both have to.
func joinedStep(a, b step, text string) step {
	return func(r *run) flow {
		first, second := a(r), b(r)
		if first == second {
			return first
		}
		return r.open(text)
	}
}
