package nftables_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/nftables"
	"natlab/nat/packet"
	"natlab/nat/rules"
)

// world remembers, and knows one address of its own.
type world struct {
	memory *rules.Memory
	now    time.Time
	asked  []string
}

func (w *world) AddrType(a netip.Addr, _ string) string {
	if a == netip.MustParseAddr("10.0.0.1") {
		return "LOCAL"
	}
	return "UNICAST"
}
func (w *world) Take(p float64) bool      { return p >= 0.5 }
func (w *world) Unknown(what string) bool { w.asked = append(w.asked, what); return false }
func (w *world) Memory() *rules.Memory    { return w.memory }
func (w *world) Now() time.Time           { return w.now }

// sets are what the rules below refer to.
const sets = `
	set hosts {
		type ipv4_addr
		elements = { 10.0.0.2, 10.0.0.9 }
	}
	set nets {
		type ipv4_addr . inet_service
		flags interval
		elements = { 10.0.0.0/24 . 80-90, 10.1.0.0/16 . 443 }
	}
	map marks {
		type ipv4_addr : mark
		flags interval
		elements = { 10.0.0.0/8 : 0x00000007, * : 0x00000009 }
	}
	set seen {
		type ipv4_addr
		size 2
		flags dynamic,timeout
		timeout 1m
	}
`

func table(t *testing.T, rule string) *nftables.Table {
	t.Helper()
	rs, err := nftables.ParseText("table ip t {" + sets + "\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\t" + rule + "\n\t}\n}\n")
	require.NoError(t, err)
	return &rs.Tables[0]
}

func packetOf(t *testing.T, tuple string) rules.Packet {
	t.Helper()
	parsed, err := nat.ParseTuple(tuple)
	require.NoError(t, err)
	return rules.Packet{Tuple: parsed, State: rules.New, In: "eth0", TTL: 64, TCPFlags: 0x02, Mark: 0x10}
}

// A rule drops the packet tcp 10.0.0.2:1000 > 10.0.0.1:80, which is NEW, has SYN and comes in by eth0 with mark 0x10, or it does not.
func TestMatches(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ drops, passes string }{
		{"ip saddr 10.0.0.2", "ip saddr != 10.0.0.2"},
		{"ip saddr 10.0.0.0/24", "ip saddr 10.0.1.0/24"},
		{"ip saddr 10.0.0.2-10.0.0.3", "ip saddr 10.0.0.3-10.0.0.9"},
		{"ip saddr & 255.0.0.255 == 10.0.0.2", "ip saddr & 255.0.0.255 == 10.0.0.3"},
		{"ip saddr @hosts", "ip daddr @hosts"},
		{"ip daddr != @hosts", "ip saddr != @hosts"},
		{"ip saddr . tcp dport @nets", "ip saddr . tcp sport @nets"},
		{"ip saddr { 10.0.0.2, 10.0.0.3 }", "ip saddr { 10.0.0.3, 10.0.0.4-10.0.0.8 }"},
		{"tcp dport 80", "tcp dport 81"},
		{"tcp dport < 81", "tcp dport < 80"},
		{"tcp dport >= 80", "tcp dport > 80"},
		{"tcp dport 1-100", "tcp dport != 1-100"},
		{"th dport 80", "udp dport 80"},
		{"tcp dport != 81", "udp dport != 81"},
		{"tcp sport != 1001 tcp dport != 81", "tcp sport != 1000 tcp dport != 80"},
		{"ip saddr != 10.0.0.3 ip daddr != 10.0.0.2", "ip saddr != 10.0.0.2 ip daddr != 10.0.0.2"},
		{"tcp sport != 1001 meta mark 0x10 tcp dport != 81", "tcp sport != 1001 meta mark 0x10 tcp dport != 80"},
		{"meta l4proto tcp", "meta l4proto { udp, icmp }"},
		{"meta nfproto ipv4", "meta nfproto ipv6"},
		{"ip ttl 64", "ip ttl < 64"},
		{"ip protocol tcp", "ip6 nexthdr tcp"},
		{"iifname \"eth0\"", "iifname \"eth1\""},
		{"iifname \"et*\"", "iifname \"ethx*\""},
		{"iifname { \"lo\", \"e*\" }", "iifname { \"lo\", \"f*\" }"},
		{"oifname != \"eth0\"", "oifname \"eth0\""},
		{"meta mark 0x10", "meta mark 0x11"},
		{"meta mark & 0x30 == 0x10", "meta mark & 0x30 == 0x30"},
		{"meta mark & 0x10 != 0", "meta mark & 0x20 != 0"},
		{"ct state new", "ct state established,related"},
		{"ct state new,established", "ct state invalid"},
		{"ct state { new, invalid }", "ct state != new"},
		{"ct mark 0", "ct mark 1"},
		{"tcp flags syn", "tcp flags ack"},
		{"tcp flags syn,ack", "tcp flags == syn,ack"},
		{"tcp flags syn / syn,ack", "tcp flags ack / syn,ack"},
		{"tcp flags ! ack", "tcp flags ! syn"},
		{"fib daddr type local", "fib saddr type local"},
		{"fib saddr type != local", "fib daddr type { unicast, broadcast }"},
		{"numgen random mod 100 < 60", "numgen random mod 100 < 20"},
		{"counter packets 0 bytes 0", "tcp dport 80 udp dport 80"},
		{"meta mark set ip saddr map @marks meta mark 7", "meta mark set ip saddr map @marks meta mark 9"},
		{"meta mark set meta mark | 0x1 meta mark 0x11", "meta mark set meta mark ^ 0x10 meta mark 0x10"},
	} {
		t.Run(row.drops, func(t *testing.T) {
			t.Parallel()
			for want, rule := range map[nat.Verdict]string{nat.Drop: row.drops, nat.Accept: row.passes} {
				p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
				v, _ := nftables.Compile(table(t, rule+" drop"), nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
				require.Equal(t, want, v, rule)
				require.Empty(t, w.asked, rule)
			}
		})
	}
}

