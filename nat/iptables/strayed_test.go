package iptables

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What other programs print is refused by its name, with what to give instead.
func TestReadStrayed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ text, why string }{
		{"Status: active\nLogging: on (low)\nDefault: deny (incoming), allow (outgoing), deny (routed)\n\nTo                         Action      From\n22/tcp                     ALLOW IN    Anywhere\n", "ufw status"},
		{"public (active)\n  target: default\n  interfaces: eth0\n", "firewall-cmd --list-all"},
		{"home (default, active)\n  target: default\n", "firewall-cmd --list-all"},
		{"[\n    {\n        \"Id\": \"0123456789abcdef\",\n", "docker inspect"},
		{"CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES\n", "docker ps"},
		{"NAME         TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE   SELECTOR\nkubernetes   ClusterIP   10.43.0.1    <none>        443/TCP   2d    <none>\n", "-f, as kubectl get -o yaml"},
		{"NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE\n", "-f, as kubectl get -o yaml"},
		{"IP Virtual Server version 1.2.1 (size=4096)\n", "ipvsadm"},
		{"default via 192.0.2.1 dev eth0 proto dhcp\n", "--route"},
		{"2: eth0: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc fq state UP\n", "--link"},
		{"Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port\n", "--sockets"},
		{"udp      17 29 src=10.42.0.6 dst=10.43.0.10 sport=5000 dport=53 src=10.42.0.9 dst=10.42.0.6 sport=53 dport=5000 mark=0 use=1\n", "--conntrack"},
	} {
		_, err := Read(row.text)
		require.ErrorContains(t, err, "line 1, column 1: ", row.text)
		require.ErrorContains(t, err, row.why, row.text)
	}
}

// A text of which lines were taken out is refused wherever they were, and however that is written; a rule that only looks so is read.
func TestReadLeftOut(t *testing.T) {
	t.Parallel()
	for _, gap := range []string{"...", "....", "\u2026", "[...]", "[ \u2026 ]", "<snip>", "[snip]", "--- snip ---", "--8<--", "(truncated)", "<output omitted>", "--More--", "12 more rules omitted", "  ..."} {
		for _, text := range []string{
			"*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j ACCEPT\n" + gap + "\nCOMMIT\n",
			"*filter\n:FORWARD DROP [0:0]\nCOMMIT\n\n" + gap + "\n",
			"-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -i eth1 -j ACCEPT\n\n" + gap + "\n-A FORWARD -j DROP\n",
		} {
			at := strings.Count(text[:strings.Index(text, gap)], "\n") + 1
			_, err := Read(text)
			want := &SyntaxError{at, 1, leftOutReason}
			require.EqualError(t, err, want.Error(), text)
		}
	}
	_, err := Read("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m comment --comment \"... snip ...\" -j ACCEPT\nCOMMIT\n")
	require.NoError(t, err)
}

// A command that goes on behind a backslash is one, and the lines behind it keep their numbers.
func TestReadContinuedCommands(t *testing.T) {
	t.Parallel()
	const script = "iptables -A INPUT -p udp -d 198.51.100.9 \\\n        --dport 49152:65535 \\\n   -j ACCEPT\niptables -A INPUT -j DROP\n"
	read, err := Read(script)
	require.NoError(t, err)
	require.Equal(t, "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d 198.51.100.9/32 -p udp -m udp --dport 49152:65535 -j ACCEPT\n-A INPUT -j DROP\nCOMMIT\n", read.Rulesets[0].String())
	require.Equal(t, 4, read.Rulesets[0].Tables[0].Chains[0].Rules[1].Line)
	_, err = Read(script + "iptables -A INPUT -j ACCEPT foo\n")
	require.ErrorContains(t, err, "line 5, ")
}

// Flags stand right behind the port in what some releases of iptables 1.4 list.
func TestReadOldFlags(t *testing.T) {
	t.Parallel()
	const heading = "# iptables -nvL\nChain INPUT (policy ACCEPT 0 packets, 0 bytes)\n pkts bytes target     prot opt in     out     source               destination\n"
	for text, want := range map[string]string{
		"tcp dpt:22flags: 0x17/0x02":      "-m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN",
		"tcp dpts:1:1023flags: 0x17/0x02": "-m tcp --dport 1:1023 --tcp-flags FIN,SYN,RST,ACK SYN",
		"tcp dpt:22 flags:0x17/0x02":      "-m tcp --dport 22 --tcp-flags FIN,SYN,RST,ACK SYN",
	} {
		read, err := Read(heading + "    0     0 DROP       tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            " + text + "\n")
		require.NoError(t, err)
		require.Contains(t, read.Rulesets[0].String(), "-A INPUT -p tcp "+want+" -j DROP\n", text)
		for _, n := range read.Notes {
			require.NotContains(t, n.Text, "flags", text)
		}
	}
}
