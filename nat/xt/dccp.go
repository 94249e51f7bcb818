package xt

import (
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
)

// DCCPTypes is dccp's --dccp-types: the packet is of one of the types. Types has a bit for each.
type DCCPTypes struct {
	Not   bool
	Types uint16
}

// dccpTypes are the types of packets by their numbers (RFC 4340, 5.1); iptables has one name for all the reserved ones.
var dccpTypes = []string{"REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID"}

const (
	dccpInvalid = 10
	dccpOthers  = 0xffff << dccpInvalid & 0xffff
)

var dccpRow = Extension{
	Name: "dccp", Needs: "-p dccp", Protocols: []nat.Proto{nat.DCCP},
	Options: portOptions(
		Option{Name: "--dccp-types", Values: 1, Not: true},
		Option{Name: "--dccp-option", Values: 1, Not: true},
	),
	Examples: []string{
		"--sport 1 ! --dport 1024:65535", "--dccp-types REQUEST,RESPONSE", "! --dccp-types DATA,INVALID ! --dccp-option 44",
		"--sport 0:65535 --dccp-option 255",
	},
	Listed: listedPorts("dccp", listedDCCP),
	Parse: func(a *Args) Value {
		m := Ports{Protocol: "dccp"}
		a.Once()
		for g := range a.Options {
			switch g.Name() {
			case "--sport":
				m.Source = g.portRange(nat.DCCP, decimal)
			case "--dport":
				m.Destination = g.portRange(nat.DCCP, decimal)
			case "--dccp-types":
				m.Types = &DCCPTypes{g.Not, g.dccpTypes()}
			case "--dccp-option":
				m.Option = &HeaderOption{g.Not, uint8(g.Within(1, 255))}
			}
		}
		return m
	},
	// struct xt_dccp_info { __u16 dpts[2], spts[2], flags, invflags, typemask; __u8 option; }
	Layouts: layouts(layout(0, 16, decodeDCCP, encodeDCCP)),
}

func (g *Given) dccpTypes() (types uint16) {
	for word := range strings.SplitSeq(g.Text(), ",") {
		i := slices.IndexFunc(dccpTypes, func(name string) bool { return strings.EqualFold(name, word) })
		if i < 0 {
			g.bad(0, "types of "+strings.Join(dccpTypes, ","))
			return 0
		}
		types |= 1 << i
	}
	if types&(1<<dccpInvalid) != 0 {
		types |= dccpOthers
	}
	return types
}

func decodeDCCP(d []byte, _ *Env) (Ports, bool) {
	asked, inv, types := order.Uint16(d[8:]), order.Uint16(d[10:]), order.Uint16(d[12:])
	m := Ports{Protocol: "dccp"}
	m.Source = rangeIf(asked&headerSource != 0, d[4:], inv&headerSource != 0)
	m.Destination = rangeIf(asked&headerDestination != 0, d, inv&headerDestination != 0)
	ok := asked&^0xf == 0 && inv&^asked == 0
	if asked&headerThird != 0 {
		m.Types = &DCCPTypes{inv&headerThird != 0, types}
		ok = ok && types != 0 && (types&dccpOthers == 0 || types&dccpOthers == dccpOthers)
	}
	if asked&headerFourth != 0 {
		m.Option = &HeaderOption{inv&headerFourth != 0, d[14]}
		ok = ok && d[14] != 0
	}
	return m, ok
}

func encodeDCCP(m Ports, d []byte, _ *Env) error {
	if m.Source != nil {
		putPorts(d[4:], m.Source)
	}
	if m.Destination != nil {
		putPorts(d, m.Destination)
	}
	asked := bitIf[uint16](m.Source != nil, headerSource) | bitIf[uint16](m.Destination != nil, headerDestination)
	inv := uint16(m.Source.inverted(headerSource) | m.Destination.inverted(headerDestination))
	if t := m.Types; t != nil {
		asked |= headerThird
		inv |= bitIf[uint16](t.Not, headerThird)
		order.PutUint16(d[12:], t.Types)
	}
	if o := m.Option; o != nil {
		asked |= headerFourth
		inv |= bitIf[uint16](o.Not, headerFourth)
		d[14] = o.Number
	}
	order.PutUint16(d[8:], asked)
	order.PutUint16(d[10:], inv)
	return nil
}

func (t *DCCPTypes) save(p *Printer) {
	if t == nil {
		return
	}
	list := bitNames(uint32(t.Types), dccpTypes, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, dccpInvalid})
	p.Option(t.Not, "--dccp-types", list)
}

func listedDCCP(l *Listing) {
	was := *l
	not := l.TakeWord("!")
	var types []string
	for word := range strings.SplitSeq(l.Word(), ",") {
		if n, ok := Number(word, 15); ok {
			word = dccpTypes[min(n, dccpInvalid)]
		}
		if !slices.Contains(dccpTypes, word) {
			types = nil
			break
		}
		types = append(types, word)
	}
	if types == nil {
		*l = was
	} else {
		l.Give("--dccp-types", not, strings.Join(types, ","))
	}
	if l.Take("option=") {
		l.Give("--dccp-option", l.Bang(), l.Word())
	}
}

// list prints the numbers of the types.
func (t *DCCPTypes) list(p *Printer) {
	var numbers []string
	for kind := range 16 {
		if t.Types&(1<<kind) != 0 {
			numbers = append(numbers, strconv.Itoa(kind))
		}
	}
	p.Not(t.Not)
	p.Text(" ", strings.Join(numbers, ","))
}

// meets reports whether a packet's type is one that is asked for; nil asks for any.
func (t *DCCPTypes) meets(kind uint8) bool { return t == nil || t.Types&(1<<kind) != 0 != t.Not }

// dccpType is the type in a DCCP header.
func dccpType(h []byte) uint8 { return h[8] >> 1 & 15 }

func dccpTypeName(kind uint8) string {
	if kind >= dccpInvalid {
		return strconv.Itoa(int(kind)) + ", which is reserved"
	}
	return dccpTypes[kind]
}

// dccpOptions are the options of a DCCP header; ok is false where it is shorter than it claims, or claims less than its
// type has in front of them (__dccp_hdr_len).
func dccpOptions(h []byte) (list []byte, ok bool) {
	const extended = 1 // 48-bit sequence numbers
	begin := 12
	if h[8]&extended != 0 {
		begin += 4
	}
	switch dccpType(h) {
	case 0: // REQUEST
		begin += 4
	case 2: // DATA
	case 3, 4, 5, 6, 8, 9: // ACK, DATAACK, CLOSEREQ, CLOSE, SYNC, SYNCACK
		begin += 8
	default: // RESPONSE, RESET
		begin += 12
	}
	if end := int(h[4]) * 4; end >= begin && end <= max(begin, len(h)) {
		return h[min(begin, len(h)):min(end, len(h))], true
	}
	return nil, false
}
