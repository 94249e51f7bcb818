package ipset

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
)

// maxExpanded bounds what one line may add, where it names a range.
const maxExpanded = 1 << 16

// add adds a member in words, or all of a range, as ipset add takes them and ipset save prints them. Of a set of which nothing
// is known nothing is read.
func (s *Set) add(words []string) error {
	if s.Unread != "" {
		return nil
	}
	m := member{left: s.timeout}
	for words := words[1:]; len(words) > 0; {
		option := words[0]
		words = words[1:]
		switch option {
		case "nomatch":
			m.noMatch = true
			continue
		case "wildcard":
			m.wildcard = true
			continue
		}
		v, err := value(&words, option)
		if err == nil {
			err = m.option(option, v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", words, err)
		}
	}
	keys, err := s.entries(words[0], &m)
	if err != nil {
		return err
	}
	for _, k := range keys {
		own := m
		s.put(k, &own)
		if s.Type == typeList {
			s.lists = append(s.lists, k)
		}
	}
	return nil
}

func (m *member) option(option, v string) (err error) {
	switch option {
	case "timeout":
		m.left, err = seconds(v)
	case "packets":
		m.packets, err = number[uint64](v, 0, math.MaxUint64)
	case "bytes":
		m.bytes, err = number[uint64](v, 0, math.MaxUint64)
	case "comment":
	case "skbmark":
		mark, mask, has := strings.Cut(v, "/")
		if m.info.Mark, err = number[uint32](mark, 0, math.MaxUint32); err != nil {
			return err
		}
		if m.info.MarkMask = math.MaxUint32; has {
			m.info.MarkMask, err = number[uint32](mask, 0, math.MaxUint32)
		}
	case "skbprio":
		major, minor, _ := strings.Cut(v, ":")
		high, err := strconv.ParseUint(major, 16, 16)
		low, err2 := strconv.ParseUint(minor, 16, 16)
		m.info.Priority = uint32(high)<<16 | uint32(low)
		return errors.Join(err, err2)
	case "skbqueue":
		m.info.Queue, err = number[uint16](v, 0, 1<<16-1)
	default:
		return fmt.Errorf("%q: natlab does not know it; give what ipset save prints", option)
	}
	return err
}

// entries are the keys that one entry in words stands for, "10.0.0.0/8,tcp:80".
func (s *Set) entries(text string, m *member) (keys []key, err error) {
	words := strings.Split(text, ",")
	if s.Type == typeBitmapMAC && len(words) == 1 {
		words = append(words, "")
	}
	if len(words) != len(s.parts) {
		return nil, fmt.Errorf("%q: want %d parts for a %s", text, len(s.parts), s.Type)
	}
	keys = []key{{}}
	at := 0
	for i, word := range words {
		if keys, err = s.with(keys, s.parts[i], at, word, m); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		if s.parts[i] == partIP || s.parts[i] == partNet {
			at++
		}
	}
	return keys, nil
}

// with are keys with one part more, of which at is the place among the addresses.
func (s *Set) with(keys []key, part part, at int, word string, m *member) (out []key, err error) {
	switch part {
	case partIP, partNet:
		nets, err := s.addresses(word, part)
		return product(keys, nets, err, func(k *key, n network) { k.addrs[at] = n })
	case partPort:
		ports, proto, err := s.portRange(word)
		return product(keys, ports, err, func(k *key, port uint16) { k.port, k.proto = port, proto })
	case partMAC:
		mac, err := s.hardware(word, m)
		return product(keys, [][6]byte{mac}, err, func(k *key, mac [6]byte) { k.mac = mac })
	case partDevice:
		var physdev bool
		m.device, physdev = strings.CutPrefix(word, "physdev:")
		return product(keys, []bool{physdev}, nil, func(k *key, physdev bool) { k.physdev = physdev })
	case partMark:
		mark, err := number[uint32](word, 0, math.MaxUint32)
		return product(keys, []uint32{mark & s.mark}, err, func(k *key, mark uint32) { k.mark = mark })
	case partSet:
		return product(keys, []string{word}, nil, func(k *key, set string) { k.set = set })
	}
	return keys, nil
}

// product are the keys with each of some values.
func product[T any](keys []key, values []T, err error, set func(*key, T)) (out []key, _ error) {
	if err == nil && len(keys)*len(values) > maxExpanded {
		err = fmt.Errorf("it stands for more than %d members: give what ipset save prints", maxExpanded)
	}
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		for _, v := range values {
			set(&k, v)
			out = append(out, k)
		}
	}
	return out, nil
}

// hardware is a MAC, which a bitmap's member has besides its key, or none.
func (s *Set) hardware(word string, m *member) (mac [6]byte, err error) {
	if word == "" {
		return mac, nil
	}
	mac, ok := nat.ParseMAC(word)
	switch {
	case !ok:
		err = fmt.Errorf("%q: want six hexadecimal octets, with : between them", word)
	case s.Type == typeBitmapMAC:
		m.mac, m.filled = mac, true
		mac = [6]byte{}
	}
	return mac, err
}

