package proof

import (
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
)

// Seen is all that the witnesses saw of one try, split into the first packet and its answer. Within one namespace
// the order is the kernel's; between namespaces it is not known.
type Seen struct {
	Request nat.Journey // the first packet: a TCP SYN, an SCTP INIT or the datagram
	Reply   nat.Journey // the first answer: SYN-ACK, RST, INIT ACK, ABORT, datagram or ICMP error
	Conns   []nat.Conn  // the last state of each entry, with all status bits it ever showed
	Errors  []ICMP      // the ICMP errors about the flow, in the order seen

	// Stray are packets that are neither a request nor an answer to it: a client's RST against an answer that it
	// does not know.
	Stray []nat.Hop
	// Later are the rules that packets of the connection met, where they were watched, which neither open nor refuse it.
	Later nat.Trace
	// Repeated reports that the first packet or its answer was sent more than once, as TCP does with what is not answered in
	// time: what comes after the first one's observations may be the second's.
	Repeated bool
	Sent     int // how often the client sent its first packet
	// Mixed reports that a tuple of this try was at the same time one of another's: nothing can be concluded.
	Mixed bool
	// Shared are the tuples of ICMP errors about this try that errors about others had, too, or about a packet that belongs to no try of
	// the list and came late: which of them met a rule cannot be told, and Steps has none of these rules.
	Shared []nat.Tuple
	// Last is the number (Observation.Seq) of the newest observation of a packet of this try, and LastHop where that was.
	Last    uint64
	LastHop nat.Hop
	// Packets are all packets of this try at all taps, in the order seen, where packets are kept.
	Packets []Packet
}

// Packet is a packet as it was at a tap, byte for byte.
type Packet struct {
	Direction nat.Direction
	Seq       uint64 // Observation.Seq
	At        time.Time
	Hop       nat.Hop
	Bytes     []byte // from the IP header on; of what was copied at a tap perhaps the first bytes alone
}

// The TCP flags of Observation.TCPFlags that tell a first packet from an answer.
const (
	tcpSYN = 2
	tcpRST = 4
	tcpACK = 16
)

// Join deals the observations out to the tries that caused them. Each try is known by its client's address and
// port, which no other try of the list may share; behind a translation it is known by the tuples that the
// connection tracking entry of the translating node shows, and so on from node to node. What belongs to no try
// is left out.
func Join(tries []nat.Probe, seen []Observation) []Seen {
	j := joiner{
		tries:  tries,
		seen:   make([]Seen, len(tries)),
		client: make(map[socket]int, len(tries)),
		tuple:  map[nat.Tuple]owner{},
		packet: map[packetID]owner{},
		conns:  make([]connIndex, len(tries)),
		errors: map[nat.Tuple][]int{},
		sent:   map[sending]int{},
	}
	for i, p := range tries {
		j.client[socket{p.Tuple.Proto(), p.Tuple.Src()}] = i
		j.learn(p.Tuple, owner{i, nat.Original})
		j.learn(p.Tuple.Reply(), owner{i, nat.Reply})
	}
	j.joinConns(seen)
	for i := range seen { // which are large
		if seen[i].Kind == PacketSeen {
			j.joinPacket(&seen[i])
		}
	}
	j.joinRules(seen)
	for i := range j.seen {
		j.seen[i].aim()
	}
	return j.seen
}

type socket struct {
	proto nat.Proto
	addr  netip.AddrPort
}

type owner struct {
	try int
	dir nat.Direction
}

type packetID struct {
	node  string
	trace uint32
}

// sending is a packet as it left the namespace that made it.
type sending struct {
	owner
	node string
	of   nat.Tuple
}

// connIndex finds an entry of a try: node and original tuple are its key.
type connIndex map[connKey]int

type connKey struct {
	node     string
	original nat.Tuple
}

type joiner struct {
	tries  []nat.Probe
	seen   []Seen
	client map[socket]int
	tuple  map[nat.Tuple]owner
	packet map[packetID]owner
	conns  []connIndex
	errors map[nat.Tuple][]int // by the tuple of ICMP errors, the tries that they are about, or noTry
	sent   map[sending]int
}

