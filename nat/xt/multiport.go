package xt

import (
	"errors"
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// MultiPort is -m multiport (xt_multiport.c).
type MultiPort struct {
	Not   bool
	Side  PortSide
	Ports []PortRange
}

// PortSide tells which ports a MultiPort looks at.
type PortSide uint8

// The sides.
const (
	DestinationPorts PortSide = iota // --dports
	SourcePorts                      // --sports
	EitherPorts                      // --ports
)

var portSideNames = [...]string{DestinationPorts: "dports", SourcePorts: "sports", EitherPorts: "ports"}

// multiPortSides are the sides as the struct has them (enum xt_multiport_flags).
var multiPortSides = []PortSide{SourcePorts, DestinationPorts, EitherPorts}

var multiPortRow = Extension{
	Name: "multiport", Needs: "-p udplite",
	Protocols: []nat.Proto{nat.TCP, nat.UDP, nat.UDPLite, nat.SCTP, nat.DCCP},
	Options: []Option{
		{Name: "--sports", Also: []string{"--source-ports"}, Values: 1, Not: true},
		{Name: "--dports", Also: []string{"--destination-ports"}, Values: 1, Not: true},
		{Name: "--ports", Values: 1, Not: true},
	},
	Examples: []string{"--sports 53,1024:65535", "! --dports 1:2,3,4:5", "--ports 0"},
	Parse:    parseMultiPort,
	Listed: func(l *Listing) bool {
		if !l.TakeWord("multiport") {
			return false
		}
		side := l.Word()
		l.Give("--"+side, l.Bang(), l.Word())
		return true
	},
	Layouts: layouts(
		// struct xt_multiport_v1 { __u8 flags, count; __u16 ports[15]; __u8 pflags[15], invert; }
		layout(1, 48, decodeMultiPort, encodeMultiPort),
		// struct xt_multiport { __u8 flags, count; __u16 ports[15]; }, as kernels without ranges have it
		layout(0, 32, func(d []byte, e *Env) (MultiPort, bool) {
			var wide [48]byte
			copy(wide[:], d)
			return decodeMultiPort(wide[:], e)
		}, func(m MultiPort, d []byte, e *Env) error {
			var wide [48]byte
			err := encodeMultiPort(m, wide[:], e)
			if wide[47] != 0 || strings.Trim(string(wide[32:47]), "\x00") != "" {
				err = errors.New("ranges and ! need revision 1")
			}
			copy(d, wide[:])
			return err
		}),
	),
}

// maxMultiPorts is XT_MULTI_PORTS; a range counts twice.
const maxMultiPorts = 15

func parseMultiPort(a *Args) Value {
	var m MultiPort
	a.Once()
	a.Need("--sports", "--dports", "--ports")
	for g := range a.Options {
		switch {
		case m.Ports != nil:
			g.Fail("one of --sports, --dports and --ports only")
		case !g.Protocol.HasPorts():
			g.Fail("needs -p tcp, udp, udplite, sctp or dccp before it")
		}
		m.Not = g.Not
		for side, name := range portSideNames {
			if g.Name() == "--"+name {
				m.Side = PortSide(side)
			}
		}
		m.Ports = g.multiPorts()
	}
	return m
}

// multiPorts is the first value as ports and LOW:HIGH, joined by commas.
func (g *Given) multiPorts() (all []PortRange) {
	count := 0
	for word := range strings.SplitSeq(g.Text(), ",") {
		low, high, two := strings.Cut(word, ":")
		var r PortRange
		var ok bool
		r.Low, ok = readPort(low, g.Protocol, anyBase)
		r.High = r.Low
		count++
		if two {
			var good bool
			r.High, good = readPort(high, g.Protocol, anyBase)
			ok = ok && good && r.Low < r.High
			count++
		}
		if !ok {
			g.bad(0, "ports and LOW:HIGH, joined by commas")
		}
		all = append(all, r)
	}
	if count > maxMultiPorts {
		g.bad(0, fmt.Sprintf("at most %d ports; a range counts as two", maxMultiPorts))
	}
	return all
}

func decodeMultiPort(d []byte, _ *Env) (MultiPort, bool) {
	side, count := int(d[0]), int(d[1])
	if side >= len(multiPortSides) || count > maxMultiPorts {
		return MultiPort{}, false
	}
	m := MultiPort{Not: d[47] != 0, Side: multiPortSides[side]}
	ok := count > 0
	for i := 0; i < count; i++ {
		r := PortRange{Low: order.Uint16(d[2+2*i:])}
		r.High = r.Low
		if begins := d[32+i] != 0; begins && i+1 < count {
			i++
			r.High = order.Uint16(d[2+2*i:])
			ok = ok && r.Low < r.High && d[32+i] == 0
		} else if begins {
			ok = false
		}
		m.Ports = append(m.Ports, r)
	}
	return m, ok
}

func encodeMultiPort(m MultiPort, d []byte, _ *Env) error {
	d[0], d[47] = [...]byte{DestinationPorts: 1, SourcePorts: 0, EitherPorts: 2}[m.Side], flagByte(m.Not)
	n := 0
	for _, r := range m.Ports {
		ports := []uint16{r.Low, r.High}
		if r.Low == r.High {
			ports = ports[:1]
		}
		if n+len(ports) > maxMultiPorts {
			return fmt.Errorf("more than %d ports", maxMultiPorts)
		}
		d[32+n] = flagByte(len(ports) == 2)
		for _, port := range ports {
			order.PutUint16(d[2+2*n:], port)
			n++
		}
	}
	d[1] = byte(n)
	return nil
}

// Name is "multiport".
func (MultiPort) Name() string { return "multiport" }

// Save prints the ports.
func (m MultiPort) Save(p *Printer) { p.Option(m.Not, "--"+portSideNames[m.Side], m.list()) }

// List prints the ports as iptables -L does.
func (m MultiPort) List(p *Printer) {
	p.Text(" multiport ", portSideNames[m.Side], " ")
	p.Not(m.Not)
	p.Text(m.list())
}

func (m MultiPort) list() string {
	words := make([]string, len(m.Ports))
	for i, r := range m.Ports {
		words[i] = r.String()
	}
	return strings.Join(words, ",")
}

// Holds looks for the packet's ports. A later fragment and a protocol without ports match nothing.
func (m MultiPort) Holds(v *rules.Visit) rules.Answer {
	if v.Later || !v.Tuple.Proto().HasPorts() {
		return rules.No
	}
	if v.Wire != nil && len(v.Wire.Transport()) < 4 {
		v.HotDrop = true
		return rules.No
	}
	found := false
	for _, ports := range m.Ports {
		src, dst := ports.Contains(v.Tuple.Src().Port()), ports.Contains(v.Tuple.Dst().Port())
		switch m.Side {
		case SourcePorts:
			found = found || src
		case DestinationPorts:
			found = found || dst
		case EitherPorts:
			found = found || src || dst
		}
	}
	return rules.Is(found, m.Not)
}

// Actual is the packet's ports.
func (MultiPort) Actual(v *rules.Visit) string {
	switch proto := v.Tuple.Proto(); {
	case v.Later:
		return "a later fragment has no ports"
	case !proto.HasPorts():
		return "protocol " + proto.String()
	}
	return fmt.Sprintf("source port %d, destination port %d", v.Tuple.Src().Port(), v.Tuple.Dst().Port())
}
