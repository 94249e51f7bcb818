// Package ipset is the sets of a node, as ipset(8) prints them, what the kernel's set match finds in them and what its SET
// target does to them (net/netfilter/ipset). Sets are values that are never changed once they are read: a State has what
// packets have made of them.
package ipset
