package diagnosis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/nftables"
)

// Rules of devices and bridges count for what comes by these alone, and where they may drop it or make another packet of it.
func TestFramed(t *testing.T) {
	t.Parallel()
	const (
		out     = "tcp 10.42.0.5:40000 > 198.51.100.9:80 in cni0"
		here    = "tcp 192.0.2.99:40000 > 192.0.2.10:22 in eth0"
		bridged = "tcp 10.42.0.5:40000 > 10.42.0.6:80 in cni0"
	)
	in := func(family, hook, rules string) string {
		return "table " + family + " t {\n\tchain c {\n\t\ttype filter hook " + hook + "; policy accept;\n" + rules + "\n\t}\n\tchain d {\n\t\tdrop\n\t}\n}\n"
	}
	for _, row := range []struct {
		rules, packet string
		depends       bool
	}{
		{in("netdev", `ingress device "eth0" priority 0`, "tcp dport 22 drop"), here, true},
		{in("netdev", `ingress device "eth1" priority 0`, "tcp dport 22 drop"), here, false},
		{in("netdev", `egress device "eth0" priority 0`, "tcp sport 22 drop"), here, true}, // the answer
		{in("inet", `ingress device "eth0" priority 0`, "ip saddr @x jump d"), here, true},
		{in("inet", `ingress device "eth0" priority 0`, "counter accept"), here, false},
		{in("netdev", `ingress device "v5" priority 0`, "meta mark set 5"), out, true}, // a port of the bridge that it comes in by
		{in("bridge", "prerouting priority 0", "ip saddr 10.42.0.5 drop"), out, true},
		{in("bridge", "prerouting priority 0", "ip saddr 10.42.0.5 drop"), here, false},
		{in("bridge", "output priority 0", "ip saddr 10.42.0.5 drop"), out, true}, // the answer
		{in("bridge", "forward priority 0", "ip saddr vmap { 10.42.0.5 : drop }"), out, false},
		{in("bridge", "forward priority 0", "ip saddr vmap { 10.42.0.5 : drop }"), bridged, true},
		{in("bridge", "forward priority 0", "ip saddr vmap { 10.42.0.5 : accept }"), bridged, false},
		{in("arp", "input priority 0", "drop"), here, false},
	} {
		c := caseOf(t, row.packet)
		rs, err := nftables.ParseText(row.rules)
		require.NoError(t, err)
		c.Facts.NFT = rs
		x, err := gateway.Explain(c.Namespace, c.Rules, c.Facts, c.Ask, nil)
		require.NoError(t, err)
		a := c.Diagnose(x.Prediction)
		require.Equal(t, row.depends, a.Verdict == Depends, "%s%s\n%s %s", row.rules, row.packet, a.Verdict, a.Why)
		if row.depends {
			require.Contains(t, a.Why, "what the rules of nft table "+rs.Tables[0].FullName()+" do")
		}
		_, doubt := c.DoubtOn(nat.Prediction{})
		require.False(t, doubt, "no packet comes")
	}
}