// learn notes that packets of this tuple are of o, and marks both tries if another had it before.
func (j *joiner) learn(t nat.Tuple, o owner) {
	if was, ok := j.tuple[t]; ok && was.try != o.try {
		j.seen[was.try].Mixed, j.seen[o.try].Mixed = true, true
		return
	} else if ok {
		return // a flow to oneself may have a tuple in both directions; the first one learned is the request's
	}
	j.tuple[t] = o
}

// vxlanPort is where VXLAN's packets go to (RFC 7348). Their source port is a hash of what they carry, in the range that clients' are
// in, and so now and then that of a client of the node's own.
const vxlanPort = 4789

// find tells whose packet t is: by its whole tuple, else by the client's socket at one of its ends.
func (j *joiner) find(t nat.Tuple) (owner, bool) {
	if o, ok := j.tuple[t]; ok {
		return o, true
	}
	if t.Proto() == nat.UDP && t.Dst().Port() == vxlanPort {
		return owner{}, false
	}
	if i, ok := j.client[socket{t.Proto(), t.Src()}]; ok {
		return owner{i, nat.Original}, true
	}
	if i, ok := j.client[socket{t.Proto(), t.Dst()}]; ok {
		return owner{i, nat.Reply}, true
	}
	return owner{}, false
}

// joinConns follows the translations: an entry whose original tuple is known tells the tuples behind it. It goes
// round until no entry is left that tells something new, since the nodes come in no order.
func (j *joiner) joinConns(seen []Observation) {
	var rest []*Observation
	for i := range seen {
		if seen[i].Kind == ConnSeen {
			rest = append(rest, &seen[i])
		}
	}
	for before := -1; before != len(rest); {
		before = len(rest)
		rest = slices.DeleteFunc(rest, j.joinConn)
	}
}

func (j *joiner) joinConn(o *Observation) bool {
	c := o.Conn
	who, ok := j.find(c.Original)
	if !ok || who.dir != nat.Original {
		return false
	}
	s, index := &j.seen[who.try], j.conns[who.try]
	if index == nil {
		index = connIndex{}
		j.conns[who.try] = index
	}
	key := connKey{c.Node, c.Original}
	at, ok := index[key]
	if o.Gone && (!ok || s.Conns[at].ID != c.ID) {
		return true // an older connection's entry of the same tuple, which had expired and is collected only now
	}
	if ok {
		known := &s.Conns[at]
		c.Status |= known.Status
		if o.Gone {
			c.Mark = known.Mark
		}
		*known = c
	} else {
		index[key] = len(s.Conns)
		s.Conns = append(s.Conns, c)
	}
	if i, ok := j.client[socket{c.Reply.Proto(), c.Reply.Dst()}]; ok && i != who.try { // a masquerade drew the port that another try's client has
		j.seen[i].Mixed, j.seen[who.try].Mixed = true, true
	}
	between := c.Original.WithDst(c.Reply.Src())
	for _, t := range []nat.Tuple{between, c.Reply.Reply()} {
		j.learn(t, owner{who.try, nat.Original})
		j.learn(t.Reply(), owner{who.try, nat.Reply})
	}
	return true
}

func (j *joiner) joinPacket(o *Observation) {
	if o.ICMP.Inside.IsValid() {
		j.joinError(o)
		return
	}
	who, ok := j.find(o.Hop.Tuple)
	if !ok {
		return
	}
	s := &j.seen[who.try]
	j.note(s, o)
	s.keep(who.dir, o)
	switch first, answer := firstOrAnswer(o); {
	case who.dir == nat.Original && first:
		if n := j.left(who, o); o.Hop.Tuple == j.tries[who.try].Tuple && o.Node == j.tries[who.try].From {
			s.Sent = max(s.Sent, n)
		}
		s.Request.Hops = append(s.Request.Hops, o.Hop)
	case who.dir == nat.Reply && answer:
		j.left(who, o)
		s.Reply.Hops = append(s.Reply.Hops, o.Hop)
	default:
		s.Stray = append(s.Stray, o.Hop)
	}
}

