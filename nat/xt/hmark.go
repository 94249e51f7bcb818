package xt

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// HashMark is -j HMARK: the mark is a hash of what identifies the packet's flow, the same in both directions (xt_HMARK.c).
type HashMark struct {
	Given            HashMarkFields // which options are given
	SrcMask, DstMask uint8          // lengths of networks
	PortMask         uint32         // of both ports, the source's in the upper half, or of an SPI
	PortSet          uint32         // bits that are set in these
	ProtoMask        uint16
	Seed             uint32
	Modulus          uint32 // of the hash; never 0
	Offset           uint32 // that is added
}

// HashMarkFields are options of HMARK, by the bits of xt_hmark_info.flags.
type HashMarkFields uint32

// The options (XT_HMARK_*).
const (
	HashMarkSrc HashMarkFields = 1 << iota
	HashMarkDst
	HashMarkSPI
	HashMarkSPIMask
	HashMarkSrcPort
	HashMarkDstPort
	HashMarkSrcPortMask
	HashMarkDstPortMask
	HashMarkProtoMask
	HashMarkSeed
	HashMarkModulus
	HashMarkOffset
	HashMarkConn // what the connection has is hashed
)

const hashMarkTuple = HashMarkSrc | HashMarkDst | HashMarkSPI | HashMarkSPIMask | HashMarkSrcPort | HashMarkDstPort | HashMarkSrcPortMask |
	HashMarkDstPortMask | HashMarkProtoMask | HashMarkConn

var hashMarkRow = Extension{
	Name: "HMARK", Kind: TargetKind,
	Options: []Option{
		{Name: "--hmark-tuple", Values: 1},
		{Name: "--hmark-src-prefix", Values: 1},
		{Name: "--hmark-dst-prefix", Values: 1},
		{Name: "--hmark-sport-mask", Values: 1},
		{Name: "--hmark-dport-mask", Values: 1},
		{Name: "--hmark-spi-mask", Values: 1},
		{Name: "--hmark-sport", Values: 1},
		{Name: "--hmark-dport", Values: 1},
		{Name: "--hmark-spi", Values: 1},
		{Name: "--hmark-proto-mask", Values: 1},
		{Name: "--hmark-rnd", Values: 1},
		{Name: "--hmark-mod", Values: 1},
		{Name: "--hmark-offset", Values: 1},
	},
	Examples: []string{
		"--hmark-src-prefix 32 --hmark-rnd 0x00000004 --hmark-mod 42",
		"--hmark-src-prefix 24 --hmark-dst-prefix 0 --hmark-sport-mask 0xffff --hmark-dport-mask 0x00f0 --hmark-sport 0x0001 --hmark-dport 0x0200 --hmark-proto-mask 0xffff --hmark-rnd 0x00000004 --hmark-mod 42 --hmark-offset 1 --hmark-tuple ct",
		"--hmark-dst-prefix 1 --hmark-spi-mask 0x00000004 --hmark-spi 0xff000000 --hmark-proto-mask 0x05 --hmark-rnd 0xfeedcafe --hmark-mod 4294967295",
		"--hmark-rnd 0x00000000 --hmark-mod 1 --hmark-tuple ct",
	},
	Parse:  parseHashMark,
	Listed: listedHashMark,
	// struct xt_hmark_info { union nf_inet_addr src_mask, dst_mask; union hmark_ports port_mask, port_set; __u32 flags;
	// __u16 proto_mask; __u32 hashrnd, hmodulus, hoffset; }; ports in network order
	Layouts: layouts(layout(0, 60, decodeHashMark, encodeHashMark)),
}

func parseHashMark(a *Args) Value {
	var t HashMark
	a.Once()
	a.Need("--hmark-mod")
	a.Need("--hmark-rnd")
	for g := range a.Options {
		t.parse(g)
	}
	switch ports := HashMarkSrcPort | HashMarkDstPort; {
	case t.Given&hashMarkTuple == 0:
		a.Fail("needs --hmark-tuple, or what it stands for")
	case t.Given&HashMarkSPIMask != 0 && t.Given&(HashMarkSrcPortMask|HashMarkDstPortMask) != 0, t.Given&HashMarkSPI != 0 && t.Given&ports != 0:
		a.Fail("an SPI does not go with ports")
	}
	return t
}

