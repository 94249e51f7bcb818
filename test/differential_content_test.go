package test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
)

// contentMatches are matches that look at a packet's bytes. Each stands in a rule of its own, so that the kernel's trace tells
// which of them held.
var contentMatches = map[nat.Family][]string{
	nat.IPv4: {"-m ttl --ttl-eq 63", "-m ttl --ttl-lt 10", "-m ttl --ttl-gt 10"},
	nat.IPv6: {
		"-m hl --hl-eq 63", "-m hl --hl-lt 10", "-m hl --hl-gt 10", "-m eui64",
		"-m frag", "-m frag --fragid 1:9", "-m frag ! --fragid 9", "-m frag --fragfirst --fragmore", "-m frag --fraglast", "-m frag --fragres",
		"-m hbh", "-m hbh --hbh-len 8", "-m hbh ! --hbh-len 8", "-m hbh --hbh-opts 30:2,0,0", "-m hbh --hbh-opts 30", "-m hbh --hbh-opts 30:3", "-m hbh --hbh-opts 1",
		"-m hbh --hbh-opts 30:2,0,0,1", "-m dst", "-m dst --dst-opts 30:2,1", "-m dst ! --dst-len 16",
		"-m rt", "-m rt --rt-type 0", "-m rt ! --rt-type 0", "-m rt --rt-segsleft 1:5", "-m rt --rt-len 40", "-m rt --rt-type 0 --rt-0-res",
		"-m rt --rt-type 0 --rt-0-addrs fd00::9", "-m rt --rt-type 0 --rt-0-addrs fd00::9,fd00::8", "-m rt --rt-type 0 --rt-0-addrs fd00::8 --rt-0-not-strict",
		"-m srh", "-m srh --srh-hdr-len-gt 3 --srh-segs-left-eq 1", "-m srh ! --srh-last-entry-eq 1", "-m srh --srh-tag 256", "-m srh --srh-tag 1",
		"-m srh --srh-nsid fd00::9", "-m srh --srh-psid fd00::8", "-m srh ! --srh-psid fd00::8", "-m srh --srh-lsid fd00::/64", "-m srh --srh-next-hdr 6",
		"-m ipv6header --header prot", "-m ipv6header --header hop,prot", "-m ipv6header --header hop --soft", "-m ipv6header ! --header frag --soft",
		"-m ipv6header ! --header prot", "-m ipv6header --header frag,prot", "-m ipv6header --header none",
		"-p mh -m mh", "-p mh -m mh --mh-type 1:5", "-p mh -m mh ! --mh-type 5",
	},
}

