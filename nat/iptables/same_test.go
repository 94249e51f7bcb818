package iptables_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// Two rule sets are the same where no packet and no reader can tell them apart.
func TestSame(t *testing.T) {
	t.Parallel()
	const (
		head = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n"
		two  = "-A A -p tcp -m multiport --dports 80,443 -j B\n-A A -s 10.0.0.0/8 -m comment --comment x -j DROP\nCOMMIT\n"
	)
	rows := []struct {
		name, other string
		same        bool
	}{
		{"itself", head + two, true},
		{"counters", "*filter\n:INPUT ACCEPT [1:1]\n:FORWARD ACCEPT [2:2]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n[3:3] " + two, true},
		{"chains in another order", "*filter\n:B - [0:0]\n:A - [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n" + two, true},
		{"an idle table more", head + two + "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", true},
		{"a table more that drops", head + two + "*raw\n:PREROUTING DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n", false},
		{"a table more with a chain", head + two + "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:C - [0:0]\nCOMMIT\n", false},
		{"a policy", "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n" + two, false},
		{"a chain more", head + ":C - [0:0]\n" + two, false},
		{"a rule less", head + "-A A -p tcp -m multiport --dports 80,443 -j B\nCOMMIT\n", false},
		{"the rules' order", head + "-A A -s 10.0.0.0/8 -m comment --comment x -j DROP\n-A A -p tcp -m multiport --dports 80,443 -j B\nCOMMIT\n", false},
		{"a port of a list", head + "-A A -p tcp -m multiport --dports 80,444 -j B\n-A A -s 10.0.0.0/8 -m comment --comment x -j DROP\nCOMMIT\n", false},
		{"a comment", head + "-A A -p tcp -m multiport --dports 80,443 -j B\n-A A -s 10.0.0.0/8 -m comment --comment y -j DROP\nCOMMIT\n", false},
		{"a target", head + "-A A -p tcp -m multiport --dports 80,443 -g B\n-A A -s 10.0.0.0/8 -m comment --comment x -j DROP\nCOMMIT\n", false},
		{"no target", head + "-A A -p tcp -m multiport --dports 80,443\n-A A -s 10.0.0.0/8 -m comment --comment x -j DROP\nCOMMIT\n", false},
	}
	one, err := iptables.ParseString(head+two, nat.IPv4)
	require.NoError(t, err)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			other, err := iptables.ParseString(row.other, nat.IPv4)
			require.NoError(t, err)
			require.Equal(t, row.same, one.Same(other))
			require.Equal(t, row.same, other.Same(one))
		})
	}
}
