package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/conntrack"
	"natlab/nat/gateway"
)

// A packet is read as it is printed: want is "" where that is the same text.
func TestParseSpec(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80", ""},
		{"tcp 10.0.0.1 > 10.0.0.2:80", ""},
		{"udp fd00::1 > [fd00::2]:53 in eth0", ""},
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80 in eth0 mark 0x4000 flags SA", ""},
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80 flags AS mark 16384 in eth0", "tcp 10.0.0.1:40000 > 10.0.0.2:80 in eth0 mark 0x4000 flags SA"},
		{"udp [2001:db8::1]:53 > [2001:db8::2]:53 in node", ""},
		{"udp 10.0.0.1:1 > 10.0.0.2:2 from shop/web", ""},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 3/1", ""},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 8", "icmp 10.0.0.1:7 > 10.0.0.2:7"},
		{"icmp 10.0.0.1:7 > 10.0.0.2:7 type 0", "icmp 10.0.0.1:7 > 10.0.0.2:7 type 0/0"},
		{"icmp 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1:0 > 10.0.0.2:0"},
		{"icmpv6 fd00::1 > fd00::2 type 129/0 in eth0", "icmpv6 [fd00::1]:0 > [fd00::2]:0 in eth0 type 129/0"},
		{"gre 10.0.0.1 > 10.0.0.2", "gre 10.0.0.1:0 > 10.0.0.2:0"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 flags FSRPAUEW", ""},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 in node uid 1337 gid 0", ""},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.text)
			require.NoError(t, err, row.text)
			if row.want == "" {
				row.want = row.text
			}
			require.Equal(t, row.want, s.String())
		})
	}
	for _, row := range []struct{ text, want string }{
		{"", "want"},
		{"tcp 10.0.0.1:1 > 10.0.0.2", "destination"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 in", "in is not followed by anything"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 mark red", "mark red: want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 mark 0x100000000", "want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 flags SX", "flags SX: want letters of FSRPAUEW"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 uid root", "uid root: want a number"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 gid 4294967295", "want a number"},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1 type 256", "want an ICMP type"},
		{"icmp 10.0.0.1:8 > 10.0.0.2:0", `want "icmp 10.0.0.1 > 10.0.0.2", with a type behind it`},
		{"tcp 10.0.0.1:1 > 10.0.0.2:1 type 8", "type 8: tcp has no type"},
		{"dccp 10.0.0.1 > 10.0.0.2", "destination: "},
		{"icmp 10.0.0.1:1 > 10.0.0.2:1 type 3/256", "want an ICMP type"},
		{"tcp 10.0.0.1:1 > 10.0.0.2:2 out eth0", "out is not known: want in, from, mark, flags, type, uid or gid"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.text)
			require.ErrorContains(t, err, row.want, row.text)
			require.Zero(t, s)
		})
	}
}

// A packet without a written source port is of no connection that there is: whether one has the port that stands for any is chance.
func TestAnew(t *testing.T) {
	t.Parallel()
	spec := func(text string) gateway.Spec {
		s, err := gateway.ParseSpec(text)
		require.NoError(t, err)
		return s
	}
	entry := func(original, reply string) conntrack.Conn {
		return conntrack.Conn{Original: spec(original).Tuple, Reply: spec(reply).Tuple}
	}
	f := gateway.Facts{Entries: []conntrack.Conn{
		entry("tcp 10.0.0.1:40000 > 10.0.0.2:80", "tcp 10.0.0.3:80 > 10.0.0.1:40000"),
		entry("tcp 10.0.0.9:7 > 10.0.0.1:40001", "tcp 10.0.0.1:40001 > 10.0.0.2:80"),
	}}
	for _, row := range []struct{ text, want string }{
		{"tcp 10.0.0.1 > 10.0.0.2:80", "tcp 10.0.0.1:40002 > 10.0.0.2:80"},
		{"udp 10.0.0.1 > 10.0.0.2:80", "udp 10.0.0.1:40000 > 10.0.0.2:80"},
		{"tcp 10.0.0.1 > 10.0.0.2:81", "tcp 10.0.0.1:40000 > 10.0.0.2:81"},
		{"tcp 10.0.0.1:40000 > 10.0.0.2:80", "tcp 10.0.0.1:40000 > 10.0.0.2:80"},
		{"icmp 10.0.0.1 > 10.0.0.2", "icmp 10.0.0.1:0 > 10.0.0.2:0"},
	} {
		require.Equal(t, row.want, spec(row.text).Anew(&f).Tuple.String())
	}
}