// eitherContentMatches are those of both families.
var eitherContentMatches = []string{
	"-m length --length 0:60", "-m length ! --length 0:60", "-m dscp --dscp 0x2e", "-m dscp ! --dscp 0x2e", "-m tos --tos 0x10/0x10", "-m tos ! --tos 0xb9",
	"-m ecn --ecn-ip-ect 1", "-m ecn ! --ecn-ip-ect 1", "-p tcp -m ecn --ecn-tcp-ece", "-p tcp -m ecn ! --ecn-tcp-cwr --ecn-tcp-ece",
	"-m iprange --src-range 192.168.1.9-192.168.1.11", "-m iprange ! --dst-range 10.0.0.20-10.0.0.30", "-m iprange --src-range 192.168.1.11-192.168.1.9",
	"-m pkttype --pkt-type unicast", "-m pkttype ! --pkt-type unicast", "-m policy --dir in --pol none", "-m policy --dir in --pol ipsec",
	"-p tcp -m tcpmss --mss 1000:1460", "-p tcp -m tcpmss ! --mss 1000:1460", "-p tcp -m tcpmss --mss 5",
	"-m string --string GET --algo bm", "-m string --string GET --algo kmp", "-m string ! --string GET --algo bm", "-m string --string gEt --algo kmp --icase",
	"-m string --string gEt --algo bm --icase", "-m string --hex-string |4745| --algo bm --from 48", "-m string --hex-string |4745| --algo kmp --from 40 --to 42",
	"-m string --hex-string |4745| --algo kmp --from 40 --to 50", "-m string --hex-string |e4| --algo bm --icase", "-m string --hex-string |c4| --algo kmp --icase",
	"-m u32 --u32 0>>28=4:6", "-m u32 --u32 0>>22&0x3C@0>>16=1000", "-m u32 ! --u32 0>>22&0x3C@0>>16=1000", "-m u32 --u32 36=0:0xffffffff",
	"-m u32 --u32 100=0:0xffffffff", "-m u32 --u32 0@0=0", "-m u32 --u32 4&0xffff<<3=0:0xfff", "-m u32 --u32 40&0xffff=80&&36=1,2,0:0xffffff",
	`-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"`, `-m bpf --bytecode "2,32 0 0 57,6 0 0 1"`, `-m bpf --bytecode "3,177 0 0 0,72 0 0 2,22 0 0 0"`,
	`-m bpf --bytecode "4,40 0 0 4294963200,21 0 1 34525,6 0 0 1,6 0 0 0"`, `-m bpf --bytecode "2,32 0 0 4294963220,22 0 0 0"`,
	`-m bpf --bytecode "4,32 0 0 4294963204,21 0 1 0,6 0 0 1,6 0 0 0"`, `-m bpf --bytecode "2,48 0 0 4293918727,22 0 0 0"`,
}

// contentPackets are packets that these matches tell apart.
func contentPackets(t *testing.T, family nat.Family) (out [][]byte) {
	t.Helper()
	const flow = "192.168.1.10:1000 > 10.0.0.20:80"
	add := func(proto string, f packet.Fields) {
		f.ID, f.TCP.Window, f.TCP.Seq = 0x8001, 64240, 1
		p := packet.Build(tupleIn(t, family, proto+" "+flow), f)
		require.True(t, p.IsValid())
		out = append(out, p.Bytes())
	}
	for _, f := range []packet.Fields{
		{},
		{TTL: 9, TOS: 0xb9},
		{TOS: 0xb8, DF: true},
		{TOS: 0x10, Payload: []byte("GET / HTTP/1.1\r\n")},
		{TTL: 64, TOS: 1, Payload: []byte("\xe4get")},
		{Payload: []byte("1234567\xc4GET9"), TTL: 255},
	} {
		for _, flags := range []uint8{0x02, 0x42, 0xc2} {
			f.TCP.Flags = flags
			add("tcp", f)
		}
		f.TCP.Options = []byte{1, 2, 4, 5, 180, 1, 1, 0}
		add("tcp", f)
		f.TCP.Options = []byte{5, 0, 2, 4, 0, 5, 0, 0}
		add("tcp", f)
		add("udp", f)
	}
	if family == nat.IPv4 {
		return out
	}
	option := func(kind nat.Proto, b ...byte) packet.Header {
		return packet.Header{Type: kind, Bytes: append([]byte{0, 0}, b...)}
	}
	route := func(kind, left byte, addrs ...string) packet.Header {
		h := packet.Header{Type: 43, Bytes: []byte{0, byte(2 * len(addrs)), kind, left, 0, 0, 0, 0}}
		if kind == 4 {
			h.Bytes[4], h.Bytes[6] = byte(len(addrs)-1), 1
		}
		for _, a := range addrs {
			h.Bytes = append(h.Bytes, addressIn(nat.IPv6, a).AsSlice()...)
		}
		return h
	}
	for _, list := range [][]packet.Header{
		{option(0, 30, 2, 7, 7, 0, 0)},
		{option(0, 1, 4, 0, 0, 0, 0)},
		{option(60, 30, 2, 7, 7, 1, 0)},
		{option(0, 30, 1, 7, 0, 0, 0), option(60, 1, 4, 0, 0, 0, 0)},
		{route(0, 1, "0.0.0.9", "0.0.0.8")},
		{route(0, 0, "0.0.0.9")},
		{route(4, 1, "0.0.0.9", "0.0.0.8")},
		{route(4, 0, "0.0.0.9", "0.0.0.8")},
		{route(4, 2, "0.0.0.9", "0.0.0.8")},
		{option(44, 0, 1, 0, 0, 0, 9)},
		{option(44, 0, 8, 0, 0, 0, 5)},
		{option(44, 0, 11, 0, 0, 0, 5)},
		{option(0, 1, 4, 0, 0, 0, 0), option(44, 0, 1, 0, 0, 0, 9)},
	} {
		add("tcp", packet.Fields{Headers: list})
		add("udp", packet.Fields{Headers: list, Payload: []byte("GET")})
	}
	add("135", packet.Fields{Payload: []byte{59, 0, 5, 0, 0, 0, 0, 0}})
	add("135", packet.Fields{Payload: []byte{59, 0, 9, 0, 0, 0, 0, 0}})
	add("135", packet.Fields{Payload: []byte{6, 0, 5, 0, 0, 0, 0, 0}})
	add("135", packet.Fields{Payload: []byte{59, 0, 5}})
	return out
}

