package xtables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// conntrackMatches are the revisions of xt_conntrack. All begin alike:
//
//	union nf_inet_addr origsrc_addr, origsrc_mask, origdst_addr, ..., repldst_mask;   8 x 16 bytes
//	__u32 expires_min, expires_max; __u16 l4proto;
//	__u16 origsrc_port, origdst_port, replsrc_port, repldst_port;   network order up to revision 2
//	__u16 match_flags, invert_flags;
//
// then state_mask and status_mask, of 8 bits in revision 1 and 16 later, and in revision 3 the upper ports.
func conntrackMatches() []codec {
	var out []codec
	for _, l := range []ctLayout{{revision: 3, size: 162}, {revision: 2, size: 154}, {revision: 1, size: 152}} {
		c := codec{
			name: "conntrack", revision: l.revision, size: l.size, alias: ctAlias,
			save:  func(p *printer, d []byte) { l.dump(p, d, "--") },
			list:  func(p *printer, d []byte) { l.dump(p, d, "") },
			parse: l.parse,
		}
		c.aliases = []string{"state"}
		out = append(out, c)
	}
	return out
}

type ctLayout struct {
	revision uint8
	size     int
}

// Bits of match_flags: XT_CONNTRACK_*.
const (
	ctState      = 1 << 0
	ctProto      = 1 << 1
	ctOrigSrc    = 1 << 2 // the addresses take this bit and the next three
	ctStatus     = 1 << 6
	ctExpires    = 1 << 7
	ctPort       = 1 << 8 // the ports take this bit and the next three
	ctDirection  = 1 << 12
	ctStateAlias = 1 << 13 // written as -m state
)

// Offsets of what follows the addresses.
const (
	ctExpiresAt = 128
	ctProtoAt   = 136
	ctPortsAt   = 138
	ctFlagsAt   = 146
	ctInvAt     = 148
	ctStateAt   = 150
	ctHighAt    = 154
)

var (
	ctAddrs  = []string{"ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"}
	ctPorts  = []string{"ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport"}
	ctStates = []string{"INVALID", "ESTABLISHED", "RELATED", "NEW", "", "", "SNAT", "DNAT", "UNTRACKED"}
	// ctStateOrder is the order in which the program prints them.
	ctStateOrder = []int{0, 3, 2, 1, 8, 6, 7}
	ctStatuses   = []string{"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"}
)

func ctAlias(_ *printer, d []byte) string {
	if order.Uint16(d[ctFlagsAt:])&ctStateAlias != 0 {
		return "state"
	}
	return "conntrack"
}

func (l ctLayout) masks(d []byte) (state, status uint32) {
	if l.revision == 1 {
		return uint32(d[ctStateAt]), uint32(d[ctStateAt+1])
	}
	return uint32(order.Uint16(d[ctStateAt:])), uint32(order.Uint16(d[ctStateAt+2:]))
}

// ports is a port range; before revision 3 it was one port, in network order.
func (l ctLayout) ports(d []byte, i int) (lo, hi uint16) {
	if l.revision < 3 {
		port := be16(d[ctPortsAt+2*i:])
		return port, port
	}
	return order.Uint16(d[ctPortsAt+2*i:]), order.Uint16(d[ctHighAt+2*i:])
}

// dump prints the options in the program's own order; dashes is "--" for iptables-save.
func (l ctLayout) dump(p *printer, d []byte, dashes string) {
	flags, inv := uint32(order.Uint16(d[ctFlagsAt:])), uint32(order.Uint16(d[ctInvAt:]))
	p.only(flags, 1<<14-1)
	p.only(inv, flags)
	state, status := l.masks(d)
	option := func(bit uint32, name, value string) {
		if flags&bit != 0 {
			p.not(inv&bit != 0)
			p.f(" %s%s %s", dashes, name, value)
		}
	}
	if flags&ctState != 0 {
		list, known := bitNames(state, ctStates, ctStateOrder)
		p.only(state, known)
		option(ctState, strings.Replace(ctAlias(p, d), "conntrack", "ctstate", 1), list)
	}
	option(ctProto, "ctproto", pair(order.Uint16(d[ctProtoAt:]), order.Uint16(d[ctProtoAt:]), ""))
	for i, name := range ctAddrs {
		option(ctOrigSrc<<i, name, maskedAddr(p.addr(d[32*i:]), p.addr(d[32*i+16:])))
	}
	for i, name := range ctPorts {
		lo, hi := l.ports(d, i)
		option(ctPort<<i, name, pair(lo, hi, ":"))
	}
	if flags&ctStatus != 0 {
		list, known := bitNames(status, ctStatuses, []int{0, 1, 2, 3})
		p.only(status, known)
		if status == 0 {
			list = "NONE"
		}
		option(ctStatus, "ctstatus", list)
	}
	option(ctExpires, "ctexpire", pair(order.Uint32(d[ctExpiresAt:]), order.Uint32(d[ctExpiresAt+4:]), ":"))
	if flags&ctDirection != 0 {
		direction := "ORIGINAL"
		if inv&ctDirection != 0 {
			direction = "REPLY"
		}
		p.f(" %sctdir %s", dashes, direction)
	}
}

