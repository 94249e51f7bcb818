package test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/xt"
)

// undrawn are the extensions that the emulator evaluates and that no twin is given, with what is in the way; "match" or "target" and the
// name.
var undrawn = map[string]string{
	"target AUDIT":     "it writes into the machine's audit log",
	"target LED":       "it takes a LED of the machine",
	"target IDLETIMER": "its timers are the machine's, not the namespace's",
	"target SECMARK":   "the kernel refuses it without SELinux",
}

// What a kernel refuses cannot be drawn, as far as it has no part that takes it.
func TestUndrawnAreRefused(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, row := range []struct{ rule, part string }{
			{"-A FORWARD -j SECMARK --selctx system_u:object_r:httpd_packet_t:s0", "/sys/fs/selinux"},
			{`-A FORWARD -j LED --led-trigger-id "natlab"`, "/sys/class/leds"},
		} {
			if _, err := os.Stat(row.part); err == nil {
				continue // it would be the machine's
			}
			rs, err := iptables.ParseString(mangleRules(row.rule), w.family)
			require.NoError(t, err)
			require.Error(t, w.kernel.restore(t.Context(), w.backend, rs), row.rule)
		}
	})
}

// The twins are given every extension that the emulator evaluates, in each family that has it: in generated rules, or in the rules of
// the tests of content. What is not drawn has a reason, and what has a reason is not drawn.
func TestTwinsDrawEveryExtension(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		drawn := drawnExtensions(t, family)
		for _, x := range xt.Extensions() {
			if x.Undecided != "" || !x.Families.Has(family) {
				continue
			}
			name := "match " + x.Name
			if x.Kind == xt.TargetKind {
				name = "target " + x.Name
			}
			if reason, has := undrawn[name]; has {
				require.NotEmpty(t, reason, "%s", name)
				require.False(t, drawn[name], "%s of %s is drawn", name, family)
				continue
			}
			if !drawn[name] {
				t.Errorf("%s of %s is evaluated, and never drawn", name, family)
			}
		}
	}
}

// drawnExtensions are the extensions of the rules that twins are given.
func drawnExtensions(t *testing.T, family nat.Family) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	note := func(rs iptables.Ruleset) {
		for _, table := range rs.Tables {
			for _, chain := range table.Chains {
				for _, r := range chain.Rules {
					for _, m := range r.Matches {
						names["match "+rowOf(m, xt.MatchKind, family)] = true
					}
					if r.Target != nil {
						names["target "+rowOf(r.Target, xt.TargetKind, family)] = true
					}
				}
			}
		}
	}
	rulesets := rapid.Custom(func(rt *rapid.T) string { return drawn{t: rt, family: family}.ruleset() })
	for seed := range 1500 {
		rs, err := iptables.ParseString(textIn(family, rulesets.Example(seed)), family)
		require.NoError(t, err)
		note(rs)
	}
	for _, rules := range contentRules(family) {
		rs, err := iptables.ParseString(textIn(family, mangleRules(rules...)), family)
		require.NoError(t, err)
		note(rs)
	}
	return names
}

// rowOf is the name of a value's row: of "state" it is "conntrack".
func rowOf(v xt.Value, kind xt.Kind, family nat.Family) string {
	for _, x := range xt.Extensions() {
		if x.Kind == kind && x.Families.Has(family) && slices.Contains(x.Aliases, v.Name()) {
			return x.Name
		}
	}
	return v.Name()
}

// packetKind is a kind of packet that the emulator does something of its own with.
type packetKind struct {
	name string
	is   func(dev string, b []byte, p *packet.Packet) bool // p is the zero Packet for what no stack takes
	in   []nat.Family                                      // nil: in both
}

