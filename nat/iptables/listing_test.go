package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

const (
	plainHeading   = "target     prot opt source               destination         "
	verboseHeading = " pkts bytes target     prot opt in     out     source               destination         "
	numberHeading  = "num  target     prot opt source               destination         "
	fullHeading    = "num   pkts bytes target     prot opt in     out     source               destination         "
)

// readListed reads a line under a heading.
func readListed(t *testing.T, heading, line string, f nat.Family) (Rule, []string) {
	t.Helper()
	c, ok := listingColumns(heading)
	require.True(t, ok, heading)
	l, ok := c.split(line)
	require.True(t, ok, line)
	return l.rule(f, c.devices)
}

// Lines of iptables -L -n -v, and the rules that they are.
func TestListedRules(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ line, want string }{
		{"    0     0 ACCEPT     all  --  lo     *       0.0.0.0/0            0.0.0.0/0           ", "-i lo -j ACCEPT"},
		{"  12K   3M DROP       0    --  !eth0  br+     !10.0.0.0/8          10.0.0.0/255.0.255.0 ", "! -s 10.0.0.0/8 -d 10.0.0.0/255.0.255.0 ! -i eth0 -o br+ -j DROP"},
		{"    0     0            tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:22", "-p tcp -m tcp --dport 22"},
		{"    0     0            6    -f  *      *       0.0.0.0/0            0.0.0.0/0           ", "-p tcp -f"},
		{"    0     0 RETURN     all  !f  *      *       0.0.0.0/0            0.0.0.0/0           ", "! -f -j RETURN"},
		{"    0     0 ACCEPT     !17  --  *      *       0.0.0.0/0            0.0.0.0/0           ", "! -p udp -j ACCEPT"},
		{"    0     0 X          all  --  *      *       0.0.0.0/0            0.0.0.0/0           [goto] ", "-g X"},
		{"    0     0 KUBE-SERVICES  all  --  *      *       0.0.0.0/0            0.0.0.0/0            /* kubernetes service portals */", `-m comment --comment "kubernetes service portals" -j KUBE-SERVICES`},
		{"    0     0 LOG        tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpts:1:1023 flags:0x17/0x02 LOG flags 1 level 4 prefix \"a \"b\" \"", `-p tcp -m tcp --dport 1:1023 --tcp-flags FIN,SYN,RST,ACK SYN -j LOG --log-prefix "a \"b\" " --log-tcp-sequence`},
		{"    0     0 MARK       all  --  *      *       0.0.0.0/0            0.0.0.0/0            mark match ! 0x4000/0x4000 MARK or 0x4000", "-m mark ! --mark 0x4000/0x4000 -j MARK --set-xmark 0x4000/0x4000"},
		{"    0     0 NFLOG      all  --  *      *       0.0.0.0/0            0.0.0.0/0           ", "-j NFLOG"},
		{"    0     0 TRACE      all  --  *      *       0.0.0.0/0            0.0.0.0/0           ", "-j TRACE"},
		{"    0     0 NOTRACK    all  --  *      *       0.0.0.0/0            0.0.0.0/0           ", "-j NOTRACK"},
		{"    0     0 CT         all  --  *      *       0.0.0.0/0            0.0.0.0/0            CT notrack", "-j CT --notrack"},
		{"    0     0 NFQUEUE    all  --  *      *       0.0.0.0/0            0.0.0.0/0            NFQUEUE num 0 bypass", "-j NFQUEUE --queue-num 0 --queue-bypass"},
		{"    0     0 ECN        tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            ECN match ECE ECN TCP remove", "-p tcp -m ecn --ecn-tcp-ece -j ECN --ecn-tcp-remove"},
		// without -n
		{"    0     0 ACCEPT     tcp  --  any    any     localhost            anywhere             tcp spt:https state RELATED,ESTABLISHED", "-s 127.0.0.1/32 -p tcp -m tcp --sport 443 -m state --state RELATED,ESTABLISHED -j ACCEPT"},
		{"    0     0 ACCEPT     icmp --  any    any     loopback/8           !link-local/16        icmp echo-request", "-s 127.0.0.0/8 ! -d 169.254.0.0/16 -p icmp -m icmp --icmp-type 8 -j ACCEPT"},
		// what is not known
		{"    0     0 ACCEPT     tcp  --  any    any     db.example.com       !web/24               tcp dpt:what", "-p tcp [-s db.example.com] [! -d web/24] [tcp dpt:what] -j ACCEPT"},
		{"    0     0 ACCEPT     foo  --  any    any     anywhere             anywhere            ", "[-p foo] -j ACCEPT"},
		{"    0     0 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            some new match 5 state NEW", "[some new match 5] -m state --state NEW -j ACCEPT"},
		{"    0     0 ACCEPT     all  --  *      *       0.0.0.0/0            0.0.0.0/0            ctstate NEW set [unsupported revision]", "-m conntrack --ctstate NEW [-m set [unsupported revision]] -j ACCEPT"},
		{"    0     0 CONNMARK   all  --  *      *       0.0.0.0/0            0.0.0.0/0            CONNMARK [unsupported revision]", "-j CONNMARK [unsupported revision]"},
		{"    0     0 TEE        all  --  *      *       0.0.0.0/0            0.0.0.0/0            ctstate NEW TEE gw:mirror.example.com", "-m conntrack --ctstate NEW -j TEE TEE gw:mirror.example.com"},
	} {
		t.Run(row.line, func(t *testing.T) {
			t.Parallel()
			r, _ := readListed(t, verboseHeading, row.line, nat.IPv4)
			require.Equal(t, row.want, r.Spec(), row.line)
		})
	}
}

