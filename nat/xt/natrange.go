package xt

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// NATStruct is one of the three structs that hold the range of a NAT target.
type NATStruct uint8

// The structs.
const (
	// MultiRange is struct nf_nat_ipv4_multi_range_compat { __u32 rangesize; struct nf_nat_ipv4_range { __u32 flags; __be32
	// min_ip, max_ip; __be16 min, max; } range[1]; }. Today's kernels take one range only.
	MultiRange NATStruct = iota
	// SingleRange is struct nf_nat_range { __u32 flags; union nf_inet_addr min_addr, max_addr; __be16 min_proto, max_proto; }.
	SingleRange
	// ShiftedRange is struct nf_nat_range2: SingleRange with a __be16 base_proto behind it.
	ShiftedRange
)

// Size is the struct's length in bytes.
func (s NATStruct) Size() int { return [...]int{20, 40, 42}[s] }

// NATFields are what all three structs hold. Addresses are of the family whether they count or not; ports are in host byte
// order.
type NATFields struct {
	Flags            uint32 // NF_NAT_RANGE_*
	Min, Max         netip.Addr
	MinPort, MaxPort uint16
	Base             uint16 // of a ShiftedRange
}

// Bits of NATFields.Flags (linux/netfilter/nf_nat.h).
const (
	NATMapIPs      = 1 << 0 // NF_NAT_RANGE_MAP_IPS
	NATPorts       = 1 << 1 // NF_NAT_RANGE_PROTO_SPECIFIED
	NATRandom      = 1 << 2
	NATPersistent  = 1 << 3
	NATRandomFully = 1 << 4
	NATOffset      = 1 << 5 // NF_NAT_RANGE_PROTO_OFFSET
)

// Read takes the struct's first range.
func (s NATStruct) Read(f nat.Family, d []byte) NATFields {
	if s == MultiRange {
		return ReadMultiRange(d[4:])
	}
	r := NATFields{
		Flags: order.Uint32(d), Min: inetAddr(f, d[4:]), Max: inetAddr(f, d[20:]),
		MinPort: be16(d[36:]), MaxPort: be16(d[38:]),
	}
	if s == ShiftedRange {
		r.Base = be16(d[40:])
	}
	return r
}

// MultiRangeSize is the length of struct nf_nat_ipv4_range.
const MultiRangeSize = 16

// ReadMultiRange takes one struct nf_nat_ipv4_range.
func ReadMultiRange(d []byte) NATFields {
	return NATFields{
		Flags: order.Uint32(d), Min: inetAddr(nat.IPv4, d[4:]), Max: inetAddr(nat.IPv4, d[8:]),
		MinPort: be16(d[12:]), MaxPort: be16(d[14:]),
	}
}

func (s NATStruct) write(r NATFields, d []byte) {
	width, ports := 16, 36 // length of an address, offset of the ports
	if s == MultiRange {
		order.PutUint32(d, 1)
		d, width, ports = d[4:], 4, 12
	}
	order.PutUint32(d, r.Flags)
	copy(d[4:4+width], r.Min.AsSlice())
	copy(d[4+width:4+2*width], r.Max.AsSlice())
	binary.BigEndian.PutUint16(d[ports:], r.MinPort)
	binary.BigEndian.PutUint16(d[ports+2:], r.MaxPort)
	if s == ShiftedRange {
		binary.BigEndian.PutUint16(d[ports+4:], r.Base)
	}
}

// To is the range as --to-destination has it: ADDR[-ADDR][:PORT[-PORT][/BASE]].
func (r NATFields) To() string {
	var b strings.Builder
	if r.Flags&NATMapIPs != 0 {
		p := Printer{}
		p.Addr(r.Min)
		if r.Max != r.Min {
			p.Text("-")
			p.Addr(r.Max)
		}
		if r.Min.Is6() && r.Flags&NATPorts != 0 {
			b.WriteString("[" + p.String() + "]")
		} else {
			b.WriteString(p.String())
		}
	}
	if r.Flags&NATPorts != 0 {
		b.WriteString(":" + r.Ports())
	}
	return b.String()
}

// Ports are the range's ports: PORT[-PORT][/BASE].
func (r NATFields) Ports() string {
	s := span(r.MinPort, r.MaxPort, "-")
	if r.Flags&NATOffset != 0 {
		s += "/" + span(r.Base, r.Base, "")
	}
	return s
}

