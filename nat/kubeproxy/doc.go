// Package kubeproxy says which iptables rules kube-proxy writes on a node: from a topology.Cluster to an
// iptables.Ruleset, for three releases and both families. Nothing is installed here and no node is asked.
package kubeproxy
