package traffic_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/traffic"
	"natlab/nat"
)

// The kernel's connection tracking translates associations, whoever speaks SCTP: the destination, the source, and what comes back.
func TestSCTPIsTranslated(t *testing.T) {
	for _, row := range []struct{ name, command, address, server, asked, as string }{
		{"IPv4", "iptables-legacy", "10.9.0.1/32", "127.0.0.2:80", "10.9.0.1:90", "10.9.0.9"},
		{"IPv6", "ip6tables-legacy", "fd00:9::1/128", "[::1]:80", "[fd00:9::1]:90", "fd00:9::9"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ns := newFresh(t)
			to := strings.ReplaceAll(row.server, ":80", "")
			for _, command := range []string{
				"ip addr add " + row.address + " dev lo",
				"ip addr add " + row.as + " dev lo",
				row.command + " -t nat -A OUTPUT -d " + row.address + " -p sctp --dport 90 -j DNAT --to-destination " + row.server,
				row.command + " -t nat -A POSTROUTING -d " + strings.Trim(to, "[]") + " -p sctp -j SNAT --to-source " + row.as,
				row.command + " -A OUTPUT -p sctp --dport 91 -j REJECT",
			} {
				run(t, ns, command)
			}
			serve(t, ns, "a", nat.SCTP, row.server)
			c, err := traffic.Open(soon(t, 10*time.Second), ns, nat.TupleOf(nat.SCTP, addr(strings.Replace(row.asked, ":90", ":0", 1)), addr(row.asked)))
			require.NoError(t, err)
			a, err := c.Exchange(soon(t, 10*time.Second), 5000)
			require.NoError(t, err)
			require.Equal(t, traffic.Closed, c.Stage())
			require.Equal(t, row.as, a.PeerSeen.Addr().String())
			require.Equal(t, [2]string{row.server, row.asked}, [2]string{a.Endpoint.String(), a.From.String()})
			_, err = traffic.Ask(soon(t, 10*time.Second), ns, to2(row.asked, ":91"))
			require.Equal(t, [2]any{traffic.Unreachable, nat.EndRefused}, [2]any{traffic.KindOf(err), traffic.EndOf(err)}, "%v", err)
		})
	}
}

func to2(asked, port string) nat.Tuple {
	return to(nat.SCTP, strings.Replace(asked, ":90", port, 1))
}

// Where a node's stack does not take SCTP and no server runs, it refuses by an ICMP error; a stranger's association is aborted.
func TestSCTPIsRefused(t *testing.T) {
	ns := newFresh(t)
	for _, at := range []string{"127.0.0.3:80"} {
		_, err := traffic.Ask(soon(t, 10*time.Second), ns, to(nat.SCTP, at))
		require.Equal(t, traffic.Unreachable, traffic.KindOf(err), "%v", err)
	}
	serve(t, ns, "a", nat.SCTP, "127.0.0.1:80")
	c, err := traffic.Open(soon(t, 10*time.Second), ns, to(nat.SCTP, "127.0.0.1:80"))
	require.NoError(t, err)
	for range 3 {
		a, err := c.Ask(soon(t, 10*time.Second))
		require.NoError(t, err)
		require.Equal(t, a.Local, a.PeerSeen)
	}
	require.NoError(t, c.Close())
	_, err = traffic.Ask(soon(t, 200*time.Millisecond), ns, to(nat.SCTP, "127.0.0.1:81"))
	require.Equal(t, traffic.Timeout, traffic.KindOf(err), "its raw socket took the packet, and its port is another: %v", err)
	require.NotErrorIs(t, err, unix.ECONNREFUSED)
}
