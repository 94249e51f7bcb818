package diagnosis

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat/conntrack"
)

// A port that is published twice is not said to work, unless the first of the two is known to be there; other rules for the same packets are none such.
func TestDoubled(t *testing.T) {
	t.Parallel()
	const twice = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:PORTS - [0:0]\n:ONE - [0:0]\n:TWO - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j PORTS\n" +
		"-A PORTS -p tcp -m comment --comment one -m multiport --dports 8080 -j ONE\n-A PORTS -p tcp -m comment --comment two -m multiport --dports 8080 -j TWO\n" +
		"-A ONE -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.42.0.66:80\n-A TWO -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.42.0.67:80\nCOMMIT\n"
	nothing := func(*Case) {}
	for _, row := range []struct {
		name, rules string
		set         func(*Case)
		doubled     bool
	}{
		{"by chains", twice, nothing, true},
		{"in one chain", strings.Replace(published, "COMMIT", "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.42.0.6:80\nCOMMIT", 1), nothing, true},
		{"the first is known", twice, func(c *Case) {
			c.Namespace.Devices[2].Met = append(c.Namespace.Devices[2].Met, netip.MustParseAddr("10.42.0.66"))
		}, false},
		{"to the same host", strings.ReplaceAll(twice, "10.42.0.67", "10.42.0.66"), nothing, false},
		{"for another port", strings.ReplaceAll(twice, "-A TWO -p tcp -m tcp --dport 8080", "-A TWO -p tcp -m tcp --dport 8081"), nothing, false},
		{"for other clients", strings.ReplaceAll(twice, "--comment two", "--comment two -i eth0"), nothing, false},
		{"by turns", strings.ReplaceAll(twice, "-m multiport", "-m statistic --mode random --probability 0.5 -m multiport"), nothing, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := caseOf(t, fromOutside, row.rules)
			row.set(&c)
			a := c.answer(t)
			if !row.doubled {
				require.NotContains(t, a.String(), "dnat.doubled")
				return
			}
			require.Equal(t, Depends, a.Verdict, "%s", a)
			require.Equal(t, "dnat.doubled", a.Causes[0].Code, "%s", a)
			require.Contains(t, a.Causes[0].What, "in front of it, by which they are translated to 10.42.0.")
			_, err := Find("dnat.doubled")
			require.NoError(t, err)
		})
	}
}

// A packet that is not translated for an old connection's sake is told so.
func TestUntranslatedByAnOldConnection(t *testing.T) {
	t.Parallel()
	c := caseOf(t, "udp 10.42.0.6:40000 > 10.43.0.5:53 in cni0", strings.ReplaceAll(service, "tcp", "udp")+"COMMIT\n")
	c.Ask.Tuple = c.Ask.Tuple.WithDst(netip.MustParseAddrPort("10.43.0.5:80"))
	var err error
	c.Facts.Entries, err = conntrack.ParseEntries("udp 17 29 src=10.42.0.6 dst=10.43.0.5 sport=40000 dport=80 [UNREPLIED] src=10.43.0.5 dst=10.42.0.6 sport=80 dport=40000 mark=0 use=1")
	require.NoError(t, err)
	a := c.answer(t)
	require.Equal(t, Depends, a.Verdict, "%s", a)
	require.Equal(t, "conntrack.stale", a.Causes[0].Code, "%s", a)
	require.Contains(t, a.Causes[0].What, "conntrack -D -p udp -s 10.42.0.6 -d 10.43.0.5")
}
