package gateway

import (
	"net/netip"

	"natlab/nat"
	"natlab/nat/iptables"
)

// ICMP destination unreachable, type 3, and its codes (RFC 792).
const (
	icmpUnreachable     = 3
	icmpNetUnreachable  = 0
	icmpHostUnreachable = 1
	icmpPortUnreachable = 3
)

// deliver is a packet that reached a socket of the namespace, or none.
func (w *walk) deliver(h *host, f *flight) {
	if f.dir == nat.Reply {
		w.deliverReply(h, f)
		return
	}
	s, ok := w.network.servers[serverKey{h.member, f.Tuple.Proto(), f.Tuple.Dst()}]
	if !ok {
		w.refuse(h, f)
		return
	}
	w.out.Server, w.out.Endpoint, w.out.ServerPeer = s.Name, f.Tuple.Dst(), f.Tuple.Src()
	answer := &flight{Packet: iptables.Packet{Tuple: f.Tuple.Reply()}, dir: nat.Reply, ttl: firstTTL}
	if f.Tuple.Proto() == nat.TCP {
		answer.TCPFlags = tcpSYN | tcpACK
	}
	w.send(h, answer)
}

// refuse is what a host without a listener answers.
func (w *walk) refuse(h *host, f *flight) {
	why := "nothing listens at " + f.Tuple.Dst().String() + " in " + h.member
	w.decided(h.member, why)
	if f.Tuple.Proto() != nat.TCP {
		w.icmp(h, f, icmpPortUnreachable, why)
		return
	}
	w.reset(h, f)
}

// decided notes what decided how the probe ends, before its answer is on its way.
func (w *walk) decided(where, why string) {
	if w.out.Where == "" {
		w.out.Where, w.out.Why = where, why
	}
}

func (w *walk) reset(h *host, f *flight) {
	w.send(h, w.about(f, &flight{Packet: iptables.Packet{Tuple: f.Tuple.Reply(), TCPFlags: tcpRST | tcpACK}}))
}

// about makes a packet the answer to another. That of a REJECT rule has the other's connection, which is in no table.
func (w *walk) about(f, answer *flight) *flight {
	answer.dir, answer.ttl = nat.Reply, firstTTL
	if w.rejected && f.conn != nil {
		answer.conn, answer.given = f.conn, true
	}
	return answer
}

// reject is a REJECT rule's answer (nf_reject_ipv4.c).
func (w *walk) reject(h *host, f *flight, r iptables.Result) {
	where, why := place(r.Steps), "rejected by "+text(r.Steps)
	w.decided(where, why)
	with := r.Target.(iptables.Reject).With
	w.rejected = true
	switch {
	case with == "tcp-reset" && f.Tuple.Proto() == nat.TCP:
		w.reset(h, f)
	case with == "tcp-reset":
		w.lost(f, where, why)
	default:
		w.icmp(h, f, rejectCodes[with], why)
	}
}

// rejectCodes are the codes of --reject-with's types; an unknown one counts as the network.
var rejectCodes = map[string]uint8{
	"icmp-net-unreachable": icmpNetUnreachable, "icmp-host-unreachable": icmpHostUnreachable, "icmp-proto-unreachable": 2,
	"icmp-port-unreachable": icmpPortUnreachable, "icmp-net-prohibited": 9, "icmp-host-prohibited": 10, "icmp-admin-prohibited": 13,
}

// icmp sends an ICMP error about a packet to its source (icmp_send). It comes from the address that the packet was
// for, where that is the namespace's own, else from the one that its route to the source prefers. An error about an
// error is never sent.
func (w *walk) icmp(h *host, f *flight, code uint8, why string) {
	w.decided(h.member, why)
	if f.error != nil || f.dir == nat.Reply {
		w.lost(f, h.member, why)
		return
	}
	to := f.Tuple.Src().Addr()
	from := f.Tuple.Dst().Addr()
	next, bad := h.lookup(to)
	if bad != "" {
		w.lost(f, h.member+" routing", bad)
		return
	}
	if !h.isLocal(from) {
		from = h.source(next)
	}
	w.send(h, w.about(f, &flight{
		Packet: iptables.Packet{
			Tuple:    nat.TupleOf(nat.ICMP, netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)),
			ICMPType: icmpUnreachable, ICMPCode: code,
		},
		error: &icmpError{inside: f.Tuple},
	}))
}

// deliverReply is the answer at a socket: the client's, if it comes from where the client asked.
func (w *walk) deliverReply(h *host, f *flight) {
	asked := w.probe.Tuple
	mine := h.member == w.probe.From
	switch {
	case f.error != nil && mine && f.error.inside == asked:
		w.end(w.refusal(), "", "")
	case f.error != nil:
		w.lost(f, h.member, "the ICMP error is about "+f.error.inside.String()+", which no socket here sent")
	case !mine || f.Tuple.Dst() != asked.Src():
		w.lost(f, h.member, "the answer "+f.Tuple.String()+" reached "+h.member+", where no socket waits for it")
	case f.Tuple.Src() != asked.Dst():
		w.out.ClientPeer = f.Tuple.Src()
		w.lost(f, h.member, "the answer came untranslated, from "+f.Tuple.Src().String()+" instead of "+asked.Dst().String())
	case f.TCPFlags&tcpRST != 0:
		w.end(w.refusal(), "", "")
	default:
		w.out.ClientPeer = f.Tuple.Src()
		w.end(EndAnswered, "", "")
	}
}

func (w *walk) refusal() End {
	if w.rejected {
		return EndRejected
	}
	return EndRefused
}
