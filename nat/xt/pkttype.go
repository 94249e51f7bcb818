package xt

import "natlab/nat/rules"

// PktType is -m pkttype: whom the frame was for that the packet came in (xt_pkttype.c).
type PktType struct {
	Not  bool
	Type PacketType
}

// PacketType is whom a frame was for (PACKET_HOST and its like, if_packet.h).
type PacketType uint8

// The types.
const (
	Unicast   PacketType = iota // the host itself; packets of the host's own are so, too
	Broadcast                   // all
	Multicast                   // a group
	OtherHost                   // somebody else; IP throws it away before any rule
)

var packetTypes = []string{"unicast", "broadcast", "multicast", "otherhost", "bcast", "mcast", "host"}

// String is the type as iptables prints it.
func (t PacketType) String() string { return packetTypes[t] }

var pktTypeRow = Extension{
	Name:     "pkttype",
	Options:  []Option{{Name: "--pkt-type", Values: 1, Not: true}},
	Examples: []string{"--pkt-type unicast", "! --pkt-type broadcast", "--pkt-type multicast", "--pkt-type otherhost"},
	Parse: func(a *Args) Value {
		var m PktType
		a.Need("--pkt-type")
		a.Once()
		for g := range a.Options {
			m = PktType{g.Not, [...]PacketType{Unicast, Broadcast, Multicast, OtherHost, Broadcast, Multicast, Unicast}[g.Choice(true, packetTypes...)]}
		}
		return m
	},
	Listed: func(l *Listing) bool {
		taken := l.TakeWord("PKTTYPE")
		not := l.Bang()
		taken = taken && l.TakeWord("=")
		kind := l.Word()
		if kind == "3" { // as iptables before namedOtherHost prints it
			kind = OtherHost.String()
		}
		l.Give("--pkt-type", not, kind)
		return taken
	},
	// struct xt_pkttype_info { int pkttype, invert; }
	Layouts: layouts(layout(0, 8,
		func(d []byte, _ *Env) (PktType, bool) {
			n := order.Uint32(d)
			return PktType{order.Uint32(d[4:]) != 0, PacketType(n)}, n <= uint32(OtherHost)
		},
		func(m PktType, d []byte, _ *Env) error {
			order.PutUint32(d, uint32(m.Type))
			order.PutUint32(d[4:], uint32(flagByte(m.Not)))
			return nil
		})),
}

// Name is "pkttype".
func (PktType) Name() string { return "pkttype" }

// namedOtherHost is the iptables that has a name for it.
var namedOtherHost = Version{1, 8, 9}

// text is the type as one version of iptables prints it.
func (m PktType) text(p *Printer) string {
	if m.Type == OtherHost && p.Version.Before(namedOtherHost) {
		return "3" // PACKET_OTHERHOST
	}
	return m.Type.String()
}

// Save prints the type.
func (m PktType) Save(p *Printer) { p.Option(m.Not, "--pkt-type", m.text(p)) }

// List prints the type as iptables -L does.
func (m PktType) List(p *Printer) { p.Text(" PKTTYPE ", bang(m.Not), "= ", m.text(p)) }

// Holds compares the type of the packet's frame.
func (m PktType) Holds(v *rules.Visit) rules.Answer {
	return rules.Is(PacketType(rules.FrameOf(v)) == m.Type, m.Not)
}

// Actual is the type of the packet's frame.
func (PktType) Actual(v *rules.Visit) string {
	return "a " + PacketType(rules.FrameOf(v)).String() + " frame"
}