// Every match of a packet's content answers as the kernel does: the rules that each of many packets meets are the same.
func TestDifferentialContent(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		w.content(t, matchRules(w.family), contentPackets(t, w.family))
	})
}

// matchRules are the matches of content, a rule each.
func matchRules(family nat.Family) (rules []string) {
	for _, m := range slices.Concat(eitherContentMatches, contentMatches[family]) {
		rules = append(rules, "-A FORWARD "+m)
	}
	return rules
}

// contentRules are all that twins get in the tests of content, a list each time.
func contentRules(family nat.Family) [][]string {
	list := [][]string{matchRules(family), connLimits(family), rateRules}
	return append(list, targetRules(family)...)
}

// targetRules are the targets that write, a list each.
func targetRules(family nat.Family) (list [][]string) {
	for _, target := range slices.Concat(eitherContentTargets, contentTargets[family]) {
		list = append(list, []string{"-A FORWARD " + target})
	}
	return list
}

// contentTargets are targets that write into a packet.
var contentTargets = map[nat.Family][]string{
	nat.IPv4: {"-j TTL --ttl-set 5", "-j TTL --ttl-inc 250", "-j TTL --ttl-dec 70", "-p tcp -j ECN --ecn-tcp-remove", "-p tcp -j ECN --ecn-tcp-ece 1 --ecn-tcp-cwr 0 --ecn-ip-ect 2"},
	nat.IPv6: {"-j HL --hl-set 5", "-j HL --hl-inc 250", "-j HL --hl-dec 5"},
}

var eitherContentTargets = []string{
	"-j DSCP --set-dscp 0x2e", "-j TOS --set-tos 0x10/0x3f", "-j TOS --xor-tos 0xff", "-j CHECKSUM --checksum-fill",
	"-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 536", "-p tcp -m tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu",
	"-p tcp -j TCPOPTSTRIP --strip-options 2,5",
}

// Every target that writes into a packet writes what the kernel writes, checksums and all.
func TestDifferentialContentTargets(t *testing.T) {
	t.Parallel()
	onAllTwins(t, func(t *testing.T, w *twins) {
		t.Helper()
		for _, rules := range targetRules(w.family) {
			w.content(t, rules, contentPackets(t, w.family)[:20])
		}
	})
}

// content gives packets to both sides under rules of mangle.
func (w *twins) content(t *testing.T, rules []string, packets [][]byte) {
	t.Helper()
	rs, err := iptables.ParseString(textIn(w.family, mangleRules(rules...)), w.family)
	require.NoError(t, err)
	w.load(t, rs)
	for _, p := range packets {
		if diff := w.give(t, "in0", p, 0); diff != "" && diff != undecided {
			t.Errorf("%s\n%s", strings.Join(rules[:min(len(rules), 3)], "\n"), diff)
		}
	}
}
