// Package nftables holds nf_tables' rules as data: what `nft list ruleset` prints, parsed into tables, chains, sets, maps and typed
// rules and printed back, and the evaluation of a packet against them. It reads no kernel; tables of x_tables are nat/iptables'.
package nftables
