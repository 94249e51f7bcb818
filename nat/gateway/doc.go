// Package gateway predicts what a node, and a whole network of them, does to a packet: which table runs at which hook,
// in which order, with conntrack, NAT and routing between them. It needs no kernel.
package gateway
