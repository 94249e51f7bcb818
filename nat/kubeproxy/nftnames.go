package kubeproxy

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// NFTTable is the name of the table of nftables mode.
const NFTTable = "kube-proxy"

// What every node has in it.
const (
	servicesChain          = "services"
	masqueradingChain      = "masquerading"
	markMasqueradeChain    = "mark-for-masquerade"
	rejectChain            = "reject-chain"
	clusterIPsCheck        = "cluster-ips-check"
	firewallCheck          = "firewall-check"
	serviceEndpointsCheck  = "service-endpoints-check"
	nodePortEndpointsCheck = "nodeport-endpoints-check"
	localhostReject        = "localhost-nodeport-reject-"   // and the protocol
	localhostRejected      = "localhost-nodeport-rejected-" // a counter

	hairpinSet           = "hairpin-connections"
	clusterIPsSet        = "cluster-ips"
	nodePortIPsSet       = "nodeport-ips"
	noEndpointServices   = "no-endpoint-services"
	noEndpointNodePorts  = "no-endpoint-nodeports"
	localhostRejectPorts = "localhost-nodeport-reject-ports"
	firewallIPsMap       = "firewall-ips"
	serviceIPsMap        = "service-ips"
	serviceNodePortsMap  = "service-nodeports"
)

// The chains and sets of one Service port, each with a base of servicePortBase or endpointBase behind it.
const (
	clusterPrefix  = "service-"
	localPrefix    = "local-"
	externalPrefix = "external-"
	firewallPrefix = "firewall-"
	endpointPrefix = "endpoint-"
	affinityPrefix = "affinity-"
)

// nftBaseLength is how long a base may be: 256 bytes for a name, 16 of them for what stands in front.
const nftBaseLength = 240

// servicePortBase is what the names of a Service port's chains have in common: "X546UWPH-default/web/tcp/p".
func servicePortBase(namespace, service, protocol, port string) string {
	return hashedBase(strings.Join([]string{namespace, service, protocol, port}, "/"))
}

// endpointBase is the same for one endpoint, given as address:port: "ZIGWVK2O-default/web/tcp/p__10.244.0.5/8080". An IPv6 address
// has dots for colons, which a name cannot have.
func endpointBase(namespace, service, protocol, port, endpoint string) string {
	colon := strings.LastIndexByte(endpoint, ':')
	host, number := strings.Trim(endpoint[:colon], "[]"), endpoint[colon+1:]
	return hashedBase(strings.Join([]string{namespace, service, protocol, port}, "/") + "__" + strings.ReplaceAll(host, ":", ".") + "/" + number)
}

// hashedBase puts eight characters of base32(sha256) in front of a name, and cuts it where it is too long.
func hashedBase(name string) string {
	sum := sha256.Sum256([]byte(name))
	var hash [8]byte
	base32.StdEncoding.Encode(hash[:], sum[:5])
	if len(name) > nftBaseLength-9 {
		name = name[:nftBaseLength-9-3] + "..."
	}
	return string(hash[:]) + "-" + name
}

// ofServicePort reports whether a chain is one of a Service port (isServiceChainName).
func ofServicePort(chain string) bool { return strings.Contains(chain, "/") }
