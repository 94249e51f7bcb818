package xtables

import (
	"net/netip"
	"strings"

	"natlab/nat"
)

// natTargets are the targets of xt_nat.c and friends. Three structs serve them:
//
//	nf_nat_ipv4_multi_range_compat { __u32 rangesize; struct { __u32 flags; __be32 min_ip, max_ip; __be16 min, max; } range[1]; }
//	nf_nat_range  { __u32 flags; union nf_inet_addr min_addr, max_addr; __be16 min_proto, max_proto; }
//	nf_nat_range2 { ... the same, and __be16 base_proto; }
func natTargets() []codec {
	return []codec{
		natCodec("DNAT", 2, bothFamilies, range2Layout, "--to-destination"),
		natCodec("DNAT", 1, onlyIPv6, rangeLayout, "--to-destination"),
		natCodec("DNAT", 0, onlyIPv4, multiLayout, "--to-destination"),
		natCodec("SNAT", 1, onlyIPv6, rangeLayout, "--to-source"),
		natCodec("SNAT", 0, onlyIPv4, multiLayout, "--to-source"),
		natCodec("SNAT", 2, bothFamilies, range2Layout, "--to-source"),
		natCodec("MASQUERADE", 0, onlyIPv4, multiLayout, "--to-ports"),
		natCodec("MASQUERADE", 0, onlyIPv6, rangeLayout, "--to-ports"),
		natCodec("REDIRECT", 0, onlyIPv4, multiLayout, "--to-ports"),
		natCodec("REDIRECT", 0, onlyIPv6, rangeLayout, "--to-ports"),
		natCodec("NETMAP", 0, onlyIPv4, multiLayout, "--to"),
		natCodec("NETMAP", 0, onlyIPv6, rangeLayout, "--to"),
	}
}

// natLayout is one of the three structs.
type natLayout uint8

const (
	multiLayout natLayout = iota
	rangeLayout
	range2Layout
)

func (l natLayout) size() int { return [...]int{20, 40, 42}[l] }

// natRange is what all three structs say.
type natRange struct {
	flags            uint32
	min, max         netip.Addr
	minPort, maxPort uint16
	base             uint16 // range2 only
}

// Bits of natRange.flags: NF_NAT_RANGE_*.
const (
	natMapIPs      = 1 << 0
	natPorts       = 1 << 1
	natRandom      = 1 << 2
	natPersistent  = 1 << 3
	natRandomFully = 1 << 4
	natOffset      = 1 << 5
	natNetmap      = 1 << 6
)

// read takes the first range of a struct.
func (l natLayout) read(f nat.Family, d []byte) natRange {
	if l == multiLayout {
		return readMulti(d[4:])
	}
	r := natRange{
		flags: order.Uint32(d), min: inetAddr(f, d[4:]), max: inetAddr(f, d[20:]),
		minPort: be16(d[36:]), maxPort: be16(d[38:]),
	}
	if l == range2Layout {
		r.base = be16(d[40:])
	}
	return r
}

// readMulti takes one element of nf_nat_ipv4_multi_range_compat.range.
func readMulti(d []byte) natRange {
	return natRange{flags: order.Uint32(d), min: inetAddr(nat.IPv4, d[4:]), max: inetAddr(nat.IPv4, d[8:]), minPort: be16(d[12:]), maxPort: be16(d[14:])}
}

func (l natLayout) write(r natRange, d []byte) {
	n, ports := 16, 36 // length of an address, offset of the ports
	if l == multiLayout {
		order.PutUint32(d, 1)
		d, n, ports = d[4:], 4, 12
	}
	lo, hi := d[4:4+n], d[4+n:4+2*n]
	order.PutUint32(d, r.flags)
	copy(lo, r.min.AsSlice())
	copy(hi, r.max.AsSlice())
	for i, port := range []uint16{r.minPort, r.maxPort, r.base} {
		if i < 2 || l == range2Layout {
			d[ports+2*i], d[ports+2*i+1] = byte(port>>8), byte(port)
		}
	}
}

// natCodec makes the codec of one target in one layout.
func natCodec(name string, revision uint8, only families, l natLayout, option string) codec {
	return codec{
		name: name, revision: revision, target: true, only: only, size: l.size(),
		save: func(p *printer, d []byte) {
			r := l.checked(p, d)
			r.save(p, name, option)
		},
		list: func(p *printer, d []byte) {
			r := l.checked(p, d)
			r.list(p, name)
		},
		parse: func(a *args, d []byte) {
			r := natRange{min: inetAddr(a.family, make([]byte, 16)), max: inetAddr(a.family, make([]byte, 16))}
			r.parse(a, name, option)
			if l != range2Layout && r.flags&natOffset != 0 {
				a.fail("%s: a base port needs revision 2", name)
			}
			l.write(r, d)
		},
	}
}

// checked reads the struct and notes what the options cannot say of it.
func (l natLayout) checked(p *printer, d []byte) natRange {
	if l == multiLayout && order.Uint32(d) != 1 {
		p.unsaid = true
	}
	r := l.read(p.family, d)
	p.only(r.flags, 127)
	return r
}

