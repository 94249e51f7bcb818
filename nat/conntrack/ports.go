package conntrack

import (
	"net/netip"

	"natlab/nat"
)

// Range is what a NAT target lets the translation choose from (struct nf_nat_range2).
type Range struct {
	Min, Max         netip.Addr // invalid: the address stays
	MinPort, MaxPort uint16     // with Ports
	BasePort         uint16     // of a shifted range
	Ports            bool       // NF_NAT_RANGE_PROTO_SPECIFIED
	Shifted          bool       // NF_NAT_RANGE_PROTO_OFFSET
	Random           bool       // NF_NAT_RANGE_PROTO_RANDOM
	FullyRandom      bool       // NF_NAT_RANGE_PROTO_RANDOM_FULLY
	Persistent       bool       // NF_NAT_RANGE_PERSISTENT
}

// Chosen reports whether chance decides a port although the old one may be free.
func (r *Range) Chosen() bool { return r.Random || r.FullyRandom }

// Bind settles one end of a new connection's translation within a range, so that its reply tuple is unique
// (nf_nat_setup_info). A connection that is confirmed stays as it is.
func (t *Table) Bind(c *Conn, m Manip, r *Range) {
	if c.Has(nat.Confirmed) || c.Initialized(m) {
		return
	}
	current := c.Reply.Reply()
	t.settle(c, m, current, t.unique(c, m, current, r))
}

// settle gives a connection the tuple that was chosen in place of the current one.
func (t *Table) settle(c *Conn, m Manip, current, chosen nat.Tuple) {
	if chosen != current {
		c.Reply = chosen.Reply()
		c.Set(m.bit())
	}
	if m == ManipSource {
		t.addSource(c)
	}
	c.Set(m.done())
}

// Take settles one end of a new connection's translation as somebody else chose it, whether its reply tuple is unique or not: that shows at the
// confirmation. A connection that is confirmed stays as it is.
func (t *Table) Take(c *Conn, m Manip, to netip.AddrPort) {
	if c.Has(nat.Confirmed) || c.Initialized(m) {
		return
	}
	current := c.Reply.Reply()
	chosen := current.WithDst(to)
	if m == ManipSource {
		chosen = withPort(current.WithSrc(to), m, to.Port())
	}
	t.settle(c, m, current, chosen)
}

// Taken reports whether another connection's packets could not be told from those that answer this tuple of a connection.
func (t *Table) Taken(c *Conn, tuple nat.Tuple) bool { return t.used(c, tuple) }

// BindNull settles an end that no rule asked for: it stays as it is, but for a source port that another connection has
// (nf_nat_alloc_null_binding).
func (t *Table) BindNull(c *Conn, m Manip) {
	ip := c.Reply.Src().Addr()
	if m == ManipSource {
		ip = c.Reply.Dst().Addr()
	}
	t.Bind(c, m, &Range{Min: ip, Max: ip})
}

// unique chooses the tuple that the translated packet will have (get_unique_tuple).
func (t *Table) unique(c *Conn, m Manip, current nat.Tuple, r *Range) nat.Tuple {
	if m == ManipSource && !r.Chosen() {
		if t.within(r, current) {
			if !t.usedByNew(c, current) {
				return current
			}
		} else if again, ok := t.sameSource(c, current, r); ok && !t.used(c, again) {
			return again
		}
	}
	chosen := r.address(current, m)
	if !r.Chosen() {
		switch {
		case !r.Ports:
			if !t.used(c, chosen) {
				return chosen
			}
		case !r.Shifted && t.portIn(r, chosen, m) && (r.MinPort == r.MaxPort || !t.used(c, chosen)):
			return chosen
		}
	}
	return t.uniquePort(c, m, chosen, r)
}

// used reports whether another connection's packets could not be told from those that answer this tuple
// (nf_nat_used_tuple). Two packets of one flow that are both new do not count.
func (t *Table) used(c *Conn, tuple nat.Tuple) bool {
	other, _ := t.find(c.answerKey(tuple.Reply()), c.Zone)
	return other != nil && other != c && other.Original != c.Original
}

