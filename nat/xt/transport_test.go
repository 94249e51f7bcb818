package xt_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/packet"
	"natlab/nat/rules"
	"natlab/nat/xt"
)

const (
	sctp4 = "sctp 10.0.0.1:40000 > 10.0.0.2:80"
	dccp4 = "dccp 10.0.0.1:40000 > 10.0.0.2:80"
	esp4  = "esp 10.0.0.1 > 10.0.0.2"
	ah4   = "ah 10.0.0.1 > 10.0.0.2"
	comp4 = "ipcomp 10.0.0.1 > 10.0.0.2"
)

// chunks are SCTP's, four bytes each: a type with its flags.
func chunks(kinds ...[2]byte) (b []byte) {
	for _, k := range kinds {
		b = append(b, k[0], k[1], 0, 4)
	}
	return b
}

// What the matches of transport headers answer for a packet.
func TestTransportMatchesAnswer(t *testing.T) {
	t.Parallel()
	syn := fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 5, 180, 1, 3, 3, 7}}}
	data, both := chunks([2]byte{0, 3}), chunks([2]byte{3, 0}, [2]byte{0, 1})
	later := fields{Part: 0x2001, Payload: make([]byte, 40)}
	sctp := func(b []byte) fields { return fields{Payload: b} }
	checkMatches(t, []matchRow{
		{"-p tcp -m tcp", tcp4, syn, yes},
		{"-p tcp --sport 40000 --dport http", tcp6, syn, yes},
		{"-p tcp ! --sport 40000", tcp4, syn, no},
		{"-p tcp --dport 81:", tcp4, syn, no},
		{"-p tcp ! --dport 0:65535", tcp4, syn, no},
		{"-p udp --dport 53:52", udp4, fields{}, no},
		{"-p udp ! --dport 53:52", udp4, fields{}, yes},
		{"-p tcp -m tcp", tcp4, later, no},
		{"-p tcp --syn", tcp4, syn, yes},
		{"-p tcp ! --syn", tcp4, syn, no},
		{"-p tcp --tcp-flags ALL SYN,ACK", tcp4, syn, no},
		{"-p tcp --tcp-flags NONE SYN", tcp4, syn, no},
		{"-p tcp --tcp-option 3", tcp4, syn, yes},
		{"-p tcp --tcp-option 4", tcp4, syn, no},
		{"-p tcp ! --tcp-option 4 --dport 80", tcp4, syn, yes},
		{"-p tcp ! --tcp-option 4 --dport 81", tcp4, syn, no},
		{"-p tcp --tcp-option 2", tcp4, fields{}, no},
		{"-p tcp -m multiport --ports 1,40000:40001", tcp4, syn, yes},
		{"-p tcp -m multiport --dports 1,40000:40001", tcp4, syn, no},
		{"-p udp -m multiport ! --dports domain", udp4, fields{}, no},
		{"-p udplite -m multiport --sports 7", "udplite 10.0.0.1:7 > 10.0.0.2:8", fields{}, yes},
		{"-p tcp -m multiport ! --dports 1", tcp4, later, no},
		// SCTP's chunks
		{"-p sctp --chunk-types any DATA,INIT", sctp4, sctp(data), yes},
		{"-p sctp --chunk-types any INIT", sctp4, sctp(data), no},
		{"-p sctp ! --chunk-types any INIT", sctp4, sctp(data), yes},
		{"-p sctp --chunk-types any DATA:BEu", sctp4, sctp(data), yes},
		{"-p sctp --chunk-types any DATA:U", sctp4, sctp(data), no},
		{"-p sctp --chunk-types all DATA,SACK", sctp4, sctp(both), yes},
		{"-p sctp --chunk-types all DATA:B,SACK", sctp4, sctp(both), no},
		{"-p sctp --chunk-types all DATA,SACK,INIT", sctp4, sctp(both), no},
		{"-p sctp --chunk-types only DATA,SACK,INIT", sctp4, sctp(both), yes},
		{"-p sctp --chunk-types only DATA", sctp4, sctp(both), no},
		{"-p sctp --chunk-types only ALL --dport 80", sctp4, sctp(both), yes},
		{"-p sctp --chunk-types only ALL --dport 81", sctp4, sctp(both), no},
		{"-p sctp --chunk-types any NONE", sctp4, sctp(both), no},
		// DCCP's types
		{"-p dccp --dccp-types REQUEST,CLOSE", dccp4, fields{}, yes},
		{"-p dccp --dccp-types RESPONSE", dccp4, fields{}, no},
		{"-p dccp ! --dccp-types INVALID --sport 40000", dccp4, fields{Type: 11}, no},
		{"-p dccp --dccp-option 5", dccp4, fields{}, no},
		// IPsec's indexes
		{"-p esp --espspi 0x01020304", esp4, fields{Payload: []byte{1, 2, 3, 4, 0, 0, 0, 0}}, yes},
		{"-p esp ! --espspi 16909060:", esp4, fields{Payload: []byte{1, 2, 3, 4, 0, 0, 0, 0}}, no},
		{"-p esp -m esp", esp4, later, no},
		{"-p ah --ahspi :7", ah4, fields{Payload: []byte{59, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0}}, yes},
		{"-p ah --ahspi 8", ah4, fields{Payload: []byte{59, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0}}, no},
		{"-p ipcomp --ipcompspi 2", comp4, fields{Payload: []byte{6, 0, 0, 2}}, yes},
		{"-p ipcomp -m ipcomp", comp4, fields{Payload: []byte{6, 0, 0, 2}}, no},
		{"-m ah", tcp6, fields{}, no},
		{"-m ah", tcp6, fields{Headers: headers(authentication(7, 0))}, yes},
		{"-m ah ! --ahspi 7", tcp6, fields{Headers: headers(authentication(7, 0))}, no},
		{"-m ah --ahspi 7 --ahlen 16 --ahres", tcp6, fields{Headers: headers(authentication(7, 0))}, yes},
		{"-m ah --ahspi :7 ! --ahlen 16", tcp6, fields{Headers: headers(authentication(5, 0))}, no},
		{"-m ah --ahres", tcp6, fields{Headers: headers(authentication(7, 1))}, no},
		// ICMP
		{"-p icmp --icmp-type any", icmp4, fields{Type: 8}, yes},
		{"-p icmp --icmp-type echo-request", icmp4, fields{Type: 8}, yes},
		{"-p icmp ! --icmp-type ping", icmp4, fields{Type: 8}, no},
		{"-p icmp --icmp-type host-unre", icmp4, fields{Type: 3, Code: 1}, yes},
		{"-p icmp --icmp-type destination-unreachable", icmp4, fields{Type: 3, Code: 9}, yes},
		{"-p icmp --icmp-type 3/1:4", icmp4, fields{Type: 3, Code: 5}, no},
		{"-p icmp --icmp-type 3/1:4", icmp4, fields{Type: 3, Code: 4}, yes},
		{"-p icmp --icmp-type any", icmp4, later, no},
		{"-p icmpv6 --icmpv6-type neighbor-sol", "icmpv6 fd00::1 > fd00::2", fields{Type: 135}, yes},
		{"-p icmpv6 -m icmpv6 --icmpv6-type 255", "icmpv6 fd00::1 > fd00::2", fields{Type: 135}, no},
	})
}

