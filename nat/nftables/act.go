package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// assigned are the selectors that can be set, with what becomes of the packet; what is not here and not silent is not known.
var assigned = map[Selector]func(r *run, n Number){
	"meta mark": func(r *run, n Number) { r.visit.Mark = uint32(n.Low) },
	"ct mark": func(r *run, n Number) {
		if r.visit.Tracked() {
			r.visit.ConnMark = uint32(n.Low)
		}
	},
	"ct label": func(r *run, n Number) {
		if r.visit.Tracked() && n.Low < 128 {
			r.visit.Labels.Set(uint16(n.Low))
		}
	},
	"ip ttl":       setTTL,
	"ip6 hoplimit": setTTL,
	"ip dscp":      setDSCP,
	"ip6 dscp":     setDSCP,
}

// silent are the selectors whose setting natlab follows no packet by.
var silent = []Selector{"meta nftrace", "meta priority", "ct helper", "ct timeout", "ct event", "meta rtclassid"}

func setTTL(r *run, n Number) { r.visit.SetTTL(uint8(n.Low)) }

func setDSCP(r *run, n Number) {
	if w := r.visit.Wire; w != nil {
		r.visit.SetTOS(w.TOS()&3 | uint8(n.Low)<<2)
	}
}

// assignStep sets a value.
func (c *Compiled) assignStep(a Assign) step {
	if slices.Contains(silent, a.To) {
		return func(*run) flow { return goesOn }
	}
	if a.To == "tcp option maxseg size" {
		return c.maxSegStep(a)
	}
	set, read := assigned[a.To], c.value(a.Value)
	text := a.String()
	if set == nil || read == nil {
		return func(r *run) flow { return r.lost("what " + text + " makes of the packet") }
	}
	return func(r *run) flow {
		switch n, got := read(r); got {
		case rules.Yes:
			set(r, n)
		case rules.No:
			return breaks
		case rules.Unknown:
			return r.lost("what " + text + " makes of the packet")
		}
		return goesOn
	}
}

// maxSegStep makes a TCP segment's maximum segment size smaller, never larger (nft_exthdr_tcp_set_eval). What natlab does not know, as a path's MTU
// where there are no devices, it leaves as it is: nothing that decides of the packet asks for it.
func (c *Compiled) maxSegStep(a Assign) step {
	read, text := c.value(a.Value), a.String()
	if read == nil {
		return func(*run) flow { return goesOn }
	}
	return func(r *run) flow {
		n, got := read(r)
		switch {
		case got == rules.No:
			return breaks
		case got == rules.Unknown || r.visit.Wire == nil:
			return goesOn
		case !r.visit.LowerMaxSegment(uint16(n.Low)):
			if v, is := r.visit.World.(rules.Versioned); is && v.Kernel().Before(5, 17) { // some of which go on
				return r.lost("what " + text + " makes of the packet")
			}
			return breaks
		}
		return goesOn
	}
}

// natStep translates. A rule of the other family does not match, nor one whose map has nothing for the packet.
func (c *Compiled) natStep(n NAT) step {
	text := n.String()
	fixed := rules.Translation{Kind: n.Kind, Range: rules.NATRange{
		Random: slices.Contains(n.Flags, "random"), FullyRandom: slices.Contains(n.Flags, "fully-random"), Persistent: slices.Contains(n.Flags, "persistent"),
	}}
	if n.Prefix {
		fixed.Kind = rules.NetMap
	}
	of := c.family
	if n.Family != "" && n.Family != FamilyOf(of) || n.Addr.Type == IPv4Addr && of == nat.IPv6 || n.Addr.Type == IPv6Addr && of == nat.IPv4 {
		return func(*run) flow { return breaks }
	}
	aim(&fixed.Range, n.Addr, n.Port)
	if n.To == nil {
		return func(r *run) flow { return r.does(nat.Accept, &fixed) }
	}
	m, is := n.To.(MapOf)
	if !is {
		return c.natTo(n, fixed, text)
	}
	find := c.dataOf(m)
	if find == nil {
		return func(r *run) flow { return r.lost("where " + text + " leads") }
	}
	made := madeOf(m.Map, &fixed)
	if n, is := m.Key.(NumGen); is {
		if ends := balanced(n, m.Map, made); ends != nil {
			return ends
		}
	}
	return func(r *run) flow {
		data, at, found := find(r)
		switch {
		case found == rules.No:
			return breaks
		case found == rules.Unknown || data[0].Raw != "" || len(data) > 2:
			return r.lost("where " + text + " leads")
		}
		if at < len(made) {
			return r.does(nat.Accept, made[at])
		}
		return r.does(nat.Accept, led(&fixed, data)) // of a named map
	}
}

