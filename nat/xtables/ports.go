package xtables

import (
	"strings"
)

// portMatches are the matches on a transport header: xt_tcpudp.h, xt_sctp.h, xt_multiport.h, icmp.
func portMatches() []codec {
	return []codec{
		{name: "tcp", size: 12, save: saveTCP, list: listTCP, parse: parseTCP},
		{name: "udp", size: 10, save: saveUDP, list: listUDP, parse: parseUDP},
		{name: "sctp", size: 292, save: saveSCTP, list: listSCTP, parse: parseSCTP},
		{name: "multiport", revision: 1, size: 48, save: saveMultiport, list: listMultiport, parse: parseMultiport},
		{name: "icmp", size: 4, only: onlyIPv4, save: saveICMP("--icmp-type"), list: listICMP("icmp"), parse: parseICMP("--icmp-type")},
		{name: "icmp6", size: 4, only: onlyIPv6, save: saveICMP("--icmpv6-type"), list: listICMP("ipv6-icmp"), parse: parseICMP("--icmpv6-type")},
	}
}

// ports is a range in the kernel's struct and whether it is inverted.
func savePorts(p *printer, option string, b []byte, inv bool) {
	lo, hi := order.Uint16(b), order.Uint16(b[2:])
	if lo == 0 && hi == 0xffff && !inv {
		return
	}
	p.not(inv)
	p.f(" %s %s", option, pair(lo, hi, ":"))
}

func listPorts(p *printer, name string, b []byte, inv bool) {
	lo, hi := order.Uint16(b), order.Uint16(b[2:])
	if lo == 0 && hi == 0xffff && !inv {
		return
	}
	if lo != hi {
		name += "s"
	}
	p.f(" %s:", name)
	if inv {
		p.WriteByte('!')
	}
	p.WriteString(pair(lo, hi, ":"))
}

func parsePorts(a *args, b []byte) {
	lo, hi := a.span(":", 16)
	order.PutUint16(b, uint16(lo))
	order.PutUint16(b[2:], uint16(hi))
}

func anyPorts(b []byte) {
	order.PutUint16(b, 0)
	order.PutUint16(b[2:], 0xffff)
}

// Bits of xt_tcp.invflags and xt_udp.invflags.
const (
	invSrcPort = 1
	invDstPort = 2
	invFlags   = 4
	invOption  = 8
)

// tcpFlags are the bits of the TCP header's flag byte that xt_tcp knows.
var tcpFlags = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

func tcpFlagNames(v byte) string {
	if v == 0 {
		return "NONE"
	}
	s, _ := bitNames(uint32(v), tcpFlags, []int{0, 1, 2, 3, 4, 5})
	return s
}

func parseTCPFlags(a *args) byte {
	switch w := a.value(); w {
	case "NONE":
		return 0
	case "ALL":
		return 0x3f
	default:
		a.words = append([]string{w}, a.words...)
		return byte(a.bits(tcpFlags))
	}
}

// struct xt_tcp { __u16 spts[2], dpts[2]; __u8 option, flg_mask, flg_cmp, invflags; }
func saveTCP(p *printer, d []byte) {
	inv := d[11]
	p.only(uint32(inv), 15)
	savePorts(p, "--sport", d, inv&invSrcPort != 0)
	savePorts(p, "--dport", d[4:], inv&invDstPort != 0)
	if d[8] != 0 || inv&invOption != 0 {
		p.not(inv&invOption != 0)
		p.f(" --tcp-option %d", d[8])
	}
	if d[9] != 0 || inv&invFlags != 0 {
		p.only(uint32(d[9]|d[10]), 0x3f)
		p.not(inv&invFlags != 0)
		p.f(" --tcp-flags %s %s", tcpFlagNames(d[9]), tcpFlagNames(d[10]))
	}
}

