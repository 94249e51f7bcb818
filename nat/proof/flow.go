package proof

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
)

// Access is the kind of address by which a Service port is reached.
type Access uint8

// The kinds of address.
const (
	ByClusterIP    Access = iota // the Service's cluster IP and port
	ByNodePort                   // a node's address and the node port
	ByLoadBalancer               // status.loadBalancer.ingress
	ByExternalIP                 // spec.externalIPs
	ByHealthCheck                // a node's address and the Service's healthCheckNodePort
	ByNothing                    // a node's address and a port that no Service has: the node itself has to refuse it
	ByAddress                    // any address that somebody wants to have asked
	ByHostPort                   // an address of a Pod's node and a hostPort of the Pod
)

var accessNames = [...]string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalIP", "health check", "no Service", "address", "hostPort"}

func (a Access) String() string {
	if int(a) < len(accessNames) {
		return accessNames[a]
	}
	return fmt.Sprintf("access(%d)", uint8(a))
}

// MarshalText makes an access its name in JSON.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Access) UnmarshalText(b []byte) error {
	for i, name := range accessNames {
		if name == string(b) {
			*a = Access(i)
			return nil
		}
	}
	return fmt.Errorf("type %q: want one of %s", b, strings.Join(accessNames[:], ", "))
}

// Vantage is the kind of client, as seen from the endpoints of the Service.
type Vantage uint8

// The kinds of client.
const (
	FromOutside          Vantage = iota // a client that is not of the cluster
	FromEndpointNode                    // a process on a node that has an endpoint, a host-network pod's included
	FromOtherNode                       // a process on a node without one
	FromPodBesideIt                     // a pod on a node that has an endpoint
	FromPodElsewhere                    // a pod on a node without one
	FromEndpointItself                  // a pod that is itself an endpoint: the way back to itself is the hairpin
	FromLoopback                        // a process on a node, to the node's own 127.0.0.1
	FromHostNetworkedPod                // a pod that shares its node's namespace and addresses
)

var vantageNames = [...]string{
	"outside", "node with endpoint", "node without endpoint", "pod on an endpoint's node", "pod on another node", "endpoint pod",
	"node's loopback", "host-network pod",
}

func (v Vantage) String() string {
	if int(v) < len(vantageNames) {
		return vantageNames[v]
	}
	return fmt.Sprintf("vantage(%d)", uint8(v))
}

// MarshalText makes a vantage its name in JSON.
func (v Vantage) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Vantage) UnmarshalText(b []byte) error {
	for i, name := range vantageNames {
		if name == string(b) {
			*v = Vantage(i)
			return nil
		}
	}
	return fmt.Errorf("vantage %q is not known", b)
}

// Flow is one question a client asks: who asks for what, at which address.
type Flow struct {
	Name     string         `json:"name"`     // stable and unique in a lab: "outside -> NodePort vms100:30450 tcp velero/minio:console"
	Service  string         `json:"service"`  // "velero/minio:console"; "" for ByNothing, ByAddress and ByHostPort
	Type     Access         `json:"type"`     // the kind of address asked
	Client   string         `json:"client"`   // the member that asks, a host-network pod by its own name
	From     string         `json:"from"`     // the member in whose namespace it asks: Client, or the node of a host-network pod
	Vantage  Vantage        `json:"vantage"`  //
	Source   netip.Addr     `json:"source"`   // the address it asks from
	Target   netip.AddrPort `json:"target"`   // the address it asks
	Protocol nat.Proto      `json:"protocol"` // TCP or UDP
}
