package gateway

import (
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// unknownYet makes the passage of a packet that no hook has had before.
func (v *visit) unknownYet(p *passage, pkt *packet.Packet, s *Seen) {
	p.in, p.came = v.devices[s.In], s.In
	if s.Conn != nil {
		p.ref = conntrack.Ref{Conn: s.Conn, Dir: s.Dir, Info: conntrack.InfoEstablished}
		p.state()
	}
	switch {
	case s.UID.Known:
		p.view.Sender = rules.Sender{Socket: rules.ProcessSocket, UID: s.UID, GID: s.GID}
		kind, _, ok := pkt.ICMP()
		p.raw = ok && pkt.V6() && packet.IsError(pkt.Proto(), kind) // processes write errors whole
	case v.ofStack(pkt, s):
		p.view.Sender.Socket = rules.KernelSocket
	default:
		p.view.Sender.Socket = rules.NoSocket
	}
	if kind, _, ok := pkt.ICMP(); ok && s.Hook == nat.Output && packet.IsError(pkt.Proto(), kind) && !s.UID.Known { // the kernel makes it, and no process
		v.attach(p, pkt)
	}
}

// ofStack reports whether a packet that no process sends has a socket of the kernel's own: ICMP (icmp_sk), and of IPv4 an RST to what no socket takes (ipv4_tcp_sk). An RST
// of a process's own socket comes with its owner, one of the Gateway's is known.
func (v *visit) ofStack(pkt *packet.Packet, s *Seen) bool {
	t := pkt.Tuple()
	leaves := s.Hook == nat.PostRouting && s.In == "" && !v.options.Kernel.Before(5, 7) // which tell no device of what is forwarded
	if s.Hook != nat.Output && !leaves || leaves && t.Dst().Addr().IsMulticast() {      // a node hears itself what it sends to a group without a socket
		return false
	}
	if segment, ok := pkt.TCP(); ok && !pkt.V6() {
		return segment.Flags&tcpRST != 0
	}
	return t.Proto() == v.icmp().proto
}

// attach gives an ICMP error that the kernel makes of a packet on its way the connection of that packet, which the kernel would have had
// from the packet itself (nf_ct_attach).
func (v *visit) attach(p *passage, pkt *packet.Packet) {
	inside, ok := pkt.Inside()
	if !ok {
		return
	}
	kind, code, _ := pkt.ICMP()
	n := v.icmp()
	look := fingerprintOf(&inside)
	of := v.transit.find(look)
	if of == nil && p.view.Sender.Socket == rules.KernelSocket && kind == n.protoUnknown && code == n.unknownCode {
		if ref, ok := v.transit.delivered.take(look); ok {
			p.relate(ref)
		}
	}
	if of == nil || of.ref.Conn == nil {
		return
	}
	p.relate(of.ref)
	const redirect = 5
	if pkt.V6() || kind != redirect { // the packet goes no further: a later one that is like it is not it
		v.transit.remove(of)
		v.transit.free(of)
	}
}

// relate gives a packet the connection of the one that it is about.
func (p *passage) relate(of conntrack.Ref) {
	p.ref = conntrack.Ref{Conn: of.Conn, Dir: nat.Reply, Info: conntrack.InfoRelated}
	if of.Dir == nat.Reply {
		p.ref.Dir = nat.Original
	}
	p.state()
}