// The twins are given every kind of packet that the emulator knows.
func TestTwinsDrawEveryKindOfPacket(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		seen := map[string]int{}
		kinds := slices.DeleteFunc(packetKinds(), func(k packetKind) bool { return k.in != nil && !slices.Contains(k.in, family) })
		drawPackets(t, family, func(dev string, b []byte) {
			p, _ := packet.Parse(b)
			for _, k := range kinds {
				if k.is(dev, b, &p) {
					seen[k.name]++
				}
			}
		})
		for _, k := range kinds {
			if seen[k.name] == 0 {
				t.Errorf("%s of %s: never drawn", k.name, family)
			}
		}
	}
}

// drawPackets draws what twins are given, without a kernel.
func drawPackets(t *testing.T, family nat.Family, see func(dev string, b []byte)) {
	t.Helper()
	rs, err := iptables.ParseString(textIn(family, natRules("-A POSTROUTING -j MASQUERADE")), family)
	require.NoError(t, err)
	rounds := rapid.Custom(func(rt *rapid.T) int {
		d := drawn{t: rt, family: family}
		w := &twins{kernel: &kernelNode{}, family: family, tracked: true, next: map[nat.Tuple]uint32{}}
		var err error
		w.emulator, err = gateway.NewGateway(differentialNode(family), gateway.Rules{rs}, gateway.NodeOptions{Family: family})
		require.NoError(t, err)
		for i := range 200 {
			dev, pkt, mark := w.draw(d)
			see(dev, pkt)
			if at := time.Unix(int64(i), 0); dev == "" {
				w.emulator.Send(slices.Clone(pkt), mark, at)
			} else {
				w.emulator.Handle(slices.Clone(pkt), dev, at)
			}
		}
		return 0
	})
	for seed := range 60 {
		rounds.Example(seed)
	}
}

// ofProtocol are the kinds of a protocol.
func ofProtocol(p nat.Proto, in ...nat.Family) packetKind {
	return packetKind{p.String(), func(_ string, _ []byte, q *packet.Packet) bool { return q.IsValid() && q.Tuple().Proto() == p }, in}
}

// ofICMP is a type of ICMP.
func ofICMP(name string, kind uint8, in nat.Family) packetKind {
	return packetKind{name, func(_ string, _ []byte, p *packet.Packet) bool {
		got, _, ok := p.ICMP()
		return ok && got == kind
	}, []nat.Family{in}}
}

// with is a kind of valid packets.
func with(name string, is func(p *packet.Packet, h []byte) bool, in ...nat.Family) packetKind {
	return packetKind{name, func(_ string, _ []byte, p *packet.Packet) bool { return p.IsValid() && is(p, p.Transport()) }, in}
}

// packetKinds are all of them.
func packetKinds() []packetKind {
	return slices.Concat(protocolKinds(), icmpKinds(), headerKinds(), transportKinds(), addressKinds())
}

// protocolKinds are the protocols that conntrack, NAT, REJECT or the node's stack tell apart.
func protocolKinds() (out []packetKind) {
	for _, p := range []nat.Proto{nat.TCP, nat.UDP, nat.SCTP, nat.UDPLite, nat.DCCP, nat.GRE, nat.ESP, nat.IPIP, 2, 59, 103, 135, 253, 254} {
		out = append(out, ofProtocol(p))
	}
	return append(out, ofProtocol(nat.ICMP, nat.IPv4), ofProtocol(nat.ICMPv6, nat.IPv6), ofProtocol(nat.AH, nat.IPv4))
}

