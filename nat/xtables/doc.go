// Package xtables reads and writes the bytes in which the kernel's x_tables hold a table (struct ipt_entry and
// ip6t_entry, their matches and targets with their revisions), turns them into the rules of nat/iptables and back,
// and shows what each version of the iptables program makes of them. Nothing here asks a kernel: lab hands the
// bytes in.
//
// Layout and byte order are those of a 64-bit kernel of this machine, as include/uapi/linux/netfilter has them:
//
//	blob:   entry entry entry ... entry(ERROR "ERROR")
//	entry:  header | match match ... | target        next_offset leads to the next entry
//	match:  size u16, name [29], revision u8 | payload, filled up to a multiple of 8
//
// A user chain is an entry whose target is ERROR with the chain's name, its rules, and an unconditional RETURN.
// A built-in chain is the entries from hook_entry[h] to underflow[h], and the latter is its policy. A jump is the
// offset of the entry behind the called chain's ERROR.
package xtables
