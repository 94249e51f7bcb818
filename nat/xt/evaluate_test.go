package xt_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

// Packets of the tables below.
const (
	tcp4  = "tcp 10.0.0.1:40000 > 10.0.0.2:80"
	tcp6  = "tcp [fd00::1]:40000 > [fd00::2]:80"
	udp4  = "udp 10.0.0.1:40000 > 10.0.0.2:53"
	udp6  = "udp [fd00::1]:40000 > [fd00::2]:53"
	icmp4 = "icmp 10.0.0.1:7 > 10.0.0.2:7"
)

// fields are a packet's, shorter.
type fields = packet.Fields

// visitOf is a packet at a rule of FORWARD, in a world that knows everything.
func visitOf(t *testing.T, tuple string, f fields) *rules.Visit {
	t.Helper()
	tu, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	wire := packet.Build(tu, f)
	require.True(t, wire.IsValid())
	kind, code, _ := wire.ICMP()
	return &rules.Visit{
		Packet: &rules.Packet{
			Tuple: wire.Tuple(), TCPFlags: wire.TCPFlags(), ICMPType: kind, ICMPCode: code, TTL: wire.TTL(), Later: wire.Later(), In: "eth0", Out: "eth1", State: rules.New, Wire: wire,
		},
		World: &world{conn: rules.Conn{Original: tu, Reply: tu.Reply()}}, Hook: nat.Forward,
	}
}

// ruleOf reads a rule that has one match or one target.
func ruleOf(t *testing.T, text string, v *rules.Visit) iptables.Rule {
	t.Helper()
	r, err := iptables.ParseRule(text, nat.FamilyOf(v.Tuple.Src().Addr()))
	require.NoError(t, err, text)
	return r
}