func TestReadSpecs(t *testing.T) {
	t.Parallel()
	const one, two = "tcp 10.0.0.1:1 > 10.0.0.2:2", "udp 10.0.0.1:1 > 10.0.0.2:2 in eth0"
	all, err := gateway.ReadSpecs(strings.NewReader("# packets\n\n" + one + "\n  " + two + "\n"))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, one, all[0].String())
	require.Equal(t, two, all[1].String())
	all, err = gateway.ReadSpecs(strings.NewReader(one + "\n\nnonsense\n"))
	require.ErrorContains(t, err, "line 3: ")
	require.Empty(t, all)
}

// What a capture and traces print: the packets that come, each once, as it came.
func TestReadSpecsOfPrograms(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"tcpdump": {`$ sudo tcpdump -eni any
tcpdump: verbose output suppressed, use -v[v]... for full protocol decode
listening on any, link-type LINUX_SLL2 (Linux cooked v2), snapshot length 262144 bytes
10:00:00.1 cni0  In  IP 10.0.0.1.40000 > 10.0.0.2.443: Flags [S], seq 1, length 0
10:00:00.1 eth0  Out IP 10.0.0.3.40000 > 10.0.0.2.443: Flags [S], seq 1, length 0
10:00:00.2 Out 02:00:00:00:00:01 ethertype IPv4 (0x0800), length 76: 10.0.0.2.22 > 10.0.0.9.40003: Flags [S.], seq 1, length 0
10:00:00.3 02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4 (0x0800), length 74: (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length 60)
    10.0.0.1.40001 > 10.0.0.2.443: Flags [S], cksum 0x1234 (correct), seq 1, length 0
	0x0000:  4500 003c
10:00:00.4 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: Request who-has 10.0.0.2 tell 10.0.0.1, length 46
^C
4 packets captured
9 packets received by filter
0 packets dropped by kernel
`, []string{"tcp 10.0.0.1:40000 > 10.0.0.2:443 in cni0 flags S", "tcp 10.0.0.1:40001 > 10.0.0.2:443 flags S"}},
		"nft monitor trace": {`trace id 8bb8 ip raw PREROUTING packet: iif "eth0" ip saddr 10.0.0.1 ip daddr 10.0.0.2 ip protocol udp ip length 60 udp sport 40000 udp dport 53 udp length 40
trace id 8bb8 ip raw PREROUTING rule counter meta nftrace set 1 (verdict continue)
trace id 8bb8 ip raw PREROUTING policy accept
trace id 8bb8 ip filter FORWARD packet: iif "eth0" oif "eth1" ip saddr 10.0.0.1 ip daddr 10.9.0.2 ip protocol udp ip length 60 udp sport 40000 udp dport 53 udp length 40
trace id 9bb8 ip raw PREROUTING packet: iif "eth0" ip saddr 10.0.0.5 ip daddr 10.0.0.2 ip protocol icmp ip length 60 icmp type echo-request icmp code 0
`, []string{"udp 10.0.0.1:40000 > 10.0.0.2:53 in eth0", "icmp 10.0.0.5:0 > 10.0.0.2:0 in eth0"}},
		"TRACE": {`[1.1] TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= SRC=10.0.0.1 DST=10.0.0.2 LEN=60 ID=5 DF PROTO=UDP SPT=40000 DPT=53 LEN=40
[1.2] TRACE: filter:FORWARD:rule:1 IN=eth0 OUT=eth1 SRC=10.0.0.1 DST=10.9.0.2 LEN=60 ID=5 DF PROTO=UDP SPT=40000 DPT=53 LEN=40
[1.3] TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= SRC=10.0.0.1 DST=10.0.0.2 LEN=60 ID=6 DF PROTO=UDP SPT=40001 DPT=53 LEN=40
`, []string{"udp 10.0.0.1:40000 > 10.0.0.2:53 in eth0", "udp 10.0.0.1:40001 > 10.0.0.2:53 in eth0"}},
	} {
		all, err := gateway.ReadSpecs(strings.NewReader(row.text))
		require.NoError(t, err, name)
		got := []string{}
		for _, s := range all {
			got = append(got, s.String())
		}
		require.Equal(t, row.want, got, name)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{"tcp 10.0.0.1:1 > 10.0.0.2:2 in eth0 from a/b mark 0x1 flags SA", "icmp [::1]:1>[::2]:1 type 128/3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := gateway.ParseSpec(text)
		if err != nil {
			require.Zero(t, s)
			return
		}
		again, err := gateway.ParseSpec(s.String())
		require.NoError(t, err, s)
		require.Equal(t, s, again)
	})
}

