package xtables

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"natlab/nat"
	"natlab/nat/xt"
)

// native is where iptables-nft looks for an address.
type native struct {
	src, dst uint32 // offsets in the network header
	length   int
}

func nativeOf(f nat.Family) native {
	if f == nat.IPv6 {
		return native{8, 24, 16}
	}
	return native{12, 16, 4}
}

// compare is a native cmp expression.
func (d *nftRule) compare(l register, op cmpOp, value []byte) error {
	not := op == cmpNotEqual
	switch {
	case len(value) == 0:
	case !l.meta && l.base == nftPayloadTransport:
		return d.compareTransport(l, op, value)
	case op > cmpNotEqual:
	case l.meta:
		return d.compareMeta(l, not, value)
	case l.base == nftPayloadNetwork:
		return d.compareNetwork(l, not, value)
	}
	return fmt.Errorf("a comparison of something that natlab does not know")
}

func (d *nftRule) compareMeta(l register, not bool, value []byte) error {
	h := &d.entry.Header
	switch l.key {
	case nftMetaL4Proto:
		d.protocol(uint16(value[0]), not)
	case nftMetaIIFName:
		h.In, h.InMask = nativeDevice(value)
		h.Inv |= flagIf(not, InvIn)
	case nftMetaOIFName:
		h.Out, h.OutMask = nativeDevice(value)
		h.Inv |= flagIf(not, InvOut)
	case nftMetaMark:
		if len(value) < 4 {
			return fmt.Errorf("a mark of %d bytes", len(value))
		}
		data := make([]byte, padded(9))
		copy(data, value[:4])
		xt.PutMask(data[4:8], 32)
		if len(l.mask) >= 4 {
			copy(data[4:8], l.mask)
		}
		data[8] = flagIf(not, 1)
		d.entry.Matches = append(d.entry.Matches, Extension{Name: "mark", Revision: 1, Data: data})
	default:
		return fmt.Errorf("a comparison of meta key %d", l.key)
	}
	return nil
}

func flagIf(on bool, bit uint8) uint8 {
	if on {
		return bit
	}
	return 0
}

func (d *nftRule) protocol(n uint16, not bool) {
	d.entry.Header.Proto = n
	d.entry.Header.Inv |= flagIf(not, InvProto)
	if d.family == nat.IPv6 {
		d.entry.Header.Flags |= FlagProto
	}
}

// nativeDevice reads a device's name: whole with its zero, or the beginning of one for "eth+".
func nativeDevice(value []byte) (name, mask [16]byte) {
	n := copy(name[:], value)
	full := n
	for i, c := range name[:n] {
		if c == 0 {
			full = i + 1
			break
		}
	}
	for i := range full {
		mask[i] = 0xff
	}
	if full > 0 && full < len(name) && name[full-1] != 0 {
		name[full] = '+'
	}
	return name, mask
}

// compareNetwork is -s, -d, -p of an older iptables-nft, and -f.
func (d *nftRule) compareNetwork(l register, not bool, value []byte) error {
	n, h := nativeOf(d.family), &d.entry.Header
	switch {
	case l.offset == n.src && l.length <= n.length:
		h.Src, h.SrcMask = nativeAddr(n.length, l, value)
		h.Inv |= flagIf(not, InvSrc)
	case l.offset == n.dst && l.length <= n.length:
		h.Dst, h.DstMask = nativeAddr(n.length, l, value)
		h.Inv |= flagIf(not, InvDst)
	case d.family == nat.IPv4 && l.offset == 9 && l.length == 1 || d.family == nat.IPv6 && l.offset == 6 && l.length == 1:
		d.protocol(uint16(value[0]), not)
	case d.family == nat.IPv4 && l.offset == 6 && l.length == 2: // the offset bits are not zero
		h.Flags |= FlagFragment
		h.Inv |= flagIf(!not, InvFragment)
	default:
		return fmt.Errorf("a comparison of %d bytes at %d in the network header", l.length, l.offset)
	}
	return nil
}

// nativeAddr reads an address of which as many bytes were loaded as a byte-wise mask leaves.
func nativeAddr(size int, l register, value []byte) (addr, mask netip.Addr) {
	a, m := make([]byte, size), make([]byte, size)
	n := copy(a, value[:min(len(value), l.length)])
	xt.PutMask(m, 8*n)
	copy(m, l.mask[:min(len(l.mask), size)])
	addr, _ = netip.AddrFromSlice(a)
	mask, _ = netip.AddrFromSlice(m)
	return addr, mask
}

// transport is what native expressions of the rule ask of the transport header: one -m tcp or udp a rule, as iptables-nft
// has it, where the first of them stands.
func (d *nftRule) transport() (*xt.Ports, error) {
	if d.ports == nil {
		name := nat.Proto(d.entry.Header.Proto).RuleName()
		if name != "tcp" && name != "udp" {
			return nil, fmt.Errorf("ports of protocol %d", d.entry.Header.Proto)
		}
		d.ports, d.portsAt = &xt.Ports{Protocol: name}, len(d.entry.Matches)
		d.entry.Matches = append(d.entry.Matches, Extension{Name: name})
	}
	return d.ports, nil
}

