package iptables

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/rules"
)

// What a chain does to one packet of an established connection is what it does to all, unless a rule on the way asks for what differs from
// one to the next, or does more than to let it pass.
func TestSettles(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rules string
		want  bool
	}{
		{"", true},
		{"-A FORWARD -s 10.0.1.0/24 -o eth1 -p tcp -m tcp --dport 80 -m comment --comment x -j ACCEPT", true},
		{"-A FORWARD -d 10.0.2.2/32 -j DROP", false},
		{"-A FORWARD -d 10.0.2.3/32 -j DROP", true},
		{"-A FORWARD -p tcp -j REJECT --reject-with tcp-reset", false},
		// what is not asked need not be settled
		{"-A FORWARD -m conntrack --ctstate NEW -m limit --limit 1/s -j ACCEPT", true},
		{"-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -m limit --limit 1/s -j ACCEPT", true},
		{"-A FORWARD -m limit --limit 1/s -j ACCEPT", false},
		{"-A FORWARD -m conntrack --ctstate ESTABLISHED -m length --length 1:99 -j ACCEPT", false},
		{"-A FORWARD -m statistic --mode random --probability 0.5 -j DROP", false},
		{"-A FORWARD -m recent --set --name x", false},
		{"-A FORWARD -m ttl --ttl-eq 3 -j DROP", false},
		{"-A FORWARD -m set --match-set x dst -j DROP", false},
		{"-A FORWARD -m conntrack --ctexpire 10 -j DROP", false},
		{"-A FORWARD -m conntrack --ctstate INVALID -j DROP", true},
		// flags that tell no packet from another, and others
		{"-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", true},
		{"-A FORWARD -p tcp -m tcp --tcp-flags PSH,ACK ACK -j DROP", false},
		{"-A FORWARD -p tcp -m tcp --tcp-option 8 -j ACCEPT", false},
		// targets
		{"-A FORWARD -j LOG", false},
		{"-A FORWARD -j NFLOG", false},
		{"-A FORWARD -p tcp -j CONNMARK --save-mark", false},
		{"-A FORWARD -j MARK --set-xmark 0x1/0x1\n-A FORWARD -m mark --mark 0x1/0x1 -j DROP", false},
		{"-A FORWARD -j MARK --set-xmark 0x1/0x1\n-A FORWARD -m mark --mark 0x2/0x2 -j DROP", true},
		{"-A FORWARD -m comment --comment counted", true},
		// chains
		{"-A FORWARD -j OTHER\n-A FORWARD -j DROP", false},
		{"-A FORWARD -g OTHER\n-A FORWARD -j DROP", true},
		{"-A FORWARD -j OTHER\n-A OTHER -j RETURN\n-A OTHER -j LOG", true},
		{"-A FORWARD -j OTHER\n-A OTHER -j ACCEPT\n-A FORWARD -j LOG", true},
		{"-A FORWARD -j OTHER\n-A OTHER -s 10.0.1.2/32 -j LOG", false},
		{"-P FORWARD DROP", false},
	} {
		policy, text := "ACCEPT", row.rules
		if text == "-P FORWARD DROP" {
			policy, text = "DROP", ""
		}
		rs, err := Parse(strings.NewReader("*filter\n:FORWARD "+policy+" [0:0]\n:OTHER - [0:0]\n"+text+"\nCOMMIT\n"), nat.IPv4)
		require.NoError(t, err, row.rules)
		pkt := rules.Packet{
			Tuple: nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.1.2:40000"), netip.MustParseAddrPort("10.0.2.2:80")), In: "eth0", Out: "eth1", TCPFlags: 0x10, State: rules.Established,
		}
		require.Equal(t, row.want, Compile(rs.Tables[0]).Settles(nat.Forward, &pkt, nowhere{}), row.rules)
		require.True(t, Compile(rs.Tables[0]).Settles(nat.PreRouting, &pkt, nowhere{}), "a chain that is not there")
	}
}

// nowhere is a world without addresses of its own.
type nowhere struct{}

func (nowhere) AddrType(netip.Addr, string) string { return "UNICAST" }
func (nowhere) Take(float64) bool                  { return true }
func (nowhere) Unknown(string) bool                { return false }