// authentication is an AH header of 16 bytes.
func authentication(spi, reserved byte) packet.Header {
	return packet.Header{Type: nat.AH, Bytes: []byte{0, 2, 0, reserved, 0, 0, 0, spi, 0, 0, 0, 0, 0, 0, 0, 0}}
}

// DCCP's options stand behind a header whose length depends on type and sequence numbers.
func TestDCCPOptions(t *testing.T) {
	t.Parallel()
	const request, response, data, ack, reset = 0, 1, 2, 3, 7
	for _, row := range []struct {
		name       string
		kind, long byte
		words      byte // of the header with its options
		header     int  // bytes in front of the options
		want       rules.Answer
		dropped    bool
	}{
		{"a request with short numbers", request, 0, 5, 16, yes, false},
		{"a request", request, 1, 6, 20, yes, false},
		{"data", data, 1, 5, 16, yes, false},
		{"data without options", data, 0, 3, 16, no, false},
		{"an acknowledgement", ack, 0, 6, 20, yes, false},
		{"a response", response, 1, 8, 28, yes, false},
		{"a reset", reset, 0, 7, 24, yes, false},
		{"options that begin behind the header", response, 1, 6, 28, no, true},
		{"more options than there are bytes", data, 0, 40, 12, no, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := visitOf(t, dccp4, fields{Payload: make([]byte, 20)})
			h := v.Wire.Transport()
			h[4], h[8] = row.words, row.kind<<1|row.long
			copy(h[row.header:], []byte{0, 44, 3, 1})
			require.Equal(t, row.want, ruleOf(t, "-p dccp --dccp-option 44", v).Matches[1].Holds(v), row.name)
			require.Equal(t, row.dropped, v.HotDrop, row.name)
		})
	}
}

