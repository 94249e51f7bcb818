package test

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/topology"
)

// given is a packet of a difference that was found.
type given struct {
	dev, tuple string
	flags      uint8
	seq, ack   uint32
	ttl        uint8 // 0 for 64
	payload    []byte
	kind       uint8           // of ICMP, 0 for a query
	answers    bool            // a query of ICMP
	tag        uint32          // of SCTP
	about      string          // the tuple of what an ICMP error quotes
	cut        int             // how many bytes at the end of it are not quoted
	set        map[int]byte    // bytes of the packet to be others
	options    []byte          // of an IPv4 header
	tcpOptions []byte          // of a TCP header, with their padding
	headers    []packet.Header // of IPv6
	spoiled    map[int]byte    // bytes of the packet to be others, with the checksums as they were
	pieces     []int           // sizes of its data where it comes in fragments of IPv4
}

// parts are the fragments that it comes in, or the packet.
func (g given) parts(t *testing.T, w *twins) [][]byte {
	t.Helper()
	whole := g.packet(t, w.family)
	if g.pieces == nil {
		return [][]byte{whole}
	}
	p, err := packet.Parse(whole)
	require.NoError(t, err)
	w.whole = slices.Clone(whole)
	parts := p.Split(len(whole), g.pieces)
	require.Len(t, parts, len(g.pieces))
	return parts
}

// packet is the packet of a family.
func (g given) packet(t *testing.T, family nat.Family) []byte {
	t.Helper()
	f := packet.Fields{ID: 0x8001, TTL: cmp.Or(g.ttl, 64), Payload: g.payload, Rest: g.tag, TCP: packet.TCP{Flags: g.flags, Seq: g.seq, Ack: g.ack, Window: 64240, Options: g.tcpOptions}, Headers: g.headers}
	tuple := tupleIn(t, family, g.tuple)
	if proto := tuple.Proto(); proto == nat.ICMP || proto == nat.ICMPv6 {
		f.Type = icmpTypes[family][cmp.Or(g.kind, 8)]
		if g.answers {
			f.Type = icmpTypes[family][0]
		}
	}
	if g.about != "" {
		quoted := packet.Build(tupleIn(t, family, g.about), packet.Fields{}).Bytes()
		f.Payload = quoted[:len(quoted)-g.cut]
	}
	p := packet.Build(tuple, f)
	for at, b := range g.set {
		p.Bytes()[at] = b
	}
	if g.set != nil {
		p.Seal()
	}
	for at, b := range g.spoiled {
		p.Bytes()[at] = b
	}
	if g.options != nil {
		return withOptions(p.Bytes(), g.options)
	}
	return p.Bytes()
}

// found is a difference that was found.
type found struct {
	name, rules string
	packets     []given
	where       where
	settings    []string // "net/ipv4/ip_forward=0": what differs from plainSettings
}

// where a difference shows.
type where int

const (
	both where = iota
	only4
	only6
	legacy6
	noDCCP  // where conntrack knows nothing of DCCP
	oldDCCP // where it tracks it, in IPv4
	newer   // from 5.17 on: before, some kernels go on where an option of TCP cannot be set, and fib tells a device at PREROUTING alone
)

func (at where) includes(w *twins) bool {
	switch at {
	case only4:
		return w.family == nat.IPv4
	case only6:
		return w.family == nat.IPv6
	case legacy6:
		return w.family == nat.IPv6 && w.backend == dataplane.Legacy
	case noDCCP:
		return w.kernel.version.Has(nat.DCCPForgotten)
	case oldDCCP:
		return w.family == nat.IPv4 && !w.kernel.version.Has(nat.DCCPForgotten)
	case newer:
		return !w.kernel.version.Before(5, 17)
	case both:
	}
	return true
}

// icmpTypes are a family's types for those of IPv4.
var icmpTypes = map[nat.Family]map[uint8]uint8{nat.IPv4: {0: 0, 3: 3, 8: 8}, nat.IPv6: {0: 129, 3: 1, 8: 128}}

