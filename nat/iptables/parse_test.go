package iptables

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/xt"
)

// canonical is a rule set with every match and target that has a type of its own, as iptables-save prints it.
const canonical = `*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [12:3456]
-A PREROUTING -i cali+ -m rpfilter --validmark --invert -j DROP
-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack
-A PREROUTING -p udp -m udp --dport 54 -j NOTRACK
-A OUTPUT -j TRACE
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:X - [0:0]
-A PREROUTING -m socket --transparent -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -p tcp -j TPROXY --on-port 15001 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -j NEWTARGET --with "an option"
-A FORWARD -m connmark ! --mark 0x10/0xf0 -j CONNMARK --set-xmark 0x10/0xf0
-A FORWARD -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff
-A FORWARD -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A POSTROUTING -g X
-A POSTROUTING -p udp -j CHECKSUM --checksum-fill
-A X -m physdev --physdev-in vetha --physdev-is-bridged -j RETURN
-A X -m owner --uid-owner 1337 -j ACCEPT
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 5/min --limit-burst 7 -j LOG --log-prefix "a \"b\"" --log-level 6
-A INPUT -p icmp -m icmp --icmp-type 3/4 -m limit --limit 1/sec -j NFLOG --nflog-group 5
-A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
-A INPUT -p tcp -m set ! --match-set allowed src,dst -j REJECT --reject-with tcp-reset
-A INPUT -m state --state NEW -m newmatch --with "0>>22&0x3C@8>>24=0" -j NFQUEUE --queue-num 5 --queue-bypass
-A INPUT -f -j QUEUE
-A INPUT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD ! -i lo ! -o eth0 ! -p tcp -m mark --mark 0x4000/0x4000 -m comment --comment plain-word_1 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SEP-A - [0:0]
-A PREROUTING -p tcp -m multiport --dports 80,443,8000:8080 -j REDIRECT --to-ports 15001
-A PREROUTING -d 10.0.0.0/24 -j NETMAP --to 10.1.0.0/24
-A PREROUTING -m addrtype ! --src-type UNICAST --dst-type LOCAL --limit-iface-in -j KUBE-SEP-A
-A PREROUTING -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-A
-A PREROUTING -m statistic --mode nth --every 3 --packet 1 -j KUBE-SEP-A
-A POSTROUTING -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A POSTROUTING -p sctp -m sctp ! --sport 1000:2000 --dport 7 -j SNAT --to-source 10.0.0.1-10.0.0.9:1024-2048 --random --random-fully --persistent
-A KUBE-SEP-A -p tcp -m recent --set --name KUBE-SEP-A --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.2:8080
-A KUBE-SEP-A -p tcp -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask 255.255.255.255 --rsource -j DNAT --to-destination :8080-8090/80
COMMIT
`

func TestPrintOfParseIsTheText(t *testing.T) {
	t.Parallel()
	rs, err := ParseString(canonical, nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, canonical, rs.String())
	again, err := ParseString(rs.String(), nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, rs, again)
}

func TestEveryTypeIsInTheCanonicalText(t *testing.T) {
	t.Parallel()
	rs, err := ParseString(canonical, nat.IPv4)
	require.NoError(t, err)
	matches, targets := map[string]bool{}, map[string]bool{}
	for _, table := range rs.Tables {
		for _, chain := range table.Chains {
			for _, rule := range chain.Rules {
				for _, m := range rule.Matches {
					matches[typeName(m)] = true
				}
				targets[typeName(rule.Target)] = true
			}
		}
	}
	for _, m := range []xt.Match{
		Source{},
		Destination{},
		InInterface{},
		OutInterface{},
		Protocol{},
		Fragment{},
		xt.Ports{},
		xt.MultiPort{},
		xt.ICMPType{},
		xt.Mark{},
		xt.ConnMark{},
		xt.Conntrack{},
		xt.AddrType{},
		xt.Comment{},
		xt.Statistic{},
		xt.Recent{},
		xt.Limit{},
		xt.Set{},
		xt.RPFilter{},
		xt.PhysDev{},
		xt.Owner{},
		xt.Socket{},
		xt.NFAcct{},
		xt.RawMatch{},
	} {
		require.True(t, matches[typeName(m)], typeName(m))
	}
	for _, g := range []xt.Target{
		xt.Accept{},
		xt.Drop{},
		xt.Return{},
		xt.Jump{},
		xt.Goto{},
		xt.Reject{},
		xt.SetMark{},
		xt.SetConnMark{},
		xt.DNAT{},
		xt.SNAT{},
		xt.Masquerade{},
		xt.Redirect{},
		xt.NetMap{},
		xt.CT{NoTrack: true},
		xt.Queue{},
		xt.NFQueue{},
		xt.TProxy{},
		xt.RawTarget{},
	} {
		require.True(t, targets[typeName(g)], typeName(g))
	}
}

