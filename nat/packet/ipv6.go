package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"natlab/nat"
)

// IPv6 extension headers that are walked to find the transport header (ipv6_skip_exthdr).
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	authHeader  = 51
	noNext      = 59
	destination = 60
)

// Header is an IPv6 extension header: hop-by-hop (0), routing (43), fragment (44), authentication (51) or destination
// options (60).
type Header struct {
	Type  nat.Proto
	Bytes []byte // of it, its own next-header byte the first
}

// Extension reports whether a next header is that of an extension header (ipv6_ext_hdr, but for the one of which nothing follows).
func Extension(next nat.Proto) bool {
	switch next {
	case hopByHop, routing, fragment, authHeader, destination:
		return true
	}
	return false
}

// Headers yields an IPv6 packet's extension headers as the kernel walks them (ipv6_find_hdr): up to the first header that
// is none, and with the fragment header of a later fragment at the end. IPv4 has none.
func (p *Packet) Headers(yield func(Header) bool) {
	if !p.V6() {
		return
	}
	next := nat.Proto(p.b[6])
	for at := ipv6Header; at < p.at; {
		size, later := 8, false
		switch next {
		case authHeader:
			size = (int(p.b[at+1]) + 2) * 4
		case fragment:
			later = binary.BigEndian.Uint16(p.b[at+2:])&^7 != 0
		default:
			size = (int(p.b[at+1]) + 1) * 8
		}
		if !yield(Header{next, p.b[at : at+size]}) || later {
			return
		}
		next = nat.Proto(p.b[at])
		at += size
	}
}

// Header is the first extension header of a type; ok is false where the packet has none.
func (p *Packet) Header(kind nat.Proto) (b []byte, ok bool) {
	for h := range p.Headers {
		if h.Type == kind {
			return h.Bytes, true
		}
	}
	return nil, false
}

func (p *Packet) parse6() error {
	b := p.b
	if len(b) < ipv6Header {
		return fmt.Errorf("%w: %d bytes, less than an IPv6 header", ErrMalformed, len(b))
	}
	total := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) && !p.inner {
		return fmt.Errorf("%w: IPv6 length %d of %d bytes", ErrMalformed, total, len(b))
	}
	p.b = b[:min(total, len(b))]
	next, err := p.extensions(b[6])
	if err != nil {
		return err
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.setTuple(next, src, dst)
	return nil
}

// extensions walks the extension headers, sets where the transport header begins, and returns its protocol.
func (p *Packet) extensions(next byte) (nat.Proto, error) {
	p.at = ipv6Header
	for {
		h := p.transport()
		size := 8
		switch next {
		case hopByHop, routing, destination:
			if len(h) >= 2 {
				size = (int(h[1]) + 1) * 8
			}
		case authHeader:
			if len(h) >= 2 {
				size = (int(h[1]) + 2) * 4
			}
		case fragment:
		default: // a transport protocol, or noNext
			return nat.Proto(next), nil
		}
		if len(h) < size {
			return 0, fmt.Errorf("%w: IPv6 extension header %d is cut short", ErrMalformed, next)
		}
		if next == fragment {
			offset := binary.BigEndian.Uint16(h[2:])
			p.later, p.first = offset&^7 != 0, offset&^7 == 0 && offset&1 != 0
		}
		next = h[0]
		p.at += size
		if p.later {
			return nat.Proto(next), nil
		}
	}
}
