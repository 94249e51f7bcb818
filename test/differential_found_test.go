package test

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// given is a packet of a difference that was found.
type given struct {
	dev, tuple string
	flags      uint8
	seq, ack   uint32
	ttl        uint8 // 0 for 64
	payload    []byte
	kind       uint8  // of ICMP, 0 for a query
	answers    bool   // a query of ICMP
	tag        uint32 // of SCTP
}

// The differences that generated packets have shown between the emulator and the kernel, each in few packets.
func TestDifferentialFound(t *testing.T) {
	t.Parallel()
	const initiator, responder = "sctp 10.244.0.5:1000 > 203.0.113.7:443", "sctp 203.0.113.7:443 > 10.244.0.5:1000"
	const pod, far = "tcp 10.244.0.5:443 > 203.0.113.7:1000", "tcp 203.0.113.7:1000 > 10.244.0.5:443"
	all := []struct {
		name, rules string
		packets     []given
	}{
		{"an RST in the direction of an ignored SYN is no answer to it", filterRules("-A FORWARD -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: pod, flags: 2, seq: 1000},
			{dev: "in0", tuple: far, flags: 18, seq: 5000, ack: 1001},
			{dev: "pod0", tuple: pod, flags: 2, seq: 5011},
			{dev: "pod0", tuple: pod, flags: 20, ack: 5012},
			{dev: "in0", tuple: far, flags: 20, ack: 5012},
		}},
		{"REJECT answers what it knows no checksum of only if it sums to zero", filterRules("-A INPUT -j REJECT --reject-with icmp-net-unreachable"), []given{
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0, 0, 0, 0}},
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0xff, 0xff, 0, 0}},
			{dev: "in0", tuple: "99 192.168.1.10:0 > 192.168.1.1:0", payload: []byte{0, 0, 0, 1}},
		}},
		{"NETMAP maps what comes, whatever the source had before", natRules("-A INPUT -j SNAT --to-source 10.0.0.77", "-A POSTROUTING -j NETMAP --to 10.0.0.0/24"), []given{
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 10.0.0.1:80"},
			{dev: "pod0", tuple: "udp 10.244.0.5:80 > 10.244.0.6:443"},
		}},
		{"the second query of one source takes the identifier that the first one got", natRules("-A POSTROUTING -d 203.0.113.7/32 -p icmp -j SNAT --to-source 192.168.1.77:100",
			"-A POSTROUTING -j SNAT --to-source 192.168.1.77"), []given{
			{dev: "pod0", tuple: "icmp 10.244.0.5:8 > 203.0.113.7:8"},
			{dev: "pod0", tuple: "icmp 10.244.0.5:8 > 203.0.113.9:8"},
			{dev: "in0", tuple: "icmp 203.0.113.9:100 > 192.168.1.77:100", answers: true},
			{dev: "in0", tuple: "icmp 203.0.113.9:8 > 192.168.1.77:8", answers: true},
		}},
		{"cookies of an SCTP association may come from either side", filterRules("-A FORWARD -m conntrack --ctstate ESTABLISHED"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(2, 0x2222)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(10, 0)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(11, 0)},
		}},
		{"INITs of an SCTP association may cross", filterRules("-A FORWARD -m conntrack --ctstate INVALID"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: responder, payload: chunk(1, 0x2222)},
			{dev: "in0", tuple: responder, tag: 0x1111, payload: chunk(2, 0x3333)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(2, 0x1111)},
			{dev: "pod0", tuple: initiator, tag: 0x2222, payload: chunk(10, 0)},
		}},
		{"an ICMP error about SCTP holds the checksum of what is translated", natRules("-A POSTROUTING -j SNAT --to-source 192.168.1.77"), []given{
			{dev: "pod0", tuple: initiator, payload: chunk(1, 0x1111)},
			{dev: "in0", tuple: "icmp 203.0.113.7:0 > 192.168.1.77:0", kind: 3, payload: packet.Build(
				nat.TupleOf(nat.SCTP, netip.MustParseAddrPort("192.168.1.77:1000"), netip.MustParseAddrPort("203.0.113.7:443")), packet.Fields{}).Bytes()},
		}},
		{"an RST that confirms its connection does not close it", filterRules("-A OUTPUT -d 10.96.0.1/32 -p tcp -j REJECT --reject-with tcp-reset") + natRules("-A OUTPUT -j ACCEPT"), []given{
			{tuple: "tcp 192.168.1.1:8080 > 10.96.0.1:443", flags: 24, seq: 1000, ack: 5000},
		}},
		{"an ICMP error about an untracked packet is tracked", "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -i in0 -j CT --notrack\n-A OUTPUT -j CT --notrack\nCOMMIT\n" +
			filterRules("-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED"), []given{
			{dev: "out0", tuple: "udp 10.0.0.20:53 > 192.168.1.10:1000"},
			{dev: "in0", tuple: "udp 192.168.1.10:1000 > 10.0.0.20:53", ttl: 1},
		}},
		{"nothing of 127.0.0.0/8 leaves the node", natRules("-A OUTPUT -p tcp -j REDIRECT --to-ports 8080", "-A POSTROUTING -j SNAT --to-source 10.0.0.50"), []given{
			{tuple: "tcp 10.244.0.1:40001 > 10.0.0.1:40001", flags: 2, seq: 1000},
		}},
		{"but for what a process writes itself", natRules("-A OUTPUT -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.20"), []given{
			{tuple: "udp 127.0.0.1:40001 > 10.0.0.20:53"},
			{tuple: "tcp 127.0.0.1:40001 > 10.96.0.1:80", flags: 2, seq: 1000},
		}},
	}
	onBothBackends(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, c := range all {
			rs, err := iptables.Parse(strings.NewReader(c.rules), nat.IPv4)
			require.NoError(t, err, c.name)
			w.load(t, rs)
			for _, g := range c.packets {
				tuple, err := nat.ParseTuple(g.tuple)
				require.NoError(t, err)
				f := packet.Fields{ID: 0x8001, TTL: max(g.ttl, 1), Payload: g.payload, Rest: g.tag, TCP: packet.TCP{Flags: g.flags, Seq: g.seq, Ack: g.ack, Window: 64240}}
				if g.ttl == 0 {
					f.TTL = 64
				}
				if tuple.Proto() == nat.ICMP && !g.answers {
					f.Type = cmp.Or(g.kind, 8)
				}
				require.Empty(t, w.give(t, g.dev, packet.Build(tuple, f).Bytes(), 0), "%s: %s", c.name, g.tuple)
			}
			got, want := w.ends(t)
			require.Equal(t, want, got, c.name)
		}
	})
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

func natRules(rules ...string) string {
	return "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}