// to prints ADDR[-ADDR][:PORT[-PORT][/BASE]].
func (r natRange) to() string {
	var b strings.Builder
	if r.flags&natMapIPs != 0 {
		ips := r.min.String()
		if r.max != r.min {
			ips += "-" + r.max.String()
		}
		if r.min.Is6() && r.flags&natPorts != 0 {
			ips = "[" + ips + "]"
		}
		b.WriteString(ips)
	}
	if r.flags&natPorts != 0 {
		b.WriteString(":" + r.ports())
	}
	return b.String()
}

func (r natRange) ports() string {
	s := pair(r.minPort, r.maxPort, "-")
	if r.flags&natOffset != 0 {
		s += "/" + pair(r.base, r.base, "")
	}
	return s
}

// save prints a range as one of the targets does.
func (r natRange) save(p *printer, name, option string) {
	switch name {
	case "DNAT", "SNAT":
		p.f(" %s %s", option, r.to())
	case "NETMAP":
		p.f(" %s %s", option, r.network(p))
	default:
		if r.flags&natPorts != 0 {
			p.f(" %s %s", option, r.ports())
		}
	}
	p.flag(r.flags&natRandom != 0, "--random")
	p.flag(r.flags&natRandomFully != 0 && printsRandomFully(p.version, name), "--random-fully")
	p.flag(r.flags&natPersistent != 0, "--persistent")
}

// list prints a range as iptables -L does.
func (r natRange) list(p *printer, name string) {
	switch name {
	case "DNAT", "SNAT":
		p.f(" to:%s", r.to())
	case "NETMAP":
		p.f(" to:%s", r.network(p))
	case "MASQUERADE":
		if r.flags&natPorts != 0 {
			p.f(" masq ports: %s", r.ports())
		}
	case "REDIRECT":
		if r.flags&natPorts != 0 {
			p.f(" redir ports %s", r.ports())
		}
	}
	p.flag(r.flags&natRandom != 0, "random")
	p.flag(r.flags&natRandomFully != 0 && printsRandomFully(p.version, name), "random-fully")
	p.flag(r.flags&natPersistent != 0, "persistent")
}

// network is NETMAP's range: max differs from min in the host's bits only, and the mask is what they share.
func (r natRange) network(p *printer) string {
	lo, hi := r.min.AsSlice(), r.max.AsSlice()
	m := make([]byte, len(lo))
	for i := range lo {
		m[i] = ^(lo[i] ^ hi[i])
	}
	mask, _ := netip.AddrFromSlice(m)
	if _, ok := maskBits(mask); !ok {
		p.unsaid = true
	}
	return maskedAddr(r.min, mask)
}

func (r *natRange) parse(a *args, name, option string) {
	for o, ok := a.next(); ok; o, ok = a.next() {
		switch {
		case a.not:
			a.unknown("! " + o)
		case o == option && name == "NETMAP":
			r.parseNetwork(a)
		case o == option && name != "DNAT" && name != "SNAT":
			r.parsePorts(a, a.value())
		case o == option:
			r.parseTo(a, a.value())
		case o == "--random":
			r.flags |= natRandom
		case o == "--random-fully":
			r.flags |= natRandomFully
		case o == "--persistent":
			r.flags |= natPersistent
		default:
			a.unknown(o)
		}
	}
}

func (r *natRange) parseTo(a *args, s string) {
	ips, ports, hasPorts := s, "", false
	if a.family == nat.IPv6 {
		if rest, ok := strings.CutPrefix(s, "["); ok {
			ips, ports, ok = strings.Cut(rest, "]")
			ports, hasPorts = strings.CutPrefix(ports, ":")
			if !ok || (ports != "" && !hasPorts) {
				a.fail("%q: want [ADDRESS]:PORT", s)
			}
		} else if rest, ok := strings.CutPrefix(s, ":"); ok && !strings.Contains(rest, ":") {
			ips, ports, hasPorts = "", rest, true
		}
	} else {
		ips, ports, hasPorts = strings.Cut(s, ":")
	}
	if ips != "" {
		lo, hi, two := strings.Cut(ips, "-")
		if !two {
			hi = lo
		}
		var b [32]byte
		a.addr(lo, b[:16])
		a.addr(hi, b[16:])
		r.min, r.max = inetAddr(a.family, b[:]), inetAddr(a.family, b[16:])
		r.flags |= natMapIPs
	}
	if hasPorts {
		r.parsePorts(a, ports)
	}
}

func (r *natRange) parsePorts(a *args, s string) {
	span, base, shifted := strings.Cut(s, "/")
	one := args{words: []string{span}}
	lo, hi := one.span("-", 16)
	if one.err != nil || span == "" || strings.HasPrefix(span, "-") || strings.HasSuffix(span, "-") {
		a.fail("%q is no range of ports", s)
		return
	}
	r.minPort, r.maxPort = uint16(lo), uint16(hi)
	r.flags |= natPorts
	if shifted {
		b := args{words: []string{base}}
		if r.base = b.u16(); b.err != nil {
			a.fail("%q: base port: %w", s, b.err)
		}
		r.flags |= natOffset
	}
}

func (r *natRange) parseNetwork(a *args) {
	n := r.min.BitLen() / 8
	addr, mask := make([]byte, 16), make([]byte, 16)
	parseMasked(a, a.value(), addr, mask)
	hi := make([]byte, n)
	for i := range hi {
		hi[i] = addr[i] | ^mask[i]
	}
	r.min = inetAddr(a.family, addr)
	r.max, _ = netip.AddrFromSlice(hi)
	r.flags |= natMapIPs
}
