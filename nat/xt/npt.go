package xt

import (
	"encoding/binary"
	"net/netip"

	"natlab/nat"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// NPT is -j SNPT or DNPT: one end of an IPv6 packet gets another prefix, without conntrack and without any change of
// checksums (ip6t_NPT.c, RFC 6296).
type NPT struct {
	Dest     bool         // DNPT: the destination; else the source
	From, To netip.Prefix // of at most 64 bits
}

var snptRow, dnptRow = nptTarget("SNPT", false), nptTarget("DNPT", true)

// maxNPT is the longest prefix that can be translated, in bits.
const maxNPT = 64

func nptTarget(name string, dest bool) Extension {
	hooks := HooksOf(nat.Input, nat.PostRouting)
	if dest {
		hooks = HooksOf(nat.PreRouting, nat.Output)
	}
	return Extension{
		Name: name, Kind: TargetKind, Families: IPv6Only, Tables: []string{"mangle"}, Hooks: hooks,
		Options:  []Option{{Name: "--src-pfx", Values: 1}, {Name: "--dst-pfx", Values: 1}},
		Examples: []string{"--src-pfx dead::/64 --dst-pfx 1c3::/64", "--src-pfx fd00:1:2::/48 --dst-pfx 2001:db8:1::/56"},
		Parse: func(a *Args) Value {
			t := NPT{Dest: dest}
			a.Once()
			for g := range a.Options {
				if g.Name() == "--src-pfx" {
					t.From = g.nptPrefix()
				} else {
					t.To = g.nptPrefix()
				}
			}
			for _, option := range []string{"--src-pfx", "--dst-pfx"} {
				a.Need(option)
			}
			return t
		},
		// struct ip6t_npt_tginfo { union nf_inet_addr src_pfx, dst_pfx; __u8 src_pfx_len, dst_pfx_len; __sum16 adjustment; };
		// the last is the kernel's own
		Layouts: layouts(layout(0, 36,
			func(d []byte, e *Env) (NPT, bool) {
				t := NPT{dest, netip.PrefixFrom(inetAddr(e.Family, d), int(d[32])), netip.PrefixFrom(inetAddr(e.Family, d[16:]), int(d[33]))}
				return t, d[32] <= maxNPT && d[33] <= maxNPT && t.From == t.From.Masked() && t.To == t.To.Masked()
			},
			func(t NPT, d []byte, _ *Env) error {
				copy(d, t.From.Addr().AsSlice())
				copy(d[16:], t.To.Addr().AsSlice())
				d[32], d[33] = byte(t.From.Bits()), byte(t.To.Bits())
				return nil
			})),
		Listed: func(l *Listing) bool {
			return l.Value(name+" src-pfx ", "--src-pfx", false) && l.Value("dst-pfx ", "--dst-pfx", false)
		},
	}
}

// nptPrefix is the first value as a prefix that NPT takes.
func (g *Given) nptPrefix() netip.Prefix {
	m := g.wholeAddrMask()
	if g.args.err != nil {
		return netip.Prefix{}
	}
	if maskedBy(m.Addr, m.Mask) != m.Addr { // ip6t_npt_checkentry
		g.bad(0, "a prefix without bits behind it")
	}
	n, ok := MaskBits(m.Mask)
	if !ok || n > maxNPT {
		g.bad(0, "a prefix of at most 64 bits")
	}
	return netip.PrefixFrom(m.Addr, n)
}

// Name is "SNPT" or "DNPT".
func (t NPT) Name() string { return map[bool]string{false: "SNPT", true: "DNPT"}[t.Dest] }

// Save prints both prefixes; iptables-save leaves one of no bits out, and then does not take its own text.
func (t NPT) Save(p *Printer) {
	for i, x := range []netip.Prefix{t.From, t.To} {
		if x.Bits() != 0 || p.Exact {
			p.Text([]string{" --src-pfx ", " --dst-pfx "}[i])
			p.Prefix(x)
		}
	}
}

// List prints both prefixes as iptables -L does.
func (t NPT) List(p *Printer) {
	p.Text(" ", t.Name(), " src-pfx ")
	p.Prefix(t.From)
	p.Text(" dst-pfx ")
	p.Prefix(t.To)
}

// Act gives the packet's end the other prefix, and the other end of the packet that an ICMPv6 error is about. An address
// whose host part leaves no room for the checksum's difference is dropped, with an ICMPv6 error that is not modelled.
func (t NPT) Act(v *rules.Visit) rules.Action {
	w, knows := v.World.(rules.Sharer)
	if knows && w.Shares(v.Packet) {
		return t.open("what the node hears of a packet while that leaves: which of both have it is a race")
	}
	from := v.Tuple.Src()
	if t.Dest {
		from = v.Tuple.Dst()
	}
	if v.Hook == nat.Input && !t.From.Contains(from.Addr()) {
		return t.open("an address without the prefix, so that the checksum is right only where the kernel has verified it before")
	}
	to, ok := t.mapped(from.Addr())
	if !ok {
		return rules.Action{Verdict: nat.Drop}
	}
	switch at := netip.AddrPortFrom(to, from.Port()); {
	case v.Wire == nil && t.Dest:
		v.Tuple = v.Tuple.WithDst(at)
	case v.Wire == nil:
		v.Tuple = v.Tuple.WithSrc(at)
	case t.Dest:
		v.Wire.SetDstAddr(to)
		v.Tuple = v.Wire.Tuple()
	default:
		v.Wire.SetSrcAddr(to)
		v.Tuple = v.Wire.Tuple()
	}
	if raw := knows && w.Raw(v.Packet); v.Wire != nil && !raw {
		t.actInside(v.Wire)
	}
	return rules.Continue()
}

// open is a packet of which no more is known, since the target writes into what.
func (t NPT) open(what string) rules.Action {
	return rules.Action{Verdict: nat.Accept, Effect: &rules.Open{Why: t.Name() + " writes into " + what}}
}

// actInside translates the packet inside an ICMPv6 error, which went the other way (Linux 5.10), where that follows the IPv6 header. In what a
// process writes whole the kernel does not find it (icmpv6_bounced_ipv6hdr, rawv6_send_hdrinc).
func (t NPT) actInside(p *packet.Packet) {
	inside, ok := p.Inside()
	if !ok || nat.Proto(p.Bytes()[6]) != nat.ICMPv6 {
		return
	}
	end := inside.Tuple().Dst().Addr()
	if t.Dest {
		end = inside.Tuple().Src().Addr()
	}
	to, ok := t.mapped(end)
	switch {
	case !ok || !t.From.Contains(end):
	case t.Dest:
		inside.SetSrcAddr(to)
	default:
		inside.SetDstAddr(to)
	}
}

// mapped is an address with the other prefix, whatever it had, and with its host part changed by what makes up for the
// checksum (ip6t_npt_map_pfx); ok is false where no word of the host part can be.
func (t NPT) mapped(a netip.Addr) (out netip.Addr, ok bool) {
	b, to := a.As16(), t.To.Addr().As16()
	bits := max(t.From.Bits(), t.To.Bits())
	var mask [16]byte
	PutMask(mask[:], bits)
	for i := range b {
		b[i] = b[i]&^mask[i] | to[i]&mask[i]
	}
	word := 3 // behind a prefix of at most 48 bits
	if bits > 48 {
		for word = 4; word < 8 && b[2*word] == 0xff && b[2*word+1] == 0xff; word++ {
		}
		if word == 8 {
			return a, false
		}
	}
	// The one's complement sum of the address stays what it was with the first prefix.
	acc := uint32(be16(b[2*word:]))
	for i := 0; i < 16; i += 2 {
		from := t.From.Addr().As16()
		acc += uint32(be16(from[i:])) + uint32(^be16(to[i:]))
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	if acc == 0xffff {
		acc = 0
	}
	binary.BigEndian.PutUint16(b[2*word:], uint16(acc))
	return netip.AddrFrom16(b), true
}
