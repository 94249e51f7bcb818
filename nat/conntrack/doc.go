// Package conntrack is the kernel's connection tracking and NAT engine in pure Go: the table of connections, the
// protocols' state machines, and the choice of translated tuples. Time and chance are passed in. It evaluates no
// rules: nat/gateway asks nat/iptables for them.
package conntrack
