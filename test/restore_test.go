package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// restorer holds iptables-restore's reading of a text beside natlab's.
type restorer struct {
	ns     netns.Handle
	family nat.Family
}

func newRestorer(t *testing.T, family nat.Family) restorer {
	t.Helper()
	require.Zero(t, os.Geteuid(), "rules are loaded into a network namespace, which needs root")
	name := strings.Replace(uniqueName(t), "plan-", "rest-", 1)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	})
	return restorer{h, family}
}

// saved is what iptables-save prints after iptables-restore has read the text, "" where that refuses it. Rules are replaced
// by each call.
func (r restorer) saved(t *testing.T, backend dataplane.Backend, text string) (saved string, takes bool) {
	t.Helper()
	x := extensionLoader{backend: backend, family: r.family}
	const empty = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n" // policies stay otherwise
	if _, err := x.program(t, r.ns, "restore", empty+text); err != nil {
		return "", false
	}
	saved, err := x.program(t, r.ns, "save", "", "-t", "filter")
	require.NoError(t, err)
	return inChains(saved), true
}

// inChains are the chains with their policies, and the rules, of a text that iptables-save or natlab printed. Built-in chains
// that accept, and the order of chains, say nothing.
func inChains(text string) string {
	var chains, rules []string
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, ":") && !strings.Contains(line, " ACCEPT "):
			policy, _, _ := strings.Cut(line, " [")
			chains = append(chains, policy)
		case strings.HasPrefix(line, "-A"):
			rules = append(rules, line)
		}
	}
	slices.Sort(chains)
	slices.SortStableFunc(rules, func(a, b string) int { return strings.Compare(chainOfLine(a), chainOfLine(b)) })
	return strings.Join(append(chains, rules...), "\n")
}

func chainOfLine(line string) string {
	chain, _, _ := strings.Cut(strings.TrimPrefix(line, "-A "), " ")
	return chain
}

// differs is what natlab takes and both backends refuse, refuses and both take, or reads as something else than both; "" for
// nothing. They are not of one mind about everything; where they differ natlab may follow either.
func (r restorer) differs(t *testing.T, lines string) string {
	t.Helper()
	text := "*filter\n" + lines + "\nCOMMIT\n"
	legacy, legacyTakes := r.saved(t, dataplane.Legacy, text)
	nft, nftTakes := r.saved(t, dataplane.NFT, text)
	rs, err := iptables.ParseString(text, r.family)
	if err != nil {
		if legacyTakes && nftTakes {
			return fmt.Sprintf("%s\n%s\nnatlab refuses what both backends take: %v", r.family, lines, err)
		}
		return ""
	}
	got := inChains(rs.String())
	switch {
	case unknownTargets(rs): // natlab takes what it does not know for an extension of somebody else's
		return ""
	case !legacyTakes && !nftTakes:
		return fmt.Sprintf("%s\n%s\nnatlab takes what both backends refuse", r.family, lines)
	case legacyTakes && got == legacy || nftTakes && got == nft:
		return ""
	}
	return fmt.Sprintf("%s\n%s\nnatlab:\n%s\nlegacy (%t):\n%s\nnft (%t):\n%s", r.family, lines, got, legacyTakes, legacy, nftTakes, nft)
}

func unknownTargets(rs iptables.Ruleset) bool {
	for _, c := range rs.Tables[0].Chains {
		for _, r := range c.Rules {
			if _, raw := r.Target.(xt.RawTarget); raw {
				return true
			}
		}
	}
	return false
}