// What a packet meets with its earlier ones: elements live for their time, a set that is full takes no more, a limit fills again.
func TestRemembers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, rule string
		packets    []string // SECONDS SOURCE VERDICT
	}{
		{"seen before", "ip saddr @seen drop\n\t\tupdate @seen { ip saddr }", []string{"0 10.0.0.2 accept", "59 10.0.0.2 drop", "60 10.0.0.2 accept", "61 10.0.0.3 accept"}},
		{"update lives anew", "update @seen { ip saddr } ip daddr 10.9.9.9\n\t\tip saddr @seen drop", []string{"0 10.0.0.2 drop", "50 10.0.0.2 drop", "100 10.0.0.2 drop"}},
		{"its own time", "ip saddr @seen drop\n\t\tadd @seen { ip saddr timeout 5s }", []string{"0 10.0.0.2 accept", "4 10.0.0.2 drop", "5 10.0.0.2 accept"}},
		{"full", "add @seen { ip saddr } accept\n\t\tdrop", []string{"0 10.0.0.2 accept", "0 10.0.0.3 accept", "0 10.0.0.4 drop", "1 10.0.0.2 accept", "61 10.0.0.4 accept"}},
		{"a limit", "limit rate 1/second burst 2 packets accept\n\t\tdrop", []string{"0 10.0.0.2 accept", "0 10.0.0.2 accept", "0 10.0.0.2 drop", "1 10.0.0.2 accept", "1 10.0.0.2 drop"}},
		{"a limit over", "limit rate over 1/second burst 1 packets drop", []string{"0 10.0.0.2 accept", "0 10.0.0.2 drop", "1 10.0.0.2 accept"}},
		{"a limit for each", "update @seen { ip saddr limit rate over 1/second burst 1 packets } drop", []string{"0 10.0.0.2 accept", "0 10.0.0.2 drop", "0 10.0.0.3 accept", "1 10.0.0.2 accept"}},
		{"one after the other", "numgen inc mod 3 vmap { 0 : drop, 2 : drop }", []string{"0 10.0.0.2 drop", "0 10.0.0.2 accept", "0 10.0.0.2 drop", "0 10.0.0.2 drop"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := nftables.Compile(table(t, row.rule), nat.IPv4)
			begin := time.Unix(1000, 0)
			w := &world{memory: &rules.Memory{}}
			for i, line := range row.packets {
				f := strings.Fields(line)
				after, err := time.ParseDuration(f[0] + "s")
				require.NoError(t, err)
				w.now = begin.Add(after)
				p := packetOf(t, "tcp "+f[1]+":1000 > 10.0.0.1:80")
				v, _ := c.Run("c", nat.Input, &p, w, nil, nil)
				require.Equal(t, f[2], v.String(), "packet %d: %s", i+1, line)
			}
			require.Empty(t, w.asked)
		})
	}
}

// A DNAT by a number takes the map's data one after the other, wherever the numbers stand in it, and tells the element.
func TestTranslatesByNumber(t *testing.T) {
	t.Parallel()
	for _, elements := range []string{
		"0 : 10.0.0.2 . 80, 1 : 10.0.0.3 . 81, 2 : 10.0.0.4 . 82", // as kube-proxy writes them
		"0 : 10.0.0.2 . 80, 2 : 10.0.0.4 . 82, 1 : 10.0.0.3 . 81",
	} {
		c := nftables.Compile(table(t, "dnat to numgen inc mod 3 map { "+elements+" }"), nat.IPv4)
		w := &world{memory: &rules.Memory{}, now: time.Unix(1000, 0)}
		for i, want := range []string{"0 : 10.0.0.2 . 80", "1 : 10.0.0.3 . 81", "2 : 10.0.0.4 . 82", "0 : 10.0.0.2 . 80"} {
			p := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80")
			var hits []rules.Hit
			v, effect := c.Run("c", nat.PreRouting, &p, w, nil, &hits)
			require.Equal(t, nat.Accept, v)
			require.IsType(t, &rules.Translation{}, effect)
			r := effect.(*rules.Translation).Range
			require.Equal(t, want, fmt.Sprintf("%d : %s . %d", i%3, r.MinAddr, r.MinPort), elements)
			require.NotEmpty(t, hits)
			require.Equal(t, want, hits[0].Element, elements)
		}
	}
}

