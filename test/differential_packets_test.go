package test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/packet"
)

// fields are what a fresh packet has besides its tuple.
func (d drawn) fields(proto nat.Proto, id uint16) packet.Fields {
	f := packet.Fields{ID: id | 0x8000, DF: d.chance(2), TTL: pick(d, []uint8{64, 64, 64, 64, 2, 1, 255}), TOS: pick(d, []uint8{0, 0, 0x10, 1, 2, 3, 0xb8, 0xff})}
	switch proto {
	case nat.TCP:
		f.TCP = packet.TCP{
			Flags: pick(d, []uint8{2, 2, 2, 2, 16, 18, 17, 4, 20, 24, 0, 3, 0x2 | 0xc0}), Seq: 1000, Ack: 5000,
			Window: pick(d, []uint16{64240, 64240, 1000, 0, 1}), Options: d.options(),
		}
		if d.chance(4) {
			f.Payload = make([]byte, 10)
		}
	case nat.UDP:
		f.Payload = make([]byte, d.n(3)*9)
	case nat.ICMP:
		f.Type = pick(d, []uint8{8, 8, 8, 0, 13, 9, 30})
		f.Payload = []byte("ping")
	case nat.ICMPv6:
		f.Type = pick(d, []uint8{128, 128, 128, 129, 200, 143, 1, 2, 4, 130, 133, 134, 135, 136, 139})
		f.Payload = []byte("ping")
	case nat.SCTP:
		f.Rest, f.Payload = d.chunks(nat.Original)
	case nat.UDPLite:
		f.Payload = make([]byte, d.n(3)*9)
	case nat.DCCP:
		f.Type, f.Payload = pick(d, []uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), make([]byte, d.n(2)*4)
	case nat.GRE: // of the old version, and PPTP's and no one's of the new
		f.Payload = append(pick(d, [][]byte{{0, 0, 8, 0}, {0, 0, 8, 0}, {0x20, 0, 8, 0}, {0x30, 1, 0x88, 0x0b}, {0x30, 1, 8, 0}, {0, 2, 8, 0}}), make([]byte, pick(d, []int{2, 4, 12}))...)
	default:
		f.Payload = append(pick(d, [][]byte{{0, 0}, {0, 0}, {0xff, 0xff}, {1, 2}}), make([]byte, 14)...)
	}
	if d.chance(12) && proto != nat.ICMPv6 { // long enough for some links to be too narrow; IPv6 would split its own answer
		f.Payload = append(f.Payload, make([]byte, pick(d, []int{1270, 1350, 1430}))...)
	}
	return f
}

// odd changes bits of a packet's headers that hardly anybody sets.
func (d drawn) odd(p *packet.Packet) []byte {
	b, h := p.Bytes(), p.Transport()
	kind := d.n(6)
	if p.Tuple().Proto() == nat.DCCP {
		kind = 6
	}
	switch kind {
	case 0: // TCP's reserved bits
		if p.Tuple().Proto() == nat.TCP && !p.Later() && len(h) >= 20 {
			h[12] |= uint8(1 + d.n(15))
		}
	case 1: // urgent data that is none
		if p.Tuple().Proto() == nat.TCP && !p.Later() && len(h) >= 20 {
			h[19] = 7
		}
	case 2: // the reserved bit of IPv4's flags, or a flow label
		if d.family == nat.IPv4 {
			b[6] |= 0x80
		} else {
			b[1], b[2], b[3] = b[1]|0x0a, 0xbc, 0xde
		}
	case 3:
		p.SetTTL(0)
	case 4: // UDP without a checksum
		if p.Tuple().Proto() == nat.UDP && !p.Later() && len(h) >= 8 {
			h[6], h[7] = 0, 0
			return b
		}
	case 5: // UDP-Lite that covers less than all, or more
		if p.Tuple().Proto() == nat.UDPLite && !p.Later() && len(h) >= 8 {
			h[5] = pick(d, []byte{8, 8, 12, 7, 200})
		}
	case 6: // another type, another length, another coverage or short sequence numbers of DCCP
		if p.Tuple().Proto() == nat.DCCP && !p.Later() && len(h) >= 12 {
			at := pick(d, []int{4, 5, 8})
			h[at] = pick(d, map[int][]byte{4: {2, 3, 5, 9}, 5: {1, 2, 4, 15}, 8: {0, 2, 3, 4, 6, 13, 15}}[at])
		}
	}
	p.Seal()
	return b
}

// withOptions is an IPv4 packet with options, of four bytes or a multiple of that.
func withOptions(b, options []byte) []byte {
	b = slices.Concat(b[:20], options, b[20:])
	b[0] += byte(len(options) / 4)
	packet.Complete(b)
	return b
}

