package xtables

import (
	"strings"

	"natlab/nat"
)

// otherTargets are what is left: REJECT, CT, TPROXY, TCPMSS, CHECKSUM.
func otherTargets() []codec {
	return []codec{
		reject(onlyIPv4, rejectIPv4), reject(onlyIPv6, rejectIPv6),
		ctTarget(2, true), ctTarget(1, true), ctTarget(0, false),
		{name: "NOTRACK", target: true, save: saveNothing, list: saveNothing, parse: parseNothing},
		{name: "TPROXY", revision: 1, target: true, size: 26, save: saveTPROXY, list: listTPROXY, parse: parseTPROXY},
		{name: "TPROXY", revision: 0, target: true, only: onlyIPv4, size: 14, save: saveTPROXY, list: listTPROXY, parse: parseTPROXY},
		{name: "TCPMSS", target: true, size: 2, save: saveTCPMSS, list: listTCPMSS, parse: parseTCPMSS},
		{name: "CHECKSUM", target: true, size: 1, save: saveChecksum, list: listChecksum, parse: parseChecksum},
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

// Bits of xt_ct_target_info_v1.flags: XT_CT_*.
const (
	ctNotrack      = 1 << 0
	ctNotrackAlias = 1 << 1 // written as -j NOTRACK
	ctZoneOrig     = 1 << 2
	ctZoneReply    = 1 << 3
	ctZoneMark     = 1 << 4
)

// ctEvents are the names of enum ip_conntrack_events that --ctevents takes, by bit.
var ctEvents = []string{"new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark"}

var ctEventOrder = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

// ctTarget is struct xt_ct_target_info_v1 { __u16 flags, zone; __u32 ct_events, exp_events; char helper[16],
// timeout[32]; struct nf_conn *ct; }; revision 0 has no timeout.
func ctTarget(revision uint8, timeouts bool) codec {
	dump := func(p *printer, d []byte, dashes string) {
		flags, zone := order.Uint16(d), order.Uint16(d[2:])
		p.only(uint32(flags), 31)
		option := func(on bool, name, value string) {
			if on {
				p.f(" %s%s %s", dashes, name, value)
			}
		}
		p.flag(flags&ctNotrack != 0, dashes+"notrack")
		option(d[12] != 0, "helper", text(d[12:28]))
		if timeouts {
			option(d[28] != 0, "timeout", text(d[28:60]))
		}
		for i, name := range []string{"ctevents", "expevents"} {
			mask := order.Uint32(d[4+4*i:])
			list, known := bitNames(mask, ctEvents, ctEventOrder)
			p.only(mask, known)
			option(mask != 0, name, list)
		}
		kind := "zone"
		switch {
		case flags&ctZoneOrig != 0:
			kind = "zone-orig"
		case flags&ctZoneReply != 0:
			kind = "zone-reply"
		}
		if flags&ctZoneMark != 0 {
			option(true, kind, "mark")
		} else {
			option(zone != 0, kind, pair(zone, zone, ""))
		}
	}
	size := 72
	if !timeouts {
		size = 40
	}
	return codec{
		name: "CT", revision: revision, target: true, size: size, aliases: []string{"NOTRACK"},
		alias: func(_ *printer, d []byte) string {
			if order.Uint16(d)&ctNotrackAlias != 0 {
				return "NOTRACK"
			}
			return "CT"
		},
		save: func(p *printer, d []byte) {
			if order.Uint16(d)&ctNotrackAlias == 0 {
				dump(p, d, "--")
			} else {
				p.only(uint32(order.Uint16(d)), ctNotrack|ctNotrackAlias)
			}
		},
		list: func(p *printer, d []byte) {
			if order.Uint16(d)&ctNotrackAlias != 0 {
				p.WriteString(" NOTRACK")
				return
			}
			p.WriteString(" CT")
			dump(p, d, "")
		},
		parse: func(a *args, d []byte) { parseCT(a, d, timeouts) },
	}
}

func parseCT(a *args, d []byte, timeouts bool) {
	flags := order.Uint16(d)
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch {
		case a.not:
			a.unknown("! " + o)
		case o == "--notrack":
			flags |= ctNotrack
		case o == "--helper":
			a.text(a.value(), d[12:28])
		case o == "--timeout" && timeouts:
			a.text(a.value(), d[28:60])
		case o == "--ctevents":
			order.PutUint32(d[4:], a.bits(ctEvents))
		case o == "--expevents":
			order.PutUint32(d[8:], a.bits(ctEvents))
		case o == "--zone" || o == "--zone-orig" || o == "--zone-reply":
			switch strings.TrimPrefix(o, "--zone") {
			case "-orig":
				flags |= ctZoneOrig
			case "-reply":
				flags |= ctZoneReply
			}
			if len(a.words) > 0 && a.words[0] == "mark" {
				a.value()
				flags |= ctZoneMark
			} else {
				order.PutUint16(d[2:], a.u16())
			}
		default:
			a.unknown(o)
		}
	}
	order.PutUint16(d, flags)
}

// struct xt_tproxy_target_info_v1 { __u32 mark_mask, mark_value; union nf_inet_addr laddr; __be16 lport; };
// revision 0 has a __be32 laddr
func tproxy(p *printer, d []byte) (addr string, port uint16, value, mask uint32) {
	at, f := 8+16, p.family
	if len(d) < 26 {
		at, f = 8+4, nat.IPv4
	}
	return inetAddr(f, d[8:]).String(), be16(d[at:]), order.Uint32(d[4:]), order.Uint32(d)
}

func saveTPROXY(p *printer, d []byte) {
	addr, port, value, mask := tproxy(p, d)
	p.f(" --on-port %d --on-ip %s --tproxy-mark 0x%x/0x%x", port, addr, value, mask)
}

func listTPROXY(p *printer, d []byte) {
	addr, port, value, mask := tproxy(p, d)
	p.f(" TPROXY redirect %s:%d mark 0x%x/0x%x", addr, port, value, mask)
}

func parseTPROXY(a *args, d []byte) {
	at := 8 + 16
	if len(d) < 26 {
		at = 8 + 4
	}
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--on-port":
			port := a.u16()
			d[at], d[at+1] = byte(port>>8), byte(port)
		case "--on-ip":
			a.addr(a.value(), d[8:at])
		case "--tproxy-mark":
			v, m := a.masked()
			order.PutUint32(d[4:], v)
			order.PutUint32(d, m)
		default:
			a.unknown(o)
		}
	}
}