// A translation leads to an expression's value and a constant beside it, and prints as it was read.
func TestTranslatesToValueAndConstant(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ rule, to string }{
		{"dnat to ip saddr map { 10.0.0.2 : 10.1.0.5 }:8080", "10.1.0.5-10.1.0.5:8080-8080"},
		{"dnat to jhash ip saddr mod 1 map { 0 : 10.1.0.5 }:8080-8090", "10.1.0.5-10.1.0.5:8080-8090"},
		{"dnat to 10.1.0.6:tcp dport map { 80 : 8080 }", "10.1.0.6-10.1.0.6:8080-8080"},
		{"dnat to 10.1.0.5-10.1.0.7:tcp dport map { 80 : 8080 } persistent", "10.1.0.5-10.1.0.7:8080-8080"},
		{"redirect to :tcp dport map { 80 : 8080 }", "invalid IP-invalid IP:8080-8080"},
	} {
		c := table(t, row.rule)
		require.Equal(t, row.rule, c.Chains[0].Rules[0].String())
		p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
		v, effect := nftables.Compile(c, nat.IPv4).Run("c", nat.PreRouting, &p, w, nil, nil)
		require.Equal(t, nat.Accept, v)
		require.IsType(t, &rules.Translation{}, effect, row.rule)
		r := effect.(*rules.Translation).Range
		require.Equal(t, row.to, fmt.Sprintf("%s-%s:%d-%d", r.MinAddr, r.MaxAddr, r.MinPort, r.MaxPort), row.rule)
	}
}

