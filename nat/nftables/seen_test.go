package nftables_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

const seenTable = `table ip kube-proxy {
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.10 . tcp . 53 comment "kube-system/kube-dns:tcp" : goto service-A,
			     10.96.0.10 . udp . 53 : goto service-A,
			     10.96.0.11 . tcp . 80 : drop }
	}
	map none {
		type ipv4_addr : verdict
	}
	set clients {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 1m
	}
	set affinity-A {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 3h
		elements = { 10.0.0.9 expires 2h }
	}
	set nodeport-ips {
		type ipv4_addr
		elements = { 192.168.26.10 }
	}
	chain services {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @service-ips
		ip daddr @nodeport-ips meta mark set meta mark | 0x00004000
		ip daddr vmap @none
	}
	chain service-A {
		ip saddr @clients goto endpoint-1
		numgen random mod 3 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2, 2 : goto endpoint-2 }
	}
	chain endpoint-1 {
		update @clients { ip saddr }
		dnat to 10.0.0.1:53
	}
	chain endpoint-2 {
		dnat to numgen random mod 2 map { 0 : 10.0.0.2 . 53, 1 : 10.0.0.3 . 53 }
	}
	chain reject-chain {
		reject
	}
}
`

// A trace names a rule and its verdict; the element of a verdict map is the one that has the packet's key, and the verdict confirms it.
func TestSeen(t *testing.T) {
	t.Parallel()
	table := oneTable(t, seenTable)
	for _, row := range []struct {
		chain           string
		rule            int
		verdict         nat.Verdict
		target, packet  string
		element, action string
	}{
		{"services", 1, nat.Goto, "service-A", "tcp 10.0.0.9:1000 > 10.96.0.10:53", "service-ips: 10.96.0.10 . tcp . 53 -> service-A", "ip daddr . meta l4proto . th dport vmap @service-ips"},
		{"services", 1, nat.Goto, "service-A", "udp 10.0.0.9:1000 > 10.96.0.10:53", "service-ips: 10.96.0.10 . udp . 53 -> service-A", "ip daddr . meta l4proto . th dport vmap @service-ips"},
		{"services", 1, nat.Drop, "", "tcp 10.0.0.9:1000 > 10.96.0.11:80", "service-ips: 10.96.0.11 . tcp . 80 -> drop", "ip daddr . meta l4proto . th dport vmap @service-ips"},
		// The verdict is not that of the packet's key: the map was another one then.
		{"services", 1, nat.Goto, "service-A", "tcp 10.0.0.9:1000 > 10.96.0.11:80", "", "ip daddr . meta l4proto . th dport vmap @service-ips"},
		{"services", 1, nat.Goto, "service-B", "tcp 10.0.0.9:1000 > 10.96.0.10:53", "", "ip daddr . meta l4proto . th dport vmap @service-ips"},
		{"services", 2, nat.Continue, "", "tcp 10.0.0.9:1000 > 192.168.26.10:80", "", "meta mark set meta mark | 0x00004000"},
		// Chance has no key: only the chain tells, where it is of one element.
		{"service-A", 2, nat.Goto, "endpoint-1", "udp 10.0.0.9:1000 > 10.96.0.10:53", "0 -> endpoint-1", "numgen random mod 3 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2, 2 : goto endpoint-2 }"},
		{"service-A", 2, nat.Goto, "endpoint-2", "udp 10.0.0.9:1000 > 10.96.0.10:53", "", "numgen random mod 3 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2, 2 : goto endpoint-2 }"},
	} {
		before, err := nat.ParseTuple(row.packet)
		require.NoError(t, err)
		met, ok := table.Seen(row.chain, row.rule, row.verdict, row.target, before)
		require.True(t, ok)
		require.Equal(t, row.element, met.Element, row.packet)
		require.Equal(t, row.action, met.Action)
		if row.target != "" {
			require.Equal(t, row.target, met.Target)
		}
	}
	for _, missing := range []int{0, 4} {
		_, ok := table.Seen("services", missing, nat.Accept, "", nat.Tuple{})
		require.False(t, ok)
	}
	_, ok := table.Seen("gone", 1, nat.Accept, "", nat.Tuple{})
	require.False(t, ok)
}

// What a trace tells of a rule besides its text.
func TestSeenTargets(t *testing.T) {
	t.Parallel()
	table := oneTable(t, seenTable)
	met := func(chain string, rule int, v nat.Verdict) nat.Met {
		m, ok := table.Seen(chain, rule, v, "", nat.Tuple{})
		require.True(t, ok)
		return m
	}
	require.True(t, met("service-A", 1, nat.Goto).Remembers, "it asks who was served")
	require.False(t, met("endpoint-1", 1, nat.Continue).Remembers, "it notes who is")
	require.Equal(t, netip.MustParseAddrPort("10.0.0.1:53"), met("endpoint-1", 2, nat.Accept).To)
	require.Equal(t, "dnat", met("endpoint-2", 1, nat.Accept).Target)
	require.False(t, met("endpoint-2", 1, nat.Accept).To.IsValid(), "a map's choice is not told")
	require.Equal(t, "reject", met("reject-chain", 1, nat.Drop).Target)
}

// A chain is laid out with a map's elements one by one, and a table with its base chains and its sets.
func TestLaid(t *testing.T) {
	t.Parallel()
	table := oneTable(t, seenTable)
	laid, ok := table.Laid("services")
	require.True(t, ok)
	var elements []string
	for _, m := range laid {
		elements = append(elements, m.Element)
	}
	require.Equal(t, []string{"service-ips: 10.96.0.10 . tcp . 53 -> service-A", "service-ips: 10.96.0.10 . udp . 53 -> service-A", "service-ips: 10.96.0.11 . tcp . 80 -> drop", ""}, elements,
		"no packet meets a rule by a map without elements")
	_, ok = table.Laid("gone")
	require.False(t, ok)
	require.True(t, laid[0].Same(laid[0]))
	require.False(t, laid[0].Same(laid[1]), "another element")
	unknown := laid[0]
	unknown.Element = ""
	require.True(t, unknown.Same(laid[1]), "one that is not known")
	var declared []string
	for _, m := range table.Declared() {
		declared = append(declared, m.Text)
	}
	require.Equal(t, []string{
		"chain services: type nat hook prerouting priority dstnat; policy accept;",
		"map service-ips: 10.96.0.10 . tcp . 53 : goto service-A", "map service-ips: 10.96.0.10 . udp . 53 : goto service-A", "map service-ips: 10.96.0.11 . tcp . 80 : drop",
		"set nodeport-ips: 192.168.26.10",
	}, declared)
}
