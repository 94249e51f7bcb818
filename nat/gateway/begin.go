package gateway

import (
	"encoding/binary"
	"slices"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// BeginLength is how much of a packet has to be known where the rest need not be: the longest headers of IPv4 and TCP, and those of IPv6 and TCP.
const BeginLength = 128

// contents are the extensions that read more of a packet than its headers, or copy all of it.
var contents = []string{"string", "u32", "bpf", "TEE", "CHECKSUM", "SYNPROXY", "NFQUEUE"}

// ReadsContent reports whether a packet's headers are not enough for the rules.
func (r Rules) ReadsContent() bool {
	for _, rs := range r {
		for _, t := range rs.Tables {
			for _, c := range t.Chains {
				for i := range c.Rules {
					if readsContent(&c.Rules[i]) {
						return true
					}
				}
			}
		}
	}
	return false
}

func readsContent(r *iptables.Rule) bool {
	if r.Target != nil && slices.Contains(contents, r.Target.Name()) {
		return true
	}
	for _, m := range r.Matches {
		if slices.Contains(contents, m.Name()) {
			return true
		}
	}
	return false
}

// Begins reports whether the first BeginLength bytes of a packet are enough for At at a hook: its headers are plain, nobody needs sum its checksum,
// and no rule answers it with a quotation, for its connection has been confirmed. b is as long as the packet; the rest of it is not read. The rules must not read
// content (Rules.ReadsContent).
func (g *Gateway) Begins(b []byte, hook nat.Hook, sound bool) bool {
	if !sound && hook == nat.PreRouting {
		return false
	}
	if _, plain := PlainHeader(b[:min(len(b), BeginLength)]); !plain {
		return false
	}
	var pkt packet.Packet
	if pkt.Parse(b) != nil {
		return false
	}
	if one := g.transit.find(fingerprintOf(&pkt)); one != nil {
		return one.ref.Conn != nil && one.ref.Conn.Has(nat.Confirmed)
	}
	if hook != nat.PreRouting && hook != nat.Output {
		return false
	}
	c, _ := g.conns.Lookup(pkt.Tuple(), 0, 0)
	return c != nil
}

// PlainHeader is the length of IP's header of a packet that begins with b, where it is one of TCP, or of UDP with a checksum, whole, without options of IP or
// extension headers, and b has all of its headers.
func PlainHeader(b []byte) (n int, plain bool) {
	const header4, header6, headerTCP, headerUDP = 20, 40, 20, 8
	var proto nat.Proto
	switch {
	case len(b) > header4 && b[0] == 4<<4|header4/4:
		const fragment = 0x3fff // more of them, or an offset
		if binary.BigEndian.Uint16(b[6:])&fragment != 0 {
			return 0, false
		}
		n, proto = header4, nat.Proto(b[9])
	case len(b) > header6 && b[0]>>4 == 6:
		n, proto = header6, nat.Proto(b[6])
	default:
		return 0, false
	}
	switch h := b[n:]; proto {
	case nat.TCP:
		return n, len(h) >= headerTCP && len(h) >= int(h[12]>>4)*4 && h[12]>>4 >= headerTCP/4
	case nat.UDP:
		return n, len(h) >= headerUDP && h[6]|h[7] != 0
	default:
		return 0, false
	}
}
