package gateway

import (
	"cmp"
	"net/netip"

	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/iptables"
)

// tables in front of and behind conntrack at each hook, in the order of their priorities (enum nf_ip_hook_priorities):
// raw -300, conntrack -200, mangle -150, nat -100 (destination), filter 0, security 50, nat 100 (source), confirm.
const (
	tableRaw      = "raw"
	tableMangle   = "mangle"
	tableFilter   = "filter"
	tableSecurity = "security"
	tableNAT      = "nat"
)

// flight is a packet on its way through the network.
type flight struct {
	iptables.Packet
	dir   nat.Direction // in the probe: the request or its answer
	ttl   int
	inner *flight    // what a tunnel packet carries
	error *icmpError // what an ICMP error says

	conn    *conntrack.Conn // in the namespace that it is in
	connDir nat.Direction
	related bool // an ICMP error about conn, or a REJECT rule's answer to a packet of it
	given   bool // conn came with the packet: it need not be confirmed (nf_ct_attach)
}

// icmpError is the packet that an ICMP error is about, as the error's sender met it.
type icmpError struct {
	inside nat.Tuple
}

// hook runs one table of every backend that has it; false: the packet goes no further.
func (w *walk) hook(h *host, hook nat.Hook, table string, f *flight) bool {
	for _, b := range h.backends {
		program, ok := b[table]
		if !ok {
			continue
		}
		result := program.Run(hook, h.member, &f.Packet, w.world(h))
		w.steps(f, result.Steps)
		if !w.act(h, f, result) {
			return false
		}
	}
	return true
}

// act acts on a table's verdict.
func (w *walk) act(h *host, f *flight, r iptables.Result) bool {
	switch r.Verdict {
	case nat.Drop:
		w.lost(f, place(r.Steps), "dropped by "+text(r.Steps))
		return false
	case nat.Reject:
		w.reject(h, f, r)
		return false
	case nat.Accept, nat.Continue, nat.Return, nat.Jump, nat.Goto, nat.Queue, nat.Stolen:
	}
	return true
}

// place names the last rule met: "vms100 filter KUBE-SERVICES:1".
func place(steps nat.Trace) string {
	if len(steps) == 0 {
		return ""
	}
	s := steps[len(steps)-1]
	s.Verdict = nat.Continue
	text := s.String()
	return text[:len(text)-len(" continue")]
}

// text is the last rule met, or the policy.
func text(steps nat.Trace) string {
	if len(steps) == 0 {
		return "a rule"
	}
	last := steps[len(steps)-1]
	return cmp.Or(last.Text, last.Why)
}

// track gives a packet its connection, as conntrack does at PREROUTING and OUTPUT.
func (w *walk) track(h *host, f *flight) {
	if !h.tracks || f.State == iptables.Untracked {
		return
	}
	if f.given {
		f.given = false
		f.related, f.connDir, f.State = true, nat.Reply, iptables.Related|natStates(f.conn)
		return
	}
	table := w.table(h)
	f.related = false
	if f.error != nil {
		f.conn, f.connDir = table.Lookup(f.error.inside.Reply())
		f.related = f.conn != nil
		f.State = iptables.Invalid
		if f.related {
			f.State = iptables.Related | natStates(f.conn)
		}
		return
	}
	f.conn, f.connDir = table.Lookup(f.Tuple)
	switch {
	case f.conn == nil && f.TCPFlags&(tcpRST|tcpACK) != 0: // an RST or SYN-ACK opens nothing (tcp_conntracks)
		f.State = iptables.Invalid
		return
	case f.conn == nil:
		f.conn, f.connDir = conntrack.New(f.Tuple), nat.Original
		f.State = iptables.New
	case f.connDir == nat.Reply:
		if f.TCPFlags&tcpRST == 0 { // one that is the first answer ends the entry instead (nf_conntrack_tcp_packet)
			f.conn.Set(conntrack.SeenReply)
		}
		f.State = iptables.Established
	case f.conn.Has(conntrack.SeenReply):
		f.State = iptables.Established
	default:
		f.State = iptables.New
	}
	f.State |= natStates(f.conn)
	f.ConnMark = f.conn.Mark
}

func natStates(c *conntrack.Conn) (s iptables.State) {
	if c.SourceChanged() {
		s |= iptables.SNATed
	}
	if c.DestinationChanged() {
		s |= iptables.DNATed
	}
	return s
}