// Behind a translation that is not read, and behind a target of x_tables of which nft tells no options, nothing of the packet is known; targets that
// have no option which matters do what they do.
func TestActionsUnread(t *testing.T) {
	t.Parallel()
	open := &rules.Open{}
	for _, row := range []struct {
		rule   string
		effect rules.Effect
		then   nat.Verdict
	}{
		{"dnat to bogus 7 : 9", open, nat.Drop},
		{"snat to bogus 7 : 9", open, nat.Drop},
		{"xt target \"DNAT\"", open, nat.Drop},
		{"@th,0,16 set 5 accept", open, nat.Drop},
		{"synproxy mss 1460 wscale 7 accept", open, nat.Drop},
		{"dup to 10.0.0.9 drop", nil, nat.Drop},
		{"xt target \"MARK\" accept", open, nat.Drop},
		{"xt target \"LOG\" drop", nil, nat.Drop},
		{"xt target \"TCPMSS\" accept", nil, nat.Accept},
		{"xt target \"REJECT\"", &rules.Rejection{}, nat.Reject},
		{"xt target \"MASQUERADE\"", &rules.Translation{}, nat.Accept},
	} {
		p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
		v, effect := nftables.Compile(table(t, row.rule), nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
		require.IsType(t, row.effect, effect, row.rule)
		require.Equal(t, row.then, v, row.rule)
		require.Empty(t, w.asked, row.rule)
	}
	p, w := packetOf(t, "udp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
	v, effect := nftables.Compile(table(t, "synproxy mss 1460 drop"), nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
	require.Nil(t, effect)
	require.Equal(t, nat.Accept, v, "of TCP alone")
}

// What natlab cannot tell is asked for by name.
func TestUnknown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ rule, asked string }{
		{"rt classid 10 drop", "rt classid 10"},
		{"meta cpu 1 drop", "meta cpu 1"},
		{"bogus 5 drop", "bogus 5"},
		{"xt match \"comment\" drop", "xt match \"comment\""},
		{"limit rate 5/second drop", "limit rate 5/second"},
		{"ip saddr @seen update @seen { ip saddr } drop", "ip saddr @seen"},
		{"tcp sport != 1000 tcp dport != 8080 drop", "tcp sport != 1000 tcp dport != 8080"},
		{"tcp sport != 1001 tcp dport != 80 drop", "tcp sport != 1001 tcp dport != 80"},
	} {
		p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
		v, _ := nftables.Compile(table(t, row.rule), nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
		require.Equal(t, nat.Accept, v, row.rule)
		require.Equal(t, []string{row.asked}, w.asked)
	}
}

// A maximum segment size is made smaller, never larger; where there is no whole TCP header or option the rule ends.
func TestMaxSegment(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		options, after []byte
		then           nat.Verdict
	}{
		{[]byte{2, 4, 5, 180}, []byte{2, 4, 3, 232}, nat.Drop},
		{[]byte{1, 1, 2, 4, 1, 0, 0, 0}, []byte{1, 1, 2, 4, 1, 0, 0, 0}, nat.Drop},
		{nil, []byte{}, nat.Drop},
		{[]byte{2, 3, 5, 0}, []byte{2, 3, 5, 0}, nat.Accept},
		{[]byte{1, 1, 2, 4}, []byte{1, 1, 2, 4}, nat.Accept},
	} {
		p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &world{}
		p.Wire = packet.Build(p.Tuple, packet.Fields{TCP: packet.TCP{Flags: 2, Options: row.options}})
		v, _ := nftables.Compile(table(t, "tcp option maxseg size set 1000 drop"), nat.IPv4).Run("c", nat.Input, &p, w, nil, nil)
		require.Equal(t, row.then, v, "%x", row.options)
		require.Equal(t, row.after, bytes.Clone(p.Wire.Transport()[20:]), "%x", row.options)
		require.True(t, p.Wire.ChecksumOK())
	}
}

// measured is a world whose packets have a route, of an MTU.
type measured struct {
	world
	mtu int
}

func (m *measured) PathMTU(*rules.Packet) (int, bool) { return m.mtu, m.mtu > 0 }

// The route's MTU is the maximum segment size that it has room for; where it has none, or is not one that an IPv4 header can tell, TCP's own.
func TestRouteMTU(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		tuple string
		mtu   int
		mss   uint16
	}{
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 1400, 1360},
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 41, 1},
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 40, 536},
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 65535, 65495},
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 65536, 536},
		{"tcp 10.0.0.2:1000 > 10.0.0.1:80", 0, 65500},
		{"tcp [fd00::2]:1000 > [fd00::1]:80", 1400, 1340},
		{"tcp [fd00::2]:1000 > [fd00::1]:80", 60, 536},
		{"tcp [fd00::2]:1000 > [fd00::1]:80", 65536, 536},
	} {
		p, w := packetOf(t, row.tuple), &measured{mtu: row.mtu}
		p.Wire = packet.Build(p.Tuple, packet.Fields{TCP: packet.TCP{Flags: 2, Options: []byte{2, 4, 255, 220}}})
		c := nftables.Compile(table(t, "tcp option maxseg size set rt mtu"), nat.FamilyOf(p.Tuple.Src().Addr()))
		v, _ := c.Run("c", nat.Forward, &p, w, nil, nil)
		require.Equal(t, nat.Accept, v, row)
		require.Equal(t, []byte{2, 4, byte(row.mss >> 8), byte(row.mss)}, bytes.Clone(p.Wire.Transport()[20:]), row)
		require.Empty(t, w.asked, row)
	}
	p, w := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80"), &measured{}
	nftables.Compile(table(t, "rt mtu 1360 drop"), nat.IPv4).Run("c", nat.Forward, &p, w, nil, nil)
	require.Equal(t, []string{"rt mtu 1360"}, w.asked, "without a route it is not known")
}

// All rules that name an object use the same one; of a limit or a quota nobody knows where nothing is remembered.
func TestObjects(t *testing.T) {
	t.Parallel()
	rs, err := nftables.ParseText(`table ip t {
	limit l {
		comment "of both"
		rate 1/day burst 3 packets
	}
	quota q {
		over 90 bytes
	}
	chain c {
		limit name "l" limit name "l" drop
		quota name "q" drop
	}
	chain d {
		type filter hook input priority filter; policy accept;
		jump c
	}
}
`)
	require.NoError(t, err)
	c := nftables.Compile(&rs.Tables[0], nat.IPv4)
	w := &world{memory: &rules.Memory{}, now: time.Unix(1_800_000_000, 0)}
	give := func() nat.Verdict {
		p := packetOf(t, "tcp 10.0.0.2:1000 > 10.0.0.1:80")
		p.Wire = packet.Build(p.Tuple, packet.Fields{TCP: packet.TCP{Flags: 2}}) // 40 bytes
		v, _ := c.Run("d", nat.Input, &p, w, nil, nil)
		return v
	}
	require.Equal(t, nat.Drop, give(), "two of three")
	require.Equal(t, []nat.Verdict{nat.Accept, nat.Accept, nat.Drop}, []nat.Verdict{give(), give(), give()}, "bytes are counted from here on")
	require.Empty(t, w.asked)
	w.memory = nil
	give()
	require.Equal(t, []string{`limit name "l"`, `quota name "q"`}, w.asked)
}
