package iptables

import (
	"regexp"
	"strings"

	"natlab/nat"
)

const leftOutReason = "lines were taken out of the text here: what they hold decides about packets, too, and natlab does not know it: want the whole text"

// isLeftOut reports whether a line stands for others that were taken out. Rules are not looked at, so that thousands of them cost nothing.
func isLeftOut(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && !strings.HasPrefix(line, "-A ") && strings.IndexByte(":*#", line[0]) < 0 && nat.LeftOut(line)
}

// continued joins what a backslash at a line's end carries on, as in a script: the lines behind are left blank, so that the others keep their numbers.
func (r *reader) continued() {
	for at := 0; at < len(r.lines); at++ {
		for behind := at + 1; behind < len(r.lines) && strings.HasSuffix(r.lines[at], `\`) && !strings.HasPrefix(strings.TrimSpace(r.lines[at]), "#"); behind++ {
			r.lines[at] = strings.TrimSuffix(r.lines[at], `\`) + " " + strings.TrimSpace(r.lines[behind])
			r.lines[behind] = ""
		}
	}
}

// strays are first lines of what other programs print that people give for the rules, and what to give instead.
var strays = []struct {
	begins *regexp.Regexp
	what   string
}{
	{regexp.MustCompile(`^Status: (in)?active$`), "this is what ufw status prints, which is not the node's rules"},
	{regexp.MustCompile(`^[\w.-]+ \((default, )?(active|default)\)$|^\s*target: (default|ACCEPT|DROP|%%REJECT%%|REJECT)$`), "this is what firewall-cmd --list-all prints, which is not the node's rules (firewalld holds them in nft's tables)"},
	{regexp.MustCompile(`^\[?\s*\{?\s*"Id": "[0-9a-f]{12,}"|^\[\s*\{?$`), "this is what docker inspect or another program prints as JSON, which is not the node's rules"},
	{regexp.MustCompile(`^CONTAINER ID\s+IMAGE\s`), "this is what docker ps prints, which is not the node's rules"},
	{regexp.MustCompile(`^(NAMESPACE\s+)?NAME\s+(TYPE\s+CLUSTER-IP|ENDPOINTS|READY\s+STATUS|STATUS\s+ROLES|ADDRESSTYPE)\s?`), "this is a table of kubectl get, which is not the node's rules (natlab takes objects by -f, as kubectl get -o yaml prints them)"},
	{regexp.MustCompile(`^IP Virtual Server version `), "this is what ipvsadm prints, which is not the node's rules"},
	{regexp.MustCompile(`^(table (inet|ip|ip6|bridge|arp|netdev) [\w.-]+|(add|create|flush|delete|destroy) (table|chain|rule|set|map|ruleset)\b.*|define \S+ *=.*|include ".*")$`), "this is a script for nft -f, as fw4 print prints one or /etc/nftables.conf holds it, and not what the node holds"},
	{regexp.MustCompile(`^Kernel IP routing table$|^default via `), "these are routes: --route takes them"},
	{regexp.MustCompile(`^\d+: \S+: <[A-Z_,-]*>`), "these are devices as ip(8) prints them: --link takes them"},
	{regexp.MustCompile(`^(Netid\s+)?State\s+Recv-Q\s`), "this is what ss prints: --sockets takes it"},
	{regexp.MustCompile(`^(ipv4\s+\d+\s+)?(tcp|udp|icmp)\s+\d+\s+\d+\s.*\bsrc=`), "these are entries of conntrack: --conntrack takes them"},
}

const strayRemedy = ": want what iptables-save or nft list ruleset prints there as root, or natlab collect, which gathers all of it"

// strayed is why a line has no rules: "" where nothing tells it.
func strayed(line string) string {
	for _, s := range strays {
		if s.begins.MatchString(line) {
			return s.what + strayRemedy
		}
	}
	return ""
}
