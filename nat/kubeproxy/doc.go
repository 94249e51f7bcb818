// Package kubeproxy has the iptables rules that kube-proxy writes on a node: from a topology.Cluster to an
// iptables.Ruleset, for each release from 1.25 to 1.37 and both families. Nothing is installed here and no node is asked.
package kubeproxy