// struct xt_tcpmss_info { __u16 mss; }, all ones for the path's MTU
const clampMSS = 0xffff

func saveTCPMSS(p *printer, d []byte) {
	if mss := order.Uint16(d); mss == clampMSS {
		p.WriteString(" --clamp-mss-to-pmtu")
	} else {
		p.f(" --set-mss %d", mss)
	}
}

func listTCPMSS(p *printer, d []byte) {
	if mss := order.Uint16(d); mss == clampMSS {
		p.WriteString(" TCPMSS clamp to PMTU")
	} else {
		p.f(" TCPMSS set %d", mss)
	}
}

func parseTCPMSS(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch o {
		case "--clamp-mss-to-pmtu":
			order.PutUint16(d, clampMSS)
		case "--set-mss":
			order.PutUint16(d, a.u16())
		default:
			a.unknown(o)
		}
	}
}

// struct xt_CHECKSUM_info { __u8 operation; }
func saveChecksum(p *printer, d []byte) {
	p.only(uint32(d[0]), 1)
	p.flag(d[0] == 1, "--checksum-fill")
}

func listChecksum(p *printer, d []byte) { p.WriteString(" CHECKSUM"); p.flag(d[0] == 1, "fill") }

func parseChecksum(a *args, d []byte) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		if o != "--checksum-fill" {
			a.unknown(o)
			return
		}
		d[0] = 1
	}
}