// A header that is cut short, or does not hold what it claims, drops the packet that a match wanted to see.
func TestMalformedHeadersDrop(t *testing.T) {
	t.Parallel()
	short := func(tuple string, n int) *rules.Visit {
		v := visitOf(t, tuple, fields{TCP: packet.TCP{Flags: 2}, Payload: make([]byte, 32)})
		whole := v.Wire.Bytes()
		cut := append([]byte(nil), whole[:len(whole)-len(v.Wire.Transport())+n]...)
		cut[3] = byte(len(cut))
		if v.Wire.V6() {
			cut[5] = byte(n)
		}
		wire, err := packet.Parse(cut)
		require.NoError(t, err)
		v.Wire, v.Tuple = &wire, wire.Tuple()
		return v
	}
	for _, row := range []struct {
		match, tuple string
		length       int // of the transport header that is there
		drops        bool
	}{
		{"-p tcp -m tcp", tcp4, 20, false},
		{"-p tcp -m tcp", tcp4, 19, true},
		{"-p udp --dport 7", udp4, 7, true},
		{"-p tcp -m multiport --dports 7", tcp4, 3, true},
		{"-p tcp -m multiport --dports 7", tcp4, 4, false},
		{"-p sctp -m sctp", sctp4, 11, true},
		{"-p sctp --chunk-types any INIT", sctp4, 12, true}, // no chunk
		{"-p sctp --chunk-types any INIT --dport 7", sctp4, 12, false},
		{"-p sctp --chunk-types any INIT", sctp4, 20, true}, // of no length
		{"-p dccp -m dccp", dccp4, 11, true},
		{"-p icmp --icmp-type any", icmp4, 7, true},
		{"-p esp -m esp", esp4, 7, true},
		{"-p ah -m ah", ah4, 11, true},
		{"-p ipcomp -m ipcomp", comp4, 3, true},
	} {
		t.Run(row.match, func(t *testing.T) {
			t.Parallel()
			v := short(row.tuple, row.length)
			matches := ruleOf(t, row.match, v).Matches
			answer := matches[len(matches)-1].Holds(v)
			require.Equal(t, row.drops, v.HotDrop, "%s of %d bytes", row.match, row.length)
			if row.drops {
				require.Equal(t, no, answer, row.match)
			}
		})
	}
	v := visitOf(t, tcp4, fields{})
	v.Wire.Transport()[12] = 0x40 // a header of 16 bytes
	require.Equal(t, no, ruleOf(t, "-p tcp ! --tcp-option 3", v).Matches[1].Holds(v))
	require.True(t, v.HotDrop)
}