func (t *HashMark) parse(g *Given) {
	upper := func(at *uint32, n uint64) { *at = *at&0xffff | uint32(n)<<16 }
	lower := func(at *uint32, n uint64) { *at = *at&^0xffff | uint32(n) }
	switch g.Name() {
	case "--hmark-tuple":
		t.tuple(g)
		return
	case "--hmark-src-prefix":
		t.SrcMask = uint8(g.maskLength(g.Text()))
	case "--hmark-dst-prefix":
		t.DstMask = uint8(g.maskLength(g.Text()))
	case "--hmark-sport-mask":
		upper(&t.PortMask, g.Uint(16))
	case "--hmark-dport-mask":
		lower(&t.PortMask, g.Uint(16))
	case "--hmark-spi-mask":
		t.PortMask = uint32(g.Uint(32))
	case "--hmark-sport":
		upper(&t.PortSet, g.Uint(16))
	case "--hmark-dport":
		lower(&t.PortSet, g.Uint(16))
	case "--hmark-spi":
		t.PortSet = uint32(g.Uint(32))
	case "--hmark-proto-mask":
		t.ProtoMask = uint16(g.Uint(16))
	case "--hmark-rnd":
		t.Seed = uint32(g.Uint(32))
	case "--hmark-mod":
		t.Modulus = uint32(g.Within(1, math.MaxUint32))
	case "--hmark-offset":
		t.Offset = uint32(g.Uint(32))
	}
	t.Given |= hashMarkFields[g.Name()]
}

var hashMarkFields = map[string]HashMarkFields{
	"--hmark-src-prefix": HashMarkSrc, "--hmark-dst-prefix": HashMarkDst, "--hmark-spi": HashMarkSPI, "--hmark-spi-mask": HashMarkSPIMask,
	"--hmark-sport": HashMarkSrcPort, "--hmark-dport": HashMarkDstPort, "--hmark-sport-mask": HashMarkSrcPortMask,
	"--hmark-dport-mask": HashMarkDstPortMask, "--hmark-proto-mask": HashMarkProtoMask, "--hmark-rnd": HashMarkSeed,
	"--hmark-mod": HashMarkModulus, "--hmark-offset": HashMarkOffset,
}

// hashMarkParts are what --hmark-tuple names, in the order in which a name that is cut short is looked for.
var hashMarkParts = []struct {
	name  string
	field HashMarkFields
	set   func(t *HashMark, width uint8)
}{
	{"ct", HashMarkConn, func(*HashMark, uint8) {}},
	{"src", HashMarkSrc, func(t *HashMark, width uint8) { t.SrcMask = width }},
	{"dst", HashMarkDst, func(t *HashMark, width uint8) { t.DstMask = width }},
	{"sport", HashMarkSrcPortMask, func(t *HashMark, _ uint8) { t.PortMask |= 0xffff << 16 }},
	{"dport", HashMarkDstPortMask, func(t *HashMark, _ uint8) { t.PortMask |= 0xffff }},
	{"proto", HashMarkProtoMask, func(t *HashMark, _ uint8) { t.ProtoMask = math.MaxUint16 }},
	{"spi", HashMarkSPIMask, func(t *HashMark, _ uint8) { t.PortMask = math.MaxUint32 }},
}

// tuple reads a list of what is hashed, whole.
func (t *HashMark) tuple(g *Given) {
	width := uint8(widthOf(g.args.Family))
next:
	for w := range strings.SplitSeq(g.Text(), ",") {
		for _, part := range hashMarkParts {
			if w != "" && len(w) <= len(part.name) && strings.EqualFold(w, part.name[:len(w)]) {
				t.Given |= part.field
				part.set(t, width)
				continue next
			}
		}
		g.bad(0, "some of ct,src,dst,sport,dport,proto,spi")
		return
	}
}

func decodeHashMark(d []byte, e *Env) (HashMark, bool) {
	src, ok := MaskBits(inetAddr(e.Family, d))
	dst, ok2 := MaskBits(inetAddr(e.Family, d[16:]))
	t := HashMark{
		SrcMask: uint8(src), DstMask: uint8(dst), PortMask: binary.BigEndian.Uint32(d[32:]), PortSet: binary.BigEndian.Uint32(d[36:]),
		Given: HashMarkFields(order.Uint32(d[40:])), ProtoMask: order.Uint16(d[44:]), Seed: order.Uint32(d[48:]),
		Modulus: order.Uint32(d[52:]), Offset: order.Uint32(d[56:]),
	}
	return t, ok && ok2 && t.Given < HashMarkConn<<1 && t.Given&HashMarkModulus != 0
}

func encodeHashMark(t HashMark, d []byte, _ *Env) error {
	if t.Given&HashMarkSrc != 0 {
		PutMask(d[:16], int(t.SrcMask))
	}
	if t.Given&HashMarkDst != 0 {
		PutMask(d[16:32], int(t.DstMask))
	}
	binary.BigEndian.PutUint32(d[32:], t.PortMask)
	binary.BigEndian.PutUint32(d[36:], t.PortSet)
	order.PutUint32(d[40:], uint32(t.Given))
	order.PutUint16(d[44:], t.ProtoMask)
	for i, n := range []uint32{t.Seed, t.Modulus, t.Offset} {
		order.PutUint32(d[48+4*i:], n)
	}
	return nil
}