// balanced translates to one of a map's data by a number, where it has them for each that there is; else it is nil.
func balanced(n NumGen, m *In, made []*rules.Translation) step {
	if m.Name != "" || n.Offset != 0 || int(n.Mod) != len(made) {
		return nil
	}
	for i, e := range m.Elements {
		if made[i] == nil || len(e.Key) != 1 || !e.Key[0].Single() || e.Key[0].Low != number(uint64(i)) {
			return nil
		}
	}
	ends := make([]rules.Translation, len(made)) // side by side
	for i, t := range made {
		ends[i] = *t
	}
	return func(r *run) flow {
		at := n.chosen(r)
		if r.hits != nil {
			r.element = m.Elements[at].String()
		}
		return r.does(nat.Accept, &ends[at])
	}
}

// led is a translation to what a map has for a key.
func led(fixed *rules.Translation, data []Constant) *rules.Translation {
	t := *fixed
	port := Constant{}
	if len(data) == 2 {
		port = data[1]
	}
	if data[0].Type == InetService { // redirect to tcp dport map { 80 : 8080 }
		aim(&t.Range, Constant{}, data[0])
	} else {
		aim(&t.Range, data[0], port)
	}
	return &t
}

// madeOf are the translations to the data of a map that stands in the rule, by the places of its elements; nil for data that cannot be read.
func madeOf(m *In, fixed *rules.Translation) []*rules.Translation {
	out := make([]*rules.Translation, len(m.Elements))
	for i := range m.Elements {
		if data := m.Elements[i].Data; len(data) > 0 && len(data) <= 2 && data[0].Raw == "" {
			out[i] = led(fixed, data)
		}
	}
	return out
}

// natTo translates to an expression's value, an address or a port.
func (c *Compiled) natTo(to NAT, fixed rules.Translation, text string) step {
	read, port := c.value(to.To), to.ToPort
	if read == nil {
		return func(r *run) flow { return r.lost("where " + text + " leads") }
	}
	return func(r *run) flow {
		n, got := read(r)
		switch got {
		case rules.No:
			return breaks
		case rules.Unknown:
			return r.lost("where " + text + " leads")
		case rules.Yes:
		}
		t, a := fixed, Constant{Type: IPv4Addr, Low: n, High: n}
		switch {
		case port:
			aim(&t.Range, Constant{}, a)
			return r.does(nat.Accept, &t)
		case c.family == nat.IPv6:
			a.Type = IPv6Addr
		}
		aim(&t.Range, a, Constant{})
		return r.does(nat.Accept, &t)
	}
}

// aim gives a range its addresses and ports; the zero Constant leaves them.
func aim(r *rules.NATRange, a, port Constant) {
	addr := func(n Number) netip.Addr {
		if a.Type == IPv6Addr {
			return n.addr6()
		}
		return n.addr4()
	}
	if a != (Constant{}) {
		r.MinAddr, r.MaxAddr = addr(a.Low), addr(a.High)
	}
	if port != (Constant{}) {
		r.MinPort, r.MaxPort = uint16(port.Low.Low), uint16(port.High.Low)
		r.PortZero = r.MaxPort == 0
	}
}

