package witness

import (
	"slices"

	"natlab/nat"
	"natlab/nat/proof"
)

// Stall keeps the readers of a namespace from reading until release is called.
func (s *Session) Stall(name string) (release func()) {
	m := s.byName[name]
	m.mu.Lock()
	return m.mu.Unlock
}

// Abandon ends a session as a crash would: its sockets go, what it made stays.
func (s *Session) Abandon() {
	for _, m := range s.members {
		m.mu.Lock()
		m.closed = true
		m.mu.Unlock()
		if m.queues != nil {
			_ = m.queues.close()
		}
		for _, k := range append(m.sockets(), m.control) {
			_ = k.close()
		}
	}
	s.readers.Wait()
}

// Few lists a namespace's entries by the kernel's file, and reports whether that tells of all.
func (s *Session) Few(name string) ([]nat.Conn, bool, error) { return s.byName[name].few(fewEntries) }

// ParseHeader is what a tap reads from a packet.
func ParseHeader(b []byte) proof.Observation {
	h := parseHeader(b)
	var o proof.Observation
	o.Hop.Tuple, o.Hop.Outer, o.TCPFlags, o.ICMP = h.tuple, h.outer, h.flags, h.icmp
	return o
}

// QueueDrops is queueDrops.
func QueueDrops(b []byte) uint64 { return queueDrops(b) }

// Backlog is backlog.
func Backlog(b []byte) (uint64, bool) { return column(b, backlogColumn) }

// ReadAnything gives a datagram to every reader of a member.
func ReadAnything(b []byte) {
	m := newMember(Watched{Member: "fuzz"}, nat.IPv4, &Session{})
	m.control = &socket{fd: -1}
	for _, use := range []func(frame){
		func(f frame) { f.kind = queuePacket; m.readPacket(f) },
		func(f frame) { m.ruleHit(m.parseTrace(f)) },
		func(f frame) { m.logHit(f) },
		func(f frame) { _, _, _ = m.connEvent(f) },
	} {
		_ = m.each(b, func(f frame) error { use(f); return nil })
	}
}

// Quiet reports whether nobody waits for what happens in a namespace, packets aside.
func (s *Session) Quiet(name string) bool {
	m := s.byName[name]
	return !slices.ContainsFunc(m.sockets(), func(k *socket) bool { return k != m.log && !k.quiet })
}

// Traces reports whether the trace of nf_tables is read in a node.
func (s *Session) Traces(name string) bool { return s.byName[name].trace != nil }
