package iptables

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/rules"
)

// plain is a world in which 10.0.0.1 is the node's own address and nothing is left to chance.
type plain struct{}

func (plain) AddrType(a netip.Addr, _ string) string {
	if a == netip.MustParseAddr("10.0.0.1") {
		return "LOCAL"
	}
	return "UNICAST"
}
func (plain) Take(float64) bool   { return true }
func (plain) Unknown(string) bool { return true }

func TestMissTellsTheFirstConditionThatFailed(t *testing.T) {
	t.Parallel()
	pkt := rules.Packet{
		Tuple:    nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.2:80")),
		TCPFlags: 2, In: "eth0", Mark: 0x4000, ConnMark: 1, State: rules.New,
	}
	for _, row := range []struct{ rule, want string }{
		{"-s 10.0.0.0/8 -p tcp -j ACCEPT", ""},
		{"-s 10.0.1.0/24 -j ACCEPT", "wants -s 10.0.1.0/24: source 10.0.0.1"},
		{"! -d 10.0.0.2/32 -j ACCEPT", "wants ! -d 10.0.0.2/32: destination 10.0.0.2"},
		{"-i cali+ -j ACCEPT", "wants -i cali+: in device eth0"},
		{"-o eth1 -j ACCEPT", "wants -o eth1: no out device at this hook"},
		{"-p udp -j ACCEPT", "wants -p udp: protocol tcp"},
		{"-f -j ACCEPT", "wants -f: not a later fragment"},
		{"-p tcp -m tcp --dport 443 -j ACCEPT", "wants -m tcp --dport 443: destination port 80"},
		{"-p tcp -m tcp --sport 1:3 -j ACCEPT", "wants -m tcp --sport 1:3: source port 4000"},
		{"-p tcp -m tcp --tcp-flags SYN,RST RST -j ACCEPT", "wants -m tcp --tcp-flags SYN,RST RST: flags SYN"},
		{
			"-p tcp -m multiport --dports 1,2:3 -j ACCEPT",
			"wants -m multiport --dports 1,2:3: source port 4000, destination port 80",
		},
		{"-p icmp -m icmp --icmp-type 8 -j ACCEPT", "wants -p icmp: protocol tcp"},
		{"-m mark --mark 0x8000/0x8000 -j ACCEPT", "wants -m mark --mark 0x8000/0x8000: mark 0x4000"},
		{"-m connmark --mark 0x2 -j ACCEPT", "wants -m connmark --mark 0x2: connection mark 0x1"},
		{"-m conntrack --ctstate INVALID -j ACCEPT", "wants -m conntrack --ctstate INVALID: state NEW"},
		{
			"-m addrtype --dst-type LOCAL -j ACCEPT",
			"wants -m addrtype --dst-type LOCAL: destination 10.0.0.2 is UNICAST",
		},
		{
			"-m addrtype ! --src-type LOCAL -j ACCEPT",
			"wants -m addrtype ! --src-type LOCAL: source 10.0.0.1 is LOCAL",
		},
		{
			"-m statistic --mode random --probability 0.50000000000 -j ACCEPT",
			"wants -m statistic --mode random --probability 0.50000000000: chance decides, it holds or not (probability 0.5)",
		},
		{
			"-m recent --rcheck --seconds 9 --name X --mask 255.255.255.255 --rsource -j ACCEPT",
			"wants -m recent --rcheck --seconds 9 --name X --mask 255.255.255.255 --rsource: " +
				"chance decides, it holds or not (probability 0.5)",
		},
		{"-m limit --limit 5/min -j ACCEPT", "wants -m limit --limit 5/min: natlab cannot tell"},
		{"-m set --match-set A src -j ACCEPT", "wants -m set --match-set A src: natlab cannot tell"},
		{"-m rpfilter --invert -j DROP", "wants -m rpfilter --invert: natlab cannot tell"},
		{"-m physdev --physdev-is-bridged -j ACCEPT", "wants -m physdev --physdev-is-bridged: natlab cannot tell"},
		{"-m owner --uid-owner 0 -j ACCEPT", "wants -m owner --uid-owner 0: no socket of the node sent the packet"},
		{"-m socket --transparent -j ACCEPT", "wants -m socket --transparent: natlab cannot tell"},
		{"-m newmatch --x 0x0 -j ACCEPT", "wants -m newmatch --x 0x0: natlab cannot tell"},
		{"-m comment --comment x -m nfacct --nfacct-name y -p udp -j ACCEPT", "wants -p udp: protocol tcp"},
		{"-m limit --limit 5/min -m mark --mark 0x1 -j ACCEPT", "wants -m mark --mark 0x1: mark 0x4000"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			rule, err := ParseRule(row.rule, nat.IPv4)
			require.NoError(t, err)
			miss, missed := rule.Miss(nat.Forward, pkt, plain{})
			require.Equal(t, row.want != "", missed)
			if missed {
				require.Equal(t, row.want, miss.String())
			}
		})
	}
}