// fieldsOf is what a struct holds for a range.
func fieldsOf(r rules.NATRange) NATFields {
	x := NATFields{Min: r.MinAddr, Max: r.MaxAddr, MinPort: r.MinPort, MaxPort: r.MaxPort, Base: r.BasePort}
	if !r.MaxAddr.IsValid() {
		x.Max = x.Min
	}
	for bit, on := range map[uint32]bool{
		NATMapIPs: r.MinAddr.IsValid(), NATPorts: r.HasPorts(), NATRandom: r.Random, NATPersistent: r.Persistent,
		NATRandomFully: r.FullyRandom, NATOffset: r.BasePort != 0,
	} {
		x.Flags |= bitIf(on, bit)
	}
	return x
}

// natRange is the range that a struct holds; ok is false for one that no options make.
func (r NATFields) natRange() (out rules.NATRange, ok bool) {
	out = rules.NATRange{
		Random: r.Flags&NATRandom != 0, FullyRandom: r.Flags&NATRandomFully != 0, Persistent: r.Flags&NATPersistent != 0,
	}
	if r.Flags&NATMapIPs != 0 {
		out.MinAddr, out.MaxAddr = r.Min, r.Max
	}
	ports, shifted := r.Flags&NATPorts != 0, r.Flags&NATOffset != 0
	if ports {
		out.MinPort, out.MaxPort, out.PortZero = r.MinPort, r.MaxPort, r.MaxPort == 0
	}
	if shifted {
		out.BasePort = r.Base
	}
	known := r.Flags&^(NATMapIPs|NATPorts|NATRandom|NATPersistent|NATRandomFully|NATOffset) == 0
	return out, known && r.MinPort <= r.MaxPort && shifted == (out.BasePort != 0) && (ports || !shifted)
}

// natTo reads a range as --to-destination and --to-source have it (parse_to of libxt_NAT.c).
func (g *Given) natTo() (r rules.NATRange) {
	text := g.Text()
	addrs, ports, colon := text, "", strings.Index(text, ":")
	if open := strings.IndexByte(text, '['); open >= 0 {
		shut := strings.IndexByte(text, ']')
		if shut < open || g.args.Family == nat.IPv4 {
			g.bad(0, "an address of "+g.args.Family.String()+", in brackets only in IPv6")
			return r
		}
		addrs = text[open+1 : shut]
		if colon = strings.IndexByte(text[shut:], ':'); colon >= 0 {
			ports = text[shut+colon+1:]
		}
	} else if colon >= 0 && strings.IndexByte(text[colon+1:], ':') < 0 { // two are an IPv6 address
		addrs, ports = text[:colon], text[colon+1:]
	} else {
		colon = -1
	}
	if colon >= 0 {
		r = g.natPorts(ports)
	}
	if addrs == "" && colon >= 0 {
		return r
	}
	low, high, two := strings.Cut(addrs, "-")
	var ok, good bool
	r.MinAddr, ok = g.args.addr(low)
	if r.MaxAddr, good = r.MinAddr, true; two {
		r.MaxAddr, good = g.args.addr(high)
	}
	if !ok || !good {
		g.bad(0, "ADDRESS[-ADDRESS][:PORT[-PORT]] of "+g.args.Family.String())
	}
	return r
}

// natPorts reads PORT, a service's name, or LOW-HIGH[/BASE] (parse_ports of libxt_NAT.c). It takes no notice of whether the rule
// asks for the protocol or for all others.
func (g *Given) natPorts(text string) (r rules.NATRange) {
	if p := max(g.Protocol, g.Excluded); p != nat.TCP && p != nat.UDP && p != nat.SCTP && p != nat.DCCP && p != nat.ICMP {
		g.Fail("a port needs -p tcp, udp, sctp, dccp or icmp before it")
		return r
	}
	var ok bool
	if low, high, two := strings.Cut(text, "-"); two {
		if r.MinPort, ok = numberPort(low); ok {
			high, base, shifted := strings.Cut(high, "/")
			var good bool
			r.MaxPort, good = numberPort(high)
			ok = good && r.MinPort <= r.MaxPort
			if shifted {
				r.BasePort, good = readPort(base, 0, anyBase)
				ok = ok && good && r.BasePort != 0
			}
		}
	}
	if !ok {
		r = rules.NATRange{}
		r.MinPort, ok = readPort(text, 0, anyBase)
		r.MaxPort = r.MinPort
	}
	if !ok {
		g.bad(0, "a port, a service's name, or LOW-HIGH")
	}
	r.PortZero = r.MaxPort == 0
	return r
}

func numberPort(s string) (uint16, bool) {
	n, ok := Number(s, 65535)
	return uint16(n), ok
}