// usedByNew is used for a connection's own tuple (nf_nat_used_tuple_new, as of nat.ReverseClash): two packets that answer each
// other and were new at the same time are left to the resolution of clashes.
func (t *Table) usedByNew(c *Conn, tuple nat.Tuple) bool {
	if !t.used(c, tuple) {
		return false
	}
	if !t.Settings.Kernel.Has(nat.ReverseClash) {
		return true
	}
	const touched = nat.SrcNAT | nat.DstNAT | nat.SeqAdjust
	if c.Status&touched != 0 || !t.allowsClash(c.Original.Proto()) {
		return true
	}
	other, d := t.find(keyOf(tuple, c.kind, c.code), c.Zone)
	if other == nil || d == nat.Original || other.Status&touched != 0 {
		return true
	}
	return other.Original != c.Reply || other.Reply != c.Original
}

// within reports whether a tuple's source is in the range already (nf_in_range).
func (t *Table) within(r *Range, tuple nat.Tuple) bool {
	if a := tuple.Src().Addr(); r.Min.IsValid() && (a.Less(r.Min) || r.Max.Less(a)) {
		return false
	}
	return !r.Ports || t.portIn(r, tuple, ManipSource)
}

// portIn reports whether the end's port is within the range (l4proto_in_range).
func (t *Table) portIn(r *Range, tuple nat.Tuple, m Manip) bool {
	port, proto := tuple.Dst().Port(), tuple.Proto()
	if m == ManipSource || isICMP(proto) {
		port = tuple.Src().Port()
	}
	return !t.Settings.hasPorts(proto) && !isICMP(proto) || port >= r.MinPort && port <= r.MaxPort
}

// sameSource is the translation that another connection of this source has, where the range allows it
// (find_appropriate_src).
func (t *Table) sameSource(of *Conn, current nat.Tuple, r *Range) (nat.Tuple, bool) {
	s := t.sameSlot(current)
	if s == nil {
		return nat.Tuple{}, false
	}
	for c := s.conn; c != nil; c = c.nextSame {
		if t.expired(c) || c.Zone.In(nat.Original) != of.Zone.In(nat.Original) {
			continue
		}
		to := c.Reply.Dst()
		if again := withPort(current.WithSrc(to), ManipSource, to.Port()); t.within(r, again) {
			return again, true
		}
	}
	return nat.Tuple{}, false
}

// sameSlot is the slot of a tuple's source, nil where no connection has it.
func (t *Table) sameSlot(of nat.Tuple) *slot {
	return t.sourceAt(t.hash(sourceOf(of)), &of)
}

// sourceAt is sameSlot with the source's hash.
func (t *Table) sourceAt(hash uint32, of *nat.Tuple) *slot {
	return t.bySource.find(hash, func(c *Conn, _ nat.Direction) bool {
		return c.Original.Proto() == of.Proto() && c.Original.Src() == of.Src()
	})
}

func (t *Table) addSource(c *Conn) {
	if c.sourced {
		return
	}
	hash := t.hash(sourceOf(c.Original))
	if s := t.sourceAt(hash, &c.Original); s != nil {
		c.nextSame, s.conn.prevSame = s.conn, c
		s.conn = c
	} else {
		t.bySource.add(slot{conn: c, hash: hash})
	}
	c.sourced = true
}

func (t *Table) unsource(c *Conn) {
	if !c.sourced {
		return
	}
	if c.nextSame != nil {
		c.nextSame.prevSame = c.prevSame
	}
	switch {
	case c.prevSame != nil:
		c.prevSame.nextSame = c.nextSame
	case c.nextSame != nil:
		t.sameSlot(c.Original).conn = c.nextSame
	default:
		t.bySource.remove(t.hash(sourceOf(c.Original)), c, nat.Original)
	}
	c.nextSame, c.prevSame, c.sourced = nil, nil, false
}

// Drop forgets a connection whose first packet was dropped before its confirmation.
func (t *Table) Drop(c *Conn) {
	if !c.Has(nat.Confirmed) {
		t.unsource(c)
	}
}

