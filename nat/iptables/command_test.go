package iptables

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
)

// Lines as iptables-restore takes them, and what iptables-save prints of them, both of iptables 1.8.9.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ lines, want string }{
		// options in any order, long, shortened and joined
		{"-p tcp -A INPUT --dport=80 --jump ACCEPT", "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT"},
		{"-AINPUT --set-counters 1,2 -mcomment --comment=a", "-A INPUT -m comment --comment a"},
		{"--append INPUT --source 10.0.0.1 --destination 10.0.0.2 --in-interface eth0 --fragments", "-A INPUT -s 10.0.0.1/32 -d 10.0.0.2/32 -i eth0 -f"},
		{"-A INPUT --dest 10.1 --prot 99 --sr 10.2", "-A INPUT -s 10.2.0.0/32 -d 10.1.0.0/32 -p 99"},
		{"-j ACCEPT --sou 10.0.0.1 -A INPUT", "-A INPUT -s 10.0.0.1/32 -j ACCEPT"},
		{"-A INPUT -m comment --comment x -p tcp -d 10.0.0.1 -s 10.0.0.2", "-A INPUT -s 10.0.0.2/32 -d 10.0.0.1/32 -p tcp -m comment --comment x"},
		// protocols
		{"-A INPUT -p TCP", "-A INPUT -p tcp"},
		{"-A INPUT -p 0x11 --dport 53", "-A INPUT -p udp -m udp --dport 53"},
		{"-A INPUT -p all", "-A INPUT"},
		{"-A INPUT -p ipv6-mh", "-A INPUT -p mobility-header"},
		{"-A INPUT -p esp --espspi 5", "-A INPUT -p esp -m esp --espspi 5"},
		// addresses
		{"-A INPUT -s any/0 -d 010.0x0a.0.1/0x10", "-A INPUT -d 8.10.0.0/16"},
		{"-A INPUT ! -s 0/0", "-A INPUT ! -s 0.0.0.0/0"},
		{"-A INPUT -i +", "-A INPUT"},
		{"-A INPUT ! -i +", "-A INPUT ! -i +"}, // it never matches, which iptables-save leaves out
		{"-A INPUT -s 10.0.0.1,10.0.0.2 -d 10.1.0.0/16,10.2.0.0/16", "-A INPUT -s 10.0.0.1/32 -d 10.1.0.0/16\n-A INPUT -s 10.0.0.1/32 -d 10.2.0.0/16\n-A INPUT -s 10.0.0.2/32 -d 10.1.0.0/16\n-A INPUT -s 10.0.0.2/32 -d 10.2.0.0/16"},
		{"-I INPUT -s 10.0.0.1,10.0.0.2", "-A INPUT -s 10.0.0.2/32\n-A INPUT -s 10.0.0.1/32"},
		{`-A INPUT -s "10.0.0.1, 10.0.0.2"`, "-A INPUT -s 10.0.0.1/32\n-A INPUT -s 10.0.0.2/32"},
		{"-A INPUT -s ! 10.0.0.1", "-A INPUT ! -s 10.0.0.1/32"}, // older than 1.8.9
		// quotes
		{`-A INPUT -m comment --comment 'ab' -j ACCEPT`, `-A INPUT -m comment --comment "\'ab\'" -j ACCEPT`},
		{`-A INPUT -m comment --comment a"b c" -j ACCEPT`, `-A INPUT -m comment --comment "ab c" -j ACCEPT`},
		// commands
		{":X - [0:0]\n-A X -j DROP\n-A X -j ACCEPT\n-I X 2 -s 1.1.1.1\n-R X 1 -s 2.2.2.2\n-D X 3", ":X - [0:0]\n-A X -s 2.2.2.2/32\n-A X -s 1.1.1.1/32"},
		{"-N X\n-A INPUT -g X\n-E X Y", ":Y - [0:0]\n-A INPUT -g Y"},
		{"-N X\n-N Y\n-A X -j DROP\n-F\n-X Y", ":X - [0:0]"},
		{"-N X\n-X", ""},
		{"-A INPUT -j DROP\n-A INPUT -j ACCEPT\n-D INPUT --jump DROP\n-C INPUT -j ACCEPT", "-A INPUT -j ACCEPT"},
		{"[5:6]-A INPUT -v --\n-Z", "-A INPUT"},
		{"-P FORWARD DROP\n-A INPUT\n-L\n-S INPUT", ":FORWARD DROP [0:0]\n-A INPUT"},
		{":INPUT - [0:0]\n-A INPUT -j DROP", "-A INPUT -j DROP"},
		{"-A INPUT -p tcp\n:INPUT DROP [0:0]", ":INPUT DROP [0:0]\n-A INPUT -p tcp"},
		{":LOG - [0:0]\n-A INPUT -j LOG", ":LOG - [0:0]\n-A INPUT -j LOG"},
		{"-A INPUT -4 -s 1.1.1.1\n-6 -A INPUT -s fd00::1", "-A INPUT -s 1.1.1.1/32"},
		// a target of another source of extensions
		{"-A INPUT -j DELUDE", "-A INPUT -j DELUDE"},
	} {
		t.Run(row.lines, func(t *testing.T) {
			t.Parallel()
			rs, err := ParseString("*filter\n"+row.lines+"\nCOMMIT\n", nat.IPv4)
			require.NoError(t, err, row.lines)
			var lines []string
			for line := range strings.SplitSeq(rs.String(), "\n") {
				if line != "" && line[0] != '*' && line != "COMMIT" && !strings.HasSuffix(line, " ACCEPT [0:0]") {
					lines = append(lines, line)
				}
			}
			require.Equal(t, row.want, strings.Join(lines, "\n"), row.lines)
		})
	}
}