// The other headings, and IPv6 with and without its column for -f.
func TestListedColumns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		heading, line string
		family        nat.Family
		want          string
	}{
		{plainHeading, "ACCEPT     all  --  0.0.0.0/0            0.0.0.0/0           ", nat.IPv4, "[-i, -o: not listed without -v] -j ACCEPT"},
		{plainHeading, "           udp  --  10.0.0.1             0.0.0.0/0            udp dpt:53", nat.IPv4, "-s 10.0.0.1/32 -p udp -m udp --dport 53 [-i, -o: not listed without -v]"},
		{plainHeading, "ACCEPT all -- 0.0.0.0/0 0.0.0.0/0", nat.IPv4, "[-i, -o: not listed without -v] -j ACCEPT"},
		{numberHeading, "3    DROP       all  --  0.0.0.0/0            0.0.0.0/0           ", nat.IPv4, "[-i, -o: not listed without -v] -j DROP"},
		{fullHeading, "12       0     0 DROP       all  --  eth0   *       0.0.0.0/0            0.0.0.0/0           ", nat.IPv4, "-i eth0 -j DROP"},
		{verboseHeading, "    0     0 ACCEPT     tcp      eth0   *       fd00::1              ::/0                 tcp dpt:22", nat.IPv6, "-s fd00::1/128 -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT"},
		{verboseHeading, "    0     0            tcp      eth0   *       fd00::1              ::/0                 tcp dpt:22", nat.IPv6, "-s fd00::1/128 -i eth0 -p tcp -m tcp --dport 22"},
		{verboseHeading, "    0     0 ACCEPT     58   --  *      *       ::/0                 ::/0                 ipv6-icmptype 128", nat.IPv6, "-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT"},
		{plainHeading, "ACCEPT     all      anywhere             anywhere            ", nat.IPv6, "[-i, -o: not listed without -v] -j ACCEPT"},
		{plainHeading, "           all      ::1                  anywhere            ", nat.IPv6, "-s ::1/128 [-i, -o: not listed without -v]"},
		{plainHeading, "ACCEPT     all  --  localhost            fe80::/10           ", nat.IPv6, "-s ::1/128 -d fe80::/10 [-i, -o: not listed without -v] -j ACCEPT"},
	} {
		t.Run(row.heading, func(t *testing.T) {
			t.Parallel()
			r, _ := readListed(t, row.heading, row.line, row.family)
			require.Equal(t, row.want, r.Spec(), row.line)
		})
	}
}

// Counters as iptables -L -v prints them, and a rule's number.
func TestListedCounters(t *testing.T) {
	t.Parallel()
	c, ok := listingColumns(fullHeading)
	require.True(t, ok)
	l, ok := c.split("7      12K   3M DROP       all  --  *      *       0.0.0.0/0            0.0.0.0/0           ")
	require.True(t, ok)
	r, _ := l.rule(nat.IPv4, true)
	require.Equal(t, []any{7, uint64(12000), uint64(3000000)}, []any{l.number, r.Packets, r.Bytes})
	for text, want := range map[string]uint64{"0": 0, "99999": 99999, "100K": 100000, "17G": 17000000000, "18446744T": 18446744000000000000} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			n, ok := listedCount(text)
			require.True(t, ok, text)
			require.Equal(t, want, n, text)
		})
	}
	for _, text := range []string{"", "K", "1P", "-1", "1.5K", "18446745T"} {
		_, ok := listedCount(text)
		require.False(t, ok, text)
	}
	for _, line := range []string{"x  0 0 DROP all -- * * 0.0.0.0/0 0.0.0.0/0", "1  0 y DROP all -- * * 0.0.0.0/0 0.0.0.0/0", "1 0 0 DROP all -- * * 0.0.0.0/0", ""} {
		_, ok := c.split(line)
		require.False(t, ok, line)
	}
}

// What is unknown is named.
func TestListedNotes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		line string
		want []string
	}{
		{"0 0 ACCEPT all -- * * 0.0.0.0/0 0.0.0.0/0", nil},
		{"0 0 ACCEPT all -- any any localhost anywhere", []string{"localhost is taken for 127.0.0.1, as everywhere"}},
		{"0 0 ACCEPT all -- any any db anywhere", []string{"-s db: a name, which natlab does not look up (iptables -L -n prints the address): whether a packet meets it is unknown"}},
		{"0 0 ACCEPT foo -- any any anywhere anywhere", []string{"-p foo: a protocol that natlab does not know: whether a packet meets it is unknown"}},
		{"0 0 ACCEPT all -- * * 0.0.0.0/0 0.0.0.0/0 what is this", []string{"what is this: natlab cannot read it: whether a packet meets it is unknown"}},
		{"0 0 ACCEPT all -- * * 0.0.0.0/0 0.0.0.0/0 set [unsupported revision]", []string{"-m set: iptables did not know the revision that the kernel has: whether a packet meets it is unknown"}},
		{"0 0 CT all -- * * 0.0.0.0/0 0.0.0.0/0 CT [unsupported revision]", []string{"-j CT: iptables did not know the revision that the kernel has: what the target does is unknown"}},
		{"0 0 AUDIT all -- * * 0.0.0.0/0 0.0.0.0/0", []string{`-j AUDIT: natlab cannot read its options "": what it does is unknown`}},
	} {
		t.Run(row.line, func(t *testing.T) {
			t.Parallel()
			_, notes := readListed(t, verboseHeading, row.line, nat.IPv4)
			require.Equal(t, row.want, notes, row.line)
		})
	}
}
