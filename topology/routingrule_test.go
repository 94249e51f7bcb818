package topology

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRoutingRule(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	for _, row := range []struct {
		text string
		want RoutingRule
	}{
		{"0:\tfrom all lookup local", RoutingRule{Table: "local"}},
		{"32766:\tfrom all lookup main", RoutingRule{Priority: 32766}},
		{"32767:\tfrom all lookup default", RoutingRule{Priority: 32767, Table: "default"}},
		{"100:\tfrom 10.0.0.0/8 to 192.0.2.7 iif eth0 lookup 254", RoutingRule{Priority: 100, From: prefix("10.0.0.0/8"), To: prefix("192.0.2.7/32"), In: "eth0"}},
		{"32764:\tnot from all fwmark 0xca6c lookup 51820", RoutingRule{Priority: 32764, Not: true, Mark: 0xca6c, Mask: 0xffffffff, Table: "51820"}},
		{"5210:\tfrom all fwmark 0x80000/0xff0000 lookup vpn", RoutingRule{Priority: 5210, Mark: 0x80000, Mask: 0xff0000, Table: "vpn"}},
		{"32765:\tfrom all lookup main suppress_prefixlength 0", RoutingRule{Priority: 32765, Suppress: 0}},
		{"7:\tfrom all oif wg0 [detached] lookup 7 proto static", RoutingRule{Priority: 7, Out: "wg0", Table: "7"}},
		{"8:\tfrom all ipproto udp sport 53 dport 1000-2000 lookup 7", RoutingRule{Priority: 8, Proto: 17, Sport: Ports{53, 53}, Dport: Ports{1000, 2000}, Table: "7"}},
		{"9:\tfrom all uidrange 1000-1001 goto 32766", RoutingRule{Priority: 9, UID: &[2]uint32{1000, 1001}, Action: RouteByGoto, Goto: 32766}},
		{"10:\tfrom all unreachable", RoutingRule{Priority: 10, Action: RouteToUnreachable}},
		{"11:\tfrom all nop", RoutingRule{Priority: 11, Action: RouteByNothing}},
		{"1000:\tfrom all lookup [l3mdev-table]", RoutingRule{Priority: 1000, Action: RouteByNothing, VRF: true}},
		{"12:\tfrom all tos 0x10 lookup 7", RoutingRule{Priority: 12, Open: "tos", Table: "7"}},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			if row.want.Priority != 32765 {
				row.want.Suppress = -1
			}
			got, err := ParseRoutingRule(row.text, false)
			require.NoError(t, err)
			require.Equal(t, row.want, got)
		})
	}
}

func TestParseRoutingRuleRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, want string }{
		{"", "want a rule as ip rule prints it"},
		{"from all lookup main", "want a rule as ip rule prints it"},
		{"x: from all lookup main", `"x:" is no priority`},
		{"1: from all", "it does nothing"},
		{"1: from all lookup", "lookup is not followed by anything"},
		{"1: from here lookup 7", "from here"},
		{"1: fwmark x lookup 7", "fwmark x: want MARK or MARK/MASK"},
		{"1: dport x lookup 7", "dport x"},
		{"1: color red lookup 7", `"color" is not known`},
	} {
		t.Run(row.text, func(t *testing.T) {
			t.Parallel()
			got, err := ParseRoutingRule(row.text, false)
			require.ErrorContains(t, err, row.want)
			require.Zero(t, got)
		})
	}
}

func FuzzParseRoutingRule(f *testing.F) {
	f.Add("100: from 10.0.0.0/8 iif eth0 fwmark 0x1/0xff lookup 7 suppress_prefixlength 0")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseRoutingRule(text, false); err != nil {
			require.Zero(t, got)
		}
	})
}

// Routes of other tables count where a rule of routing leads there.
func TestNodeWithRules(t *testing.T) {
	t.Parallel()
	w := NodeWords{Routes: []string{"default via 10.0.0.1 dev eth0 table 7", "default via 10.0.0.2 dev eth0", "10.9.0.0/16 dev eth0 table 8"}, Rules: []string{"0: from all lookup local", "100: from 10.1.0.0/16 lookup 7", "32766: from all lookup main"}}
	ns, notes, err := w.Node()
	require.NoError(t, err)
	require.Equal(t, []string{`route "10.9.0.0/16 dev eth0 table 8": not used: no rule of routing (ip rule) that leads to table 8 is known`}, notes)
	require.Len(t, ns.Rules, 3)
	require.Len(t, ns.Routes, 2)
	require.Equal(t, "7", ns.Routes[0].Table)
	require.Empty(t, ns.Routes[1].Table)
	ns, _, err = NodeWords{Rules: []string{"100: from 10.1.0.0/16 lookup 7", "32766: from all lookup main"}}.Node()
	require.NoError(t, err)
	require.Len(t, ns.Rules, 4, "the kernel's local and default are added")
	_, _, err = NodeWords{Rules: []string{"1: from all"}}.Node()
	require.ErrorContains(t, err, `rule "1: from all": it does nothing`)
}

// What the programs print may be given whole.
func TestNodeOfWholeTexts(t *testing.T) {
	t.Parallel()
	ns, notes, err := NodeWords{
		Routes:  []string{"default via 10.0.0.1 dev eth0 \n10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.2 \n\n", "10.7.0.0/16 dev eth1"},
		Sysctls: []string{"net.ipv4.ip_forward = 0\nnet.ipv4.conf.all.rp_filter = 1\n"},
		Rules:   []string{"0:\tfrom all lookup local\n32766:\tfrom all lookup main\n"},
	}.Node()
	require.NoError(t, err)
	require.Equal(t, []string{"route: 10.0.0.2/24 counts as an address of eth0, by the routes that are told"}, notes)
	require.Len(t, ns.Routes, 3)
	require.Len(t, ns.Rules, 2)
	require.Contains(t, ns.Sysctls, Sysctl{Key: "net/ipv4/conf/all/rp_filter", Value: "1"})
	ns, _, err = NodeWords{Routes: []string{"default proto static\n\tnexthop via 10.0.0.1 dev eth0 weight 1\n"}}.Node()
	require.NoError(t, err)
	require.Equal(t, "default via 10.0.0.1 dev eth0", ns.Routes[0].String())
}

// A route of a table that no rule leads to but that of VRFs may be for packets of a VRF's devices.
func TestRulesOfVRFs(t *testing.T) {
	t.Parallel()
	rules := []string{"0: from all lookup local", "1000: from all lookup [l3mdev-table]", "32766: from all lookup main"}
	ns, _, err := NodeWords{Routes: []string{"default via 10.0.0.2 dev eth0", "10.9.0.0/16 via 10.1.0.2 dev eth1 table 10"}, Rules: rules}.Node()
	require.NoError(t, err)
	require.Equal(t, "the VRF of table 10", ns.Rules[1].Open)
	ns, _, err = NodeWords{Routes: []string{"default via 10.0.0.2 dev eth0", "10.9.0.0/16 via 10.1.0.2 dev eth1 table 10"}, Rules: append(rules, "100: from all lookup 10")}.Node()
	require.NoError(t, err)
	require.Empty(t, ns.Rules[1].Open, "a rule of its own leads there")
}