// withHeaders gives a packet options of IPv4, or extension headers of IPv6.
func (d drawn) withHeaders(p *packet.Packet, backend dataplane.Backend) []byte {
	b := p.Bytes()
	if d.family == nat.IPv4 {
		options := pick(d, [][]byte{{1, 1, 1, 1}, {1, 0, 0, 0}, {0, 0, 0, 0}, {30, 4, 1, 2}, {7, 7, 4, 0, 0, 0, 0, 0}, {148, 4, 0, 0}, {131, 7, 4, 10, 0, 0, 20, 0}, {68, 8, 5, 0, 0, 0, 0, 0}, {30, 9, 1, 2}})
		if len(b)+len(options) > 1300 || b[0]&15 != 5 {
			return b
		}
		return withOptions(b, options)
	}
	h := pick(d, []packet.Header{
		{Type: 0, Bytes: []byte{0, 0, 1, 4, 0, 0, 0, 0}},
		{Type: 0, Bytes: []byte{0, 0, 30, 2, 7, 7, 0, 0}},
		{Type: 0, Bytes: []byte{0, 0, 5, 2, 0, 0, 1, 0}},
		{Type: 0, Bytes: []byte{0, 0, 0x9e, 2, 7, 7, 0, 0}},
		{Type: 60, Bytes: []byte{0, 0, 1, 4, 0, 0, 0, 0}},
		{Type: 60, Bytes: []byte{0, 0, 0x5e, 2, 7, 7, 0, 0}},
		{Type: 43, Bytes: make([]byte, 8)},
		{Type: 43, Bytes: append([]byte{0, 2, 0, 1, 0, 0, 0, 0}, b[24:40]...)},
		{Type: 51, Bytes: []byte{0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0}},
		{Type: 44, Bytes: []byte{0, 0, 0, 0, 0, 0, 0, 9}},
		{Type: 44, Bytes: []byte{0, 0, 0, 1, 0, 0, 0, 9}},
		{Type: 44, Bytes: []byte{0, 0, 0, 9, 0, 0, 0, 9}},
	})
	if h.Type == nat.AH && backend == dataplane.NFT { // it is the transport header to nf_tables
		return b
	}
	if h.Type == 44 && h.Bytes[3] > 1 && backend == dataplane.NFT { // nf_tables takes the IP header of a later one for its transport header
		return b
	}
	h.Bytes = slices.Clone(h.Bytes)
	h.Bytes[0], b[6] = b[6], byte(h.Type)
	b = slices.Concat(b[:40], h.Bytes, b[40:])
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// modelled reports whether the emulator knows what becomes of a packet's options or first extension header: not of record routes, source routes, timestamps,
// fragments of IPv6, and routing headers with segments left.
func modelled(b []byte) bool {
	if b[0]>>4 == 4 {
		return len(b) < 21 || b[0]&15 == 5 || !slices.Contains([]byte{7, 68, 131}, b[20])
	}
	return len(b) < 44 || b[6] != 44 && (b[6] != 43 || b[43] == 0)
}

// The verification tags that the ends of the test's SCTP associations choose, by the direction in which they are sent.
var sctpTags = [...]uint32{nat.Original: 0x2222, nat.Reply: 0x1111}

// chunks draws an SCTP packet's verification tag, mostly the right one, and its chunks.
func (d drawn) chunks(dir nat.Direction) (tag uint32, chunks []byte) {
	kinds := []byte{1, 1, 2, 2, 10, 10, 11, 11, 0, 3, 4, 5, 6, 7, 8, 9, 14}
	for range pick(d, []int{1, 1, 1, 1, 2, 0}) {
		kind := pick(d, kinds)
		body := make([]byte, 16)
		binary.BigEndian.PutUint32(body, sctpTags[1-dir])
		if d.chance(12) {
			body = body[:pick(d, []int{0, 5, 8})]
		}
		flags := byte(0)
		if d.chance(8) {
			flags = 1
		}
		if tag = sctpTags[dir]; kind == 1 {
			tag = 0
		}
		chunks = append(chunks, kind, flags, 0, byte(4+len(body)))
		chunks = append(chunks, body...)
		chunks = append(chunks, make([]byte, -len(body)&3)...)
	}
	if d.chance(8) {
		tag = pick(d, []uint32{0, 0x1111, 0x2222, 0x3333})
	}
	if len(chunks) > 0 && d.chance(20) {
		clear(chunks[2:4]) // a chunk without a length
	}
	return tag, chunks
}

func (d drawn) options() []byte {
	return pick(d, [][]byte{nil, {2, 4, 5, 180}, {3, 3, 7, 0}, {4, 2, 3, 3, 2, 1, 1, 0}, {1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 4, 50}})
}

// fragments cuts a packet up: mostly in order, now and then with one too early or twice. All are there: the kernel would
// keep what waits for others beyond the rule set's time.
// Where they are not put together the first one has the whole header: of less x_tables drops what it is asked for
// (hotdrop), and nf_tables does not.
func (d drawn) fragments(p *packet.Packet, tracked bool) [][]byte {
	var sizes []int
	for left := p.Len() - 20; left > 0; {
		n := min(left, pick(d, []int{8, 16, 24, 600, 1280}))
		if !tracked && len(sizes) == 0 {
			n = min(left, max(n, 40))
		}
		sizes, left = append(sizes, n), left-n
	}
	list := p.Split(65535, sizes)
	a, b := d.n(len(list)), d.n(len(list))
	switch d.n(5) {
	case 0:
		list[a], list[b] = list[b], list[a]
	case 1:
		list = slices.Insert(list, a, list[b])
	}
	return list
}

// What fresh packets are drawn from: protocols that conntrack knows most of, and once in four times any other one.
var (
	commonProtocols = []nat.Proto{nat.TCP, nat.TCP, nat.TCP, nat.UDP, nat.UDP, nat.ICMP, nat.ICMP, nat.SCTP}
	otherProtocols  = []nat.Proto{nat.UDPLite, nat.UDPLite, nat.DCCP, nat.DCCP, nat.GRE, nat.GRE, nat.ESP, nat.AH, nat.IPIP, 2, 41, 59, 89, 94, 99, 103, 108, 112, 135, 253, 254} // not 255: the test itself has a socket for it
	extensions6     = []nat.Proto{0, 43, nat.AH, 60}                                                                                                                              // headers that others may follow in IPv6, protocols in IPv4
)

// proto draws a protocol of the family.
func (d drawn) proto() nat.Proto {
	switch p := pick(d, commonProtocols); {
	case d.chance(4):
		if p = pick(d, otherProtocols); d.family == nat.IPv6 && p == nat.AH {
			return nat.ESP
		}
		return p
	case d.chance(20) && d.family == nat.IPv4:
		return pick(d, extensions6)
	case p == nat.ICMP && d.family == nat.IPv6:
		return nat.ICMPv6
	default:
		return p
	}
}

// tuple draws the tuple of a fresh packet.
func (d drawn) tuple() nat.Tuple {
	proto := d.proto()
	var sport, dport uint16
	switch proto {
	case nat.TCP, nat.UDP, nat.SCTP, nat.UDPLite, nat.DCCP:
		sport, dport = pick(d, portPool), pick(d, portPool)
	case nat.ICMP, nat.ICMPv6:
		sport = pick(d, []uint16{7, 8})
		dport = sport
	}
	src, dst := d.addresses()
	return nat.TupleOf(proto, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport))
}

