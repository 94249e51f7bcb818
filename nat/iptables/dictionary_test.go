package iptables_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
)

// What a Dictionary reads is what Parse reads, whatever it has read before.
func TestDictionary(t *testing.T) {
	t.Parallel()
	const (
		nat1   = "*nat\n:PREROUTING ACCEPT [1:60]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
		chains = ":A - [0:0]\n:B - [0:0]\n"
		rules  = "[1:60] -A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment \"a b\" -j A\n[2:9] -A A -s 10.1.0.0/16,10.2.0.0/16 -j B\n-A B -p tcp -j DNAT --to-destination 10.3.0.1:8080\n"
	)
	texts := []string{
		nat1 + chains + rules + "COMMIT\n",
		nat1 + chains + strings.ReplaceAll(rules, "[2:9]", "[7:8]") + "COMMIT\n# end\n",
		nat1 + chains + rules + "-D B 1\n-A B -j A\nCOMMIT\n", // a loop: refused
		nat1 + ":A - [0:0]\n" + rules + "COMMIT\n",            // B is not there: refused
		nat1 + ":B - [0:0]\n-N A\n" + rules + "COMMIT\n",      // A is made in between
		nat1 + "COMMIT\n", // other lines between
		strings.ReplaceAll(nat1+chains+rules, "*nat", "*mangle") + "COMMIT\n",            // DNAT has no place there
		nat1 + chains + ":DNAT - [0:0]\n-A B -p tcp -j DNAT\n" + rules + "COMMIT\n",      // a chain of a target's name
		nat1 + chains + strings.ReplaceAll(rules, "[2:9] ", "[x:9] ") + "COMMIT\n",       // counters that are none
		nat1 + chains + strings.ReplaceAll(rules, "-A A -s", "-A C -s") + "COMMIT\n",     // a chain that is not there
		"*filter\n:INPUT ACCEPT [0:0]\n" + chains + "-A B -p tcp -j ACCEPT\nCOMMIT\n",    // another table
		nat1 + chains + rules + "\n\nCOMMIT\n" + "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n", // two tables
	}
	var d iptables.Dictionary
	for range 3 {
		for _, text := range texts {
			for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
				want, wantErr := iptables.ParseString(text, family)
				got, err := d.Parse(strings.NewReader(text), family)
				require.Equal(t, wantErr, err, "%s", text)
				require.Equal(t, want, got, "%s", text)
			}
		}
	}
	second, err := d.Parse(strings.NewReader(texts[0]), nat.IPv4)
	require.NoError(t, err)
	third, err := d.Parse(strings.NewReader(texts[1]), nat.IPv4)
	require.NoError(t, err)
	a, _ := second.Tables[0].Chain("B")
	b, _ := third.Tables[0].Chain("B")
	require.Same(t, &a.Rules[0].Matches[0], &b.Rules[0].Matches[0], "a line is kept once")
}