func listTCP(p *printer, d []byte) {
	inv := d[11]
	bang := func(bit byte) string {
		if inv&bit != 0 {
			return "!"
		}
		return ""
	}
	p.WriteString(" tcp")
	listPorts(p, "spt", d, inv&invSrcPort != 0)
	listPorts(p, "dpt", d[4:], inv&invDstPort != 0)
	if d[8] != 0 || inv&invOption != 0 {
		p.f(" option=%s%d", bang(invOption), d[8])
	}
	if d[9] != 0 || inv&invFlags != 0 {
		p.f(" flags:%s0x%02X/0x%02X", bang(invFlags), d[9], d[10])
	}
}

func parseTCP(a *args, d []byte) {
	anyPorts(d)
	anyPorts(d[4:])
	for o, ok := a.next(); ok; o, ok = a.next() {
		var bit byte
		switch o {
		case "--sport":
			bit = invSrcPort
			parsePorts(a, d)
		case "--dport":
			bit = invDstPort
			parsePorts(a, d[4:])
		case "--tcp-option":
			bit = invOption
			d[8] = byte(a.number(8))
		case "--tcp-flags":
			bit = invFlags
			d[9] = parseTCPFlags(a)
			d[10] = parseTCPFlags(a)
		default:
			a.unknown(o)
		}
		if a.not {
			d[11] |= bit
		}
	}
}

// struct xt_udp { __u16 spts[2], dpts[2]; __u8 invflags; }
func saveUDP(p *printer, d []byte) {
	p.only(uint32(d[8]), 3)
	savePorts(p, "--sport", d, d[8]&invSrcPort != 0)
	savePorts(p, "--dport", d[4:], d[8]&invDstPort != 0)
}

func listUDP(p *printer, d []byte) {
	p.WriteString(" udp")
	listPorts(p, "spt", d, d[8]&invSrcPort != 0)
	listPorts(p, "dpt", d[4:], d[8]&invDstPort != 0)
}

func parseUDP(a *args, d []byte) {
	anyPorts(d)
	anyPorts(d[4:])
	for o, ok := a.next(); ok; o, ok = a.next() {
		at, bit := 0, byte(invSrcPort)
		switch o {
		case "--sport":
		case "--dport":
			at, bit = 4, invDstPort
		default:
			a.unknown(o)
			return
		}
		parsePorts(a, d[at:])
		if a.not {
			d[8] |= bit
		}
	}
}

// struct xt_sctp_info { __u16 dpts[2], spts[2]; __u32 chunkmap[64], chunk_match_type; flag_info[4] of 3 bytes;
// int flag_count; __u32 flags, invflags; }
const (
	sctpFlags, sctpInv          = 284, 288
	sctpSrc, sctpDst            = 1, 2
	sctpFlagInfo, sctpFlagInfos = 268, 4
)

func saveSCTP(p *printer, d []byte) {
	flags, inv := order.Uint32(d[sctpFlags:]), order.Uint32(d[sctpInv:])
	p.only(flags|inv, sctpSrc|sctpDst) // chunk types are kept as bytes
	if flags&sctpSrc != 0 {
		p.not(inv&sctpSrc != 0)
		p.f(" --sport %s", pair(order.Uint16(d[4:]), order.Uint16(d[6:]), ":"))
	}
	if flags&sctpDst != 0 {
		p.not(inv&sctpDst != 0)
		p.f(" --dport %s", pair(order.Uint16(d), order.Uint16(d[2:]), ":"))
	}
}

func listSCTP(p *printer, d []byte) {
	flags, inv := order.Uint32(d[sctpFlags:]), order.Uint32(d[sctpInv:])
	p.WriteString(" sctp")
	if flags&sctpSrc != 0 {
		listPorts(p, "spt", d[4:], inv&sctpSrc != 0)
	}
	if flags&sctpDst != 0 {
		listPorts(p, "dpt", d, inv&sctpDst != 0)
	}
}

func parseSCTP(a *args, d []byte) {
	for i := range sctpFlagInfos {
		d[sctpFlagInfo+3*i] = 0xff // no chunk type
	}
	for o, ok := a.next(); ok; o, ok = a.next() {
		at, bit := 4, uint32(sctpSrc)
		switch o {
		case "--sport":
		case "--dport":
			at, bit = 0, sctpDst
		default:
			a.unknown(o)
			return
		}
		parsePorts(a, d[at:])
		order.PutUint32(d[sctpFlags:], order.Uint32(d[sctpFlags:])|bit)
		if a.not {
			order.PutUint32(d[sctpInv:], order.Uint32(d[sctpInv:])|bit)
		}
	}
}