// addresses are an address, a network or a range as members have them: networks, or one address each.
func (s *Set) addresses(text string, part part) (out []network, err error) {
	nets, err := networks(text)
	for _, n := range nets {
		if n.Addr().BitLen() != s.width() {
			return nil, errors.New("it is of the other family")
		}
		if part == partNet {
			if s.mask.IsValid() {
				n = netip.PrefixFrom(masked(n.Addr(), s.mask), n.Bits())
			}
			out = append(out, networkOf(n))
			continue
		}
		for a := n.Addr(); n.Contains(a) && len(out) <= maxExpanded; a = a.Next() {
			if member, ok := s.address(a); ok && (len(out) == 0 || out[len(out)-1] != member) {
				out = append(out, member)
			}
		}
	}
	if err == nil && len(out) == 0 {
		err = errors.New("it is outside of the set's range")
	}
	return out, err
}

// networks are an address, a network, or a range of addresses in as few networks as it takes.
func networks(text string) ([]netip.Prefix, error) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		if a, err := netip.ParseAddr(text); err == nil {
			return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
		}
		p, err := netip.ParsePrefix(text)
		return []netip.Prefix{p.Masked()}, err
	}
	first, err := netip.ParseAddr(from)
	end, err2 := netip.ParseAddr(to)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if first.BitLen() != end.BitLen() || end.Less(first) {
		return nil, fmt.Errorf("range %s: want the lower address in front of the higher one", text)
	}
	var out []netip.Prefix
	for a := first; a.IsValid() && !end.Less(a); a = last(out[len(out)-1]).Next() {
		bits := a.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(a, bits-1)
			if wider.Masked().Addr() != a || end.Less(last(wider)) {
				break
			}
			bits--
		}
		out = append(out, netip.PrefixFrom(a, bits))
	}
	return out, nil
}

// last is the last address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// portRange are ports, "tcp:80" or "udp:53-54", or an ICMP type and code, "icmp:echo-request" or "icmp:8/0". TCP need not be
// named; a bitmap has no protocols.
func (s *Set) portRange(text string) (ports []uint16, p nat.Proto, err error) {
	name, number, named := strings.Cut(text, ":")
	if !named {
		name, number = "tcp", text
	}
	if p, err = nat.ParseProto(name); err != nil {
		return nil, 0, err
	}
	if p == nat.ICMP || p == nat.ICMPv6 {
		ports, err = icmp(p, number)
		return ports, p, err
	}
	low, high, ranged := strings.Cut(number, "-")
	first, err := strconv.ParseUint(low, 10, 16)
	end := first
	if err == nil && ranged {
		end, err = strconv.ParseUint(high, 10, 16)
	}
	if err != nil || end < first {
		return nil, 0, fmt.Errorf("%q: want a port, or two with - between them", number)
	}
	if headers[p] == 0 {
		first, end = 0, 0
	}
	for port := first; port <= end; port++ {
		ports = append(ports, uint16(port))
	}
	if s.Type == typeBitmapPort {
		p = 0
	}
	return ports, p, nil
}

// icmp is a type and a code by their name, or by numbers.
func icmp(p nat.Proto, text string) ([]uint16, error) {
	if n, ok := icmpNames[p][text]; ok {
		return []uint16{n}, nil
	}
	kind, code, _ := strings.Cut(text, "/")
	high, err := strconv.ParseUint(kind, 10, 8)
	low, err2 := strconv.ParseUint(code, 10, 8)
	if err != nil || err2 != nil {
		return nil, fmt.Errorf("%q: want a name of ICMP, or TYPE/CODE", text)
	}
	return []uint16{uint16(high<<8 | low)}, nil
}

// icmpNames are the names that ipset has for a type with its code.
var icmpNames = map[nat.Proto]map[string]uint16{
	nat.ICMP: {
		"echo-reply": 0, "pong": 0, "network-unreachable": 0x300, "host-unreachable": 0x301, "protocol-unreachable": 0x302,
		"port-unreachable": 0x303, "fragmentation-needed": 0x304, "source-route-failed": 0x305, "network-unknown": 0x306,
		"host-unknown": 0x307, "network-prohibited": 0x309, "host-prohibited": 0x30a, "TOS-network-unreachable": 0x30b,
		"TOS-host-unreachable": 0x30c, "communication-prohibited": 0x30d, "host-precedence-violation": 0x30e,
		"precedence-cutoff": 0x30f, "source-quench": 0x400, "network-redirect": 0x500, "host-redirect": 0x501,
		"TOS-network-redirect": 0x502, "TOS-host-redirect": 0x503, "echo-request": 0x800, "ping": 0x800, "router-advertisement": 0x900,
		"router-solicitation": 0xa00, "ttl-zero-during-transit": 0xb00, "ttl-zero-during-reassembly": 0xb01, "ip-header-bad": 0xc00,
		"required-option-missing": 0xc01, "timestamp-request": 0xd00, "timestamp-reply": 0xe00, "address-mask-request": 0x1100,
		"address-mask-reply": 0x1200,
	},
	nat.ICMPv6: {
		"no-route": 0x100, "communication-prohibited": 0x101, "address-unreachable": 0x103, "port-unreachable": 0x104,
		"packet-too-big": 0x200, "ttl-zero-during-transit": 0x300, "ttl-zero-during-reassembly": 0x301, "bad-header": 0x400,
		"unknown-header-type": 0x401, "unknown-option": 0x402, "echo-request": 0x8000, "ping": 0x8000, "echo-reply": 0x8100,
		"pong": 0x8100, "router-solicitation": 0x8500, "router-advertisement": 0x8600, "neighbour-solicitation": 0x8700,
		"neighbor-solicitation": 0x8700, "neighbour-advertisement": 0x8800, "neighbor-advertisement": 0x8800, "redirect": 0x8900,
	},
}
