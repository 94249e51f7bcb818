package userspace_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/netns"
	"natlab/lab/userspace"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
	"natlab/nat/packet"
)

// rules4 are as kube-proxy's: Services at 10.96.0.1, a NodePort, and what has no endpoints.
const rules4 = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICES - [0:0]
:MARK-MASQ - [0:0]
-A PREROUTING -j SERVICES
-A OUTPUT -j SERVICES
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -s 10.0.2.2/32 -d 10.96.0.1/32 -j MARK-MASQ
-A SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.2:8080
-A SERVICES -d 10.96.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.2.2:5353
-A SERVICES -d 10.96.0.1/32 -p udp -m udp --dport 54 -j DNAT --to-destination 10.0.2.2:5454
-A SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j MARK-MASQ
-A SERVICES -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j DNAT --to-destination 10.0.2.2:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:REFUSED - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j REFUSED
-A OUTPUT -m conntrack --ctstate NEW -j REFUSED
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A REFUSED -d 10.96.0.2/32 -p tcp -j REJECT --reject-with tcp-reset
-A REFUSED -d 10.96.0.3/32 -j REJECT --reject-with icmp-port-unreachable
-A REFUSED -d 10.96.0.4/32 -j DROP
COMMIT
`

const rules6 = `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICES - [0:0]
-A PREROUTING -j SERVICES
-A OUTPUT -j SERVICES
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A SERVICES -d fd00:96::1/128 -p udp -m udp --dport 54 -j DNAT --to-destination [fd00:2::2]:5454
-A SERVICES -d fd00:96::1/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:2::2]:8080
-A SERVICES -d fd00:96::1/128 -p udp -m udp --dport 53 -j DNAT --to-destination [fd00:2::2]:5353
-A SERVICES -d fd00:96::5/128 -p udp -m udp --dport 53 -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -d fd00:96::5/128 -p udp -m udp --dport 53 -j DNAT --to-destination [fd00:2::2]:5353
-A SERVICES -d fd00:1::1/128 -p tcp -m tcp --dport 30080 -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -d fd00:1::1/128 -p tcp -m tcp --dport 30080 -j DNAT --to-destination [fd00:2::2]:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -d fd00:96::2/128 -p tcp -j REJECT --reject-with tcp-reset
-A FORWARD -d fd00:96::2/128 -p udp -j REJECT --reject-with icmp6-port-unreachable
COMMIT
`

// rulesNFT ask for the same of both families as nf_tables' own language has it.
const rulesNFT = `table inet t {
	map services {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 10.96.0.1 . tcp . 80 : 10.0.2.2 . 8080,
			     10.96.0.1 . udp . 53 : 10.0.2.2 . 5353,
			     10.96.0.1 . udp . 54 : 10.0.2.2 . 5454 }
	}
	map refused {
		type ipv4_addr . inet_proto : verdict
		elements = { 10.96.0.2 . tcp : goto refuse-tcp,
			     10.96.0.3 . tcp : goto refuse-all,
			     10.96.0.3 . udp : goto refuse-all,
			     10.96.0.4 . tcp : drop }
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump translate
	}
	chain output {
		type nat hook output priority -100; policy accept;
		jump translate
	}
	chain translate {
		ip saddr 10.0.2.2 ip daddr 10.96.0.1 meta mark set meta mark | 0x00004000
		fib daddr type local tcp dport 30080 meta mark set meta mark | 0x00004000
		meta nfproto ipv4 fib daddr type local tcp dport 30080 dnat ip to 10.0.2.2:8080
		meta nfproto ipv6 fib daddr type local tcp dport 30080 dnat ip6 to [fd00:2::2]:8080
		dnat ip to ip daddr . meta l4proto . th dport map @services
		ip6 daddr fd00:96::5 udp dport 53 meta mark set meta mark | 0x00004000
		ip6 daddr fd00:96::1 tcp dport 80 dnat ip6 to [fd00:2::2]:8080
		ip6 daddr { fd00:96::1, fd00:96::5 } udp dport 53 dnat ip6 to [fd00:2::2]:5353
		ip6 daddr fd00:96::1 udp dport 54 dnat ip6 to [fd00:2::2]:5454
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 masquerade fully-random
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state new counter jump refuse-new
		ct state invalid drop
	}
	chain local {
		type filter hook output priority filter; policy accept;
		ct state new jump refuse-new
	}
	chain refuse-new {
		ip daddr . meta l4proto vmap @refused
		ip6 daddr fd00:96::2 meta l4proto vmap { tcp : goto refuse-tcp, udp : goto refuse-all }
	}
	chain refuse-tcp {
		meta l4proto tcp reject with tcp reset
	}
	chain refuse-all {
		reject
	}
}
`

// ttl1 is the option that lets a packet get no further than the gateway.
func ttl1(fd int) error {
	for _, o := range []struct{ name, value int }{{unix.IP_TTL, 1}, {unix.IP_RECVERR, 1}} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

// What client and server see of each exchange is the same, whoever does the gateway's NAT: its kernel, or natlab.
func TestExchanges(t *testing.T) {
	t.Parallel()
	small, middle, large, huge := []byte("hello"), bytes.Repeat([]byte("z"), 999), bytes.Repeat([]byte("0123456789"), 400), bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	for _, plane := range []string{planeKernel, planeWire, planeBytes, planeShared, planeKernelNFT, planeNFT, planeBytesNFT} {
		t.Run(plane, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.translate(t, plane, rules6)
			for _, addr := range []string{"10.0.2.2", "[fd00:2::2]"} {
				serve(t, s.server, "tcp", addr+":8080")
				serve(t, s.server, "udp", addr+":5353")
			}
			rows := []struct {
				name          string
				from          netns.Handle
				network, addr string
				payload       []byte
				options       func(int) error
				want          string
			}{
				{"a Service", s.client, "tcp", "10.96.0.1:80", small, nil, "seen as 10.0.1.2"},
				{"much of it", s.client, "tcp", "10.96.0.1:80", huge, nil, "seen as 10.0.1.2"},
				{"a NodePort is masqueraded", s.client, "tcp", "10.0.1.1:30080", small, nil, "seen as 10.0.2.1"},
				{"much of it", s.client, "tcp", "10.0.1.1:30080", huge, nil, "seen as 10.0.2.1"},
				{"hairpin", s.server, "tcp", "10.96.0.1:80", small, nil, "seen as 10.0.2.1"},
				{"datagrams", s.client, "udp", "10.96.0.1:53", small, nil, "seen as 10.0.1.2"},
				{"fragments", s.client, "udp", "10.96.0.1:53", large, nil, "seen as 10.0.1.2"},
				{"an ICMP error comes back translated", s.client, "udp", "10.96.0.1:54", small, nil, "connection refused"},
				{"the kernel's own ICMP error, too", s.client, "udp", "10.96.0.1:53", small, ttl1, "no route to host"},
				{"rejected by RST", s.client, "tcp", "10.96.0.2:80", small, nil, "connection refused"},
				{"rejected by ICMP", s.client, "udp", "10.96.0.3:80", small, nil, "connection refused"},
				{"the gateway's own process", s.gateway, "tcp", "10.96.0.1:80", small, nil, "seen as 10.0.1.1"},
				{"its datagrams", s.gateway, "udp", "10.96.0.1:53", large, nil, "seen as 10.0.1.1"},
				{"its node port is its own", s.gateway, "tcp", "10.0.1.1:30080", huge, nil, "seen as 10.0.2.1"},
				{"it is rejected by RST", s.gateway, "tcp", "10.96.0.2:80", small, nil, "connection refused"},
				{"and by ICMP", s.gateway, "udp", "10.96.0.3:80", small, nil, "connection refused"},
				{"without NAT", s.client, "tcp", "10.0.2.2:8080", small, nil, "seen as 10.0.1.2"},

				{"IPv6: a Service", s.client, "tcp", "[fd00:96::1]:80", huge, nil, "seen as fd00:1::2"},
				{"IPv6: a NodePort is masqueraded", s.client, "tcp", "[fd00:1::1]:30080", small, nil, "seen as fd00:2::1"},
				{"IPv6: datagrams", s.client, "udp", "[fd00:96::1]:53", small, nil, "seen as fd00:1::2"},
				{"IPv6: fragments", s.client, "udp", "[fd00:96::1]:53", large, nil, "seen as fd00:1::2"},
				{"IPv6: an ICMP error comes back translated", s.client, "udp", "[fd00:96::1]:54", small, nil, "connection refused"},
				{"IPv6: rejected by RST", s.client, "tcp", "[fd00:96::2]:80", small, nil, "connection refused"},
				{"IPv6: rejected by ICMP", s.client, "udp", "[fd00:96::2]:80", small, nil, "connection refused"},
				{"IPv6: the gateway's own process", s.gateway, "tcp", "[fd00:96::1]:80", small, nil, "seen as fd00:1::1"},
				{"IPv6: its datagrams, from another port", s.gateway, "udp", "[fd00:96::5]:53", middle, nil, "seen as fd00:2::1"},
				{"IPv6: datagrams from another port", s.client, "udp", "[fd00:96::5]:53", middle, nil, "seen as fd00:2::1"},
			}
			for _, row := range rows {
				t.Run(row.name, func(t *testing.T) {
					require.Equal(t, row.want, ask(t.Context(), row.from, row.network, row.addr, row.payload, row.options))
				})
			}
		})
	}
}

// Entries are those of the kernel's NAT, but for what is counted down and chosen by chance, and are read back.
func TestEntries(t *testing.T) {
	t.Parallel()
	var lists []string
	for _, plane := range []string{planeKernel, planeWire, planeBytes} {
		s := newScene(t)
		g := s.translate(t, plane, "")
		serve(t, s.server, "udp", "10.0.2.2:5353")
		ask(t.Context(), s.client, "udp", "10.96.0.1:53", []byte("x"), nil)
		ask(t.Context(), s.client, "udp", "10.96.0.1:54", []byte("x"), nil)
		var all []nat.Entry
		if g != nil {
			all = g.Entries(nat.IPv4)
		} else {
			var err error
			all, err = witness.Entries(s.gateway, "")
			require.NoError(t, err)
			slices.SortFunc(all, func(a, b nat.Entry) int { return cmp.Compare(a.Original.Dst().Port(), b.Original.Dst().Port()) })
		}
		var b strings.Builder
		for _, e := range all {
			read, err := conntrack.ParseEntries(e.String())
			require.NoError(t, err)
			require.Equal(t, e.Original, read[0].Original)
			require.Equal(t, e.Reply, read[0].Reply)
			e.Seconds /= 100
			b.WriteString(clientPort.ReplaceAllString(e.String(), "=ephemeral ") + " # " + e.Decoded() + "\n")
		}
		lists = append(lists, b.String())
	}
	require.Equal(t, lists[0], lists[1])
	require.Equal(t, lists[0], lists[2])
	require.Contains(t, lists[1], "DNAT to 10.0.2.2:5353\n")
	require.Contains(t, lists[1], "DNAT to 10.0.2.2:5454, unreplied\n")
}

// clientPort is a port of the clients', which the kernel chooses.
var clientPort = regexp.MustCompile(`=[3-6]\d\d\d\d `)

// At the end nothing is left: packets pass untouched.
func TestClose(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.translate(t, planeWire, "")
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.1:80", nil, nil))
	require.Equal(t, []nat.Hook{nat.PreRouting, nat.Input, nat.Forward, nat.Output, nat.PostRouting}, g.Feeds(nat.IPv4))
	require.NotZero(t, g.Stats().Rewritten)
	for range 2 {
		require.NoError(t, g.Close())
	}
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.0.2.2:8080", nil, nil))
	require.Empty(t, tables(t, s))
}

// tables are the gateway's own in its namespace.
func tables(t *testing.T, s scene) (names []string) {
	t.Helper()
	require.NoError(t, s.gateway.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := c.ListTables()
		for _, table := range all {
			names = append(names, table.Name)
		}
		return err
	}))
	return names
}

// A gateway that was killed leaves nobody to translate: packets are dropped, or with FailOpen pass as they are. The next one takes over what
// was left; two at a time exclude each other.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("open=%t", open), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			serve(t, s.server, "tcp", "10.0.2.2:8080")
			start := func() (*userspace.Gateway, error) {
				o := userspace.Options{Rules: map[nat.Family]gateway.Rules{nat.IPv4: {parse(t, rules4, nat.IPv4)}}, FailOpen: open}
				return userspace.Open(s.gateway, o)
			}
			g, err := start()
			require.NoError(t, err)
			_, err = start()
			require.ErrorIs(t, err, userspace.ErrBusy)
			require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.1:80", nil, nil))
			require.NoError(t, g.Die())
			require.NotEmpty(t, tables(t, s))
			want := "no answer"
			if open {
				want = "seen as 10.0.1.2"
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			require.Equal(t, want, ask(ctx, s.client, "tcp", "10.0.2.2:8080", nil, nil))

			g, err = start()
			require.NoError(t, err)
			require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.1:80", nil, nil))
			require.NoError(t, g.Close())
			require.Empty(t, tables(t, s))
		})
	}
}

// What no stack would take is dropped and counted, and the gateway goes on.
func TestMalformed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.translate(t, planeWire, "")
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	short := packet.Build(nat.TupleOf(nat.TCP, netip.MustParseAddrPort("10.0.1.2:5"), netip.MustParseAddrPort("10.96.0.1:80")), packet.Fields{}).Bytes()[:24]
	require.NoError(t, s.client.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, short, 0, &unix.SockaddrInet4{Addr: [4]byte{10, 96, 0, 1}}), unix.Close(fd))
	}))
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.1:80", nil, nil))
	require.NotZero(t, g.Stats().Dropped, g.Stats().String())
}

// Addresses that come later are known to the rules, and other rules are obeyed without an end of what goes on.
func TestChanges(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.translate(t, planeWire, "")
	serve(t, s.server, "tcp", "10.0.2.2:8080")
	ip(t, s.gateway, "addr add 10.0.9.9/32 dev right")
	require.Eventually(t, func() bool { // a node port is one of an address of the node, by addrtype
		return ask(t.Context(), s.client, "tcp", "10.0.9.9:30080", nil, nil) == "seen as 10.0.2.1"
	}, 20*time.Second, time.Millisecond)

	require.NoError(t, g.SetRules(nat.IPv4, gateway.Rules{parse(t, strings.ReplaceAll(rules4, "10.96.0.1/32", "10.96.0.9/32"), nat.IPv4)}))
	require.Equal(t, "seen as 10.0.1.2", ask(t.Context(), s.client, "tcp", "10.96.0.9:80", nil, nil))
	require.Error(t, g.SetRules(nat.IPv6, gateway.Rules{parse(t, rules6, nat.IPv6)}))
	seen := 0
	g.Conns(nat.IPv4, func(c *conntrack.Conn, _ time.Time) {
		if c.Original.Dst().Addr() == netip.MustParseAddr("10.96.0.9") {
			seen++
		}
	})
	require.Equal(t, 1, seen)
}

// Of several addresses of IPv6 that suit alike, MASQUERADE takes the youngest, whoever translates.
func TestYoungestAddress(t *testing.T) {
	t.Parallel()
	for _, plane := range []string{planeKernel, planeWire, planeBytes} {
		s := newScene(t)
		ip(t, s.gateway, "addr add fd00:2::5/64 dev right nodad\naddr add fd00:2::4/64 dev right nodad")
		s.translate(t, plane, rules6)
		serve(t, s.server, "tcp", "[fd00:2::2]:8080")
		require.Equal(t, "seen as fd00:2::4", ask(t.Context(), s.client, "tcp", "[fd00:1::1]:30080", []byte("x"), nil), plane)
	}
}