func icmpKinds() (out []packetKind) {
	for name, kind := range map[string]uint8{
		"echo reply": 0, "unreachable": 3, "echo request": 8, "router advertisement": 9, "time exceeded": 11, "parameter problem": 12, "timestamp request": 13,
		"an unknown type": 30,
	} {
		out = append(out, ofICMP("ICMP "+name, kind, nat.IPv4))
	}
	for name, kind := range map[string]uint8{
		"unreachable": 1, "too big": 2, "time exceeded": 3, "parameter problem": 4, "echo request": 128, "echo reply": 129, "listener query": 130, "router advertisement": 134,
		"neighbour solicitation": 135, "neighbour advertisement": 136, "node information query": 139, "listener report": 143, "an unknown type": 200,
	} {
		out = append(out, ofICMP("ICMPv6 "+name, kind, nat.IPv6))
	}
	return append(out,
		with("an ICMP error that quotes a whole header", func(p *packet.Packet, _ []byte) bool { in, ok := p.Inside(); return ok && in.Whole() }),
		with("an ICMP error that quotes the ports alone", func(p *packet.Packet, _ []byte) bool { in, ok := p.Inside(); return ok && !in.Whole() }),
	)
}

// headerKinds are of the IP header and its extensions.
func headerKinds() []packetKind {
	return []packetKind{
		with("IPv4 options that change nothing", func(p *packet.Packet, _ []byte) bool { return len(p.Options()) > 0 && p.Options()[0] <= 1 }, nat.IPv4),
		with("IPv4 options that a router writes", func(p *packet.Packet, _ []byte) bool { return len(p.Options()) > 0 && p.Options()[0] > 1 }, nat.IPv4),
		with("the first fragment", func(p *packet.Packet, _ []byte) bool { return p.Fragment() && !p.Later() }),
		with("a later fragment", func(p *packet.Packet, _ []byte) bool { return p.Later() }),
		with("don't fragment", func(p *packet.Packet, _ []byte) bool { return p.DontFragment() }),
		with("the reserved flag", func(p *packet.Packet, _ []byte) bool { return p.Bytes()[6]&0x80 != 0 }, nat.IPv4),
		with("a flow label", func(p *packet.Packet, _ []byte) bool { return p.Bytes()[2] != 0 }, nat.IPv6),
		with("a hop-by-hop header", has(0), nat.IPv6),
		with("a routing header", has(43), nat.IPv6),
		with("an authentication header", has(51), nat.IPv6),
		with("destination options", has(60), nat.IPv6),
		with("a TTL of 0", func(p *packet.Packet, _ []byte) bool { return p.TTL() == 0 }),
		with("a TTL of 1", func(p *packet.Packet, _ []byte) bool { return p.TTL() == 1 }),
		with("longer than a link takes", func(p *packet.Packet, _ []byte) bool { return p.Len() > mtus["out0"] }),
		with("a wrong header checksum", func(p *packet.Packet, _ []byte) bool { return !p.HeaderOK() }, nat.IPv4),
		{"cut short", func(_ string, _ []byte, p *packet.Packet) bool { return !p.IsValid() }, nil},
	}
}

// has reports whether packets have an IPv6 extension header of a type.
func has(kind nat.Proto) func(p *packet.Packet, h []byte) bool {
	return func(p *packet.Packet, _ []byte) bool { _, ok := p.Header(kind); return ok }
}

