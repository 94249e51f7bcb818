// Package nftnl is nf_tables' netlink language: a transaction on a table as the messages that the kernel takes, and what the kernel dumps as the
// tables of nat/nftables. It opens no socket: lab/dataplane sends and receives.
package nftnl