// layPorts makes the bytes of what transport collected.
func (d *nftRule) layPorts() error {
	if d.ports == nil {
		return nil
	}
	m := &d.entry.Matches[d.portsAt]
	x, _ := xt.Find(m.Name, xt.MatchKind, d.family)
	l, _ := x.Written(d.family, xt.Newest)
	m.Data = make([]byte, padded(l.Size))
	return l.Encode(*d.ports, m.Data[:l.Size], &xt.Env{Family: d.family})
}

// compareTransport is --sport, --dport, both in one comparison of four bytes, or --tcp-flags.
func (d *nftRule) compareTransport(l register, op cmpOp, value []byte) error {
	m, err := d.transport()
	if err != nil {
		return err
	}
	switch {
	case op > cmpGreaterEqual || len(l.mask) > 0 && l.offset != 13:
		return fmt.Errorf("comparison %d of %d bytes at %d in the transport header, with mask %x", op, l.length, l.offset, l.mask)
	case l.length == 4 && l.offset == 0 && len(value) >= 4 && op <= cmpNotEqual:
		m.Source, m.Destination = op.ports(be16(value)), op.ports(be16(value[2:]))
		m.NotBoth = op == cmpNotEqual
	case l.length == 2 && len(value) >= 2 && l.offset == 0:
		m.Source = op.ports(be16(value))
	case l.length == 2 && len(value) >= 2 && l.offset == 2:
		m.Destination = op.ports(be16(value))
	case d.entry.Header.Proto == 6 && l.offset == 13 && l.length == 1 && op <= cmpNotEqual:
		m.Flags = &xt.TCPFlags{Not: op == cmpNotEqual, Mask: 0xff, Set: value[0]}
		if len(l.mask) > 0 {
			m.Flags.Mask = l.mask[0]
		}
	default:
		return fmt.Errorf("a comparison of %d bytes at %d in the transport header", l.length, l.offset)
	}
	return nil
}

// cmpOp is how a cmp expression compares (enum nft_cmp_ops).
type cmpOp uint32

const (
	cmpEqual cmpOp = iota
	cmpNotEqual
	cmpLess
	cmpLessEqual
	cmpGreater
	cmpGreaterEqual
)

// ports is the range that a comparison with a port stands for, as iptables-nft prints it (port_match_single_to_range).
func (op cmpOp) ports(port uint16) *xt.PortRange {
	r := xt.PortRange{Not: op == cmpNotEqual, Low: port, High: port}
	switch op {
	case cmpLess:
		r.Low, r.High = 0, max(port, 2)-1
	case cmpLessEqual:
		r.Low = 0
	case cmpGreater:
		r.Low, r.High = min(port, 65534)+1, 65535
	case cmpGreaterEqual:
		r.High = 65535
	case cmpEqual, cmpNotEqual:
	}
	return &r
}

// between is a native range expression: ports only.
func (d *nftRule) between(l register, not bool, from, to []byte) error {
	if l.meta || l.base != nftPayloadTransport || l.length != 2 || l.offset != 0 && l.offset != 2 || len(from) < 2 || len(to) < 2 {
		return fmt.Errorf("a range of something that natlab does not know")
	}
	m, err := d.transport()
	if err != nil {
		return err
	}
	r := &xt.PortRange{Not: not, Low: be16(from), High: be16(to)}
	if l.offset == 0 {
		m.Source = r
	} else {
		m.Destination = r
	}
	return nil
}

// limit is a native limit: NFTA_LIMIT_RATE 1, UNIT 2 (seconds), BURST 3, TYPE 4, FLAGS 5.
func (d *nftRule) limit(a attrs) error {
	rate, unit := a.u64(1), a.u64(2)
	if rate == 0 || unit > 7*24*60*60 || a.u32(4) != 0 || a.u32(5) != 0 {
		return fmt.Errorf("-m limit has no such limit")
	}
	data := make([]byte, padded(40))
	order.PutUint32(data, uint32(unit*10000/rate)) // XT_LIMIT_SCALE
	order.PutUint32(data[4:], a.u32(3))
	d.entry.Matches = append(d.entry.Matches, Extension{Name: "limit", Data: data})
	return nil
}

// log is a native log, which iptables-nft uses for NFLOG: NFTA_LOG_GROUP 1 (u16), PREFIX 2, SNAPLEN 3, QTHRESHOLD 4
// (u16).
func (d *nftRule) log(a attrs) error {
	if _, ok := a[1]; !ok {
		return fmt.Errorf("a log expression without a group")
	}
	t := xt.NFLog{Prefix: text(a[2]), Size: a.u32(3)}
	_, t.Sized = a[3]
	if group := a[1]; len(group) >= 2 {
		t.Group = binary.BigEndian.Uint16(group)
	}
	if threshold := a[4]; len(threshold) >= 2 {
		t.Threshold = binary.BigEndian.Uint16(threshold)
	}
	revision, data, err := t.Bytes()
	d.entry.Target, d.entry.FallThrough = Extension{Name: t.Name(), Revision: revision, Data: data}, false
	return err
}
