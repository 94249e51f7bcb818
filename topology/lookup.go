package topology

import (
	"net/netip"
	"slices"
	"strings"
)

// Node finds a node by name.
func (c Cluster) Node(name string) (Node, bool) {
	i, ok := slices.BinarySearchFunc(c.Nodes, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	if !ok {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// Pod finds a pod by its member name, "NAMESPACE/NAME".
func (c Cluster) Pod(member string) (Pod, bool) {
	namespace, name, ok := strings.Cut(member, "/")
	i := slices.IndexFunc(c.Pods, func(p Pod) bool { return p.Name == name && p.Namespace == namespace })
	if !ok || i < 0 {
		return Pod{}, false
	}
	return c.Pods[i], true
}

// IPv4 is the node's primary IPv4 address; the zero Addr where it has none.
func (n Node) IPv4() netip.Addr { return n.Address(IPv4) }

// IPv4 is the pod's IPv4 address; the zero Addr where it has none.
func (p Pod) IPv4() netip.Addr { return p.Address(IPv4) }

// Member is the pod's member name: "NAMESPACE/NAME".
func (p Pod) Member() string { return p.Namespace + "/" + p.Name }