// keep keeps a packet byte for byte, where the witness did.
func (s *Seen) keep(dir nat.Direction, o *Observation) {
	if o.Packet != nil {
		s.Packets = append(s.Packets, Packet{Direction: dir, Seq: o.Seq, At: o.At, Hop: o.Hop, Bytes: o.Packet})
	}
}

// note keeps which observation of a packet of the try is the newest.
func (j *joiner) note(s *Seen, o *Observation) {
	if o.Seq >= s.Last {
		s.Last, s.LastHop = o.Seq, o.Hop
	}
}

// left counts how often a packet left the namespace that made it, where this is an observation of that, and marks a try one of
// whose packets did so twice. A packet that goes round in a circle leaves its maker but once.
func (j *joiner) left(who owner, o *Observation) int {
	if o.Hop.Tap != nat.TapOutRaw || o.Hop.Outer.IsValid() {
		return 0
	}
	k := sending{who, o.Node, o.Hop.Tuple}
	j.sent[k]++
	if j.sent[k] > 1 {
		j.seen[who.try].Repeated = true
	}
	return j.sent[k]
}

// firstOrAnswer tells by its flags whether a packet can open a flow and whether it can answer the opening one.
func firstOrAnswer(o *Observation) (first, answer bool) {
	if p := o.Hop.Tuple.Proto(); p != nat.TCP && p != nat.SCTP {
		return true, true
	}
	return opensOrAnswers(o.TCPFlags, nat.Original), opensOrAnswers(o.TCPFlags, nat.Reply)
}

// opensOrAnswers tells by the flags whether a packet of TCP or SCTP of a direction opens a connection, or answers the packet that does. A client's
// RST does neither: it is against an answer.
func opensOrAnswers(flags uint8, dir nat.Direction) bool {
	if dir == nat.Original {
		return flags&tcpSYN != 0 && flags&tcpACK == 0
	}
	return flags&tcpRST != 0 || flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK
}

// aim notes where a DNAT by a map of nf_tables led, of which the kernel tells the rule and no element: the node's entry has it.
func (s *Seen) aim() {
	for i := range s.Request.Steps {
		step := &s.Request.Steps[i]
		if !isNative(*step) || step.Target != "dnat" || step.To.IsValid() || step.Verdict != nat.Accept {
			continue
		}
		for _, c := range s.Conns {
			if c.Node == step.Node && c.Original == step.Before && c.Reply.Src() != c.Original.Dst() {
				step.To = c.Reply.Src()
			}
		}
	}
}

// joinRules deals out the rule hits: by their packet's tuple, and where the kernel gave only a number for the
// packet, by another hit of the same number.
func (j *joiner) joinRules(seen []Observation) {
	for i := range seen {
		if o := &seen[i]; o.Kind == RuleHit && o.TraceID != 0 {
			if who, ok := j.meets(o); ok {
				j.packet[packetID{o.Node, o.TraceID}] = who
			}
		}
	}
	for i := range seen {
		o := &seen[i]
		if o.Kind != RuleHit {
			continue
		}
		who, ok := j.meets(o)
		// A tunnel packet may bear the number of the packet inside it, and it meets rules of its own.
		if !ok && o.TraceID != 0 && !o.Step.Before.IsValid() {
			who, ok = j.packet[packetID{o.Node, o.TraceID}]
		}
		if !ok {
			continue
		}
		s := &j.seen[who.try]
		if o.TCPFlags != 0 && !opensOrAnswers(o.TCPFlags, who.dir) {
			s.Later = append(s.Later, o.Step)
			continue
		}
		way := &s.Request
		if who.dir == nat.Reply {
			way = &s.Reply
		}
		way.Steps = append(way.Steps, o.Step)
	}
}