// Addresses that a packet may come from or go to, and hardly ever does.
var (
	oddSources = map[nat.Family][]string{
		nat.IPv4: {"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "127.255.255.255", "224.0.0.5", "240.0.0.1", "255.255.255.255", "10.0.0.255", "192.168.1.0", "192.168.1.255", "10.0.0.1", "192.168.1.2"},
		nat.IPv6: {"::", "::1", "fe80::9", "ff02::5", "fd00::a00:0", "fd00::c0a8:100", "fd00::c0a8:102", "fd00::a00:1", "::192.168.1.10", "2001:db8::9"},
	}
	oddDests = map[nat.Family][]string{
		nat.IPv4: {"255.255.255.255", "10.0.0.255", "192.168.1.255", "10.0.0.0", "224.0.0.1", "224.0.0.5", "239.1.2.3", "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.9", "240.0.0.1", "192.168.1.2", "10.98.0.1", "10.97.0.1", "10.94.0.1"},
		nat.IPv6: {"ff02::1", "ff02::5", "ff01::1", "ff05::1", "ff0e::9", "ff00::1", "::", "::1", "fd00::a00:0", "fd00::c0a8:100", "fd00::af4:0", "::10.0.0.20", "fd00::c0a8:102", "fd00::a61:1", "fd00::a62:1", "fd00::a5e:1"},
	}
)

// answeredDests are those to which there is no way, and the node tells; no one source is told often (ip_error), so that each such
// packet has its own.
var answeredDests = map[string]bool{"10.98.0.1": true, "10.97.0.1": true, "10.94.0.1": true, "fd00::a61:1": true, "fd00::a62:1": true, "fd00::a5e:1": true}

// ownSource gives a packet to one of answeredDests another source than all before.
func (w *twins) ownSource(t nat.Tuple) nat.Tuple {
	if !answeredDests[t.Dst().Addr().String()] {
		return t
	}
	w.sources++
	src := addressIn(w.family, netip.AddrFrom4([4]byte{198, 18 + byte(w.sources>>16)&1, byte(w.sources >> 8), byte(w.sources)}).String())
	return t.WithSrc(netip.AddrPortFrom(src, t.Src().Port()))
}

// addresses draws source and destination.
func (d drawn) addresses() (src, dst netip.Addr) {
	src, dst = addressIn(d.family, pick(d, sourcePool)), addressIn(d.family, pick(d, destPool))
	if d.chance(8) {
		src = netip.MustParseAddr(pick(d, oddSources[d.family]))
	}
	if d.chance(8) {
		dst = netip.MustParseAddr(pick(d, oddDests[d.family]))
	}
	return src, dst
}

// deviceOf is where a packet of this source comes from; "" for the node itself.
func deviceOf(src netip.Addr) string {
	if b := src.As16(); src.Is6() && !src.IsLoopback() {
		src = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch s := src.String(); {
	case s == "192.168.1.1", s == "192.168.1.2", s == "10.0.0.1", s == "10.244.0.1", src.IsLoopback():
		return ""
	case strings.HasPrefix(s, "10.0."):
		return "out0"
	case strings.HasPrefix(s, "10.244."):
		return "pod0"
	}
	return "in0"
}
