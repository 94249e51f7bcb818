package gateway

import (
	"bytes"
	"fmt"

	"natlab/nat"
	"natlab/nat/packet"
)

// Options of an IPv4 header (RFC 791, 3.1).
const (
	optionEnd      = 0
	optionNothing  = 1
	optionRecord   = 7
	optionTime     = 68
	optionLoose    = 131
	optionSecurity = 134 // CIPSO
	optionStrict   = 137
	optionAlert    = 148 // for routers (RFC 2113), of which none is known to listen
)

// optionsIn looks at the options of an IPv4 packet that has its route (ip_rcv_options). false: it goes no further. Those that a router
// acts on or writes into are not modelled.
func (v *visit) optionsIn(p *passage) bool {
	wrong, what := readOptions(p.pkt.Options())
	switch {
	case what != "" && wrong < 0:
		v.unmodelled(what)
	case what != "":
		const parameterProblem = 12
		v.lost("options", what)
		v.error(p, parameterProblem, 0, uint32(20+wrong)<<24)
	}
	return what == ""
}

// readOptions tells what about options is wrong, and at which of their bytes, or what is not modelled, at -1; "" for neither
// (__ip_options_compile).
func readOptions(list []byte) (wrong int, what string) {
	for at := 0; at < len(list); {
		kind := list[at]
		switch {
		case kind == optionNothing:
			at++
			continue
		case kind == optionEnd && bytes.ContainsFunc(list[at:], func(r rune) bool { return r != 0 }):
			return -1, "what is behind the end of IPv4's options is not modelled"
		case kind == optionEnd:
			return -1, ""
		case at+1 >= len(list) || list[at+1] < 2 || at+int(list[at+1]) > len(list):
			return at, fmt.Sprintf("IPv4 option %d has a wrong length", kind)
		case kind == optionAlert && list[at+1] < 4:
			return at + 1, "the router alert is too short"
		case kind == optionRecord, kind == optionTime, kind == optionLoose, kind == optionSecurity, kind == optionStrict:
			return -1, fmt.Sprintf("IPv4 option %d is not modelled", kind)
		}
		at += int(list[at+1])
	}
	return -1, ""
}

// Extension headers of IPv6, and options in them (RFC 8200, 4; RFC 2711).
const (
	headerHopByHop    nat.Proto = 0
	headerRouting     nat.Proto = 43
	headerFragment    nat.Proto = 44
	headerDestination nat.Proto = 60

	optionPad   = 0
	optionPads  = 1
	option6Wake = 5 // the router alert
)

// hopByHop looks at the hop-by-hop options of an IPv6 packet that came in, in front of all hooks (ipv6_parse_hopopts). false: it goes no
// further.
func (v *visit) hopByHop(p *passage) bool {
	at := 40
	for h := range p.pkt.Headers {
		if h.Type != headerHopByHop {
			return true
		}
		return v.tlv(p, h, at)
	}
	return true
}

// drifted reports whether the node drops UDP of IPv6 for the sum that conntrack has of it: rules have changed the header since, and the kernel
// believes its own sum (udp6_csum_init, csum_complete_sw); what is short it sums again (CHECKSUM_BREAK).
func (v *visit) drifted(p *passage) bool {
	const short = 76
	drift, proto := p.view.Drift, p.view.Tuple.Proto()
	switch h := p.pkt.Transport(); {
	case drift == 0 || drift == 0xffff || p.sound || p.looped || !v.conns.Settings.Checksum:
		return false
	case proto != nat.UDP && proto != nat.UDPLite || !p.pkt.Whole() || p.pkt.UDPLength() <= short || h[6]|h[7] == 0:
		return false
	}
	v.lost("", "the kernel has summed it before a rule changed its header, and takes its checksum for wrong")
	return true
}

// delivered6 walks the extension headers of an IPv6 packet that is for the node (ip6_protocol_deliver_rcu). false: it goes no further.
func (v *visit) delivered6(p *passage) bool {
	at, last := 40, 0
	for h := range p.pkt.Headers {
		switch h.Type {
		case headerFragment:
		case headerHopByHop:
			if at > 40 { // it has its place in front of all others; no protocol has its number
				v.lost("", "hop-by-hop options behind another header")
				v.error(p, v.icmp().protoUnknown, v.icmp().unknownCode, uint32(last))
				return false
			}
		case headerDestination:
			if !v.tlv(p, h, at) {
				return false
			}
		case headerRouting:
			if p.view.Tuple.Dst().Addr().IsMulticast() { // ipv6_rthdr_rcv
				v.lost("", "a routing header of a packet for a group")
				return false
			}
			if kind, left := h.Bytes[2], h.Bytes[3]; left != 0 || kind >= 2 && kind <= 4 {
				v.unmodelled(fmt.Sprintf("a routing header of type %d with %d segments left is not modelled", kind, left))
				return false
			}
		default:
			v.unmodelled(fmt.Sprintf("extension header %d of a packet for the node is not modelled", h.Type))
			return false
		}
		last, at = at, at+len(h.Bytes)
	}
	return true
}

// tlv looks at the options of an extension header, which begins at an offset of the packet (ip6_parse_tlv): padding, and what is not
// known, by its two highest bits (RFC 8200, 4.2). false: the packet goes no further.
func (v *visit) tlv(p *passage, h packet.Header, begin int) bool {
	for b, at := h.Bytes, 2; at < len(b); {
		kind := b[at]
		if kind == optionPad {
			at++
			continue
		}
		if at+1 >= len(b) || at+2+int(b[at+1]) > len(b) {
			v.lost("", fmt.Sprintf("an option of extension header %d is cut short", h.Type))
			return false
		}
		data := b[at+2 : at+2+int(b[at+1])]
		switch {
		case kind == optionPads:
			for _, pad := range data {
				if pad != 0 {
					v.lost("", "padding that is not zero")
					return false
				}
			}
		case kind == option6Wake && h.Type == headerHopByHop && len(data) == 2:
		case kind>>6 == 0 && kind >= 16 && kind != 49: // skipped
		case kind == 0x5e, kind == 0x7e, kind == 0x9e, kind == 0xbe, kind == 0xde, kind == 0xfe: // RFC 4727's, which nobody knows
			v.refused(p, kind, begin+at)
			return false
		default:
			v.unmodelled(fmt.Sprintf("option %d of extension header %d is not modelled", kind, h.Type))
			return false
		}
		at += 2 + len(data)
	}
	return true
}

// refused drops a packet with an option that is not known, and tells its source where the option asks for that (ip6_tlvopt_unknown).
func (v *visit) refused(p *passage, kind byte, at int) {
	v.lost("", fmt.Sprintf("option %d of an extension header is not known", kind))
	const parameterProblem, unknownOption = 4, 2
	if many := p.view.Tuple.Dst().Addr().IsMulticast(); kind>>6 == 2 || kind>>6 == 3 && !many {
		about := *p
		about.group = false // it is told of what is for many, too (opt_unrec)
		v.error(&about, parameterProblem, unknownOption, uint32(at))
	}
}

// namedAt is the offset of the byte that names an IPv6 packet's transport protocol.
func namedAt(p *packet.Packet) uint32 {
	at, last := 40, 6
	for h := range p.Headers {
		last, at = at, at+len(h.Bytes)
	}
	return uint32(last)
}