// rejections are iptables' names of the answers, by what nft calls them, for both families (nft_reject_icmp_code, nft_reject_icmpv6_code).
var rejections = map[string][2]string{
	"":                        {"icmp-port-unreachable", "icmp6-port-unreachable"},
	"icmpx port-unreachable":  {"icmp-port-unreachable", "icmp6-port-unreachable"},
	"icmpx admin-prohibited":  {"icmp-admin-prohibited", "icmp6-adm-prohibited"},
	"icmpx no-route":          {"icmp-net-unreachable", "icmp6-no-route"},
	"icmpx host-unreachable":  {"icmp-host-unreachable", "icmp6-addr-unreachable"},
	"icmp net-unreachable":    {"icmp-net-unreachable", ""},
	"icmp host-unreachable":   {"icmp-host-unreachable", ""},
	"icmp prot-unreachable":   {"icmp-proto-unreachable", ""},
	"icmp port-unreachable":   {"icmp-port-unreachable", ""},
	"icmp net-prohibited":     {"icmp-net-prohibited", ""},
	"icmp host-prohibited":    {"icmp-host-prohibited", ""},
	"icmp admin-prohibited":   {"icmp-admin-prohibited", ""},
	"icmpv6 no-route":         {"", "icmp6-no-route"},
	"icmpv6 admin-prohibited": {"", "icmp6-adm-prohibited"},
	"icmpv6 addr-unreachable": {"", "icmp6-addr-unreachable"},
	"icmpv6 port-unreachable": {"", "icmp6-port-unreachable"},
	"icmpv6 policy-fail":      {"", "icmp6-policy-fail"},
	"icmpv6 reject-route":     {"", "icmp6-reject-route"},
	"tcp reset":               {"tcp-reset", "tcp-reset"},
}

// rejectStep drops and answers. One of the other family does not match, nor one with a reset of what is not TCP.
func rejectStep(s Reject, f nat.Family) step {
	both, ok := rejections[s.With]
	if !ok {
		return func(r *run) flow { return r.lost("what " + s.String() + " answers") }
	}
	with := both[f]
	if with == "" {
		return func(*run) flow { return breaks }
	}
	effects := [...]rules.Rejection{{With: with}, {With: with, Unrouted: true}}
	return func(r *run) flow {
		if s.With == "tcp reset" && r.visit.Tuple.Proto() != nat.TCP {
			return breaks
		}
		if r.visit.Hook == nat.PreRouting {
			return r.does(nat.Reject, &effects[1])
		}
		return r.does(nat.Reject, &effects[0])
	}
}

// noTrack keeps conntrack from a packet that it has not come to yet, and from what the node sends because of an untracked one, which iptables'
// NOTRACK does not (nft_notrack_eval, notrack_tg).
func noTrack(r *run) flow {
	if !r.visit.Tracked() {
		r.visit.State = rules.Untracked
	}
	return goesOn
}

// queueStep leaves the packet to the program that listens, if one does.
func queueStep(q Queue) step {
	return func(r *run) flow {
		w, ok := r.visit.World.(rules.QueueHolder)
		if ok && w.QueueListens(q.First, q.Last) == rules.No {
			if q.Bypass {
				return r.does(nat.Accept, &rules.Queued{})
			}
			return r.does(nat.Queue, nil)
		}
		who := "a program listens and"
		if q.Bypass {
			who = "no program listens, or it"
		}
		if r.visit.Unknown(fmt.Sprintf("%s: %s accepts the packet", q, who)) {
			return r.does(nat.Accept, &rules.Queued{})
		}
		return r.does(nat.Queue, nil)
	}
}

// described are a rule's conditions, and what it does, in words: its statements without counters.
func described(r *Rule) (brief, action string) {
	var conditions, actions []string
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Match, Limit, Quota, Compat, Opaque:
			conditions = append(conditions, s.String())
		case VMap, *Verdict, Assign, NAT, Reject, NoTrack, Queue, Update:
			actions = append(actions, s.String())
		case Counter, Log, ObjectRef:
		}
	}
	return strings.Join(conditions, " "), strings.Join(actions, " ")
}