// withPort is a tuple with another port at one end; an ICMP query has one identifier for both.
func withPort(t nat.Tuple, m Manip, port uint16) nat.Tuple {
	src, dst := t.Src(), t.Dst()
	if m == ManipSource || isICMP(t.Proto()) {
		src = netip.AddrPortFrom(src.Addr(), port)
	}
	if m == ManipDestination || isICMP(t.Proto()) {
		dst = netip.AddrPortFrom(dst.Addr(), port)
	}
	return nat.TupleOf(t.Proto(), src, dst)
}

const (
	maxAttempts  = 128             // NF_NAT_MAX_ATTEMPTS
	harderBelow  = maxAttempts / 4 // NF_NAT_HARDER_THRESH
	fewestTrials = 16
)

// uniquePort searches a free port, and takes the last one tried where it finds none (nf_nat_l4proto_unique_tuple). The
// clash shows at the confirmation then.
func (t *Table) uniquePort(c *Conn, m Manip, chosen nat.Tuple, r *Range) nat.Tuple {
	low, size, ok := t.ports(r, chosen, m)
	if !ok {
		return chosen
	}
	off := uint32(0)
	port := chosen.Dst().Port()
	if m == ManipSource || isICMP(chosen.Proto()) {
		port = chosen.Src().Port()
	}
	switch {
	case size == 1: // no choice: nobody is asked
	case r.Shifted:
		off = uint32(port - r.BasePort)
	case r.Chosen() || m != ManipDestination || !t.Settings.Kernel.Has(nat.FirstPortOfDNAT):
		off = t.random()
	}
	for attempts := min(size, maxAttempts); ; attempts /= 2 {
		for i := range attempts {
			chosen = withPort(chosen, m, uint16(low+(off&0xffff)%size))
			if !t.usedHarder(c, chosen, attempts-i) {
				return chosen
			}
			off++
		}
		if attempts >= size || attempts < fewestTrials {
			return chosen
		}
		off = t.random()
	}
}

func (t *Table) random() uint32 {
	if t.Chance == nil {
		return 0
	}
	return t.Chance.Uint32() & 0xffff
}

// ports is the range that ports are searched in; ok is false where the port has to stay.
func (t *Table) ports(r *Range, tuple nat.Tuple, m Manip) (low, size uint32, ok bool) {
	switch proto := tuple.Proto(); {
	case isICMP(proto) && !r.Ports:
		return 0, 65536, true
	case !isICMP(proto) && !t.Settings.hasPorts(proto):
		return 0, 0, false
	case r.Ports:
		a, b := min(r.MinPort, r.MaxPort), max(r.MinPort, r.MaxPort)
		return uint32(a), uint32(b-a) + 1, true
	case m == ManipDestination:
		return 0, 0, false
	}
	switch port := tuple.Src().Port(); {
	case port < 512:
		return 1, 511, true
	case port < 1024:
		return 600, 424, true
	}
	return 1024, 64512, true
}

// usedHarder is used, but among the last attempts for a new TCP connection an old one that is closing gives way where
// the sequence numbers have moved on (nf_nat_used_tuple_harder, as of nat.EvictClosing).
func (t *Table) usedHarder(c *Conn, tuple nat.Tuple, left uint32) bool {
	if left > harderBelow || tuple.Proto() != nat.TCP || c.tcp.state != TCPSynSent || !t.Settings.Kernel.Has(nat.EvictClosing) {
		return t.used(c, tuple)
	}
	other, d := t.find(c.answerKey(tuple.Reply()), c.Zone)
	if other == nil {
		return false
	}
	mayGo := d == nat.Reply && other != c && other.tcp.state >= TCPTimeWait && other.Has(nat.SrcNAT) && other.Status&(nat.FixedTimeout|nat.Dying) == 0
	if !mayGo || !after(c.tcp.seen[0].end, other.tcp.seen[0].end) {
		return true
	}
	t.Delete(other)
	return false
}
