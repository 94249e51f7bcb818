// Package kubeproxy has the rules that kube-proxy writes on a node, for each release and both families: from a topology.Cluster to an
// iptables.Ruleset (1.25 to 1.37), or to a table of nftables mode (1.31 to 1.37) and its transactions. What they have to do is decided
// once for both. Nothing is installed here and no node is asked.
package kubeproxy