// restoreLines are lines as people write them, and ways to get them wrong.
var restoreLines = []string{
	"-p tcp -A INPUT --dport=80 --jump ACCEPT", "-AINPUT --set-counters 1,2 -mcomment --comment=a", "-A INPUT --dest 10.1 --prot 99 --sr 10.2",
	"-A INPUT -m comment --comment x -p tcp -d 10.0.0.1 -s 10.0.0.2 -i eth0", "-A INPUT -p TCP -m tcp --syn", "-A INPUT -p 0x11 --dport 53",
	"-A INPUT -p all -s any/0 -d 010.0x0a.0.1/0x10", "-A INPUT ! -s 0/0", "-A INPUT -i +", "-A INPUT ! -i +", "-A INPUT ! -p all", "-A INPUT ! -f -j DROP",
	"-A INPUT -s 10.0.0.1,10.0.0.2 -d 10.1.0.0/16,10.2.0.0/16", "-I INPUT -s 10.0.0.1,10.0.0.2", "-A INPUT ! -s 10.0.0.1,10.0.0.2", "-A INPUT -s 10.0.0.1,",
	`-A INPUT -s "10.0.0.1, 10.0.0.2"`, "-A INPUT -s 10.0.0.1, 10.0.0.2", "-A INPUT -s 10.1.2.3/255.0.255.0", "-A INPUT -s 10.0.0.1/33", "-A INPUT -s 10.0.0.256",
	"-A INPUT -s 1.2.3.4.5", "-A INPUT -d 10.0.0.1/255.255.255", "-A INPUT -s fd00::1", "-A INPUT -s fd00::1/64,fd00:1::/ffff::", "-A INPUT -s ::/0 -d ::1", "-A INPUT -p icmpv6 -j DROP",
	"-A INPUT -p mh", "-A INPUT -p ipv6-mh", "-A INPUT -p hopopt", "-A INPUT -p 256", "-A INPUT -p nope", "-A INPUT -p ''", `-A INPUT -p ""`,
	`-A INPUT -m comment --comment 'a b'`, `-A INPUT -m comment --comment 'ab'`, `-A INPUT -m comment --comment a"b c"`, `-A INPUT -m comment --comment "a"b`, `-A INPUT -m comment --comment "a \"b\" \\"`,
	":X - [0:0]\n-A X -j DROP\n-A X -j ACCEPT\n-I X 2 -s 1.1.1.1\n-R X 1 -s 2.2.2.2\n-D X 3", "-N X\n-A INPUT -j X\n-E X Y", "-N X\n-N Y\n-A X -j DROP\n-F X\n-X Y", "-N X\n-X", "-N X\n-N X",
	"-A INPUT -j DROP\n-A INPUT -j ACCEPT\n-D INPUT --jump DROP\n-C INPUT -j ACCEPT", "-C INPUT -j ACCEPT", "-D INPUT -j DROP", "-D INPUT 1", "-R INPUT 1 -j DROP", "-I INPUT 0 -j DROP", "-I INPUT 2 -j DROP",
	"-I INPUT 1 -j DROP\n-I INPUT 2 -j ACCEPT\n-D INPUT 1", "-R INPUT", "-P FORWARD DROP", "-P FORWARD REJECT", "-N X\n-P X DROP", "-F\n-X\n-Z", "-F NOPE", "-X NOPE", "-Z INPUT 1", "-N ACCEPT", "-N LOG", ":LOG - [0:0]\n-A INPUT -j LOG",
	"-N X\n-A INPUT -j X\n-X X", "-N X\n-A X -j DROP\n-X", "-A INPUT -j NOSUCH", "-A INPUT -g NOSUCH", "-A INPUT -g ACCEPT", "-A INPUT -j OUTPUT", "-N X\n-A INPUT -g X", "-N X\n-A INPUT -j X\n-A X -j X",
	"-N X\n-N Y\n-A INPUT -j X\n-A X -j Y\n-A Y -j X", ":X - [0:0]\n:X - [0:0]", ":X ACCEPT [0:0]", ":PREROUTING ACCEPT [0:0]", ":INPUT - [0:0]", ":INPUT DROP", ":INPUT DROP [1:2]\n-A INPUT", ":INPUT MAYBE [0:0]", ":X", ":",
	"-A INPUT -j ACCEPT -j DROP", "-A INPUT -s 1.1.1.1 -s 2.2.2.2", "-A INPUT -p tcp -p udp", "-A INPUT -i a -i b", "-A INPUT -A FORWARD", "-A INPUT -f -f", "-A INPUT -c 1 2 -c 1 2", "-A INPUT -c 1", "-A INPUT -c a b",
	"-A INPUT -o eth0", "-A OUTPUT -i eth0", "-A FORWARD -i a -o b", "-A INPUT -i averylonginterface", "-A INPUT -i fifteen-letters", "-A AVERYLONGCHAINNAMEOFTWENTYNINE", "-N ACHAINNAMEOFTWENTYEIGHTBYTES", "-N ACHAINNAMEOFTWENTYNINE-BYTES-",
	"-A INPUT foo", "-A INPUT !", "-A INPUT ! ! -s 1.1.1.1", "-A INPUT ! -A INPUT", "! -A INPUT", "-A INPUT -n", "-A INPUT -t filter", "-A INPUT -v", "-F INPUT -s 1.1.1.1", "-j DROP", "-A", "-A INPUT -s", "-A INPUT -j",
	"-A INPUT ! -j DROP", "-A INPUT ! -m tcp", "-A INPUT -ptcp", "-A INPUT --jump=ACCEPT", "-A INPUT -gX", "-NX\n-A INPUT -gX", "-A INPUT --dport 80 -p tcp", "-A INPUT --dport 80",
	"-A INPUT -p tcp --dest 10.0.0.1", "-A INPUT -p tcp --dport 80 --dport 81", "-A INPUT -p tcp -m tcp --dest 10.0.0.1", "-A INPUT --proto tcp --destination-port http", "-A INPUT --d 1.1.1.1", "-A INPUT --in eth0", "-A INPUT --proto tcp --destination-port 80", "-A INPUT -p udp --sport 1:2 -j RETURN",
	"-A INPUT -4 -s 1.1.1.1\n-6 -A INPUT -s fd00::1", "-A INPUT -f", "-L\n-S", "-A INPUT -s ! 10.0.0.1 -x", "[1:2] -A INPUT", "[1:2 -A INPUT", "[1:2]-A INPUT", "-A INPUT --", "-A INPUT -",
	"-A INPUT -s 0x0a000001/8 -d 3232235777", "-A INPUT -s 10.300", "-A INPUT -s 10.0.65536", "-A INPUT -s 256.1", "-A INPUT -s 10.0.0.1/255.300.0.0", "-A INPUT -M x --modprobe=y", "-A INPUT -w 5",
	"-A INPUT -p tcp --s 5", "-A INPUT -p tcp --so 5", "-A INPUT -p tcp -m tcp --so 5", "-A INPUT -p tcp --sp 5", "-A INPUT -p tcp --syn=5", "-A INPUT --s 10.0.0.1",
	"-A INPUT -m recent --rcheck --name a -m recent --rcheck --name b --rsou", "-A INPUT -m policy --d in --pol none",
	"-A INPUT -m conntrack --ctorigsrc 10.1/255.0", "-A INPUT -m conntrack --ctrepldst 300", "-A INPUT -m iprange --src-range 10.1-10.2", "-A INPUT -m iprange --src-range 300", "-A INPUT -j TEE --gateway 10.1",
	"-A INPUT -m recent --rcheck --name a --mask 255.255", "-A INPUT -m recent --rcheck --hitcount 65535 --name c", "-A INPUT -m recent --rcheck --hitcount 65536 --name d", "-A INPUT -m helper --hel ftp", "-A INPUT -m eui64",
	"-A OUTPUT -m eui64", "-A FORWARD -p icmp -j TCPMSS --clamp-mss-to-pmtu", "-A INPUT --nosuch", "-A INPUT -y",
}