// Any spelling that iptables takes is printed as iptables-save prints it.
func TestTransportSpellings(t *testing.T) {
	t.Parallel()
	for f, rows := range map[nat.Family][][2]string{
		nat.IPv4: {
			{"-p tcp --source-port 0x50 --destination-port :010", "-p tcp -m tcp --sport 80 --dport 0:8"},
			{"-p tcp -m tcp --dport 1:65535 --sport :", "-p tcp -m tcp --dport 1:65535"},
			{"-p tcp --dport ftp-data:ssh", "-p tcp -m tcp --dport 20:22"},
			{"-p udp --sport tftp --dport bootps:", "-p udp -m udp --sport 69 --dport 67:65535"},
			{"-p tcp --tcp-flags syn,,ack ALL", "-p tcp -m tcp --tcp-flags SYN,ACK FIN,SYN,RST,PSH,ACK,URG"},
			{"-p tcp ! --tcp-flags none none", "-p tcp -m tcp ! --tcp-flags NONE NONE"},
			{"-p tcp --tcp-flags NONE NONE", "-p tcp -m tcp"},
			{"-p tcp -m multiport --source-ports ssh,http:443", "-p tcp -m multiport --sports 22,80:443"},
			{"-p sctp --chunk-types ANY data:be,Init_Ack", "-p sctp -m sctp --chunk-types any DATA:be,INIT_ACK"},
			{"-p sctp --chunk-types only I_DATA:B", "-p sctp -m sctp --chunk-types only I_DATA"},
			{"-p dccp --dccp-types sync,Invalid,request", "-p dccp -m dccp --dccp-types REQUEST,SYNC,INVALID"},
			{"-p esp -m esp --espspi 0:4294967295", "-p esp -m esp"},
			{"-p ah --ahspi 0x10:", "-p ah -m ah --ahspi 16:4294967295"},
			{"-p ipcomp --compres", "-p ipcomp -m ipcomp --ipcompspi 0 --compres"},
			{"-p icmp --icmp-type ECHO-REQ", "-p icmp -m icmp --icmp-type 8"},
			{"-p icmp --icmp-type tos-network-un", "-p icmp -m icmp --icmp-type 3/11"},
			{"-p icmp --icmp-type 0x3/04", "-p icmp -m icmp --icmp-type 3/4"},
			{"-p icmp --icmp-type 255", "-p icmp -m icmp --icmp-type any"},
			{"-p tcp -j DNAT --to-destination 10.0.0.1:ssh", "-p tcp -j DNAT --to-destination 10.0.0.1:22"},
			{"-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.1:10-20/ftp --persistent --random", "-p tcp -j DNAT --to-destination 10.0.0.1:10-20/21 --random --persistent"},
			{"-p udp -j REDIRECT --to-ports 0-0", "-p udp -j REDIRECT --to-ports 0"},
			{"-p tcp -j MASQUERADE --to-ports 512-512 --random-fully", "-p tcp -j MASQUERADE --to-ports 512 --random-fully"},
			{"-j NETMAP --to 1.2.3.4", "-j NETMAP --to 1.2.3.4/32"},
			{"-j NETMAP --to 1.2.3.4/255.255.0.0", "-j NETMAP --to 1.2.0.0/16"},
			{"-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"},
			{"-j REJECT --reject-with host-prohib", "-j REJECT --reject-with icmp-host-prohibited"},
			{"-p tcp -j REJECT --reject-with tcp", "-p tcp -j REJECT --reject-with tcp-reset"},
		},
		nat.IPv6: {
			{"-p icmpv6 -m ipv6-icmp --icmpv6-type no-route", "-p ipv6-icmp -m icmp6 --icmpv6-type 1/0"},
			{"-p tcp -j DNAT --to-destination [fd00::1]", "-p tcp -j DNAT --to-destination fd00::1"},
			{"-p tcp -j DNAT --to-destination []:80", "-p tcp -j DNAT --to-destination :80"},
			{"-p tcp -j DNAT --to-destination :80", "-p tcp -j DNAT --to-destination :80"},
			{"-j SNAT --to-source ::1.2.3.4", "-j SNAT --to-source ::1.2.3.4"},
			{"-j REJECT --reject-with adm", "-j REJECT --reject-with icmp6-adm-prohibited"},
			{"-j SNPT --src-pfx fd00::/16 --dst-pfx ::/0", "-j SNPT --src-pfx fd00::/16 --dst-pfx ::/0"},
		},
	} {
		for _, row := range rows {
			r, err := iptables.ParseRule(row[0], f)
			require.NoError(t, err, row[0])
			require.Equal(t, row[1], r.Spec(), row[0])
			again, err := iptables.ParseRule(row[1], f)
			require.NoError(t, err, row[1])
			require.Equal(t, r, again, row[0])
		}
	}
}

