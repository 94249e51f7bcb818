package packet

import (
	"net/netip"

	"natlab/nat"
)

// Encapsulate puts a packet into an IPv4 header of protocol 4 from one tunnel end to the other (RFC 2003, ip_tunnel_xmit
// with ttl inherit and pmtudisc): type of service, time to live and don't-fragment are those of the packet inside.
func Encapsulate(p *Packet, src, dst netip.Addr) *Packet {
	t := nat.TupleOf(nat.IPIP, netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0))
	return Build(t, Fields{TTL: p.TTL(), TOS: p.TOS(), DF: p.DontFragment(), Payload: p.Bytes()})
}
