package topology

import "net/netip"

// Cluster is what the input describes, checked and complete: every reference resolves, every list is sorted or
// in the order of the input where that order means something. It holds no pointers into Kubernetes objects.
type Cluster struct {
	Name          string // the lab's name; a DNS label
	Underlay      Underlay
	PodNetwork    PodNetwork
	Nodes         []Node
	Pods          []Pod
	Services      []Service
	Clients       []Client
	LoadBalancers []LoadBalancer
	KubeProxy     KubeProxy
}

// Underlay is the network between the nodes.
type Underlay struct {
	CIDR      netip.Prefix // the zero Prefix in a cluster that only `rules` can use
	Gateway   netip.Addr   // the nodes' default route, an address of the lab's router
	Interface string       // the nodes' device on it; "eth0" where the Lab document is silent
	MTU       int          // bytes; 1500 where the Lab document is silent
}

// PodNetwork is the network of the pods.
type PodNetwork struct {
	CIDR    netip.Prefix
	Overlay Overlay
}

// Overlay is how a packet for a pod of another node crosses the underlay.
type Overlay uint8

// The overlays. The zero value is the reference cluster's.
const (
	IPIP  Overlay = iota // Calico IPIP: tunl0, IP protocol 4
	VXLAN                // vxlan.calico, UDP port 4789
	None                 // plain routes over the underlay
)

// Node is a machine of the cluster.
type Node struct {
	Name          string
	Labels        map[string]string
	Addresses     []netip.Addr   // InternalIP addresses, in the order of the Node object; the first of a family is the primary one
	PodCIDRs      []netip.Prefix // spec.podCIDRs
	PodBlocks     []netip.Prefix // Calico's address blocks, from the Lab document; PodCIDRs where it is silent
	TunnelAddress netip.Addr     // of tunl0 or vxlan.calico; the first address of the first block where the Lab document is silent
	KubeProxy     string         // status.nodeInfo.kubeProxyVersion, may be ""
}

// Pod is a pod that runs, or one natlab made up for an endpoint without a pod.
type Pod struct {
	Namespace   string
	Name        string
	Node        string
	IPs         []netip.Addr
	HostNetwork bool // it shares its node's namespace and addresses
	Invented    bool // no Pod object: made up for an endpoint address on its nodeName
}

// ServiceType is a Service's type after kube-proxy's eyes: a headless Service and an ExternalName one never
// come this far.
type ServiceType uint8

// The Service types.
const (
	ClusterIP ServiceType = iota
	NodePort
	LoadBalancerType
)

// TrafficPolicy is internalTrafficPolicy or externalTrafficPolicy.
type TrafficPolicy uint8

// The traffic policies.
const (
	PolicyCluster TrafficPolicy = iota
	PolicyLocal
)

// Service is one Service object with the endpoints of each of its ports.
type Service struct {
	Namespace           string
	Name                string
	Type                ServiceType
	ClusterIPs          []netip.Addr // one a family
	ExternalIPs         []netip.Addr
	Ingress             []Ingress      // status.loadBalancer.ingress entries that have an IP
	SourceRanges        []netip.Prefix // spec.loadBalancerSourceRanges, trimmed; masked as written (kube-proxy keeps host bits out)
	InternalPolicy      TrafficPolicy
	ExternalPolicy      TrafficPolicy
	AffinitySeconds     int32  // sessionAffinity ClientIP: its timeout in seconds; 0 for None
	HealthCheckNodePort uint16 // 0 for none
	TopologyMode        string // the service.kubernetes.io/topology-mode (or older topology-aware-hints) annotation's value
	TrafficDistribution string // spec.trafficDistribution: "", PreferClose, PreferSameZone, PreferSameNode
	Annotations         map[string]string
	Ports               []ServicePort
}

// Ingress is one address a load balancer hands out for a Service.
type Ingress struct {
	IP     netip.Addr
	IPMode string // "", "VIP" or "Proxy" (kube-proxy 1.29 and later program nothing for Proxy)
}

// ServicePort is a port of a Service, with its endpoints.
type ServicePort struct {
	Name      string
	Protocol  string // "TCP", "UDP", "SCTP"
	Port      uint16
	NodePort  uint16 // 0 for none
	Endpoints []Endpoint
}

// Endpoint is one address behind a ServicePort, from an EndpointSlice.
type Endpoint struct {
	Addr        netip.AddrPort
	Node        string // nodeName, may be ""
	Pod         string // "NAMESPACE/NAME" of the pod that has the address, "" in a cluster that only `rules` can use
	Zone        string
	Ready       bool
	Serving     bool
	Terminating bool
	ZoneHints   []string // hints.forZones names, sorted
	NodeHints   []string // hints.forNodes names, sorted
}

// Client is an outside client, from the Lab document.
type Client struct {
	Name    string
	Address netip.Addr // on the underlay, or behind the router
}

// LoadBalancer says which node answers ARP for a load balancer's address.
type LoadBalancer struct {
	Address     netip.Addr
	AnnouncedBy string // a node
}

// KubeProxy is how kube-proxy runs in this cluster: the KubeProxyConfiguration plus the Lab document's
// spec.kubeProxy. Zero values are kube-proxy's defaults unless said otherwise.
type KubeProxy struct {
	Release            string // "v1.25", "v1.28" or "v1.37"; "" means: from the nodes, else the newest
	Backend            string // "iptables-legacy" (default) or "iptables-nft"
	HostnameOverride   string
	ClusterCIDRs       []netip.Prefix
	NodePortAddresses  []string // CIDRs, or "primary" alone
	DetectLocalMode    string   // "" means ClusterCIDR
	BridgeInterface    string   // detectLocal.bridgeInterface
	InterfacePrefix    string   // detectLocal.interfaceNamePrefix
	MasqueradeAll      bool
	MasqueradeBit      int32 // -1: not set, kube-proxy's 14
	LocalhostNodePorts bool  // default true
	BindAddress        netip.Addr
	TCPBeLiberal       bool // conntrack.tcpBeLiberal: no INVALID drop rule since 1.29
	FeatureGates       map[string]bool
}