// A match's answer for a packet.
func TestMatchesAnswer(t *testing.T) {
	t.Parallel()
	checkMatches(t, []matchRow{
		// the length is that of the IP packet
		{"-m length --length 40", tcp4, fields{}, yes},
		{"-m length --length 41", tcp4, fields{}, no},
		{"-m length --length 30:40", tcp4, fields{}, yes},
		{"-m length ! --length 30:40", tcp4, fields{}, no},
		{"-m length --length 60", tcp6, fields{}, yes},
		{"-m length --length 50:30", tcp4, fields{}, no},
		{"-m length --length 30:", udp4, fields{Payload: []byte{1, 2}}, yes},
		// addresses from, to, both in
		{"-m iprange --src-range 10.0.0.1-10.0.0.1", tcp4, fields{}, yes},
		{"-m iprange --src-range 10.0.0.2-10.0.0.9", tcp4, fields{}, no},
		{"-m iprange --src-range 10.0.0.9-10.0.0.0", tcp4, fields{}, no},
		{"-m iprange ! --src-range 10.0.0.9-10.0.0.0", tcp4, fields{}, yes},
		{"-m iprange --src-range 9.0.0.0-11.0.0.0 ! --dst-range 10.0.0.2-10.0.0.2", tcp4, fields{}, no},
		{"-m iprange --dst-range fd00::-fd00::2", tcp6, fields{}, yes},
		// the frame's sender
		{"-m mac --mac-source 42:01:02:03:04:05", tcp4, fields{}, yes},
		{"-m mac ! --mac-source 42:01:02:03:04:05", tcp4, fields{}, no},
		{"-m mac --mac-source 42:01:02:03:04:06", tcp6, fields{}, no},
		// the six upper bits, all eight
		{"-m dscp --dscp 0x2e", tcp4, fields{TOS: 0xb9}, yes},
		{"-m dscp --dscp-class ef", tcp6, fields{TOS: 0xb8}, yes},
		{"-m dscp ! --dscp-class EF", tcp6, fields{TOS: 0xb8}, no},
		{"-m dscp --dscp 0x2e", tcp4, fields{}, no},
		{"-m tos --tos Minimize-Delay", tcp4, fields{TOS: 0xd0}, yes},
		{"-m tos --tos 0x10", tcp4, fields{TOS: 0xd0}, no},
		{"-m tos ! --tos 0x10/0x10", tcp6, fields{TOS: 0xd0}, no},
		// congestion: IP's code point, TCP's bits
		{"-m ecn --ecn-ip-ect 2", udp4, fields{TOS: 0xfe}, yes},
		{"-m ecn ! --ecn-ip-ect 2", udp6, fields{TOS: 0xfe}, no},
		{"-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr", tcp4, fields{TCP: packet.TCP{Flags: 0x42}}, yes},
		{"-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr", tcp4, fields{TCP: packet.TCP{Flags: 0xc2}}, no},
		{"-p tcp -m ecn --ecn-tcp-cwr", tcp6, fields{TCP: packet.TCP{Flags: 0xc2}}, yes},
		// the MSS option, wherever it is
		{"-p tcp -m tcpmss --mss 1460", tcp4, fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 5, 180}}}, yes},
		{"-p tcp -m tcpmss --mss 1000:1459", tcp4, fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 5, 180}}}, no},
		{"-p tcp -m tcpmss ! --mss 1000:1459", tcp6, fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 5, 180}}}, yes},
		{"-p tcp -m tcpmss --mss 1460", tcp6, fields{TCP: packet.TCP{Options: []byte{1, 3, 3, 7, 9, 0, 1, 1, 2, 4, 5, 180}}}, yes},
		{"-p tcp -m tcpmss --mss 0:", tcp4, fields{TCP: packet.TCP{Options: []byte{8, 3, 9, 1, 1, 1, 2, 4}}}, no},
		{"-p tcp -m tcpmss ! --mss 5", tcp4, fields{}, yes},
		// no IPsec did anything, nor will
		{"-m policy --dir in --pol none", tcp4, fields{}, yes},
		{"-m policy --dir out --pol ipsec --mode tunnel ! --tunnel-dst 10.0.0.0/8", tcp4, fields{}, no},
		// a text, from the IP header on
		{`-m string --algo bm --string "GET /"`, udp4, fields{Payload: []byte("xGET /y")}, yes},
		{`-m string --algo kmp --string "get /"`, udp4, fields{Payload: []byte("xGET /y")}, no},
		{`-m string --algo kmp --string "get /" --icase`, udp6, fields{Payload: []byte("xGET /y")}, yes},
		{`-m string --algo bm ! --string "GET /"`, udp4, fields{Payload: []byte("xGET /y")}, no},
		{`-m string --algo bm --hex-string "|e9 45|\\|00|" --icase`, udp4, fields{Payload: []byte{0xc9, 'e', '\\', 0}}, yes},
		{`-m string --algo bm --hex-string "|45 00|"`, udp4, fields{TOS: 1}, no},
		{`-m string --algo bm --hex-string "|4500|"`, udp4, fields{}, yes},
		{`-m string --algo bm --hex-string "|4500|" --from 1`, udp4, fields{}, no},
		{`-m string --algo bm --string GET --from 28 --to 31`, udp4, fields{Payload: []byte("GET")}, yes},
		{`-m string --algo bm --string GET --from 28 --to 30`, udp4, fields{Payload: []byte("GET")}, no},
		{`-m string --algo bm --string GET --from 29`, udp4, fields{Payload: []byte("GET")}, no},
		{`-m string --algo bm --string GET --from 200`, udp4, fields{Payload: []byte("GET")}, no},
		// TTL and hop limit
		{"-m ttl --ttl-lt 64", tcp4, fields{TTL: 63}, yes},
		{"-m ttl --ttl 64", tcp4, fields{TTL: 63}, no},
		{"-m hl ! --hl-eq 64", tcp6, fields{TTL: 63}, yes},
	})
}

const yes, no = rules.Yes, rules.No

// matchRow is a match, of a rule that may need -p, a packet and the answer.
type matchRow struct {
	match, tuple string
	fields       fields
	want         rules.Answer
}