// tupleIn is an IPv4 tuple, or what stands for it in IPv6; or the IPv6 tuple itself.
func tupleIn(t *testing.T, family nat.Family, text string) nat.Tuple {
	t.Helper()
	tuple, err := nat.ParseTuple(text)
	require.NoError(t, err)
	proto := tuple.Proto()
	if proto == nat.ICMP && family == nat.IPv6 {
		proto = nat.ICMPv6
	}
	in := func(a netip.AddrPort) netip.AddrPort {
		if a.Addr().Is6() {
			return a
		}
		return netip.AddrPortFrom(addressIn(family, a.Addr().String()), a.Port())
	}
	return nat.TupleOf(proto, in(tuple.Src()), in(tuple.Dst()))
}

// The differences that generated packets have shown between the emulator and the kernel, each in few packets; in the family
// that showed it and, where it has the like, in the other one.
func TestDifferentialFound(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, c := range allFound() {
			if c.where.includes(w) {
				t.Run(c.name, func(t *testing.T) { w.found(t, c) })
			}
		}
	})
}

// allFound are those differences.
func allFound() []found {
	const initiator, responder = "sctp 10.244.0.5:1000 > 203.0.113.7:443", "sctp 203.0.113.7:443 > 10.244.0.5:1000"
	const pod, far = "tcp 10.244.0.5:443 > 203.0.113.7:1000", "tcp 203.0.113.7:1000 > 10.244.0.5:443"
	all := []found{
		{"an RST in the direction of an ignored SYN is no answer to it", filterRules("-A FORWARD -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: pod, flags: 2, seq: 1000},
			{dev: "in0", tuple: far, flags: 18, seq: 5000, ack: 1001},
			{dev: "pod0", tuple: pod, flags: 2, seq: 5011},
			{dev: "pod0", tuple: pod, flags: 20, ack: 5012},
			{dev: "in0", tuple: far, flags: 20, ack: 5012},
		}, both, nil},
		{"REJECT answers what it knows no checksum of only if it sums to zero", filterRules("-A INPUT -j REJECT --reject-with icmp-net-unreachable"), []given{
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0, 0, 0, 0}},
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0xff, 0xff, 0, 0}},
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0, 0, 0, 1}},
		}, both, nil},
		{"NETMAP maps what comes, whatever the source had before", natRules("-A INPUT -j SNAT --to-source 10.0.0.77", "-A POSTROUTING -j NETMAP --to 10.0.0.0/24"), []given{
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 10.0.0.1:80"},
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 10.244.0.6:443"},
		}, both, nil},
		{"the second query of one source takes the identifier that the first one got", natRules("-A POSTROUTING -d 203.0.113.7/32 -p icmp -j SNAT --to-source 192.168.1.77:100",
			"-A POSTROUTING -j SNAT --to-source 192.168.1.77"), []given{
			{dev: "pod0", tuple: "icmp 10.244.0.5:8 > 203.0.113.7:8"},
			{dev: "pod0", tuple: "icmp 10.244.0.5:8 > 203.0.113.9:8"},
			{dev: "in0", tuple: "icmp 203.0.113.9:100 > 192.168.1.77:100", answers: true},
			{dev: "in0", tuple: "icmp 203.0.113.9:8 > 192.168.1.77:8", answers: true},
		}, only4, nil}, // ip6tables takes no identifier
		{"cookies of an SCTP association may come from either side", filterRules("-A FORWARD -m conntrack --ctstate ESTABLISHED"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(2, 0x2222)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(10, 0)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(11, 0)},
		}, both, nil},
		{"INITs of an SCTP association may cross", filterRules("-A FORWARD -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: responder, payload: chunk(1, 0x2222)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(2, 0x3333)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(2, 0x1111)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(10, 0)},
		}, both, nil},
		{"a packet that is no part of a connection is not taken for one like it that was lost", filterRules("-A FORWARD -m conntrack --ctstate INVALID -j DROP"), []given{ // nobody is told of it
			{dev: "in0", tuple: "sctp [::]:1000 > [fd00::a60:1]:80", payload: chunk(1, 0x1111), ttl: 1},
			{dev: "in0", tuple: "sctp [::]:1000 > [fd00::a60:1]:80", payload: spoiltChunk(10)},
			{dev: "in0", tuple: "udp [::]:1000 > [fd00::a60:1]:80", payload: []byte("the first"), ttl: 1},
			{dev: "in0", tuple: "udp [::]:1000 > [fd00::a60:1]:80", payload: []byte("a further"), spoiled: map[int]byte{46: 1}},
			{dev: "in0", tuple: "icmp [::]:8 > [fd00::a60:1]:8", payload: []byte("ping"), ttl: 1},
			{dev: "in0", tuple: "icmp [::]:8 > [fd00::a60:1]:8", payload: []byte("ping"), spoiled: map[int]byte{51: 1}},
		}, only6, nil},
		{"an error that a process writes is not the kernel's about what was lost", natRules("-A POSTROUTING -o in0 -p udp -j SNAT --to-source 10.0.0.1"), []given{
			{tuple: "udp [::1]:40001 > [fd00::c0a8:10a]:80"},
			{dev: "in0", tuple: "udp [fd00::c0a8:10a]:80 > [fd00::a00:1]:40001"},
			{tuple: "icmp [::1]:0 > [fd00::a60:1]:0", kind: 3, about: "udp [fd00::c0a8:10a]:80 > [::1]:40001"},
		}, only6, []string{"net/ipv6/conf/all/forwarding=0"}},
		{"an ICMP error about SCTP holds the checksum of what is translated", natRules("-A POSTROUTING -j SNAT --to-source 192.168.1.77"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: "icmp 203.0.113.7:0 > 192.168.1.77:0", kind: 3, about: "sctp 192.168.1.77:1000 > 203.0.113.7:443"},
		}, both, nil},
		{"MASQUERADE of a packet to the node itself takes the address that it is for", natRules("-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp 192.168.1.1:600 > 10.0.0.1:80"},
		}, both, nil},
		{"an RST of the stack may have a checksum of zero", filterRules("-A FORWARD -j ACCEPT"), []given{
			{dev: "in0", tuple: "tcp 203.0.113.7:40001 > 192.168.1.1:600", flags: 16, ack: 5014},
		}, only4, nil},
		{"an RST of the stack goes by a socket of the kernel's in IPv4, with a connection or without", mangleRules("-A POSTROUTING -p tcp -m owner --socket-exists -j DROP") + filterRules("-A OUTPUT -d 10.244.0.6/32 -p tcp -m owner --socket-exists -j REJECT"), []given{
			{dev: "pod0", tuple: "tcp 10.244.0.6:8080 > 10.0.0.1:443", flags: 2, seq: 1000},
			{dev: "pod0", tuple: "tcp 10.244.0.5:8080 > 10.0.0.1:443", flags: 2, seq: 1000},
			{dev: "pod0", tuple: "tcp 10.244.0.5:8081 > 10.0.0.1:443", flags: 17, seq: 1000},
		}, only4, nil},
		{"an RST of a rule goes by none, with a connection or without", mangleRules("-A POSTROUTING -p tcp -m owner --socket-exists -j DROP") + filterRules("-A INPUT -p tcp -j REJECT --reject-with tcp-reset", "-A FORWARD -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: "tcp 10.244.0.5:8080 > 10.0.0.1:443", flags: 2, seq: 1000},
			{dev: "pod0", tuple: "tcp 10.244.0.5:8081 > 10.0.0.1:443", flags: 17, seq: 1000},
		}, both, nil},
		{"an RST that confirms its connection does not close it", filterRules("-A OUTPUT -d 10.96.0.1/32 -p tcp -j REJECT --reject-with tcp-reset") + natRules("-A OUTPUT -j ACCEPT"), []given{
			{tuple: "tcp 192.168.1.1:8080 > 10.96.0.1:443", flags: 24, seq: 1000, ack: 5000},
		}, both, nil},
		{"an ICMP error about an untracked packet is tracked", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -i in0 -j CT --notrack\n-A OUTPUT -j CT --notrack\nCOMMIT\n" +
			filterRules("-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED"), []given{
			{dev: "out0", tuple: "udp 10.0.0.20:53 > 192.168.1.10:1000"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:53", ttl: 1},
		}, both, nil},
		{"nothing of 127.0.0.0/8 leaves the node", natRules("-A OUTPUT -p tcp -j REDIRECT --to-ports 8080", "-A POSTROUTING -j SNAT --to-source 10.0.0.50"), []given{
			{tuple: "tcp 10.244.0.1:40001 > 10.0.0.1:40001", flags: 2, seq: 1000},
		}, both, nil},
		{"but for what a process writes itself", natRules("-A OUTPUT -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.20"), []given{
			{tuple: "udp 127.0.0.1:40001 > 10.0.0.20:53"},
			{tuple: "tcp 127.0.0.1:40001 > 10.96.0.1:80", flags: 2, seq: 1000},
		}, both, nil},
		{"the length and the checksum of an IPv4 header that a process writes are the kernel's", natRules("-A OUTPUT -j ACCEPT"), []given{
			{tuple: "udp 10.0.0.1:40001 > 10.0.0.20:53", spoiled: map[int]byte{10: 1}},
			{tuple: "udp 10.0.0.1:40001 > 10.0.0.20:53", spoiled: map[int]byte{2: 1}},
			{dev: "in0", tuple: "udp 192.168.1.10:40001 > 10.0.0.20:53", spoiled: map[int]byte{10: 1}},
		}, only4, nil},
		{"what is for the node itself is masqueraded as the address that it is for", natRules("-A OUTPUT -p udp -j REDIRECT --to-ports 8080", "-A POSTROUTING -j MASQUERADE"), []given{
			{tuple: "udp 192.168.1.1:443 > 10.96.0.1:80"},
			{tuple: "udp 10.0.0.1:443 > 192.168.1.2:80"},
		}, both, nil},
		{"an RST to ::1 leaves by the device whose address was asked", filterRules("-A INPUT -p tcp -m tcp --dport 9 -j REJECT --reject-with tcp-reset"), []given{
			{tuple: "tcp 127.0.0.1:8080 > 192.168.1.1:30080", flags: 17, seq: 1000, ack: 5000},
			{tuple: "tcp 127.0.0.1:8080 > 192.168.1.2:30080", flags: 2, seq: 1000},
			{tuple: "tcp 127.0.0.1:8080 > 10.0.0.1:30080", flags: 2, seq: 1000},
			{tuple: "tcp 127.0.0.1:8080 > 127.0.0.1:30080", flags: 2, seq: 1000},
			{tuple: "tcp 127.0.0.1:8080 > 192.168.1.1:9", flags: 2, seq: 1000},
			{tuple: "udp 127.0.0.1:8080 > 192.168.1.1:9"},
		}, both, nil},
	}
	return slices.Concat(all, foundProtocols(), foundHeaders(), foundRoutes(), foundRoutes6(), foundPrefixes(), foundCopies())
}

