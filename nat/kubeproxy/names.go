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
func ServiceHash(portName, protocol string) string {
	return hashed("", portName, strings.ToLower(protocol), "")
}

// EndpointChain is the name of the chain that sends a Service port's packets to one endpoint, given as address:port.
func EndpointChain(portName, protocol, endpoint string) string {
	return hashed("KUBE-SEP-", portName, strings.ToLower(protocol), endpoint)
}

// hashed is prefix and 16 characters of base32(sha256), which keeps a chain's name within the kernel's 28.
func hashed(prefix, portName, protocol, endpoint string) string {
	var in [256]byte // on the stack: most names fit
	sum := sha256.Sum256(append(append(append(in[:0], portName...), protocol...), endpoint...))
	var out [32]byte
	n := copy(out[:16], prefix)
	base32.StdEncoding.Encode(out[n:], sum[:10])
	return string(out[:n+16])
}