// Packets as other programs print them.
func TestPostedSpecs(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{
			"[  1.2] TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= MAC=02:00:00:00:00:01:02:00:00:00:00:02:08:00 SRC=10.0.0.1 DST=10.0.0.2 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=TCP SPT=40000 DPT=80 SEQ=1 ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0 MARK=0x4000",
			"tcp 10.0.0.1:40000 > 10.0.0.2:80 in eth0 mark 0x4000 flags S",
		},
		{"kernel: drop: IN= OUT=eth0 SRC=10.0.0.2 DST=10.0.0.9 LEN=40 PROTO=UDP SPT=53 DPT=1000 LEN=20 UID=0 GID=0", "udp 10.0.0.2:53 > 10.0.0.9:1000 in node uid 0"},
		{"IN=eth0 OUT=eth1 SRC=fd00::1 DST=fd00::2 LEN=60 TC=0 HOPLIMIT=63 FLOWLBL=0 PROTO=TCP SPT=1 DPT=2 ACK PSH URGP=0", "tcp [fd00::1]:1 > [fd00::2]:2 in eth0 flags PA"},
		{"IN=eth0 OUT= SRC=10.0.0.1 DST=10.0.0.2 LEN=84 PROTO=ICMP TYPE=3 CODE=1 [SRC=10.0.0.2 DST=10.0.0.1 LEN=60 PROTO=TCP SPT=1 DPT=2 ]", "icmp 10.0.0.1:0 > 10.0.0.2:0 in eth0 type 3/1"},
		{"12:00:00.000001 IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1, win 64240, length 0", "tcp 10.0.0.1:40000 > 10.0.0.2:80 flags S"},
		{"12:00:00.000001 eth0  In  IP 10.0.0.2.80 > 10.0.0.1.40000: Flags [S.], seq 1, ack 2, length 0", "tcp 10.0.0.2:80 > 10.0.0.1:40000 in eth0 flags SA"},
		{"IP 10.0.0.1.5353 > 10.0.0.2.53: 4660+ A? example.com. (29)", "udp 10.0.0.1:5353 > 10.0.0.2:53"},
		{"22:09:30.278759 IP 10.0.0.1.47912 > 10.0.0.2.domain: 6458+ A? example.com. (29)", "udp 10.0.0.1:47912 > 10.0.0.2:53"},
		{"2026-01-02 22:09:30.278759 cali12 P   IP 10.0.0.1.40000 > 10.0.0.2.http: Flags [S], seq 1", "tcp 10.0.0.1:40000 > 10.0.0.2:80 flags S"},
		{"22:09:30.2 02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4 (0x0800), length 74: 10.0.0.1.40000 > 10.0.0.2.443: Flags [S]", "tcp 10.0.0.1:40000 > 10.0.0.2:443 flags S"},
		{"22:09:30.2 eth0  In  IP (tos 0x0, ttl 64, flags [DF], proto TCP (6), length 60) 10.0.0.1.40000 > 10.0.0.2.443: Flags [S]", "tcp 10.0.0.1:40000 > 10.0.0.2:443 in eth0 flags S"},
		{"IP6 fd00::1.40000 > fd00::2.80: Flags [S], length 0", "tcp [fd00::1]:40000 > [fd00::2]:80 flags S"},
		{"IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 1, length 64", "icmp 10.0.0.1:0 > 10.0.0.2:0"},
		{"IP6 fd00::1 > fd00::2: ICMP6, echo request, id 7, seq 1, length 64", "icmpv6 [fd00::1]:0 > [fd00::2]:0"},
		{"udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 [UNREPLIED] src=10.9.0.2 dst=10.0.0.1 sport=53 dport=1 mark=0 use=1", "udp 10.0.0.1:1 > 10.0.0.2:53"},
		{"[DESTROY] udp      17 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=53 src=10.9.0.2 dst=10.0.0.1 sport=53 dport=1", "udp 10.0.0.1:1 > 10.0.0.2:53"},
		{"    [NEW] tcp      6 120 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1", "tcp 10.0.0.1:1 > 10.0.0.2:80"},
		{"22:09:30.2 IP 10.0.0.1 > 10.0.0.2: ESP(spi=0x1,seq=0x1), length 100", "esp 10.0.0.1:0 > 10.0.0.2:0"},
		{"22:09:30.2 IP 10.0.0.1 > 10.0.0.2: ip-proto-112 20", "vrrp 10.0.0.1:0 > 10.0.0.2:0"},
		{"22:09:30.2 IP 10.0.0.1.1000 > 10.0.0.2.2905: sctp (1) [INIT] [init tag: 1]", "sctp 10.0.0.1:1000 > 10.0.0.2:2905"},
		{"22:09:30.2 eth0  In  ifindex 2 02:00:00:00:00:01 ethertype IPv4 (0x0800), length 80: 10.0.0.1.40000 > 10.0.0.2.443: Flags [S]", "tcp 10.0.0.1:40000 > 10.0.0.2:443 in eth0 flags S"},
		{"22:09:30.2  In 02:00:00:00:00:01 ethertype IPv6 (0x86dd), length 96: fd00::1.40000 > fd00::2.443: Flags [S]", "tcp [fd00::1]:40000 > [fd00::2]:443 flags S"},
		{"22:09:30.2 02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 802.1Q (0x8100), length 78: vlan 7, p 0, ethertype IPv4 (0x0800), 10.0.0.1.40000 > 10.0.0.2.443: Flags [S]", "tcp 10.0.0.1:40000 > 10.0.0.2:443 flags S"},
		{`trace id 8bb8ef4f ip raw PREROUTING packet: iif "eth0" ether saddr 02:00:00:00:00:01 ether daddr 02:00:00:00:00:02 ip saddr 10.0.0.1 ip daddr 10.0.0.2 ip dscp cs0 ip ttl 64 ip id 1 ip protocol tcp ip length 60 tcp sport 40000 tcp dport 443 tcp flags == syn tcp window 64240`, "tcp 10.0.0.1:40000 > 10.0.0.2:443 in eth0 flags S"},
		{`trace id 8bb8ef4f inet f out packet: oif "eth0" ip6 saddr fd00::1 ip6 daddr fd00::2 ip6 nexthdr udp ip6 length 60 udp sport 40000 udp dport 53 udp length 60`, "udp [fd00::1]:40000 > [fd00::2]:53 in node"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			s, err := gateway.ParseSpec(row.text)
			require.NoError(t, err)
			require.Equal(t, row.want, s.String())
		})
	}
	for _, row := range []struct{ text, want string }{
		{"IN=eth0 SRC=10.0.0.1 DST=10.0.0.2 PROTO=TCP SPT=x DPT=80", "want SRC=, DST=, SPT= and DPT="},
		{"IP 10.0.0.1.40000 > 10.0.0.2.nothing: Flags [S]", "destination: "},
		{"eth0 Out IP 10.0.0.1.4 > 10.0.0.2.80: Flags [S]", "the packet leaves by eth0"},
		{"IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.9 unreachable, length 36", "of ICMP natlab reads echo requests and replies"},
		{"IP 10.0.0.1 > 10.0.0.2: something else", "the protocol is not known by what tcpdump prints"},
		{"trace id 1 ip raw PREROUTING packet: iif \"eth0\" @nh,0,8 69", "want a packet with ip saddr"},
		{"udp 17 29 src=10.0.0.1 dst=x src=", "not an entry as conntrack -L prints it"},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			_, err := gateway.ParseSpec(row.text)
			require.ErrorContains(t, err, row.want)
		})
	}
}