// maskedAddr prints an address with its mask: not at all where it is full, as a length where it has one.
func maskedAddr(a, m netip.Addr) string {
	n, ok := maskBits(m)
	switch {
	case !ok:
		return a.String() + "/" + m.String()
	case n == a.BitLen():
		return a.String()
	default:
		return netip.PrefixFrom(a, n).String()
	}
}

func (l ctLayout) parse(a *args, d []byte) {
	var flags, inv, state, status uint32
	for o, ok := a.next(); ok; o, ok = a.next() {
		name, bit, not := strings.TrimPrefix(o, "--"), uint32(0), a.not
		switch name {
		case "state", "ctstate":
			if bit = ctState; name == "state" {
				flags |= ctStateAlias
			}
			state = a.bits(ctStates)
		case "ctproto":
			bit = ctProto
			order.PutUint16(d[ctProtoAt:], protoNumber(a, a.value()))
		case "ctstatus":
			bit = ctStatus
			if len(a.words) > 0 && strings.EqualFold(a.words[0], "NONE") {
				a.words = a.words[1:]
			} else {
				status = a.bits(ctStatuses)
			}
		case "ctexpire":
			bit = ctExpires
			lo, hi := a.span(":", 32)
			order.PutUint32(d[ctExpiresAt:], uint32(lo))
			order.PutUint32(d[ctExpiresAt+4:], uint32(hi))
		case "ctdir":
			bit, not = ctDirection, strings.EqualFold(a.value(), "REPLY")
		default:
			bit = l.parsePlace(a, name, d)
		}
		if flags |= bit; not {
			inv |= bit
		}
	}
	order.PutUint16(d[ctFlagsAt:], uint16(flags))
	order.PutUint16(d[ctInvAt:], uint16(inv))
	if l.revision == 1 {
		d[ctStateAt], d[ctStateAt+1] = byte(state), byte(status)
		if state > 0xff {
			a.fail("a state of these needs revision 2 of conntrack")
		}
		return
	}
	order.PutUint16(d[ctStateAt:], uint16(state))
	order.PutUint16(d[ctStateAt+2:], uint16(status))
}

// parsePlace reads an address or port option.
func (l ctLayout) parsePlace(a *args, name string, d []byte) uint32 {
	for i := range ctAddrs {
		switch name {
		case ctAddrs[i]:
			s := a.value()
			parseMasked(a, s, d[32*i:32*i+16], d[32*i+16:32*i+32])
			if !strings.Contains(s, "/") {
				putMask(d[32*i+16:32*i+32], 128) // all of the union, also for IPv4
			}
			return ctOrigSrc << i
		case ctPorts[i]:
			lo, hi := a.span(":", 16)
			if l.revision < 3 {
				d[ctPortsAt+2*i], d[ctPortsAt+2*i+1] = byte(lo>>8), byte(lo)
				if lo != hi {
					a.fail("a range of ports needs revision 3 of conntrack")
				}
			} else {
				order.PutUint16(d[ctPortsAt+2*i:], uint16(lo))
				order.PutUint16(d[ctHighAt+2*i:], uint16(hi))
			}
			return ctPort << i
		}
	}
	a.unknown("--" + name)
	return 0
}

// parseMasked reads ADDR, ADDR/LENGTH or ADDR/MASK. Bits of the address outside the mask are cleared, as the
// program does.
func parseMasked(a *args, s string, addr, mask []byte) {
	n := 4
	if a.family == nat.IPv6 {
		n = 16
	}
	ip, m, has := strings.Cut(s, "/")
	a.addr(ip, addr[:n])
	switch {
	case !has:
		putMask(mask[:n], 8*n)
	case strings.ContainsAny(m, ".:"):
		a.addr(m, mask[:n])
	default:
		one := args{words: []string{m}}
		bits := one.number(8)
		if one.err != nil || int(bits) > 8*n {
			a.fail("%q: no such prefix length", s)
			return
		}
		putMask(mask[:n], int(bits))
	}
	for i := range n {
		addr[i] &= mask[i]
	}
}

func putMask(b []byte, bits int) {
	for i := range b {
		switch left := bits - 8*i; {
		case left >= 8:
			b[i] = 0xff
		case left > 0:
			b[i] = byte(0xff << (8 - left))
		}
	}
}

// addrMask prints a mask as a length where it has one.
func addrMask(m netip.Addr) string {
	if n, ok := maskBits(m); ok {
		return pair(uint16(n), uint16(n), "")
	}
	return m.String()
}
