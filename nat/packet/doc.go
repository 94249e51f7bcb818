// Package packet is a view over the bytes of IP packets: it finds the fields that NAT reads and writes them through
// with their checksums, builds packets from tuples, and looks inside ICMP errors and IPIP. It decides nothing; what
// is done to a packet is nat/conntrack's and nat/gateway's.
package packet