// Every line is taken, refused and read as both backends of iptables-restore do, where they agree, in both families.
func TestRestoreLines(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		t.Run(family.String(), func(t *testing.T) {
			t.Parallel()
			r := newRestorer(t, family)
			for _, lines := range restoreLines {
				if d := r.differs(t, lines); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// The same for lines put together by chance.
func TestRestoreGenerated(t *testing.T) {
	t.Parallel()
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		t.Run(family.String(), func(t *testing.T) {
			t.Parallel()
			r := newRestorer(t, family)
			rapid.Check(t, func(rt *rapid.T) {
				d := drawn{t: rt, family: family}
				var lines []string
				for range 1 + d.n(5) {
					lines = append(lines, d.restoreLine())
				}
				if d := r.differs(t, strings.Join(lines, "\n")); d != "" {
					rt.Fatal(d)
				}
			})
		})
	}
}

// restoreLine is a line that is right most of the time.
func (d drawn) restoreLine() string {
	chain := pick(d, []string{"INPUT", "FORWARD", "X", "Y", "OUTPUT"})
	switch d.n(8) {
	case 0:
		return pick(d, []string{"-N X", "-N Y", ":X - [0:0]", ":Y - [0:0]", ":INPUT DROP [0:0]", "-P FORWARD DROP", "-E X Y", "-X X", "-X", "-F", "-F X", "-Z"})
	case 1:
		return pick(d, []string{"-D", "--delete"}) + " " + chain + " " + pick(d, []string{"1", "2", "-j ACCEPT"})
	}
	verb := pick(d, []string{"-A " + chain, "--append " + chain, "-I " + chain, "-I " + chain + " 1", "-R " + chain + " 1", "--insert " + chain + " 2"})
	words := []string{verb}
	for range d.n(5) {
		words = append(words, d.restoreOption())
	}
	if !d.chance(4) {
		words = append(words, pick(d, []string{"-j", "--jump", "-g"})+" "+pick(d, []string{"ACCEPT", "DROP", "X", "Y", "RETURN", "REJECT"}))
	}
	if d.chance(4) { // in another order
		words[0], words[len(words)-1] = words[len(words)-1], words[0]
	}
	return strings.Join(words, pick(d, []string{" ", "  ", "\t"}))
}

func (d drawn) restoreOption() string {
	address := func() string {
		if d.family == nat.IPv6 {
			return pick(d, []string{"fd00::1", "fd00::/64", "::/0", "fd00::1,fd00::2/127", "fd00::1/ffff::", "10.0.0.1"})
		}
		return pick(d, []string{"10.0.0.1", "10.1/16", "0/0", "10.0.0.1,10.0.0.2/31", "10.1.2.3/255.0.255.0", "10.0.0.1/08", "fd00::1"})
	}
	not := ""
	if d.chance(4) {
		not = "! "
	}
	switch d.n(7) {
	case 0:
		return not + pick(d, []string{"-s", "--source", "--src", "--sr", "--sou"}) + " " + address()
	case 1:
		return not + pick(d, []string{"-d", "--destination", "--dst", "--ds", "--des"}) + " " + address()
	case 2:
		return not + pick(d, []string{"-i", "-o", "--in-interface", "--out"}) + " " + pick(d, []string{"eth0", "cali+", "+", "lo"})
	case 3:
		return not + pick(d, []string{"-p", "--protocol", "--proto"}) + " " + pick(d, []string{"tcp", "UDP", "0", "all", "6", "0x11", "esp", "sctp", "99"})
	case 4:
		return fmt.Sprintf("-p %s --dport %d", pick(d, []string{"tcp", "udp", "UDP"}), d.n(1<<16))
	case 5:
		return pick(d, []string{`-m comment --comment "a b"`, "-m comment --comment 'a'", "-mcomment --comment=x", "-c 1 2", "--set-counters 3,4"})
	}
	return pick(d, []string{"-f", "! -f", "-4", "-6", "-m mark --mark 1", "-m mark --mark 0x10/0xf0"})
}
