package nat

import "strconv"

// Tables are the names of iptables' tables, in the order in which a hook calls them but for nat, whose place depends on the
// hook.
func Tables() []string { return []string{"raw", "mangle", "nat", "filter", "security"} }

// TableHooks are the hooks that a table has built-in chains for, in the kernel's order (struct xt_table.valid_hooks); none for
// a name that is no table's.
func TableHooks(table string) []Hook {
	switch table {
	case "raw":
		return []Hook{PreRouting, Output}
	case "mangle":
		return []Hook{PreRouting, Input, Forward, Output, PostRouting}
	case "nat":
		return []Hook{PreRouting, Input, Output, PostRouting}
	case "filter", "security":
		return []Hook{Input, Forward, Output}
	}
	return nil
}

// TablePriority is the priority with which a table registers at a hook (enum nf_ip_hook_priorities, and nf_ip6_hook_priorities):
// a smaller one is called first. iptables-nft gives its base chains the same. The nat table comes in front of filter where
// destinations are translated, and behind it where sources are; 0 for a name that is no table's.
func TablePriority(table string, h Hook) int {
	switch table {
	case "raw":
		return -300
	case "mangle":
		return -150
	case "nat":
		if h == PreRouting || h == Output {
			return -100
		}
		return 100
	case "security":
		return 50
	}
	return 0
}

// NFProtoName is a family of netfilter (NFPROTO_, linux/netfilter.h) as nft(8) calls it: "ip", "inet", "bridge".
func NFProtoName(family byte) string {
	switch family {
	case 1:
		return "inet"
	case 2:
		return "ip"
	case 3:
		return "arp"
	case 5:
		return "netdev"
	case 7:
		return "bridge"
	case 10:
		return "ip6"
	}
	return "family " + strconv.Itoa(int(family))
}