// Name is "HMARK".
func (HashMark) Name() string { return "HMARK" }

// Save prints what is hashed, and what becomes of the hash.
func (t HashMark) Save(p *Printer) {
	t.print(p, []hashMarkText{
		{HashMarkSrc, " --hmark-src-prefix %d", uint32(t.SrcMask)},
		{HashMarkDst, " --hmark-dst-prefix %d", uint32(t.DstMask)},
		{HashMarkSrcPortMask, " --hmark-sport-mask 0x%04x", t.PortMask >> 16},
		{HashMarkDstPortMask, " --hmark-dport-mask 0x%04x", t.PortMask & 0xffff},
		{HashMarkSPIMask, " --hmark-spi-mask 0x%08x", t.PortMask},
		{HashMarkSrcPort, " --hmark-sport 0x%04x", t.PortSet >> 16},
		{HashMarkDstPort, " --hmark-dport 0x%04x", t.PortSet & 0xffff},
		{HashMarkSPI, " --hmark-spi 0x%08x", t.PortSet},
		{HashMarkProtoMask, " --hmark-proto-mask 0x%02x", uint32(t.ProtoMask)},
		{HashMarkSeed, " --hmark-rnd 0x%08x", t.Seed},
		{HashMarkModulus, " --hmark-mod %d", t.Modulus},
		{HashMarkOffset, " --hmark-offset %d", t.Offset},
	})
	if t.Given&HashMarkConn != 0 {
		p.Text(" --hmark-tuple ct")
	}
}

// List prints the same as iptables -L does, with a blank at the end. A whole mask of IPv6 is printed as whatever stands
// behind an empty string in the program; here, as nothing.
func (t HashMark) List(p *Printer) {
	p.Text(" HMARK ")
	t.print(p, []hashMarkText{{HashMarkModulus, "mod %d ", t.Modulus}, {HashMarkOffset, "+ 0x%x ", t.Offset}})
	if t.Given&HashMarkConn != 0 {
		p.Text("ct, ")
	}
	for _, mask := range []hashMarkText{{HashMarkSrc, "src-prefix ", uint32(t.SrcMask)}, {HashMarkDst, "dst-prefix ", uint32(t.DstMask)}} {
		switch {
		case t.Given&mask.field == 0:
		case mask.n == 128:
			p.Text(mask.format, " ")
		default:
			p.Text(mask.format, fmt.Sprint(mask.n), " ")
		}
	}
	t.print(p, []hashMarkText{
		{HashMarkSrcPortMask, "sport-mask 0x%x ", t.PortMask >> 16},
		{HashMarkDstPortMask, "dport-mask 0x%x ", t.PortMask & 0xffff},
		{HashMarkSPIMask, "spi-mask 0x%x ", t.PortMask},
		{HashMarkSrcPort, "sport 0x%x ", t.PortSet >> 16},
		{HashMarkDstPort, "dport 0x%x ", t.PortSet & 0xffff},
		{HashMarkSPI, "spi 0x%x ", t.PortSet},
		{HashMarkProtoMask, "proto-mask 0x%x ", uint32(t.ProtoMask)},
		{HashMarkSeed, "rnd 0x%x ", t.Seed},
	})
}

// listedHashMark reads what List prints.
func listedHashMark(l *Listing) bool {
	if !l.TakeWord("HMARK") {
		return false
	}
	l.Value("mod ", "--hmark-mod", false)
	l.Value("+ ", "--hmark-offset", false)
	if l.TakeWord("ct,") {
		l.Give("--hmark-tuple", false, "ct")
	}
	for _, name := range []string{"src-prefix", "dst-prefix"} {
		if l.TakeWord(name) {
			bits := l.Run("0123456789")
			if bits == "" {
				bits = "128"
			}
			l.Give("--hmark-"+name, false, bits)
		}
	}
	for _, name := range []string{"sport-mask", "dport-mask", "spi-mask", "sport", "dport", "spi", "proto-mask", "rnd"} {
		l.Value(name+" ", "--hmark-"+name, false)
	}
	return true
}

type hashMarkText struct {
	field  HashMarkFields
	format string
	n      uint32
}

func (t HashMark) print(p *Printer, texts []hashMarkText) {
	for _, text := range texts {
		if t.Given&text.field != 0 {
			p.Textf(text.format, text.n)
		}
	}
}
