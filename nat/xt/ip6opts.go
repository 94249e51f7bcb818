package xt

import (
	"fmt"
	"math"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// IP6Options is -m hbh, and -m dst: what the hop-by-hop or destination options header of IPv6 has (ip6t_hbh.c).
type IP6Options struct {
	Destination bool          // dst
	Length      *HeaderNumber // of the header, in bytes
	Options     []IP6Option   // it has to begin with, in their order
}

// IP6Option is one option of such a header.
type IP6Option struct {
	Type   uint8
	Length uint8 // without the option's own two bytes; 255: any
}

const (
	anyOptionLength = 255
	maxIP6Options   = 16 // IP6T_OPTS_OPTSNR
)

var hbhRow, dstRow = ip6OptionsRow("hbh", false), ip6OptionsRow("dst", true)

func ip6OptionsRow(name string, destination bool) Extension {
	length, options := "--"+name+"-len", "--"+name+"-opts"
	return Extension{
		Name: name, Families: IPv6Only,
		Options:  []Option{{Name: length, Values: 1, Not: true}, {Name: options, Values: 1}},
		Examples: []string{length + " 42 " + options + " 1:2,23:42,4:6,0,42", "! " + length + " 8", options + " 194", ""},
		Parse: func(a *Args) Value {
			m := IP6Options{Destination: destination}
			a.Once()
			for g := range a.Options {
				if g.Name() == length {
					m.Length = g.number()
				} else {
					m.Options = g.ip6Options()
				}
			}
			return m
		},
		Listed: func(l *Listing) bool {
			taken := l.TakeWord(name)
			l.giveNumber("length", length)
			if l.TakeWord("opts") {
				l.Give(options, false, l.Word())
			}
			return taken
		},
		// struct ip6t_opts { __u32 hdrlen; __u8 flags, invflags; __u16 opts[16]; __u8 optsnr; }
		Layouts: layouts(layout(0, 40,
			func(d []byte, e *Env) (IP6Options, bool) { return decodeIP6Options(d, destination) }, encodeIP6Options)),
	}
}

// ip6Options is the first value as TYPE[:LENGTH], with commas between them. Of numbers that are too large the low bits count.
func (g *Given) ip6Options() (list []IP6Option) {
	for word := range strings.SplitSeq(g.Text(), ",") {
		kind, length, has := strings.Cut(word, ":")
		n, ok := Number(kind, math.MaxUint64)
		size := uint64(anyOptionLength)
		if has && ok {
			size, ok = Number(length, math.MaxUint64)
		}
		if !ok || len(list) == maxIP6Options || has && (uint8(n) == 0 || len(list) == maxIP6Options-1) {
			g.bad(0, "TYPE[:LENGTH] with commas between them, at most 16, and no length for type 0")
			return nil
		}
		list = append(list, IP6Option{uint8(n), uint8(size)})
	}
	return list
}

// Bits of ip6t_opts.flags (IP6T_OPTS_*); that of invflags is the first.
const (
	ip6OptionsLength = 1 << 0
	ip6OptionsList   = 1 << 1
)

func decodeIP6Options(d []byte, destination bool) (IP6Options, bool) {
	flags, invert, count := d[4], d[5], int(d[38])
	m := IP6Options{Destination: destination, Length: askedNumber(d, flags, invert, ip6OptionsLength)}
	if count > maxIP6Options || flags&^(ip6OptionsLength|ip6OptionsList) != 0 || invert&^ip6OptionsLength != 0 {
		return m, false
	}
	for i := range count {
		o := order.Uint16(d[6+2*i:])
		m.Options = append(m.Options, IP6Option{uint8(o >> 8), uint8(o)})
	}
	return m, (flags&ip6OptionsList != 0) == (count > 0)
}

func encodeIP6Options(m IP6Options, d []byte, _ *Env) error {
	m.Length.put(d, &d[4], &d[5], ip6OptionsLength)
	if len(m.Options) > 0 {
		d[4] |= ip6OptionsList
	}
	for i, o := range m.Options {
		order.PutUint16(d[6+2*i:], uint16(o.Type)<<8|uint16(o.Length))
	}
	d[38] = uint8(len(m.Options))
	return nil
}

// Name is "hbh" or "dst".
func (m IP6Options) Name() string { return map[bool]string{false: "hbh", true: "dst"}[m.Destination] }

// Save prints the length and the options.
func (m IP6Options) Save(p *Printer) {
	m.Length.save(p, "--"+m.Name()+"-len")
	if len(m.Options) > 0 {
		p.Option(false, "--"+m.Name()+"-opts", m.options())
	}
}

// List prints the length and the options as iptables -L does.
func (m IP6Options) List(p *Printer) {
	p.Text(" ", m.Name())
	m.Length.list(p, "length")
	if len(m.Options) > 0 {
		p.Text(" opts ", m.options())
	}
}

func (m IP6Options) options() string {
	words := make([]string, len(m.Options))
	for i, o := range m.Options {
		if words[i] = fmt.Sprint(o.Type); o.Length != anyOptionLength {
			words[i] += fmt.Sprintf(":%d", o.Length)
		}
	}
	return strings.Join(words, ",")
}

// Holds looks at the first such header. A packet without one does not hold, whatever is inverted.
func (m IP6Options) Holds(v *rules.Visit) rules.Answer {
	kind := map[bool]nat.Proto{false: hopByHopHeader, true: destinationHeader}[m.Destination]
	h, there, known := extensionHeader(v, kind)
	if !known {
		return rules.Unknown
	}
	return rules.Is(there && m.Length.meets(uint32(len(h))) && m.begins(h), false)
}

// begins reports whether the header begins with the options. The type and length of the last one may be all that is there
// of it.
func (m IP6Options) begins(h []byte) bool {
	rest := h[2:]
	for i, want := range m.Options {
		if len(rest) < 1 || want.Type != 0 && len(rest) < 2 {
			return false
		}
		if rest[0] != want.Type {
			return false
		}
		size := 1
		if want.Type != 0 {
			if want.Length != anyOptionLength && want.Length != rest[1] {
				return false
			}
			size = int(rest[1]) + 2
		}
		if size > len(rest) {
			return i == len(m.Options)-1
		}
		rest = rest[size:]
	}
	return true
}

// Actual is the packet's extension headers.
func (IP6Options) Actual(v *rules.Visit) string { return headerNames(v) }