func TestTransportMistakesAreRefused(t *testing.T) {
	t.Parallel()
	checkMistakes(t, nat.IPv4, []mistake{
		{"-m tcp --dport 1", "-m tcp: needs -p tcp"},
		{"! -p tcp -m tcp", "-m tcp: needs -p tcp"},
		{"-p tcp --dport 4:3", "--dport 4:3: want a port or LOW:HIGH"},
		{"-p tcp --dport 65536", "--dport 65536: want a port"},
		{"-p tcp --dport tftp", "--dport tftp: want a port"},
		{"-p udp --dport 0x50", "--dport 0x50: want a port"},
		{"-p tcp --syn --tcp-flags ALL SYN", "do not go together"},
		{"-p tcp --tcp-flags SYN", "--tcp-flags wants a value"},
		{"-p tcp --tcp-option 0", "--tcp-option 0: want a number from 1 to 255"},
		{"-p tcp --dport 1 --destination-port 2", "given twice"},
		{"-p tcp -m multiport", "-m multiport: needs --sports or --dports or --ports"},
		{"-p tcp -m multiport --ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16", "at most 15 ports"},
		{"-p tcp -m multiport --ports 7:7", "want ports and LOW:HIGH"},
		{"-p tcp -m multiport --ports 7 --dports 8", "one of --sports, --dports and --ports only"},
		{"-p icmp -m multiport --ports 7", "needs -p tcp"},
		{"-p sctp --chunk-types some DATA", "--chunk-types some: want one of any, all, only"},
		{"-p sctp --chunk-types any DATA:T", `--chunk-types DATA:T: want flags of DATA out of "IUBE"`},
		{"-p sctp --chunk-types any DATUM", "want types of chunks"},
		{"-p dccp --dccp-types DATUM", "want types of REQUEST"},
		{"-p dccp --dccp-option 256", "want a number from 1 to 255"},
		{"-p esp --espspi -1", "want a number of 32 bits"},
		{"-p ah --ahspi 0:4294967296", "want a number of 32 bits"},
		{"-p icmp -m icmp", "needs --icmp-type"},
		{"-p icmp --icmp-type echo", "a whole name: echo-reply and echo-request begin so"},
		{"-p icmp --icmp-type 3/256", "a name, or TYPE[/CODE]"},
		{"-j DNAT", "-j DNAT: needs --to-destination"},
		{"-p tcp -j DNAT --to-destination 1.1.1.1:echo-ssh", "want a port"},
		{"-p tcp -j DNAT --to-destination 1.1.1.1:1000-2000/0", "want a port"},
		{"-p tcp -j DNAT --to-destination 1.1.1.1:1000-2000/65536", "want a port"},
		{"-p tcp -j DNAT --to-destination 1.1.1.1 --random-fully", `option "--random-fully" is not known here`},
		{"-j DNAT --to-destination [1.1.1.1]:80", "in brackets only in IPv6"},
		{"-p tcp -j SNAT --to-source 1.1.1.1:1-5/3", "a base port (/3) goes with DNAT only"},
		{"-j NETMAP", "needs --to"},
		{"-j NETMAP --to 1.2.3.4/33", "want a mask"},
		{"-j REJECT --reject-with tcp-reset", "tcp-reset needs -p tcp"},
		{"-j REJECT --reject-with echo-reply", "want one of icmp-net-unreachable"},
	})
	checkMistakes(t, nat.IPv6, []mistake{
		{"-m icmpv6", "-m icmpv6: needs --icmpv6-type"},
		{"-p ipv6-icmp -m icmp6 --icmpv6-type no-route --icmpv6-type packet-too-big", "given twice"},
		{"-p ipv6-icmp -j DNAT --to-destination [fd00::1]:7", "a port needs -p tcp"},
		{"-j DNPT --src-pfx dead::/64", "needs --dst-pfx"},
		{"-j DNPT --src-pfx dead::beef --dst-pfx 1c3::/64", "want a prefix of at most 64 bits"},
	})
}

