package nftables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/nftables"
)

const sameTable = `table ip t {
	map to {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.0.0.1 . tcp . 80 : goto one,
			     10.0.0.2 . udp . 53 comment "d/web" : drop }
	}
	set clients {
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 1m
		elements = { 10.0.0.9 timeout 1m expires 30s }
	}
	chain first {
		type filter hook output priority filter; policy accept;
	}
	chain second {
		type filter hook output priority filter; policy accept;
		ip daddr . meta l4proto . th dport vmap @to
		meta l4proto tcp drop
	}
	chain one {
		counter packets 1 bytes 2
		update @clients { ip saddr }
		dnat to 10.0.0.3:80
	}
	chain unused {
	}
}
`

// What two tables have to differ in to do otherwise to a packet, and what makes no difference.
func TestSame(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, was, is string
		same          bool
	}{
		{"nothing", "", "", true},
		{"a comment", ` comment "d/web"`, "", true},
		{"a counter's value", "packets 1 bytes 2", "packets 3 bytes 4", true},
		{"who came", "		elements = { 10.0.0.9 timeout 1m expires 30s }\n", "", true},
		{"an empty chain", "	chain unused {\n	}\n", "", true},
		{"the order of elements", "10.0.0.1 . tcp . 80 : goto one,\n			     10.0.0.2 . udp . 53 comment \"d/web\" : drop", "10.0.0.2 . udp . 53 : drop, 10.0.0.1 . tcp . 80 : goto one", true},
		{"a verdict", "53 comment \"d/web\" : drop", "53 : goto one", false},
		{"a key", "10.0.0.1 . tcp", "10.0.0.4 . tcp", false},
		{"one element less", "10.0.0.1 . tcp . 80 : goto one,\n", "", false},
		{"a rule", "		meta l4proto tcp drop\n", "", false},
		{"a rule more", "chain unused {\n", "chain unused {\n		drop\n", false},
		{"where a rule leads", "10.0.0.3:80", "10.0.0.3:81", false},
		{"a priority", "chain second {\n		type filter hook output priority filter", "chain second {\n		type filter hook output priority -1", false},
		{"a policy", "policy accept", "policy drop", false},
		{"the order of registration", "chain second {", "chain third {", false},
		{"how long they are remembered", "timeout 1m\n		elements", "timeout 2m\n		elements", false},
		{"a set", "map to {", "map other {", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, sameTable, row.was)
			other := strings.Replace(sameTable, row.was, row.is, 1)
			if row.name == "the order of registration" {
				other = strings.NewReplacer("chain first", "chain second", "chain second", "chain first", "\t\tip daddr . meta l4proto . th dport vmap @to\n\t\tmeta l4proto tcp drop\n", "").Replace(sameTable)
				other = strings.Replace(other, "accept;\n", "accept;\n\t\tip daddr . meta l4proto . th dport vmap @to\n\t\tmeta l4proto tcp drop\n", 1)
			}
			a, b := oneTable(t, sameTable), oneTable(t, other)
			require.Equal(t, row.same, a.Same(&b), other)
			require.Equal(t, row.same, b.Same(&a))
			require.Empty(t, a.Emptied().Sets[1].Elements)
			require.Len(t, a.Sets[1].Elements, 1)
		})
	}
}

func oneTable(t *testing.T, text string) nftables.Table {
	t.Helper()
	rs, err := nftables.ParseText(text)
	require.NoError(t, err)
	require.Len(t, rs.Tables, 1)
	return rs.Tables[0]
}