func typeName(v any) string {
	return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", v), "iptables."), "*")
}

// A rule as people write it, and as iptables-save prints it.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		// options that -p implies
		{"-p tcp --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 80 -j ACCEPT"},
		{"--protocol tcp --syn", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"},
		// addresses
		{"-s 10.1.2.3", "-s 10.1.2.3/32"},
		{"--source 10.1.2.3/255.255.0.0", "-s 10.1.0.0/16"},
		{"-s 10.1.2.3/255.0.255.0 -j ACCEPT", "-s 10.0.2.0/255.0.255.0 -j ACCEPT"},
		{"-s 0x0a000001", "-s 10.0.0.1/32"},
		{"-s 10.300/24 -d 3232235777", "-s 10.0.1.0/24 -d 192.168.1.1/32"},
		{"-m conntrack --ctorigsrc 10.1/8 -m iprange --src-range 10.1-0x0a.010", "-m conntrack --ctorigsrc 10.0.0.1/8 -m iprange --src-range 10.1.0.0-10.8.0.0"},
		{"-j TEE --gateway 167772161", "-j TEE --gateway 10.0.0.1"},
		{"-j NETMAP --to 10.1/0xff.0xff.0.0", "-j NETMAP --to 10.0.0.0/16"},
		{"-m recent --rcheck --hitcount 999", "-m recent --rcheck --hitcount 999 --name DEFAULT --mask 255.255.255.255 --rsource"},
		// options of the line's own, which say nothing of the rule, and those of one extension that is named twice
		{"-M /sbin/modprobe -s 10.0.0.1 --modprobe=x", "-s 10.0.0.1/32"},
		{"-m recent --rcheck --name a --rsource -m recent --rcheck --name b --rsou", "-m recent --rcheck --name a --mask 255.255.255.255 --rsource -m recent --rcheck --name b --mask 255.255.255.255 --rsource"},
		{"! -p tcp -j DNAT --to-destination 10.0.0.1:80", "! -p tcp -j DNAT --to-destination 10.0.0.1:80"},
		// marks
		{"-j MARK --set-mark 0x4000", "-j MARK --set-xmark 0x4000/0xffffffff"},
		{"-j MARK --or-mark 0x4000", "-j MARK --set-xmark 0x4000/0x4000"},
		{"-j MARK --xor-mark 16384", "-j MARK --set-xmark 0x4000/0x0"},
		{"-j MARK --and-mark 0xffffbfff", "-j MARK --set-xmark 0x0/0x4000"},
		{"-j MARK --set-mark 0x1/0x2", "-j MARK --set-xmark 0x1/0x3"},
		// odd spacing and quotes
		{`  -m   comment --comment   "a \"b\""  -j  ACCEPT `, `-m comment --comment "a \"b\"" -j ACCEPT`},
		{"-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"},
		// an extension that is not known, and a use that is not, are kept verbatim
		{"-m   geoip ! --src-cc A1  -j DROP", "-m geoip ! --src-cc A1 -j DROP"},
		{"-m conntrack --ctstate NEW --ctdir ORIGINAL -j DROP", "-m conntrack --ctstate NEW --ctdir ORIGINAL -j DROP"},
		{"-j CT --zone 5", "-j CT --zone 5"},
	} {
		r, err := ParseRule(row[0], nat.IPv4)
		require.NoError(t, err, row[0])
		require.Equal(t, row[1], r.Spec(), row[0])
	}
	r, err := ParseRule("-p tcp -j DNAT --to-destination [fd00::1]:80", nat.IPv6)
	require.NoError(t, err)
	require.Equal(t, "-p tcp -j DNAT --to-destination [fd00::1]:80", r.Spec())
}