// NPT keeps the sum of the address, so that no checksum changes, and translates the packet inside an error.
func TestNPT(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ target, from, to string }{
		{"-j SNPT --src-pfx fd01:203:405::/48 --dst-pfx 2001:db8:1::/48", "tcp [fd01:203:405:1::1234]:7 > [fd00::2]:80", "tcp [2001:db8:1:d550::1234]:7 > [fd00::2]:80"}, // RFC 6296, 3.1
		{"-j DNPT --src-pfx 2001:db8:1::/48 --dst-pfx fd01:203:405::/48", "udp [fd00::2]:80 > [2001:db8:1:d550::1234]:7", "udp [fd00::2]:80 > [fd01:203:405:1::1234]:7"},
		{"-j SNPT --src-pfx dead::/64 --dst-pfx 1c3::/64", "tcp [dead::ffff:0:0:1]:7 > [fd00::2]:80", "tcp [1c3::ffff:dcea:0:1]:7 > [fd00::2]:80"},
		{"-j SNPT --src-pfx dead::/64 --dst-pfx 1c3::/64", "tcp [dead::ffff:ffff:ffff:ffff]:7 > [fd00::2]:80", ""},
		{"-j SNPT --src-pfx dead::/16 --dst-pfx dead::/16", "tcp [dead::1]:7 > [fd00::2]:80", "tcp [dead::1]:7 > [fd00::2]:80"},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			v := visitOf(t, row.from, fields{Payload: []byte("data")})
			a := ruleOf(t, row.target, v).Target.Act(v)
			if row.to == "" {
				require.Equal(t, rules.Action{Verdict: nat.Drop}, a)
				return
			}
			require.Equal(t, rules.Continue(), a)
			want := visitOf(t, row.to, fields{Payload: []byte("data")})
			require.Equal(t, want.Tuple, v.Tuple)
			require.Equal(t, want.Wire.Bytes(), v.Wire.Bytes(), row.target)

			v = visitOf(t, row.from, fields{})
			v.Wire = nil
			ruleOf(t, row.target, v).Target.Act(v)
			require.Equal(t, want.Tuple, v.Tuple, "without the bytes")
		})
	}
	about := packet.Build(tupleOf(t, "udp [fd00::2]:80 > [dead::1]:7"), fields{Payload: []byte("data")})
	v := visitOf(t, "icmpv6 dead::9 > fd00::2", fields{Type: 1, Code: 4, Payload: about.Bytes()})
	ruleOf(t, "-j SNPT --src-pfx dead::/48 --dst-pfx 1c3::/48", v).Target.Act(v)
	inside, ok := v.Wire.Inside()
	require.True(t, ok && v.Wire.ChecksumOK() && inside.ChecksumOK())
	require.Equal(t, netip.MustParseAddr("1c3:0:0:dcea::1"), inside.Tuple().Dst().Addr())
}

func tupleOf(t *testing.T, s string) nat.Tuple {
	t.Helper()
	tuple, err := nat.ParseTuple(s)
	require.NoError(t, err)
	return tuple
}

// A range as the structs of all revisions hold it, and the action that it is.
func TestNATRanges(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		target string
		want   rules.NATRange
	}{
		{"-p tcp -j DNAT --to-destination :80", rules.NATRange{MinPort: 80, MaxPort: 80}},
		{"-p tcp -j REDIRECT --to-ports 0", rules.NATRange{PortZero: true}},
		{"-p tcp -j REDIRECT --to-ports 0-7", rules.NATRange{MaxPort: 7}},
		{"-j MASQUERADE --random", rules.NATRange{Random: true}},
		{"-j NETMAP --to 10.0.5.0/255.0.255.0", rules.NATRange{MinAddr: netip.MustParseAddr("10.0.5.0"), MaxAddr: netip.MustParseAddr("10.255.5.255")}},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			r, err := iptables.ParseRule(row.target, nat.IPv4)
			require.NoError(t, err)
			a := r.Target.Act(nil)
			require.Equal(t, nat.Accept, a.Verdict)
			require.Equal(t, row.want, a.Effect.(*rules.Translation).Range, row.target)
			require.Equal(t, !strings.HasPrefix(row.target, "-j"), row.want.HasPorts(), row.target)
		})
	}
	for _, row := range []struct {
		name     string
		family   nat.Family
		revision uint8
		size     int
	}{
		{"DNAT", nat.IPv4, 0, 20},
		{"DNAT", nat.IPv6, 1, 40},
		{"DNAT", nat.IPv4, 2, 42},
		{"SNAT", nat.IPv4, 2, 42},
		{"MASQUERADE", nat.IPv6, 0, 40},
		{"NETMAP", nat.IPv4, 0, 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, ok := xt.NATStructOf(row.name, row.revision, row.family)
			require.True(t, ok, row)
			require.Equal(t, row.size, s.Size(), row)
		})
	}
	_, ok := xt.NATStructOf("REJECT", 0, nat.IPv4)
	require.False(t, ok)
	// what today's kernels do not take: several ranges, and what no option makes
	x, _ := xt.Find("DNAT", xt.TargetKind, nat.IPv4)
	l, _ := x.Layout(nat.IPv4, 0)
	env := &xt.Env{Family: nat.IPv4}
	d := make([]byte, l.Size)
	require.NoError(t, l.Encode(xt.DNAT{Range: rules.NATRange{MinPort: 7, MaxPort: 7}}, d, env))
	_, ok = l.Decode(d, env)
	require.True(t, ok)
	d[0] = 2
	_, ok = l.Decode(d, env)
	require.False(t, ok, "two ranges")
	require.Error(t, l.Encode(xt.DNAT{Range: rules.NATRange{MinPort: 7, MaxPort: 9, BasePort: 3}}, d, env))
}
