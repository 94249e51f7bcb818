package kubeproxy

import (
	"net/netip"
	"slices"

	"natlab/nat"
	"natlab/topology"
)

// NodePortsAt returns the test for a node's own addresses at which kube-proxy, in the cluster's mode, serves node ports of o's family: those of
// nodePortAddresses, of which nftables mode takes the primary one where none are given; on loopback what localhostNodePorts allows, which
// nftables and ipvs mode never do. The health checks of load balancers are listened for at the same ones, loopback aside. Errors are those of Rules.
func NodePortsAt(c topology.Cluster, node string, o Options) (func(netip.Addr) bool, error) {
	native := c.KubeProxy.Mode == topology.ModeNFTables
	if native && len(c.KubeProxy.NodePortAddresses) == 0 {
		c.KubeProxy.NodePortAddresses = []string{"primary"}
	}
	d, err := newDecider(c, node, o)
	if err != nil {
		return nil, err
	}
	native = native || c.KubeProxy.Mode == topology.ModeIPVS
	return func(a netip.Addr) bool {
		switch {
		case !ofFamily(a, d.family):
			return false
		case a.IsLoopback() && (native || d.family == nat.IPv6 && d.release.NoIPv6Loopback):
			return false
		case a.IsLoopback() && d.family == nat.IPv4 && d.release.LocalhostNodePorts && !d.config.LocalhostNodePorts:
			return false
		}
		return d.nodePorts.all || slices.Contains(d.nodePorts.addresses, a)
	}, nil
}

// LocalhostListener reports whether a kube-proxy in nftables mode itself listens at 127.0.0.1 for the node ports of TCP, and carries what it
// takes there to an endpoint: by the gate KubeProxyNFTablesLocalhostNodePorts, where a loopback network is among nodePortAddresses. Errors are
// those of Tables.
func LocalhostListener(c topology.Cluster, node string, o Options) (bool, error) {
	w, err := newNFTWriter(c, node, o)
	if err != nil {
		return false, err
	}
	return w.gate && w.family == nat.IPv4 && !slices.Contains(w.reject, "tcp"), nil
}