func TestCountersOfRules(t *testing.T) {
	t.Parallel()
	const text = "*nat\n:OUTPUT ACCEPT [1:60]\n[7:420] -A OUTPUT -j RETURN\nCOMMIT\n"
	rs, err := ParseString("# Generated by iptables-save\n"+text+"# Completed\n", nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, Rule{Target: xt.Return{}, Packets: 7, Bytes: 420, Line: 4}, rs.Tables[0].Chains[0].Rules[0])
	require.Equal(t, text, rs.Counted())
	within, err := ParseString("*nat\n:OUTPUT ACCEPT [1:60]\n-A OUTPUT -c 7 420 -j RETURN\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err, "iptables-restore takes them within the rule too")
	require.Equal(t, text, within.Counted())
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"*nat\n", "line 2, column 1: table nat has no COMMIT"},
		{"*nta\nCOMMIT\n", `line 1, column 2: table "nta": want raw, mangle, nat, filter or security`},
		{"*nat\nCOMMIT\n*nat\nCOMMIT\n", "line 3, column 2: table nat is there twice"},
		{"-A OUTPUT -j ACCEPT\n", `line 1, column 1: want a table (*nat) before "-A OUTPUT -j ACCEPT"`},
		{"*nat\n:OUTPUT MAYBE [0:0]\nCOMMIT\n", `line 2, column 9: policy "MAYBE": want ACCEPT, DROP or -`},
		{"*nat\n:OUTPUT ACCEPT [0]\nCOMMIT\n", `line 2, column 16: counters "[0]": want [packets:bytes]`},
		{"*nat\n-A X -j ACCEPT\nCOMMIT\n", "line 2, column 4: table nat has no chain X"},
		{"*nat\n:X - [0:0]\n-A X -s nowhere\nCOMMIT\n", "line 3, column 9: -s nowhere: want an address: a name is looked up when the rule is loaded, and natlab looks nothing up"},
		{"*nat\n:X - [0:0]\n-A X --dport 80\nCOMMIT\n", `line 3, column 6: option "--dport" is not known here: it needs -p tcp or udp, or -m multiport, before it`},
		{"*nat\n:X - [0:0]\n-A X -m comment --comment \"a\nCOMMIT\n", "line 3, column 27: a quote is not closed"},
		{"*nat\n:X - [0:0]\n-A X -p tcp -m tcp --dport 70000\nCOMMIT\n", "line 3, column 28: -m tcp: --dport 70000: want a port or LOW:HIGH"},
		{"*nat\n:X - [0:0]\n-A X -c 7 x\nCOMMIT\n", `line 3, column 11: counter "x": want a number`},
		{"*nat\n:X - [0:0]\n-A X ! -c 7 8\nCOMMIT\n", "line 3, column 8: -c cannot be inverted"},
		{"*nat\n:X - [0:0]\n-A X -m mark --mark\nCOMMIT\n", "line 3, column 14: --mark wants a value"},
	} {
		rs, err := ParseString(row[0], nat.IPv4)
		require.EqualError(t, err, row[1])
		require.Zero(t, rs)
	}
}

// Old programs print a new kernel's NAT range as something that is none, and others that they do not know a revision: kept
// as it stands.
func TestRangesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{
		"-j DNAT --to-destination :0 --persistent --to-destination :0 --persistent --to-destination 0.0.0.0:0",
		"-j DNAT --to-destination",
		"-p tcp -j DNAT --to-destination --to-destination 0.0.0.0:37120-0 --random",
		"-p tcp -j DNAT --to-destination 0.0.0.0 --random --to-destination 10.244.2.2:0-65535",
		"-j DNAT [unsupported revision]",
		"-j CONNMARK [unsupported revision]",
	} {
		r, err := ParseRule(spec, nat.IPv4)
		require.NoError(t, err, spec)
		require.IsType(t, xt.RawTarget{}, r.Target, spec)
		require.Equal(t, spec, r.Spec())
	}
	r, err := ParseRule("-m nfacct [unsupported revision] -m tcp [unsupported revision] -j DROP", nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, "-m nfacct [unsupported revision] -m tcp [unsupported revision] -j DROP", r.Spec())
	for _, row := range [][2]string{
		{"-j DNAT --to-destination 10.0.0.1 --to-destination 10.0.0.2", "line 1, column 35: -j DNAT: --to-destination: given twice"},
		{"-p tcp -j REDIRECT --to-ports 42-1234/567", "line 1, column 11: -j REDIRECT: a base port (/567) goes with DNAT only"},
		{"-p tcp -j DNAT --to-destination 10.0.0.1:9-7", "line 1, column 33: -j DNAT: --to-destination 10.0.0.1:9-7: want a port, a service's name, or LOW-HIGH"},
		{"-j MASQUERADE --to-ports 7", "line 1, column 15: -j MASQUERADE: --to-ports: a port needs -p tcp, udp, sctp, dccp or icmp before it"},
	} {
		_, err := ParseRule(row[0], nat.IPv4)
		require.EqualError(t, err, row[1])
	}
}