// begin gives the twins the rules and settings of a difference.
func (c *found) begin(t *testing.T, w *twins) iptables.Ruleset {
	t.Helper()
	rs, err := iptables.ParseString(textIn(w.family, c.rules), w.family)
	require.NoError(t, err)
	w.settings = plainSettings(w.family)
	for _, s := range c.settings {
		key, value, _ := strings.Cut(s, "=")
		w.settings = append(w.settings, topology.Sysctl{Key: key, Value: value})
	}
	w.load(t, rs)
	return rs
}

// found gives both sides the packets of a difference.
func (w *twins) found(t *testing.T, c found) {
	t.Helper()
	c.begin(t, w)
	for _, g := range c.packets {
		for _, part := range g.parts(t, w) {
			require.Empty(t, w.give(t, g.dev, part, 0), g.tuple)
		}
	}
	got, want := w.ends(t)
	require.Equal(t, want, got)
	got, want = w.setEnds(t)
	require.Equal(t, want, got)
}

// spoiltChunk is one that tells no length.
func spoiltChunk(kind byte) []byte {
	b := chunk(kind, 0x2222)
	copy(b[2:], []byte{0, 0})
	return b
}

// chunk is an SCTP chunk that begins with a tag.
func chunk(kind byte, tag uint32) []byte {
	b := make([]byte, 20)
	b[0], b[3] = kind, 20
	binary.BigEndian.PutUint32(b[4:], tag)
	return b
}

func filterRules(rules ...string) string {
	return "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

func mangleRules(rules ...string) string {
	chains := ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
	return "*mangle\n" + chains + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

func natRules(rules ...string) string {
	return "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}