// transportKinds are of the header behind IP's.
func transportKinds() []packetKind {
	of := func(name string, proto nat.Proto, least int, is func(p *packet.Packet, h []byte) bool) packetKind {
		return with(name, func(p *packet.Packet, h []byte) bool {
			return p.Tuple().Proto() == proto && !p.Later() && len(h) >= least && is(p, h)
		})
	}
	gre := func(name string, flags byte, kind []byte) packetKind {
		return of(name, nat.GRE, 8, func(_ *packet.Packet, h []byte) bool {
			return h[1]&7 == flags && (kind == nil || slices.Equal(h[2:4], kind))
		})
	}
	return []packetKind{
		of("a SYN", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[13] == 2 }),
		of("a SYN-ACK", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[13] == 18 }),
		of("an RST", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[13]&4 != 0 }),
		of("a FIN", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[13]&1 != 0 }),
		of("TCP without a flag", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[13]&0x3f == 0 }),
		of("TCP's reserved bits", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[12]&15 != 0 }),
		of("TCP's urgent pointer", nat.TCP, 20, func(_ *packet.Packet, h []byte) bool { return h[18]|h[19] != 0 }),
		of("TCP options", nat.TCP, 21, func(_ *packet.Packet, h []byte) bool { return h[12]>>4 > 5 }),
		of("a wrong checksum of TCP", nat.TCP, 20, func(p *packet.Packet, _ []byte) bool { return !p.ChecksumOK() }),
		of("UDP without a checksum", nat.UDP, 8, func(_ *packet.Packet, h []byte) bool { return h[6]|h[7] == 0 }),
		of("UDP-Lite that covers less", nat.UDPLite, 8, func(_ *packet.Packet, h []byte) bool { return h[5] != 0 }),
		of("SCTP with two chunks", nat.SCTP, 33, func(*packet.Packet, []byte) bool { return true }),
		of("SCTP without a chunk", nat.SCTP, 12, func(_ *packet.Packet, h []byte) bool { return len(h) == 12 }),
		of("a DCCP request", nat.DCCP, 12, func(_ *packet.Packet, h []byte) bool { return h[8]>>1 == 0 }),
		of("a reserved type of DCCP", nat.DCCP, 12, func(_ *packet.Packet, h []byte) bool { return h[8]>>1 == 10 }),
		of("short numbers of DCCP", nat.DCCP, 12, func(_ *packet.Packet, h []byte) bool { return h[8]&1 == 0 }),
		gre("GRE version 0", 0, nil),
		gre("PPTP", 1, []byte{0x88, 0x0b}),
		gre("GRE version 1 that is not PPTP", 1, []byte{8, 0}),
		gre("GRE of an unknown version", 2, nil),
	}
}

// addressKinds are of where packets come from and go to.
func addressKinds() []packetKind {
	src := func(name string, is func(a netip.Addr) bool, in ...nat.Family) packetKind {
		return with("from "+name, func(p *packet.Packet, _ []byte) bool { return is(p.Tuple().Src().Addr()) }, in...)
	}
	dst := func(name string, is func(a netip.Addr) bool, in ...nat.Family) packetKind {
		return with("to "+name, func(p *packet.Packet, _ []byte) bool { return is(p.Tuple().Dst().Addr()) }, in...)
	}
	begins := func(text string) func(a netip.Addr) bool {
		return func(a netip.Addr) bool { return strings.HasPrefix(a.String(), text) }
	}
	return []packetKind{
		src("no address", netip.Addr.IsUnspecified), dst("no address", netip.Addr.IsUnspecified),
		src("loopback", netip.Addr.IsLoopback), dst("loopback", netip.Addr.IsLoopback),
		src("a group", netip.Addr.IsMulticast), dst("a group", netip.Addr.IsMulticast),
		src("all", begins("255.255.255.255"), nat.IPv4), dst("all", begins("255.255.255.255"), nat.IPv4),
		src("all on a link", begins("10.0.0.255"), nat.IPv4), dst("all on a link", begins("10.0.0.255"), nat.IPv4),
		src("a reserved address", begins("240."), nat.IPv4), dst("a reserved address", begins("240."), nat.IPv4),
		src("a link's address", netip.Addr.IsLinkLocalUnicast, nat.IPv6),
		src("IPv4 in IPv6", begins("::c0a8:"), nat.IPv6), dst("IPv4 in IPv6", begins("::a00:"), nat.IPv6),
		dst("a network's first address", begins("10.0.0.0"), nat.IPv4),
		dst("a route that is unreachable", begins("10.98."), nat.IPv4), dst("a blackhole", begins("10.99."), nat.IPv4),
		{"by a wrong device", func(dev string, _ []byte, p *packet.Packet) bool {
			return p.IsValid() && dev != "" && dev != deviceOf(p.Tuple().Src().Addr())
		}, nil},
		{"of the node itself", func(dev string, _ []byte, _ *packet.Packet) bool { return dev == "" }, nil},
	}
}
