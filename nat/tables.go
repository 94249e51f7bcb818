package nat

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
