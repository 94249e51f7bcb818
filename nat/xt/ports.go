package xt

import (
	"fmt"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// PortRange is a range of ports, both ends in it, in host byte order. One that ends below its beginning holds none.
type PortRange struct {
	Not       bool
	Low, High uint16
}

// anyPort is the range that holds every port.
var anyPort = PortRange{High: 65535}

// Contains reports whether a port is in the range; Not does not count.
func (r PortRange) Contains(port uint16) bool { return port >= r.Low && port <= r.High }

// meets reports whether a port is one that the condition asks for; nil asks for any.
func (r *PortRange) meets(port uint16) bool { return r == nil || r.Contains(port) != r.Not }

// String is "80" or "80:90".
func (r PortRange) String() string { return span(r.Low, r.High, ":") }

// Ports is -m tcp, udp, sctp or dccp, with what of the header it asks for, if anything (xt_tcpudp.c, xt_sctp.c,
// xt_dccp.c). A field that is nil asks for nothing.
type Ports struct {
	Protocol    string // the match's name
	Source      *PortRange
	Destination *PortRange
	Flags       *TCPFlags     // of tcp
	Chunks      *SCTPChunks   // of sctp
	Types       *DCCPTypes    // of dccp
	Option      *HeaderOption // of tcp and dccp
	// NotBoth: Source and Destination, a port each and inverted, are one condition: not from the one to the other. That is
	// what iptables-nft 1.8.8 to 1.8.10 writes for two inverted ports, and takes for two conditions when it prints them.
	NotBoth bool
}

// HeaderOption is --tcp-option or --dccp-option: the header holds an option of that number.
type HeaderOption struct {
	Not    bool
	Number uint8
}

// Name is the protocol's.
func (m Ports) Name() string { return m.Protocol }

// Number is the protocol's number.
func (m Ports) Number() nat.Proto {
	p, _ := nat.ParseRuleProto(m.Protocol)
	return p
}

// Plain reports whether ports and TCP flags are all that is asked for, each by itself.
func (m Ports) Plain() bool {
	return m.Chunks == nil && m.Types == nil && m.Option == nil && !m.NotBoth
}

// Save prints the ports, and what else of the header is asked for.
func (m Ports) Save(p *Printer) {
	p.Unsaid = p.Unsaid || m.NotBoth
	m.savePorts(p, "--sport", m.Source)
	m.savePorts(p, "--dport", m.Destination)
	switch m.Protocol {
	case "tcp":
		m.Option.save(p, "--tcp-option")
		m.Flags.save(p)
	case "dccp":
		m.Types.save(p)
		m.Option.save(p, "--dccp-option")
	case "sctp":
		m.Chunks.save(p)
	}
}

// wholeRanges is the first iptables whose -m tcp, udp, esp, ah and ipcomp print a range of all values that is inverted:
// a rule that matches nothing. Older ones print the rule as if it asked for nothing.
var wholeRanges = Version{1, 8, 11}

func (m Ports) savePorts(p *Printer, option string, r *PortRange) {
	switch {
	case r == nil:
	case m.Protocol != "sctp" && m.Protocol != "dccp" && r.Low == 0 && r.High == 65535 && !p.Exact && p.Version.Before(wholeRanges):
	default:
		p.Option(r.Not, option, r.String())
	}
}

func (o *HeaderOption) save(p *Printer, option string) {
	if o != nil {
		p.Not(o.Not)
		p.Number(option, uint64(o.Number))
	}
}

// List prints the same as iptables -L does.
func (m Ports) List(p *Printer) {
	p.Text(" ", m.Protocol)
	listPorts(p, "spt", m.Source)
	listPorts(p, "dpt", m.Destination)
	if m.Types != nil {
		m.Types.list(p)
	}
	if m.Chunks != nil {
		m.Chunks.list(p)
	}
	if m.Option != nil {
		p.Textf(" option=%s%d", bang(m.Option.Not), m.Option.Number)
	}
	if m.Flags != nil {
		p.Textf(" flags:%s0x%02X/0x%02X", bang(m.Flags.Not), m.Flags.Mask, m.Flags.Set)
	}
}

// listedPorts reads what Ports.List prints of a protocol, with what else of the header it asks for.
func listedPorts(name string, more func(l *Listing)) func(*Listing) bool {
	return func(l *Listing) bool {
		if !l.TakeWord(name) {
			return false
		}
		for _, side := range [][2]string{{"spt", "--sport"}, {"dpt", "--dport"}} {
			if l.Take(side[0]+":") || l.Take(side[0]+"s:") {
				l.Give(side[1], l.Bang(), l.Word())
			}
		}
		if more != nil {
			more(l)
		}
		return true
	}
}

func listPorts(p *Printer, name string, r *PortRange) {
	switch {
	case r == nil || r.Low == 0 && r.High == 65535 && !r.Not:
	case r.Low == r.High:
		p.Textf(" %s:%s%d", name, bang(r.Not), r.Low)
	default:
		p.Textf(" %ss:%s%s", name, bang(r.Not), r.String())
	}
}

// headerBytes is how much of a protocol's header the kernel looks at; a packet that has less of it is dropped.
func headerBytes(p nat.Proto) int {
	switch p {
	case nat.TCP:
		return 20
	case nat.UDP:
		return 8
	case nat.SCTP, nat.DCCP:
		return 12
	}
	return 0
}

// CutShort reports whether a packet has less of its transport header than the match of its protocol looks at, so that it drops
// the packet; of a later fragment, whether an extension header is said to follow, so that -p finds no protocol (ipv6_find_hdr).
func CutShort(p *rules.Packet) bool {
	const longest = 20
	if p.Wire == nil {
		return false
	}
	if p.Later {
		return p.Wire.V6() && packet.Extension(p.Tuple.Proto())
	}
	n := len(p.Wire.Transport())
	return n < longest && n < headerBytes(p.Tuple.Proto())
}

// Holds compares the header. A later fragment has none, so it matches nothing.
func (m Ports) Holds(v *rules.Visit) rules.Answer {
	number := m.Number()
	if number != v.Tuple.Proto() || v.Later {
		return rules.No
	}
	if CutShort(v.Packet) {
		v.HotDrop = true
		return rules.No
	}
	if !m.meets(v.Tuple.Src().Port(), v.Tuple.Dst().Port()) {
		return rules.No
	}
	if f := m.Flags; f != nil && (v.TCPFlags&f.Mask == f.Set) == f.Not {
		return rules.No
	}
	if m.Plain() {
		return rules.Yes
	}
	return m.holdsInside(v)
}

// meets reports whether ports are those that are asked for.
func (m Ports) meets(src, dst uint16) bool {
	if m.NotBoth {
		return m.Source.meets(src) || m.Destination.meets(dst)
	}
	return m.Source.meets(src) && m.Destination.meets(dst)
}

// holdsInside asks for what only the packet's bytes tell.
func (m Ports) holdsInside(v *rules.Visit) rules.Answer {
	switch {
	case m.Chunks == nil && m.Types == nil && m.Option == nil:
		return rules.Yes
	case v.Wire == nil:
		return rules.Unknown
	case m.Chunks != nil:
		return m.Chunks.holds(v)
	case m.Types != nil && !m.Types.meets(dccpType(v.Wire.Transport())):
		return rules.No
	case m.Option == nil:
		return rules.Yes
	case m.Protocol == "dccp":
		return m.Option.holds(v, dccpOptions)
	}
	return m.Option.holds(v, tcpOptions)
}

// holds asks for the option among those of a header; a header that does not hold what it claims is dropped.
func (o *HeaderOption) holds(v *rules.Visit, options func(h []byte) ([]byte, bool)) rules.Answer {
	list, ok := options(v.Wire.Transport())
	if !ok {
		v.HotDrop = true
		return rules.No
	}
	return rules.Is(hasOption(list, o.Number), o.Not)
}

// hasOption walks options of one byte, or of a kind and a length, as tcp_find_option and dccp_find_option do.
func hasOption(list []byte, kind uint8) bool {
	for i := 0; i < len(list); {
		switch {
		case list[i] == kind:
			return true
		case list[i] < 2 || i+1 == len(list) || list[i+1] == 0:
			i++
		default:
			i += int(list[i+1])
		}
	}
	return false
}

// Actual is what of the header is another.
func (m Ports) Actual(v *rules.Visit) string {
	src, dst := v.Tuple.Src().Port(), v.Tuple.Dst().Port()
	switch {
	case v.Later:
		return "a later fragment has no ports"
	case m.Number() != v.Tuple.Proto():
		return "protocol " + v.Tuple.Proto().String()
	case v.Wire != nil && len(v.Wire.Transport()) < headerBytes(m.Number()):
		return "a header that is cut short"
	case m.NotBoth && !m.meets(src, dst):
		return fmt.Sprintf("source port %d and destination port %d", src, dst)
	case !m.Source.meets(src):
		return fmt.Sprintf("source port %d", src)
	case !m.Destination.meets(dst):
		return fmt.Sprintf("destination port %d", dst)
	case m.Flags != nil && (v.TCPFlags&m.Flags.Mask == m.Flags.Set) == m.Flags.Not:
		return "flags " + tcpFlagText(v.TCPFlags)
	case v.Wire == nil:
		return "the packet's bytes are not known"
	case m.Chunks != nil:
		return "chunks " + chunkNames(v.Wire.Transport())
	case m.Types != nil && !m.Types.meets(dccpType(v.Wire.Transport())):
		return "type " + dccpTypeName(dccpType(v.Wire.Transport()))
	case m.Option != nil && m.Option.Not:
		return fmt.Sprintf("option %d", m.Option.Number)
	}
	return "no such option"
}

// The ways in which iptables reads ports.
type portReading uint8

const (
	anyBase portReading = iota // xtables_parse_port: decimal, octal, hexadecimal; a range must not end below its beginning
	decimal                    // getaddrinfo: decimal only; iptables 1.8.9 takes a range that holds none
)

// portRange is the first value as PORT, LOW:HIGH, LOW: or :HIGH, each a number or a service's name.
func (g *Given) portRange(p nat.Proto, how portReading) *PortRange {
	low, high, two := strings.Cut(g.Text(), ":")
	r := anyPort
	r.Not = g.Not
	ok := low != "" || two
	if low != "" {
		r.Low, ok = readPort(low, p, how)
	}
	switch {
	case !two:
		r.High = r.Low
	case high != "":
		var good bool
		r.High, good = readPort(high, p, how)
		ok = ok && good
	}
	if !ok || r.Low > r.High && how == anyBase {
		g.bad(0, "a port or LOW:HIGH")
	}
	return &r
}

// readPort reads a port as a number or a service's name.
func readPort(s string, p nat.Proto, how portReading) (uint16, bool) {
	if how == decimal {
		if n, err := strconv.ParseUint(s, 10, 16); err == nil {
			return uint16(n), true
		}
	} else if n, ok := Number(s, 65535); ok {
		return uint16(n), true
	}
	return nat.ServicePort(s, p)
}

// portOptions are --sport and --dport with their further spellings.
func portOptions(more ...Option) []Option {
	return append([]Option{
		{Name: "--sport", Also: []string{"--source-port"}, Values: 1, Not: true},
		{Name: "--dport", Also: []string{"--destination-port"}, Values: 1, Not: true},
	}, more...)
}

// asked is the range that a struct holds; nil for all ports, which ask for nothing.
func asked(d []byte, not bool) *PortRange {
	r := PortRange{not, order.Uint16(d), order.Uint16(d[2:])}
	if r == anyPort {
		return nil
	}
	return &r
}

// putPorts writes a range; nil is all ports.
func putPorts(d []byte, r *PortRange) {
	if r == nil {
		r = &anyPort
	}
	order.PutUint16(d, r.Low)
	order.PutUint16(d[2:], r.High)
}

// bitIf is the bit where on, else 0.
func bitIf[T uint8 | uint16 | uint32](on bool, bit T) T {
	if on {
		return bit
	}
	return 0
}

// inverted is the bit where the range is inverted.
func (r *PortRange) inverted(bit uint8) uint8 { return bitIf(r != nil && r.Not, bit) }