// struct xt_multiport_v1 { __u8 flags, count; __u16 ports[15]; __u8 pflags[15], invert; }
var multiportKinds = []string{"sports", "dports", "ports"}

func multiportList(p *printer, d []byte) string {
	if d[0] > 2 || d[1] > 15 {
		p.unsaid = true
		return ""
	}
	var b strings.Builder
	for i := range int(d[1]) {
		port := order.Uint16(d[2+2*i:])
		switch {
		case i == 0:
		case d[32+i-1] != 0: // XT_MULTIPORT_RANGE: the port before begins a range that ends here
			b.WriteByte(':')
		default:
			b.WriteByte(',')
		}
		b.WriteString(pair(port, port, ""))
	}
	return b.String()
}

func saveMultiport(p *printer, d []byte) {
	list := multiportList(p, d)
	if !p.unsaid {
		p.not(d[47] != 0)
		p.f(" --%s %s", multiportKinds[d[0]], list)
	}
}

func listMultiport(p *printer, d []byte) {
	list := multiportList(p, d)
	if p.unsaid {
		return
	}
	bang := ""
	if d[47] != 0 {
		bang = " !"
	}
	p.f(" multiport %s %s%s", multiportKinds[d[0]], bang, list)
}

func parseMultiport(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		kind := 0
		for kind < 3 && "--"+multiportKinds[kind] != o {
			kind++
		}
		if kind == 3 {
			a.unknown(o)
			return
		}
		d[0] = byte(kind)
		if a.not {
			d[47] = 1
		}
		n := 0
		for w := range strings.SplitSeq(a.value(), ",") {
			one := args{family: a.family, words: []string{w}}
			lo, hi := one.span(":", 16)
			list := []uint64{lo, hi}
			if !strings.Contains(w, ":") {
				list = list[:1]
			}
			if one.err != nil || n+len(list) > 15 {
				a.fail("%s: %q, or more than 15 ports", o, w)
				return
			}
			for i, port := range list {
				order.PutUint16(d[2+2*n:], uint16(port))
				if i == 0 && len(list) == 2 {
					d[32+n] = 1
				}
				n++
			}
		}
		d[1] = byte(n)
	}
}

// struct ipt_icmp { __u8 type, code[2], invflags; }
func saveICMP(option string) func(*printer, []byte) {
	return func(p *printer, d []byte) {
		p.only(uint32(d[3]), 1)
		p.not(d[3] != 0)
		switch {
		case d[0] == 0xff && d[1] == 0 && d[2] == 0xff:
			p.f(" %s any", option)
		case d[1] == 0 && d[2] == 0xff:
			p.f(" %s %d", option, d[0])
		case d[1] == d[2]:
			p.f(" %s %d/%d", option, d[0], d[1])
		default:
			p.unsaid = true
		}
	}
}

func listICMP(name string) func(*printer, []byte) {
	return func(p *printer, d []byte) {
		p.f(" %s", name)
		p.not(d[3] != 0)
		p.f("type %d", d[0])
		if d[1] == d[2] {
			p.f(" code %d", d[1])
		} else if d[1] != 0 || d[2] != 0xff {
			p.f(" codes %d-%d", d[1], d[2])
		}
	}
}

func parseICMP(option string) func(*args, []byte) {
	return func(a *args, d []byte) {
		d[0], d[2] = 0xff, 0xff
		for o, ok := a.next(); ok; o, ok = a.next() {
			if o != option {
				a.unknown(o)
				return
			}
			if a.not {
				d[3] = 1
			}
			t, code, has := strings.Cut(a.value(), "/")
			if t == "any" && !has {
				continue
			}
			one := args{words: []string{t, code}}
			d[0] = byte(one.number(8))
			if has {
				d[1] = byte(one.number(8))
				d[2] = d[1]
			}
			if one.err != nil {
				a.fail("%s: %w", o, one.err)
			}
		}
	}
}
