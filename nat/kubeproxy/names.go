package kubeproxy

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// The chains that every node has.
const (
	chainServices         = "KUBE-SERVICES"
	chainExternalServices = "KUBE-EXTERNAL-SERVICES"
	chainNodePorts        = "KUBE-NODEPORTS"
	chainPostrouting      = "KUBE-POSTROUTING"
	chainMarkMasq         = "KUBE-MARK-MASQ"
	chainForward          = "KUBE-FORWARD"
	chainProxyFirewall    = "KUBE-PROXY-FIREWALL"
	chainCanary           = "KUBE-PROXY-CANARY"
	chainKubeletFirewall  = "KUBE-FIREWALL"
)

// PortName names a Service port: "namespace/service:port", without the colon where the port has no name.
func PortName(namespace, service, port string) string {
	if port == "" {
		return namespace + "/" + service
	}
	return namespace + "/" + service + ":" + port
}

// ServiceHash is the hash in the names of a Service port's chains: KUBE-SVC-, KUBE-SVL-, KUBE-EXT- and KUBE-FW-. The
// protocol is in any case.
func ServiceHash(portName, protocol string) string { return hash(portName + strings.ToLower(protocol)) }

// EndpointChain is the name of the chain that sends a Service port's packets to one endpoint, given as address:port.
func EndpointChain(portName, protocol, endpoint string) string {
	return "KUBE-SEP-" + hash(portName+strings.ToLower(protocol)+endpoint)
}

// hash is 16 characters of base32(sha256), which keeps a chain's name within the kernel's 28.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	var text [16]byte
	base32.StdEncoding.Encode(text[:], sum[:10])
	return string(text[:])
}
