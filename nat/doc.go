// Package nat is the vocabulary of natlab's pure core: tuples, directions, hooks, verdicts, steps and
// traces, outcomes and tracked connections, named as the kernel's netfilter names them. In these words the emulator
// predicts and the witnesses report, and neither knows the other. It holds no behaviour beyond printing and parsing;
// what happens to a packet is decided in nat/iptables, nat/conntrack and nat/gateway.
package nat
