package xtables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// smallExtensions say one thing each.
func smallExtensions() []codec {
	return []codec{
		{name: "length", size: 5, save: saveLength, list: listLength, parse: parseLength},
		{name: "mac", size: 12, save: saveMAC, list: listMAC, parse: parseMAC},
		{name: "pkttype", size: 8, save: savePktType, list: listPktType, parse: parsePktType},
		{name: "dscp", size: 2, save: saveDSCPMatch, list: listDSCPMatch, parse: parseDSCPMatch},
		{name: "DSCP", target: true, size: 1, save: saveDSCP, list: listDSCP, parse: parseDSCP},
		{name: "TOS", revision: 1, target: true, size: 2, save: saveTOS, list: listTOS, parse: parseTOS},
		{name: "CLASSIFY", target: true, size: 4, save: saveClassify, list: listClassify, parse: parseClassify},
	}
}

// one reads the single option of such an extension; it returns false at its end and after an error.
func one(a *args, options ...string) (string, bool) {
	o, ok := a.next()
	if !ok {
		return "", false
	}
	if slices.Contains(options, o) {
		return o, true
	}
	a.unknown(o)
	return "", false
}

// struct xt_length_info { __u16 min, max; __u8 invert; }
func saveLength(p *printer, d []byte) {
	p.not(d[4] != 0)
	p.f(" --length %s", pair(order.Uint16(d), order.Uint16(d[2:]), ":"))
}

func listLength(p *printer, d []byte) {
	p.f(" length %s%s", bang(d[4] != 0, ""), pair(order.Uint16(d), order.Uint16(d[2:]), ":"))
}

func parseLength(a *args, d []byte) {
	for _, ok := one(a, "--length"); ok; _, ok = one(a, "--length") {
		if a.not {
			d[4] = 1
		}
		parsePorts(a, d)
	}
}

// struct xt_mac_info { unsigned char srcaddr[6]; int invert; }
func macText(d []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", d[0], d[1], d[2], d[3], d[4], d[5])
}

func saveMAC(p *printer, d []byte) {
	p.not(order.Uint32(d[8:]) != 0)
	p.f(" --mac-source %s", macText(d))
}

func listMAC(p *printer, d []byte) {
	p.WriteString(" MAC")
	p.not(order.Uint32(d[8:]) != 0)
	p.f(" %s", macText(d))
}

func parseMAC(a *args, d []byte) {
	for _, ok := one(a, "--mac-source"); ok; _, ok = one(a, "--mac-source") {
		if a.not {
			order.PutUint32(d[8:], 1)
		}
		s := a.value()
		parts := strings.Split(s, ":")
		for i, w := range parts {
			n, err := strconv.ParseUint(w, 16, 8)
			if err != nil || len(parts) != 6 {
				a.fail("--mac-source %q", s)
				return
			}
			d[i] = byte(n)
		}
	}
}

// pktTypes are PACKET_HOST and so on, as the program names them.
var pktTypes = []string{"unicast", "broadcast", "multicast"}

// struct xt_pkttype_info { int pkttype, invert; }
func pktType(p *printer, d []byte) string {
	if n := order.Uint32(d); n < uint32(len(pktTypes)) {
		return pktTypes[n]
	}
	p.unsaid = true
	return pair(order.Uint32(d), order.Uint32(d), "")
}

func savePktType(p *printer, d []byte) {
	p.not(order.Uint32(d[4:]) != 0)
	p.f(" --pkt-type %s", pktType(p, d))
}

func listPktType(p *printer, d []byte) {
	p.f(" PKTTYPE %s= %s", bang(order.Uint32(d[4:]) != 0, ""), pktType(p, d))
}

func parsePktType(a *args, d []byte) {
	for _, ok := one(a, "--pkt-type"); ok; _, ok = one(a, "--pkt-type") {
		if a.not {
			order.PutUint32(d[4:], 1)
		}
		w, found := a.value(), false
		for i, name := range pktTypes {
			if name == w {
				order.PutUint32(d, uint32(i))
				found = true
			}
		}
		if !found {
			a.fail("--pkt-type %q", w)
		}
	}
}

// struct xt_dscp_info { __u8 dscp, invert; }
func saveDSCPMatch(p *printer, d []byte) {
	p.not(d[1] != 0)
	p.f(" --dscp 0x%02x", d[0])
}

func listDSCPMatch(p *printer, d []byte) { p.f(" DSCP match %s0x%02x", bang(d[1] != 0, ""), d[0]) }

func parseDSCPMatch(a *args, d []byte) {
	for _, ok := one(a, "--dscp"); ok; _, ok = one(a, "--dscp") {
		if a.not {
			d[1] = 1
		}
		d[0] = byte(a.number(6))
	}
}

// struct xt_DSCP_info { __u8 dscp; }
func saveDSCP(p *printer, d []byte) { p.f(" --set-dscp 0x%02x", d[0]) }
func listDSCP(p *printer, d []byte) { p.f(" DSCP set 0x%02x", d[0]) }
func parseDSCP(a *args, d []byte) {
	for _, ok := one(a, "--set-dscp"); ok; _, ok = one(a, "--set-dscp") {
		d[0] = byte(a.number(6))
	}
}

// struct xt_tos_target_info { __u8 tos_value, tos_mask; }
func saveTOS(p *printer, d []byte) { p.f(" --set-tos 0x%02x/0x%02x", d[0], d[1]) }
func listTOS(p *printer, d []byte) { p.WriteString(" TOS"); p.f(" set 0x%02x/0x%02x", d[0], d[1]) }
func parseTOS(a *args, d []byte) {
	for _, ok := one(a, "--set-tos"); ok; _, ok = one(a, "--set-tos") {
		v, m := a.masked()
		if v > 0xff {
			a.fail("--set-tos 0x%x", v)
		}
		d[0], d[1] = byte(v), byte(m)
	}
}

// struct xt_classify_target_info { __u32 priority; }: two halves
func saveClassify(p *printer, d []byte) {
	n := order.Uint32(d)
	p.f(" --set-class %04x:%04x", n>>16, n&0xffff)
}

func listClassify(p *printer, d []byte) {
	n := order.Uint32(d)
	p.f(" CLASSIFY set %x:%x", n>>16, n&0xffff)
}

func parseClassify(a *args, d []byte) {
	for _, ok := one(a, "--set-class"); ok; _, ok = one(a, "--set-class") {
		s := a.value()
		hi, lo, _ := strings.Cut(s, ":")
		h, err1 := strconv.ParseUint(hi, 16, 16)
		l, err2 := strconv.ParseUint(lo, 16, 16)
		if err1 != nil || err2 != nil {
			a.fail("--set-class %q", s)
		}
		order.PutUint32(d, uint32(h<<16|l))
	}
}