// checkMatches holds matches against packets. Without the bytes a match answers the same, or that it does not know.
func checkMatches(t *testing.T, rows []matchRow) {
	t.Helper()
	for _, row := range rows {
		v := visitOf(t, row.tuple, row.fields)
		matches := ruleOf(t, row.match, v).Matches
		m := matches[len(matches)-1]
		require.Equal(t, row.want, m.Holds(v), "%s for %s", row.match, v.Wire)
		if row.want == rules.No {
			require.NotEmpty(t, m.Actual(v), row.match)
		}
		v.Wire = nil
		if got := m.Holds(v); got != rules.Unknown {
			require.Equal(t, row.want, got, "%s without the bytes", row.match)
		}
	}
}

// mistake is a rule that iptables refuses, and what natlab has to tell about it.
type mistake struct{ rule, want string }

func checkMistakes(t *testing.T, f nat.Family, rows []mistake) {
	t.Helper()
	for _, row := range rows {
		_, err := iptables.ParseRule(row.rule, f)
		require.ErrorContains(t, err, row.want, row.rule)
	}
}

// What a frame was is told by where its packet was sent.
func TestPktType(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		hook          nat.Hook
		addrType      string
		unicast, cast rules.Answer
	}{
		{nat.PreRouting, "LOCAL", rules.Yes, rules.No},
		{nat.PreRouting, "UNICAST", rules.Yes, rules.No},
		{nat.Input, "BROADCAST", rules.No, rules.Yes},
		{nat.Forward, "BROADCAST", rules.Yes, rules.No},
		{nat.Output, "BROADCAST", rules.Yes, rules.No},
	} {
		t.Run(row.addrType, func(t *testing.T) {
			t.Parallel()
			v := visitOf(t, udp4, fields{})
			v.World.(*world).addrType, v.Hook = row.addrType, row.hook
			unicast, cast := ruleOf(t, "-m pkttype --pkt-type host", v), ruleOf(t, "-m pkttype --pkt-type bcast", v)
			require.Equal(t, row.unicast, unicast.Matches[0].Holds(v), "%s of a %s address", row.hook, row.addrType)
			require.Equal(t, row.cast, cast.Matches[0].Holds(v), "%s of a %s address", row.hook, row.addrType)
		})
	}
}

