// Package portmap has the iptables rules by which CNI's portmap plugin follows the hostPorts of a node's Pods. Which plugin a cluster has
// its objects do not tell: this is the one that k3s, kind, kubeadm with flannel or Calico, and others bring. Nothing is installed here.
package portmap
