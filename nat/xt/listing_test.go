package xt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/xt"
)

// What iptables -L prints without -n, and what old ones print, which List never does; and what is left behind.
func TestListedTexts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, options, rest string }{
		{"tcp", "tcp dpt:http", "--dport 80", ""},
		{"tcp", "tcp spts:1024:65535 dpts:ftp-data:ssh flags:FIN,SYN,RST,ACK/SYN", "--sport 1024:65535 --dport 20:22 --tcp-flags FIN,SYN,RST,ACK SYN", ""},
		{"tcp", "tcp flags:!0x17/0x02 state NEW", "! --tcp-flags FIN,SYN,RST,ACK SYN", "state NEW"},
		{"udp", "udp dpt:domain state NEW,ESTABLISHED", "--dport 53", "state NEW,ESTABLISHED"},
		{"icmp", "icmp echo-request", "--icmp-type 8", ""},
		{"icmp", "icmp !echo-request limit: avg 1/sec burst 5", "! --icmp-type 8", "limit: avg 1/sec burst 5"},
		{"icmp", "icmptype 255", "--icmp-type any", ""},
		{"icmp", "icmp type 3 code 4 x", "--icmp-type 3/4", "x"},
		{"icmp", "icmp any", "--icmp-type any", ""},
		{"comment", "/* a */ b */ tcp dpt:80", `--comment "a */ b"`, "tcp dpt:80"},
		{"comment", "/*  blanks  */", `--comment " blanks "`, ""},
		{"mark", "mark match ! 0x1/0xff", "! --mark 0x1/0xff", ""},
		{"connmark", "connmark match  0x1", "--mark 0x1", ""},
		{"state", "state RELATED,ESTABLISHED tcp", "--state RELATED,ESTABLISHED", "tcp"},
		{"conntrack", "! ctstate INVALID ctorigdst 10.0.0.1", "! --ctstate INVALID --ctorigdst 10.0.0.1", ""},
		{"conntrack", "ctstate NEW ctstate DNAT", "--ctstate NEW", "ctstate DNAT"},
		{"tos", "tos match!Minimize-Delay", "! --tos 0x10/0x3f", ""},
		{"owner", "owner UID match root", "--uid-owner 0", ""},
		{"owner", "! owner GID match 5-9 incl. suppl. groups", "! --gid-owner 5-9 --suppl-groups", ""},
		{"multiport", "multiport dports http,https", "--dports 80,443", ""},
		{"connlimit", "#conn src/32 > 10 reject-with tcp-reset", "--connlimit-above 10 --connlimit-mask 32 --connlimit-saddr", "reject-with tcp-reset"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			x, ok := xt.Find(row.name, xt.MatchKind, nat.IPv4)
			require.True(t, ok, row.name)
			l := xt.NewListing(row.text, nat.IPv4)
			l.Protocol = map[string]nat.Proto{"tcp": nat.TCP, "udp": nat.UDP, "icmp": nat.ICMP, "multiport": nat.TCP}[row.name]
			v, ok := x.ReadListed(l)
			require.True(t, ok, row.text)
			require.Equal(t, row.options, xt.Options(v, nat.IPv4))
			require.Equal(t, row.rest, l.Rest(), row.text)
		})
	}
	for _, row := range [][2]string{
		{"LOG level warning prefix \"[a] \"b\" \"", `--log-prefix "[a] \"b\" "`},
		{"LOG level debug tcp-sequence ip-options uid", "--log-level 7 --log-tcp-sequence --log-ip-options --log-uid"},
		{"LOG flags 0 level 4 prefix \"x\"", "--log-prefix x"},
	} {
		x, _ := xt.Find("LOG", xt.TargetKind, nat.IPv4)
		v, ok := x.ReadListed(xt.NewListing(row[0], nat.IPv4))
		require.True(t, ok, row[0])
		require.Equal(t, row[1], xt.Options(v, nat.IPv4))
	}
}

// What no option prints is nobody's.
func TestListedRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"tcp", "tcp dpt:no-such-service"},
		{"comment", "/* no end"},
		{"mark", "mark match red"},
		{"addrtype", "ADDRTYPE match"},
		{"physdev", "PHYSDEV match"},
		{"length", "length"},
		{"owner", "owner UID match"},
		{"conntrack", "ctstate NEW,NONSENSE"},
	} {
		x, ok := xt.Find(row[0], xt.MatchKind, nat.IPv4)
		require.True(t, ok, row[0])
		l := xt.NewListing(row[1], nat.IPv4)
		l.Protocol = nat.TCP
		_, ok = x.ReadListed(l)
		require.False(t, ok, row[1])
		require.Equal(t, row[1], l.Rest())
	}
}