// What iptables refuses of a rule's words.
func TestRefusedWords(t *testing.T) {
	t.Parallel()
	for _, row := range [][2]string{
		{"-s 10.0.0.256", "line 1, column 4: -s 10.0.0.256: want an address: a name is looked up when the rule is loaded, and natlab looks nothing up"},
		{"-s 10.300/255.300", "line 1, column 4: -s 10.300/255.300: want a mask of 0 to 32 bits, or as an address"},
		{"-s x.x.x.x", "line 1, column 4: -s x.x.x.x: the address was made unreadable: put one in its place, such as one of 203.0.113.0/24, and the same in all that tells of the node"},
		{"-m mac --mac-source 52:54:00:xx:xx:xx", "line 1, column 21: -m mac: --mac-source 52:54:00:xx:xx:xx: want six hexadecimal octets, with : between them: the address was made unreadable: put one in its place, and the same in all that tells of the node"},
		{"-m time --timestart 8:00 --days Mon,Tue", `line 1, column 26: option "--days" is of the time match before Linux 2.6.24, which looked at the node's own time: write --weekdays in its place, and --kerneltz behind it`},
		{"-s 10.1.XX.**", "line 1, column 4: -s 10.1.XX.**: the address was made unreadable: put one in its place, such as one of 203.0.113.0/24, and the same in all that tells of the node"},
		{"-s 256.1", "line 1, column 4: -s 256.1: want an address: a name is looked up when the rule is loaded, and natlab looks nothing up"},
		{"-p tcp -m tcp --syn=1", "line 1, column 15: --syn takes no value"},
		{"-p udp -m udp --s 7", `line 1, column 15: option "--s" is short for an option of -m udp and for -c and -s`},
		{"--s 10.0.0.1", `line 1, column 1: option "--s" is short for -c and -s`},
		{"-m helper --hel ftp", `line 1, column 11: option "--hel" is short for an option of -m helper and for -h`},
		{"-p icmp -j TCPMSS --set-mss 1400", "line 1, column 12: -j TCPMSS: needs -p tcp"},
		{"-m recent --rcheck --hitcount 65536", "line 1, column 31: -m recent: --hitcount 65536: want a number from 0 to 65535"},
		{"-j DNAT --to-destination 10.1", "line 1, column 26: -j DNAT: --to-destination 10.1: want ADDRESS[-ADDRESS][:PORT[-PORT]] of ipv4"},
		{"-j DNAT --to-destination 10.0.0.010", "line 1, column 26: -j DNAT: --to-destination 10.0.0.010: want ADDRESS[-ADDRESS][:PORT[-PORT]] of ipv4"},
		{"-m iprange --src-range 300", "line 1, column 24: -m iprange: --src-range 300: want ADDRESS-ADDRESS of ipv4"},
		{"-m policy --d in --pol none", `line 1, column 11: option "--d" is short for an option of -m policy and for -D and -X and -d`},
		{"! -p 99 -j DNAT --to-destination 10.0.0.1:80", "line 1, column 17: -j DNAT: --to-destination: a port needs -p tcp, udp, sctp, dccp or icmp before it"},
	} {
		_, err := ParseRule(row[0], nat.IPv4)
		require.EqualError(t, err, row[1], row[0])
	}
	_, err := ParseRule("-j DNPT --src-pfx dead::/15 --dst-pfx fd00::/64", nat.IPv6)
	require.EqualError(t, err, "line 1, column 19: -j DNPT: --src-pfx dead::/15: want a prefix without bits behind it")
}

// Input for iptables-restore need not declare the built-in chains.
func TestBuiltInChainsNeedNoLine(t *testing.T) {
	t.Parallel()
	rs, err := ParseString("*nat\n-A OUTPUT -j RETURN\nCOMMIT\n", nat.IPv4)
	require.NoError(t, err)
	require.Equal(t, "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j RETURN\nCOMMIT\n", rs.String())
}

// Nothing that a rule set is made of can end its line and begin another.
func TestOneRuleOneLine(t *testing.T) {
	t.Parallel()
	const bad = "a\n-A INPUT -j ACCEPT\x00"
	rs := Ruleset{Tables: []Table{{Name: "filter", Chains: []Chain{
		{Name: bad, Policy: "-", Rules: []Rule{{Matches: []xt.Match{xt.Comment{Text: bad}, InInterface{Device: bad}}, Target: xt.Jump{Chain: bad}}}},
	}}}}
	require.Equal(t, 4, strings.Count(rs.Restore(), "\n"))
	require.NotContains(t, rs.Restore(), "\x00")
}

func FuzzParse(f *testing.F) {
	f.Add(canonical)
	f.Add("*nat\n:X - [0:0]\n[1:2] -A X ! -s 10.0.0.0/8 -m tcp -j DNAT --to-destination [::1]:80-90\nCOMMIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := ParseString(text, nat.IPv4)
		if err != nil {
			require.Zero(t, rs)
			return
		}
		printed := rs.String()
		again, err := ParseString(printed, nat.IPv4)
		require.NoError(t, err, printed)
		require.Equal(t, printed, again.String())
	})
}