// nat is what the NAT hook of a hook does (nf_nat_inet_fn): rules for a connection's first packet, until one settles
// the translation; then the translation itself, for every packet of it. false: the packet goes no further.
func (w *walk) nat(h *host, hook nat.Hook, f *flight) bool {
	if f.conn == nil {
		return true
	}
	m := conntrack.ManipOf(hook)
	if f.State&iptables.New != 0 && f.connDir == nat.Original && !f.conn.Initialized(m) {
		for _, b := range h.backends {
			program, ok := b[tableNAT]
			if !ok || f.conn.Initialized(m) {
				continue
			}
			before := f.Packet
			result := program.Run(hook, h.member, &f.Packet, w.world(h))
			if f.inner != nil && (result.Target != nil || f.Mark != before.Mark) && !w.script.Take(0.5) {
				f.Packet = before // the tunnel's connection is older than the probe: no NAT rule was asked
				continue
			}
			w.steps(f, result.Steps)
			if !w.act(h, f, result) {
				return false
			}
			w.settle(h, hook, f, result.Target)
		}
		if h.hasNAT() {
			f.conn.Settle(m)
		}
	}
	w.translate(m, f)
	f.State |= natStates(f.conn)
	return true
}

func (h *host) hasNAT() bool {
	for _, b := range h.backends {
		if b[tableNAT] != nil {
			return true
		}
	}
	return false
}

// settle carries a NAT target out for a connection's first packet.
func (w *walk) settle(h *host, hook nat.Hook, f *flight, target iptables.Target) {
	src, dst := f.conn.Reply.Dst(), f.conn.Reply.Src()
	switch t := target.(type) {
	case iptables.DNAT:
		f.conn.Translate(conntrack.ManipDestination, choose(t.Range, dst))
	case iptables.Redirect:
		r := t.Range
		r.MinAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if hook == nat.PreRouting {
			r.MinAddr = h.deviceAddr(h.device(f.In), netip.Addr{})
		}
		f.conn.Translate(conntrack.ManipDestination, choose(r, dst))
	case iptables.SNAT:
		f.conn.Translate(conntrack.ManipSource, choose(t.Range, src))
	case iptables.Masquerade:
		r := t.Range
		r.MinAddr = h.deviceAddr(h.device(f.Out), w.via)
		f.conn.Translate(conntrack.ManipSource, choose(r, src))
	case iptables.NetMap:
		m := conntrack.ManipOf(hook)
		was := dst
		if m == conntrack.ManipSource {
			was = src
		}
		f.conn.Translate(m, netip.AddrPortFrom(mapped(t.To, was.Addr()), was.Port()))
	}
}

// choose picks from a range: the first address, and a port that is kept where the range allows it, fixed where it has
// one, and AnyPort where chance decides (nf_nat_l4proto_unique_tuple).
func choose(r iptables.NATRange, was netip.AddrPort) netip.AddrPort {
	a := r.MinAddr
	if !a.IsValid() {
		a = was.Addr()
	}
	port := was.Port()
	switch {
	case r.MinPort != 0 && (port < r.MinPort || port > r.MaxPort || r.BasePort != 0):
		port = r.MinPort
		if r.MaxPort != r.MinPort {
			port = AnyPort
		}
	case r.Random || r.FullyRandom:
		port = AnyPort
	}
	return netip.AddrPortFrom(a, port)
}

// mapped keeps an address's host part and takes the prefix's network.
func mapped(to netip.Prefix, a netip.Addr) netip.Addr {
	net, host := to.Masked().Addr().As4(), a.As4()
	for bit := to.Bits(); bit < 32; bit++ {
		net[bit/8] |= host[bit/8] & (1 << (7 - bit%8))
	}
	return netip.AddrFrom4(net)
}

// translate changes a packet as its connection says. Of an ICMP error both the header and the packet inside change
// (nf_nat_icmp_reply_translation).
func (w *walk) translate(m conntrack.Manip, f *flight) {
	if f.error == nil {
		f.Tuple = f.conn.Apply(m, f.connDir, f.Tuple)
		return
	}
	to, ok := f.conn.Target(m, f.connDir)
	if !ok {
		return
	}
	e := *f.error
	if m == conntrack.ManipSource {
		f.Tuple = f.Tuple.WithSrc(netip.AddrPortFrom(to.Addr(), 0))
		e.inside = e.inside.WithDst(to)
	} else {
		f.Tuple = f.Tuple.WithDst(netip.AddrPortFrom(to.Addr(), 0))
		e.inside = e.inside.WithSrc(to)
	}
	f.error = &e
}

// confirm puts a new connection into the namespace's table. false: it clashes with another, and the packet is dropped.
func (w *walk) confirm(h *host, f *flight) bool {
	if f.conn == nil || f.related || f.conn.Has(conntrack.Confirmed) {
		return true
	}
	if !w.table(h).Confirm(f.conn) {
		w.lost(f, h.member+" conntrack", "another connection has the tuple: insert_failed")
		return false
	}
	f.conn.Mark = f.ConnMark
	if f.inner == nil && f.dir == nat.Original {
		w.conns = append(w.conns, tracked{h, f.conn})
	}
	return true
}
