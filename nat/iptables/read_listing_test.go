package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// What iptables -L prints, as people post it, and the rules that are in it.
func TestReadListings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, text string
		want       []string // of IPv4, then of IPv6
	}{
		{
			"filter, with -n -v", `Chain INPUT (policy DROP 12 packets, 3K bytes)
 pkts bytes target     prot opt in     out     source               destination         
   34  2720 ACCEPT     tcp  --  eth0   *       0.0.0.0/0            0.0.0.0/0            tcp dpt:22
  12K   3M X          all  --  *      *       0.0.0.0/0            0.0.0.0/0           

Chain FORWARD (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain X (1 references)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 RETURN     all  --  *      *       10.0.0.0/8           0.0.0.0/0           
`,
			[]string{"*filter\n:INPUT DROP [12:3000]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:X - [0:0]\n" +
				"[34:2720] -A INPUT -i eth0 -p tcp -m tcp --dport 22 -j ACCEPT\n[12000:3000000] -A INPUT -j X\n[0:0] -A X -s 10.0.0.0/8 -j RETURN\nCOMMIT\n"},
		},
		{
			"nat behind a command, numbered, without -v", `root@host:~# iptables -t nat -L -n --line-numbers
Chain PREROUTING (policy ACCEPT)
num  target     prot opt source               destination         
1    MARK       tcp  --  0.0.0.0/0            10.0.0.1             tcp dpt:80 MARK set 0x1

Chain POSTROUTING (policy ACCEPT)
num  target     prot opt source               destination         
root@host:~# 
`,
			[]string{"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n[0:0] -A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --dport 80 [-i, -o: not listed without -v] -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n"},
		},
		{
			"both families, by their commands", `# iptables -L INPUT -n -v
Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 DROP       0    --  *      *       0.0.0.0/0            0.0.0.0/0           
# ip6tables -L INPUT -n -v
Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 DROP       all      *      *       ::/0                 ::/0                
`,
			[]string{"*filter\n:INPUT ACCEPT [0:0]\n[0:0] -A INPUT -j DROP\nCOMMIT\n", "*filter\n:INPUT ACCEPT [0:0]\n[0:0] -A INPUT -j DROP\nCOMMIT\n"},
		},
		{
			"two tables under headings of view", `# table mangle
Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 MARK       all  --  *      *       0.0.0.0/0            0.0.0.0/0            MARK xset 0x1/0x3

# table raw
Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 CT         all  --  *      *       0.0.0.0/0            0.0.0.0/0            CT notrack
`,
			[]string{"*mangle\n:PREROUTING ACCEPT [0:0]\n[0:0] -A PREROUTING -j MARK --set-xmark 0x1/0x3\nCOMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\n[0:0] -A PREROUTING -j CT --notrack\nCOMMIT\n"},
		},
		{
			"two tables, one after the other, that nothing names", `Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain FORWARD (policy DROP 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain Y (0 references)
 pkts bytes target     prot opt in     out     source               destination         

Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         

Chain POSTROUTING (policy ACCEPT 0 packets, 0 bytes)
 pkts bytes target     prot opt in     out     source               destination         
    0     0 RETURN     all  --  *      *       10.0.0.1             0.0.0.0/0           
`,
			[]string{"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:Y - [0:0]\nCOMMIT\n" +
				"*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n[0:0] -A POSTROUTING -s 10.0.0.1/32 -j RETURN\nCOMMIT\n"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(row.text)
			require.NoError(t, err, row.name)
			var texts []string
			for _, rs := range got.Rulesets {
				texts = append(texts, rs.Counted())
			}
			require.Equal(t, row.want, texts, row.name)
		})
	}
}

// The command above a listing tells its table and its family, however its options are written.
func TestReadListingCommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		command, table string
		family         nat.Family
	}{
		{"# iptables -nvL -t mangle", "mangle", nat.IPv4},
		{"$ sudo ip6tables -t mangle -vnL PREROUTING | head", "mangle", nat.IPv6},
		{"root@host:~# iptables -tmangle -nL --line", "mangle", nat.IPv4},
		{"[root@node ~]# /sbin/ip6tables-legacy --table mangle --list --numeric", "mangle", nat.IPv6},
		{"$ kubectl exec -n kube-system kube-proxy-x -- iptables -t raw -nvxL", "raw", nat.IPv4},
		{"iptables -vnLPREROUTING -t raw", "raw", nat.IPv4},
	} {
		t.Run(row.command, func(t *testing.T) {
			t.Parallel()
			got, err := Read(row.command + "\nChain PREROUTING (policy ACCEPT)\n" + verboseHeading + "\n")
			require.NoError(t, err, row.command)
			rs, ok := got.Ruleset(row.family)
			require.True(t, ok, row.command)
			require.Equal(t, row.table, rs.Tables[0].Name, row.command)
		})
	}
}

// What a listing leaves open is told once, or by its line.
func TestReadListingNotes(t *testing.T) {
	t.Parallel()
	got, err := Read(`Chain INPUT (policy ACCEPT)
num  target     prot opt source               destination
2    ACCEPT     all  --  anywhere             anywhere
5    KUBE-X     tcp  --  db                   anywhere             tcp dpt:http

Chain FORWARD (policy ACCEPT)
num  target     prot opt source               destination

Chain OUTPUT (policy ACCEPT)
num  target     prot opt source               destination
`)
	require.NoError(t, err)
	var notes []string
	for _, n := range got.Notes {
		notes = append(notes, n.String())
	}
	require.ElementsMatch(t, []string{
		"line 1: nothing tells the family of these rules: taken for ipv4",
		"line 2: iptables -L without -v leaves the rules' devices out: whether a rule asks for one is unknown",
		"line 3: rules of chain INPUT before number 2 are not in the text",
		"line 4: rules of chain INPUT before number 5 are not in the text",
		"line 4: -s db: a name, which natlab does not look up (iptables -L -n prints the address): whether a packet meets it is unknown",
		"line 4: chain KUBE-X of table filter is not in the text: what it does is unknown",
	}, notes)
	rs, ok := got.Ruleset(nat.IPv4)
	require.True(t, ok)
	require.Equal(t, "-p tcp [-s db] -m tcp --dport 80 [-i, -o: not listed without -v] -j KUBE-X", rs.Tables[0].Chains[0].Rules[1].Spec())
	require.Equal(t, 4, rs.Tables[0].Chains[0].Rules[1].Line)
}
