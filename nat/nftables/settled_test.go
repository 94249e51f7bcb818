package nftables_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/nat/rules"
)

// established is a world in which every packet is of a connection, in its original direction.
type established struct{ world }

func (*established) Conn() (rules.Conn, bool) {
	tuple := nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.2:1000"), netip.MustParseAddrPort("10.0.0.1:80"))
	return rules.Conn{Original: tuple, Reply: tuple.Reply()}, true
}

func (*established) RouteType(netip.Addr, string) string { return "UNICAST" }

func (*established) RouteDevice(*rules.Packet, rules.RouteQuery) (string, bool) { return "eth0", true }

func (e *established) Find(nat.Tuple, nat.Zone) (rules.Conn, bool) { return e.Conn() }

var (
	_ rules.ConnHolder  = (*established)(nil)
	_ rules.RouteTeller = (*established)(nil)
)

// What a base chain does to one packet of an established connection is what it does to all, unless a statement on the way asks for what differs from
// one to the next, or does more than to let it pass.
func TestSettles(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rules string
		want  bool
	}{
		{"", true},
		{`ip saddr 10.0.0.0/24 oifname "eth1" tcp dport 80 counter accept comment "x"`, true},
		{"ip daddr 10.0.0.1 drop", false},
		{"ip daddr 10.0.0.3 drop", true},
		{"reject with tcp reset", false},
		{"ip saddr @hosts accept", true},
		{"ip saddr . tcp dport @nets accept", true},
		{"ip saddr @seen accept", true},
		{"ip saddr @seen accept\n\t\tip saddr 10.9.9.9 update @seen { ip saddr }", false},
		{"update @seen { ip saddr }", false},
		{"ip saddr { 10.0.0.2, 10.0.0.3 } tcp dport { 80, 443 } accept", true},
		{"ip saddr . tcp dport vmap { 10.0.0.2 . 80 : accept, 10.0.0.3 . 80 : drop }", true},
		{"tcp sport . tcp dport vmap { 1000 . 80 : drop }", false},
		// what is not asked need not be settled
		{"ct state new limit rate 1/second accept", true},
		{"ct state established accept\n\t\tlimit rate 1/second accept", true},
		{"limit rate 1/second accept", false},
		{"ct state established meta length 1-99 accept", false},
		{"numgen random mod 2 0 drop", false},
		{"jhash ip saddr mod 2 0 drop", false},
		{"ip ttl 3 drop", false},
		{"ip dscp cs1 drop", false},
		{"@nh,8,8 1 drop", false},
		{"ct bytes 10 drop", false},
		{"ct original ip saddr 10.0.0.9 drop", true},
		{"ct direction reply drop", true},
		{"ct state invalid drop", true},
		{"fib daddr type unicast drop", false},
		{"fib saddr type local drop", true},
		{"fib saddr oif missing drop", false},
		{"meta skuid 0 drop", false},
		// flags that tell no packet from another, and others
		{"tcp flags syn / fin,syn,rst,ack drop", true},
		{"tcp flags & (fin | syn | rst | ack) == syn drop", true},
		{"tcp flags syn drop", true},
		{"tcp flags ! syn accept", true},
		{"tcp flags psh drop", false},
		{"tcp flags == ack accept", false},
		{"tcp option maxseg size 9 drop", false},
		// what a rule does
		{"log", false},
		{"queue num 3", false},
		{"notrack", false},
		{"ct mark set 0x1", false},
		{"ip ttl set 5", false},
		{"meta mark set 0x1\n\t\tmeta mark 0x1 drop", false},
		{"meta mark set 0x1\n\t\tmeta mark 0x2 drop", true},
		{"meta mark set ip saddr map @marks\n\t\tmeta mark 0x9 drop", true},
		{`counter name "x"`, true},
		{"quota 100 bytes drop", false},
		// chains
		{"jump other\n\t}\n\tchain other {\n\t\tlog", false},
		{"jump other\n\t}\n\tchain other {\n\t\tip saddr 10.9.9.9 log", true},
		{"jump other\n\t\tdrop\n\t}\n\tchain other {\n\t\treturn", false},
		{"goto other\n\t\tdrop\n\t}\n\tchain other {\n\t\treturn", true},
	} {
		pkt := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80")
		pkt.State, pkt.TCPFlags, pkt.Mark, pkt.Out = rules.Established, 0x10, 0, "eth1"
		c := nftables.Compile(table(t, row.rules), nat.IPv4)
		require.Equal(t, row.want, c.Settles("c", nat.Input, &pkt, &established{world{memory: new(rules.Memory)}}), row.rules)
		require.True(t, c.Settles("elsewhere", nat.Input, &pkt, &world{}), "a chain that is not there")
	}
	for _, behind := range []string{"", "\n\t\taccept"} { // where it is not known whose connection it is
		pkt := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80")
		c := nftables.Compile(table(t, "ct original ip saddr 10.0.0.9 drop"+behind), nat.IPv4)
		require.True(t, c.Settles("c", nat.Input, &pkt, &established{}))
		require.False(t, c.Settles("c", nat.Input, &pkt, &world{}))
	}
	dropping, err := nftables.ParseText("table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n")
	require.NoError(t, err)
	pkt := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80")
	require.False(t, nftables.Compile(&dropping.Tables[0], nat.IPv4).Settles("c", nat.Input, &pkt, &world{}))
}

// Rules that read bits by their place or hand packets to a program need more of a packet than its headers.
func TestReadsContent(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]bool{
		"ip saddr 10.0.0.1 tcp flags syn accept": false, "@th,160,8 1 drop": true, "ip saddr . @th,160,8 { 10.0.0.1 . 1 } drop": true, "@nh,0,8 & 0xf == 1 drop": true, "queue num 1": true,
		"meta mark set @th,160,8 & 0xf":       true,
		"meta mark set jhash @th,160,8 mod 2": true, "meta mark set @th,160,8 map { 1 : 0x1 }": true, "update @learnt { ip saddr : @nh,0,8 }": true,
		"meta mark set jhash ip saddr mod 2": false,
	} {
		require.Equal(t, want, nftables.Ruleset{Tables: []nftables.Table{*table(t, rule)}}.ReadsContent(), rule)
	}
}