// What iptables-restore 1.8.9 refuses, by either backend, is refused with its place and the reason.
func TestRefusedLines(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ lines, want string }{
		{"-A INPUT -j NOSUCH", "line 2, column 13: NOSUCH is not a chain of table filter, and no target has that name: iptables-restore refuses all of the text"},
		{"-A INPUT -g ACCEPT", "line 2, column 13: ACCEPT is not a chain of table filter, and no target has that name: iptables-restore refuses all of the text"},
		{"-A INPUT -j X\n:X - [0:0]", "line 2, column 13: chain X is declared only below: iptables-restore wants it before"},
		{"-A INPUT -j OUTPUT", "line 2, column 13: chain OUTPUT is built in: only a hook leads to it"},
		{":X - [0:0]\n-A INPUT -j X\n-A X -j X", "line 4, column 1: chains X and X of table filter lead to each other: the kernel refuses a loop"},
		{":X ACCEPT [0:0]", "line 2, column 4: chain X is none of table filter's own: want - for its policy"},
		{":PREROUTING ACCEPT [0:0]", "line 2, column 13: chain PREROUTING is none of table filter's own: want - for its policy"},
		{":X - [0:0]\n:X - [0:0]", "line 3, column 2: chain X is there twice"},
		{"-A INPUT -m comment --comment 'a b' -j ACCEPT", `line 2, column 34: unexpected "b'"`},
		{`-A INPUT -m comment --comment "a"b`, `line 2, column 34: unexpected "b"`},
		{"-A INPUT -ptcp", `line 2, column 10: option "-ptcp" is not known here`},
		{"-A INPUT --jump=ACCEPT", "line 2, column 10: --jump: want its value as the next word, not behind ="},
		{"-A INPUT --dport 80 -p tcp", `line 2, column 10: option "--dport" is not known here: it needs -p tcp or udp, or -m multiport, before it`},
		{"-A INPUT -s 1.1.1.1 --src 2.2.2.2", "line 2, column 21: --src is given twice"},
		{"-A INPUT -j ACCEPT -j DROP", "line 2, column 20: -j: there is a target before it"},
		{"-A INPUT -o eth0", "line 2, column 1: -o does not go with INPUT"},
		{"-A OUTPUT -i +", "line 2, column 1: -i does not go with OUTPUT"},
		{"-A OUTPUT -i eth0", "line 2, column 1: -i does not go with OUTPUT"},
		{"-A INPUT -i averylonginterface", "line 2, column 13: -i averylonginterface: a device's name has at most 15 bytes"},
		{"-A INPUT ! -p all", "line 2, column 15: ! -p all: it would never match"},
		{"-A INPUT -p nope", "line 2, column 13: -p nope: want a protocol of /etc/protocols, or a number up to 255"},
		{"-A INPUT ! -s 1.1.1.1,2.2.2.2", "line 2, column 1: ! does not go with a list of addresses"},
		{"-A INPUT ! -s 1.1.1.1 -d 1.1.1.1,2.2.2.2", "line 2, column 1: ! does not go with a list of addresses"},
		{"-A INPUT -s 1.1.1.1,", "line 2, column 13: -s : want an address"},
		{"-A INPUT -s 1.1.1.1/33", "line 2, column 13: -s 1.1.1.1/33: want a mask of 0 to 32 bits, or as an address"},
		{"-A INPUT -s fd00::1", "line 2, column 13: -s fd00::1: want an address of ipv4"},
		{"-A INPUT -A FORWARD", "line 2, column 10: -A does not go with -A: one command a line"},
		{"-j DROP", "line 2, column 1: a command is missing: want -A CHAIN or another"},
		{"-A INPUT foo", `line 2, column 10: unexpected "foo"`},
		{"-A INPUT !", "line 2, column 10: nothing behind !"},
		{"-A INPUT ! -A INPUT", "line 2, column 12: -A cannot be inverted"},
		{"-A INPUT -n", "line 2, column 10: -n does not go here"},
		{"-t filter -A INPUT", "line 2, column 1: -t does not go here"},
		{"-F INPUT -s 1.1.1.1", "line 2, column 1: -F does not go with a rule"},
		{"-F NOPE", "line 2, column 4: table filter has no chain NOPE"},
		{"-I INPUT 2 -j DROP", "line 2, column 4: rule number 2: chain INPUT has 0 rules"},
		{"-I INPUT 0 -j DROP", `line 2, column 10: rule number "0": want one from 1`},
		{"-R INPUT 1 -j DROP", "line 2, column 4: rule number 1: chain INPUT has 0 rules"},
		{"-Z INPUT 1", "line 2, column 4: rule number 1: chain INPUT has 0 rules"},
		{"-D INPUT 1", "line 2, column 4: rule number 1: chain INPUT has 0 rules"},
		{"-D INPUT -j DROP", "line 2, column 4: -D: chain INPUT has no such rule"},
		{"-C INPUT -j DROP", "line 2, column 4: -C: chain INPUT has no such rule"},
		{"-N X\n-N X", "line 3, column 4: chain X is there already"},
		{"-N ACCEPT", "line 2, column 4: chain ACCEPT: it would have the name of a target"},
		{"-N X\n-A INPUT -j X\n-X X", "line 4, column 4: chain X cannot be removed: a rule of INPUT leads to it"},
		{"-N X\n-A X -j DROP\n-X", "line 4, column 1: chain X has rules: it cannot be removed"},
		{"-P INPUT REJECT", `line 2, column 4: policy "REJECT" of chain INPUT: want ACCEPT or DROP, of a built-in chain`},
		{"-N X\n-P X DROP", `line 3, column 4: policy "DROP" of chain X: want ACCEPT or DROP, of a built-in chain`},
	} {
		t.Run(row.lines, func(t *testing.T) {
			t.Parallel()
			rs, err := ParseString("*filter\n"+row.lines+"\nCOMMIT\n", nat.IPv4)
			require.EqualError(t, err, row.want, row.lines)
			require.Zero(t, rs)
		})
	}
	_, err := ParseString("*nat\n-A OUTPUT -j DROP\nCOMMIT\n", nat.IPv4)
	require.EqualError(t, err, "line 2, column 1: the nat table is not for filtering: iptables refuses DROP in it")
	for _, row := range [][2]string{
		{"-A INPUT -f", "line 2, column 10: -f is of IPv4: want -m frag"},
		{"-A INPUT -s 1.1.1.1", "line 2, column 13: -s 1.1.1.1: want an address of ipv6"},
	} {
		_, err := ParseString("*filter\n"+row[0]+"\nCOMMIT\n", nat.IPv6)
		require.EqualError(t, err, row[1])
	}
}