// What a target makes of a packet's bytes, checksums and all, and what rules see of it then.
func TestTargetsRewrite(t *testing.T) {
	t.Parallel()
	syn := func(flags uint8) packet.TCP { return packet.TCP{Flags: flags, Seq: 7, Window: 64240} }
	opt := func(options ...byte) packet.TCP { return packet.TCP{Flags: 2, Seq: 7, Window: 64240, Options: options} }
	for _, row := range []struct {
		target, tuple string
		from, to      fields
	}{
		{"-j DSCP --set-dscp-class AF21", tcp4, fields{TOS: 0xff}, fields{TOS: 0x4b}},
		{"-j DSCP --set-dscp 0x00", udp6, fields{TOS: 0xff}, fields{TOS: 3}},
		{"-j TOS --set-tos 0x10/0x3f", tcp4, fields{TOS: 0xff}, fields{TOS: 0xd0}},
		{"-j TOS --set-tos 0x10", tcp6, fields{TOS: 0xff}, fields{TOS: 0x10}},
		{"-j TOS --and-tos 0x12", udp4, fields{TOS: 0x1f}, fields{TOS: 0x12}},
		{"-j TOS --or-tos 0x12", udp4, fields{TOS: 0x81}, fields{TOS: 0x93}},
		{"-j TOS --xor-tos 0x12", udp4, fields{TOS: 0x83}, fields{TOS: 0x91}},
		{"-p tcp -j ECN --ecn-tcp-remove", tcp4, fields{TOS: 2, TCP: syn(0xc2)}, fields{TOS: 2, TCP: syn(0x02)}},
		{"-p tcp -j ECN --ecn-tcp-ece 1 --ecn-ip-ect 1", tcp4, fields{TOS: 0xf2, TCP: syn(0x82)}, fields{TOS: 0xf1, TCP: syn(0xc2)}},
		{"-j ECN --ecn-ip-ect 0", udp4, fields{TOS: 3}, fields{}},
		{"-p tcp --syn -j TCPMSS --set-mss 1000", tcp4, fields{TCP: opt(2, 4, 5, 180)}, fields{TCP: opt(2, 4, 3, 232)}},
		{"-p tcp --syn -j TCPMSS --set-mss 1000", tcp6, fields{TCP: opt(1, 1, 2, 4, 5, 180), Payload: []byte{1}}, fields{TCP: opt(1, 1, 2, 4, 3, 232), Payload: []byte{1}}},
		{"-p tcp --syn -j TCPMSS --set-mss 1461", tcp4, fields{TCP: opt(2, 4, 5, 180)}, fields{TCP: opt(2, 4, 5, 180)}},
		{"-p tcp --syn -j TCPMSS --set-mss 1000", tcp4, fields{TCP: opt(1, 3, 3, 7)}, fields{TCP: opt(2, 4, 2, 24, 1, 3, 3, 7)}},
		{"-p tcp --syn -j TCPMSS --set-mss 100", tcp6, fields{TCP: opt()}, fields{TCP: opt(2, 4, 0, 100)}},
		{"-p tcp --syn -j TCPMSS --set-mss 1000", tcp4, fields{TCP: opt(), Payload: []byte{1}}, fields{TCP: opt(), Payload: []byte{1}}},
		{"-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", tcp4, fields{TCP: opt(2, 4, 5, 180)}, fields{TCP: opt(2, 4, 5, 80)}},
		{"-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", tcp6, fields{TCP: opt(2, 4, 5, 180)}, fields{TCP: opt(2, 4, 5, 60)}},
		{"-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu", tcp4, fields{TCP: opt(2, 4, 4, 0)}, fields{TCP: opt(2, 4, 4, 0)}},
		{"-p tcp -j TCPOPTSTRIP --strip-options wscale,8", tcp4, fields{TCP: opt(2, 4, 5, 180, 1, 3, 3, 7, 8, 3, 9, 0)}, fields{TCP: opt(2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 0)}},
		{"-p tcp -j TCPOPTSTRIP --strip-options 9", tcp6, fields{TCP: opt(9, 0, 9, 9)}, fields{TCP: opt(1, 0, 9, 9)}},
		{"-p tcp -j TCPOPTSTRIP", tcp6, fields{TCP: opt(9, 0, 9, 9)}, fields{TCP: opt(9, 0, 9, 9)}},
		{"-j TTL --ttl-set 5", udp4, fields{}, fields{TTL: 5}},
		{"-j TTL --ttl-inc 200", tcp4, fields{}, fields{TTL: 255}},
		{"-j HL --hl-dec 4", tcp6, fields{}, fields{TTL: 60}},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			v := visitOf(t, row.tuple, row.from)
			require.Equal(t, rules.Continue(), ruleOf(t, row.target, v).Target.Act(v), row.target)
			want := visitOf(t, row.tuple, row.to)
			require.Equal(t, want.Wire.String(), v.Wire.String(), row.target)
			require.True(t, bytes.Equal(want.Wire.Bytes(), v.Wire.Bytes()), "%s\nwant %x\ngot  %x", row.target, want.Wire.Bytes(), v.Wire.Bytes())
			require.Equal(t, want.TCPFlags, v.TCPFlags, row.target)
			require.Equal(t, want.TTL, v.TTL, row.target)

			v = visitOf(t, row.tuple, row.from)
			v.Wire = nil
			require.Equal(t, rules.Continue(), ruleOf(t, row.target, v).Target.Act(v), "%s without the bytes", row.target)
		})
	}
}

