package xtables

// otherTargets are what is left: REJECT.
func otherTargets() []codec {
	return []codec{
		reject(onlyIPv4, rejectIPv4), reject(onlyIPv6, rejectIPv6),
	}
}

// rejectIPv4 is enum ipt_reject_with, rejectIPv6 enum ip6t_reject_with.
var (
	rejectIPv4 = []string{"icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "", "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited"}
	rejectIPv6 = []string{"icmp6-no-route", "icmp6-adm-prohibited", "", "icmp6-addr-unreachable", "icmp6-port-unreachable", "", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route"}
)

// reject is struct ipt_reject_info { enum ipt_reject_with with; }
func reject(only families, kinds []string) codec {
	word := func(p *printer, d []byte) string {
		if with := order.Uint32(d); with < uint32(len(kinds)) && kinds[with] != "" {
			return kinds[with]
		}
		p.unsaid = true
		return ""
	}
	return codec{
		name: "REJECT", target: true, only: only, size: 4,
		save: func(p *printer, d []byte) { p.f(" --reject-with %s", word(p, d)) },
		list: func(p *printer, d []byte) { p.f(" reject-with %s", word(p, d)) },
		parse: func(a *args, d []byte) {
			order.PutUint32(d, 3)
			if only == onlyIPv6 {
				order.PutUint32(d, 4)
			}
			for o, ok := a.next(); ok; o, ok = a.next() {
				if o != "--reject-with" || a.not {
					a.unknown(o)
					return
				}
				w := a.value()
				found := false
				for i, k := range kinds {
					if k == w && k != "" {
						order.PutUint32(d, uint32(i))
						found = true
					}
				}
				if !found {
					a.fail("--reject-with %q", w)
				}
			}
		},
	}
}