// TCPMSS corrects the checksum as though the option stood at an even place, as the kernel does: at an odd one it is wrong.
func TestTCPMSSAtAnOddPlace(t *testing.T) {
	t.Parallel()
	v := visitOf(t, tcp4, fields{TCP: packet.TCP{Flags: 2, Options: []byte{1, 2, 4, 5, 180}}})
	require.True(t, v.Wire.ChecksumOK())
	require.Equal(t, rules.Continue(), ruleOf(t, "-p tcp --syn -j TCPMSS --set-mss 1000", v).Target.Act(v))
	require.Equal(t, []byte{1, 2, 4, 3, 232}, v.Wire.Transport()[20:25])
	require.False(t, v.Wire.ChecksumOK())
}

// What iptables refuses is refused, with the extension's name and the reason.
func TestMistakesAreRefused(t *testing.T) {
	t.Parallel()
	checkMistakes(t, nat.IPv4, []mistake{
		{"-m length", "-m length: needs --length"},
		{"-m length --length 0:65536", "--length 0:65536: want a number, or LOW:HIGH"},
		{"-m length --length 1 --length 2", "--length: given twice"},
		{"-m iprange --src-range 10.0.0.1-fd00::1", "--src-range 10.0.0.1-fd00::1: want ADDRESS-ADDRESS of ipv4"},
		{"-m mac --mac-source 42:01:02:03:04", "want six hexadecimal octets"},
		{"-m dscp --dscp 0x40", "--dscp 0x40: want a number from 0 to 63"},
		{"-m dscp --dscp 1 --dscp-class CS0", "--dscp-class: does not go with --dscp"},
		{"-m dscp --dscp-class AF14", "--dscp-class AF14: want EF"},
		{"-j TOS --set-tos 1 --and-tos 2", "--and-tos: does not go with --set-tos"},
		{"-m tos --tos 0x100", "--tos 0x100: want VALUE[/MASK] of 8 bits"},
		{"-m ecn --ecn-tcp-cwr", "-m ecn: needs -p tcp"},
		{"! -p tcp -m ecn --ecn-tcp-cwr", "-m ecn: needs -p tcp"},
		{"-p udp -j ECN --ecn-tcp-remove", "-j ECN: needs -p tcp"},
		{"-m tcpmss --mss 42", "-m tcpmss: needs -p tcp"},
		{"-p tcp -m tcpmss --mss 65535:1000", "--mss 65535:1000: want a number up to 65535, or LOW:HIGH"},
		{"-p tcp -j TCPMSS", "-j TCPMSS: needs --set-mss or --clamp-mss-to-pmtu"},
		{"-p tcp -j TCPMSS --set-mss 65516", "--set-mss 65516: want a number from 0 to 65515"},
		{"-p tcp -j TCPOPTSTRIP --strip-options 1", "want numbers from 2 to 255"},
		{"-p tcp -j TCPOPTSTRIP --strip-options 3,wscale", "--strip-options: wscale is there twice"},
		{"-m cpu --cpu 4294967296", "--cpu 4294967296: want a number from 0 to 4294967295"},
		{"-m realm --realm cosmos", `--realm: "cosmos" is the name of a realm in /etc/iproute2/rt_realms of the node, which is not at hand: give its number`},
		{"-m devgroup", "-m devgroup: needs --src-group or --dst-group"},
		{"-m cgroup --cgroup 1 --path /", "--path: does not go with --cgroup"},
		{"-m osf --genre linux", "-m osf: needs -p tcp"},
		{"-p tcp -m osf --genre linux --ttl 3", "--ttl 3: want a number from 0 to 2"},
		{"-j CHECKSUM", "-j CHECKSUM: needs --checksum-fill"},
		{"-j SYNPROXY --mss 1460", "-j SYNPROXY: needs -p tcp"},
		{"-j LED", "-j LED: needs --led-trigger-id"},
		{"-j LED --led-trigger-id 01234567890123456", "at most 16 bytes"},
		{"-m pkttype --pkt-type all", "--pkt-type all: want one of unicast, broadcast"},
		{"-m policy --pol none", "-m policy: needs --dir"},
		{"-m policy --dir in --pol none --strict", "-m policy: --strict does not go with --pol none"},
		{"-m policy --dir in --pol ipsec --strict", "-m policy: element 1 is empty: --strict needs --reqid"},
		{"-m policy --dir in --pol ipsec --strict --reqid 1 --next", "-m policy: element 2 is empty"},
		{"-m policy --dir in --pol ipsec --reqid 1 --next --reqid 2", "-m policy: --next needs --strict"},
		{"-m policy --dir in --pol ipsec --strict --reqid 1 --reqid 2", "--reqid: given twice"},
		{"-m policy --dir in --pol ipsec --proto tcp", "--proto tcp: want ah, esp or ipcomp"},
		{"-m policy --dir in --pol ipsec --proto esp --tunnel-dst 10.0.0.0/8", "-m policy: --tunnel-src and --tunnel-dst need --mode tunnel"},
		{"-m policy --dir in --pol ipsec --strict --reqid 1 --next --reqid 1 --next --reqid 1 --next --reqid 1 --next --reqid 1", "--next: at most 4 elements"},
		{"-m string --string x", "-m string: needs --algo"},
		{"-m string --algo bm", "-m string: needs --string or --hex-string"},
		{"-m string --algo wrong --string x", "--algo wrong: want one of bm, kmp"},
		{"-m string --algo bm --string x --hex-string |41|", "--hex-string: does not go with --string"},
		{`-m string --algo bm --string ""`, "-m string: the text is empty"},
		{"-m string --algo bm --string " + strings.Repeat("x", 129), "at most 128 bytes"},
		{"-m string --algo bm --hex-string |4|", "want pairs of hexadecimal digits between two bars"},
		{"-m string --algo bm --hex-string |414g|", "want pairs of hexadecimal digits between two bars"},
		{"-m string --algo bm --hex-string |41", "want pairs of hexadecimal digits between two bars"},
		{`-m string --algo bm --hex-string a\`, "want something behind the backslash"},
		{"-m string --algo bm --string x --from 5 --to 4", "-m string: --from 5 is behind --to 4"},
		{"-m hl --hl-eq 5", "-m hl: it is no match of ipv4"},
		{"-m frag --fragmore", "-m frag: it is no match of ipv4"},
		{"-j HL --hl-set 5", "-j HL: it is no target of ipv4"},
	})
}

// Before Linux 6.7 a text could end behind --to if it had begun there.
func TestStringOfOldKernels(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		match       string
		before, now rules.Answer
	}{
		{`-m string --algo bm --string GET --from 20 --to 31`, yes, yes},
		{`-m string --algo bm --string GET --from 20 --to 28`, yes, no},
		{`-m string --algo bm --string GET --from 20 --to 27`, no, no},
		{`-m string --algo bm --string GET --from 28 --to 28`, no, no},
	} {
		t.Run(row.match, func(t *testing.T) {
			t.Parallel()
			v := visitOf(t, udp4, fields{Payload: []byte("GET")})
			m := ruleOf(t, row.match, v).Matches[0]
			require.Equal(t, row.now, m.Holds(v), row.match)
			v.World.(*world).kernel = nat.Kernel{Major: 6, Minor: 6}
			require.Equal(t, row.before, m.Holds(v), row.match)
		})
	}
}

// What is known of a packet's socket: what only passes has none, and a match of its control group does not hold then,
// inverted or not.
func TestCGroupAsksForASocket(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		hook   nat.Hook
		socket rules.SocketKind
		want   rules.Answer
	}{
		{nat.PreRouting, rules.SocketUnknown, rules.No},
		{nat.Forward, rules.SocketUnknown, rules.No},
		{nat.Input, rules.SocketUnknown, rules.Unknown},
		{nat.Output, rules.ProcessSocket, rules.Unknown},
		{nat.PostRouting, rules.ProcessSocket, rules.Unknown},
		{nat.PostRouting, rules.NoSocket, rules.No},
	} {
		v := visitOf(t, tcp4, fields{})
		v.Hook, v.Sender.Socket = row.hook, row.socket
		for _, match := range []string{"-m cgroup --cgroup 1", `-m cgroup ! --path "/system.slice"`} {
			require.Equal(t, row.want, ruleOf(t, match, v).Matches[0].Holds(v), "%s %s", row.hook, match)
		}
	}
}

// SYNPROXY takes a SYN and the ACK that may bring its cookie back, whatever comes of it, and lets all else go on.
func TestSYNProxy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		flags uint8
		taken bool
	}{{0x02, true}, {0x10, true}, {0xd8, true}, {0x12, false}, {0x11, false}, {0x04, false}, {0x00, false}} {
		v := visitOf(t, tcp4, fields{TCP: packet.TCP{Flags: row.flags}})
		a := ruleOf(t, "-p tcp -j SYNPROXY --sack-perm --mss 1460", v).Target.Act(v)
		require.Equal(t, row.taken, a.Open == "-j SYNPROXY --sack-perm --mss 1460", "%#02x", row.flags)
		require.Equal(t, map[bool]nat.Verdict{true: nat.Stolen, false: nat.Continue}[row.taken], a.Verdict)
		require.Equal(t, nat.Continue, a.Else)
	}
}

// What only one version of iptables prints so.
func TestOldSpellings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rule, version, save, list string
	}{
		{"-m mac ! --mac-source aa:bb:cc:dd:ee:ff", "1.8.6", " ! --mac-source AA:BB:CC:DD:EE:FF", " MAC ! AA:BB:CC:DD:EE:FF"},
		{"-m mac --mac-source aa:bb:cc:dd:ee:ff", "1.8.7", " --mac-source aa:bb:cc:dd:ee:ff", " MACaa:bb:cc:dd:ee:ff"},
		{"-m mac --mac-source aa:bb:cc:dd:ee:ff", "1.8.8", " --mac-source aa:bb:cc:dd:ee:ff", " MAC aa:bb:cc:dd:ee:ff"},
		{"-m pkttype --pkt-type otherhost", "1.8.8", " --pkt-type 3", " PKTTYPE = 3"},
		{"-m devgroup --src-group 1 --dst-group 2", "1.4.21", " --src-group 0x1 --dst-group 0x1", " src-group 0x1 dst-group 0x1"},
		{"-m devgroup --src-group 1 --dst-group 2", "1.6.0", " --src-group 0x1 --dst-group 0x2", " src-group 0x1 dst-group 0x2"},
		{"-p tcp -j TCPOPTSTRIP", "1.8.8", " --strip-options ", " TCPOPTSTRIP options "},
		{"-p tcp -j TCPOPTSTRIP", "1.8.9", "", ""},
		{"-m string --algo bm --string x", "1.8.8", ` --string "x" --algo bm --to 65535`, ` STRING match  "x" ALGO name bm TO 65535`},
		{"-m string --algo bm --string x", "1.8.9", ` --string "x" --algo bm`, ` STRING match  "x" ALGO name bm`},
		{"-j LED --led-trigger-id x --led-delay inf", "1.8.9", ` --led-trigger-id "x" --led-delay -1`, ` led-trigger-id:"x" led-delay:inf`},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule(row.rule, nat.IPv4)
			require.NoError(t, err)
			var v xt.Value = r.Target
			if len(r.Matches) > 0 && r.Target == nil {
				v = r.Matches[len(r.Matches)-1]
			}
			version, err := xt.ParseVersion(row.version)
			require.NoError(t, err)
			for _, form := range []struct {
				want  string
				print func(*xt.Printer)
			}{{row.save, v.Save}, {row.list, v.(xt.Lister).List}} {
				p := &xt.Printer{Family: nat.IPv4, Version: version}
				form.print(p)
				require.Equal(t, form.want, p.String(), "%s by iptables %s", row.rule, row.version)
			}
		})
	}
}
