package topology

import (
	"net/netip"
	"time"
)

// Cluster is what the input describes, checked and complete: every reference resolves, every list is sorted or
// in the order of the input where that order means something. It holds no pointers into Kubernetes objects.
type Cluster struct {
	Name          string         `json:"name"` // the lab's name; a DNS label
	Underlay      Underlay       `json:"underlay,omitzero"`
	PodNetwork    PodNetwork     `json:"podNetwork,omitzero"`
	Nodes         []Node         `json:"nodes"`
	Pods          []Pod          `json:"pods"`
	Services      []Service      `json:"services"`
	Clients       []Client       `json:"clients,omitzero"`
	LoadBalancers []LoadBalancer `json:"loadBalancers,omitzero"`
	KubeProxy     KubeProxy      `json:"kubeProxy,omitzero"`
	NAT           string         `json:"nat,omitzero"`          // the nodes', from the Lab document: "mapping=endpoint-independent,..."; "" for Linux's own
	ServiceCIDRs  []netip.Prefix `json:"serviceCIDRs,omitzero"` // of the ServiceCIDR objects, sorted, each once
}

// Underlay is the network between the nodes.
type Underlay struct {
	CIDRs     []netip.Prefix `json:"cidrs,omitzero"`     // one a family, the primary one first; none in a cluster that only `rules` can use
	Gateways  []netip.Addr   `json:"gateways,omitzero"`  // the nodes' default routes, addresses of the lab's router; in the order of CIDRs
	Interface string         `json:"interface,omitzero"` // the nodes' device on it; "eth0" where the Lab document is silent
	MTU       int            `json:"mtu,omitzero"`       // bytes; 1500 where the Lab document is silent
}

// PodNetwork is the network of the pods.
type PodNetwork struct {
	CIDRs    []netip.Prefix `json:"cidrs,omitzero"` // one a family
	Overlay  Overlay        `json:"overlay"`        // of IPv4
	Overlay6 Overlay        `json:"overlay6"`       // of IPv6: VXLAN or None; IPIP, which cannot carry it, stands for None
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
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels,omitzero"`
	Addresses       []netip.Addr      `json:"addresses,omitzero"`       // InternalIP addresses, in the order of the Node object; the first of a family is the primary one
	ExternalIPs     []netip.Addr      `json:"externalIPs,omitzero"`     // ExternalIP addresses of a Node that has InternalIP ones, which come before them
	PodCIDRs        []netip.Prefix    `json:"podCIDRs,omitzero"`        // spec.podCIDRs
	PodBlocks       []netip.Prefix    `json:"podBlocks,omitzero"`       // Calico's address blocks, from the Lab document; PodCIDRs where it is silent
	TunnelAddresses []netip.Addr      `json:"tunnelAddresses,omitzero"` // of tunl0 or vxlan.calico, and of vxlan-v6.calico: one a family; the first address of the first block where the Lab document is silent
	DeviceAddrs     []netip.Addr      `json:"deviceAddrs,omitzero"`     // further addresses that its devices have, such as a bridge's; a twin's alone, of what was dumped
	IPTables        string            `json:"iptables,omitzero"`        // the version that the node's console has, from the Lab document; "" for what is installed
	KubeProxy       string            `json:"kubeProxy,omitzero"`       // status.nodeInfo.kubeProxyVersion, may be ""
}

// Pod is a pod that runs, or one natlab made up for an endpoint without a pod.
type Pod struct {
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
	Node        string       `json:"node,omitzero"`
	IPs         []netip.Addr `json:"ips,omitzero"`
	HostNetwork bool         `json:"hostNetwork,omitzero"` // it shares its node's namespace and addresses
	HostPorts   []HostPort   `json:"hostPorts,omitzero"`   // of its containers
	Invented    bool         `json:"invented,omitzero"`    // no Pod object: made up for an endpoint address on its nodeName
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
	Namespace           string            `json:"namespace"`
	Name                string            `json:"name"`
	Type                ServiceType       `json:"type"`
	ClusterIPs          []netip.Addr      `json:"clusterIPs,omitzero"` // one a family
	ExternalIPs         []netip.Addr      `json:"externalIPs,omitzero"`
	Ingress             []Ingress         `json:"ingress,omitzero"`      // status.loadBalancer.ingress entries that have an IP
	SourceRanges        []netip.Prefix    `json:"sourceRanges,omitzero"` // spec.loadBalancerSourceRanges, trimmed; masked as written (kube-proxy keeps host bits out)
	InternalPolicy      TrafficPolicy     `json:"internalPolicy,omitzero"`
	ExternalPolicy      TrafficPolicy     `json:"externalPolicy,omitzero"`
	AffinitySeconds     int32             `json:"affinitySeconds,omitzero"`     // sessionAffinity ClientIP: its timeout in seconds; 0 for None
	HealthCheckNodePort uint16            `json:"healthCheckNodePort,omitzero"` // 0 for none
	TopologyMode        string            `json:"topologyMode,omitzero"`        // the service.kubernetes.io/topology-mode (or older topology-aware-hints) annotation's value
	TrafficDistribution string            `json:"trafficDistribution,omitzero"` // spec.trafficDistribution: "", PreferClose, PreferSameZone, PreferSameNode
	Annotations         map[string]string `json:"annotations,omitzero"`
	HeadlessLabel       bool              `json:"headlessLabel,omitzero"` // it has the label service.kubernetes.io/headless: kube-proxy passes it over until 1.35
	Ports               []ServicePort     `json:"ports"`
}

// Ingress is one address a load balancer hands out for a Service.
type Ingress struct {
	IP     netip.Addr `json:"ip,omitzero"`
	IPMode string     `json:"ipMode,omitzero"` // "", "VIP" or "Proxy" (kube-proxy 1.29 and later program nothing for Proxy)
}

// ServicePort is a port of a Service, with its endpoints.
type ServicePort struct {
	Name      string     `json:"name"`
	Protocol  string     `json:"protocol"` // "TCP", "UDP", "SCTP"
	Port      uint16     `json:"port"`
	NodePort  uint16     `json:"nodePort,omitzero"`  // 0 for none
	Endpoints []Endpoint `json:"endpoints,omitzero"` // one for each address and port, sorted by their text
	Listed    []Endpoint `json:"listed,omitzero"`    // where an address stands twice: all that the slices have, in their order; kube-proxy's releases choose differently (kubernetes#135266)
}

// Endpoint is one address behind a ServicePort, from an EndpointSlice.
type Endpoint struct {
	Addr        netip.AddrPort `json:"addr"`
	Written     string         `json:"written,omitzero"` // the address as its EndpointSlice spells it, where that is not how Addr prints: old kube-proxies name chains by it
	Node        string         `json:"node,omitzero"`    // nodeName, may be ""
	Pod         string         `json:"pod,omitzero"`     // "NAMESPACE/NAME" of the pod that has the address; "" for a host outside of the cluster (a Client); from LoadForRules only what a targetRef has
	Zone        string         `json:"zone,omitzero"`
	OtherProxy  bool           `json:"otherProxy,omitzero"` // its slice has the label service.kubernetes.io/service-proxy-name: kube-proxy passes it over until 1.35
	Slice       int            `json:"slice,omitzero"`      // in ServicePort.Listed: which of the Service's EndpointSlices has it, from 0
	Ready       bool           `json:"ready,omitzero"`
	Serving     bool           `json:"serving,omitzero"`
	Terminating bool           `json:"terminating,omitzero"`
	ZoneHints   []string       `json:"zoneHints,omitzero"` // hints.forZones names, sorted
	NodeHints   []string       `json:"nodeHints,omitzero"` // hints.forNodes names, sorted
}

// Client is an outside client, from the Lab document, or a host outside of the cluster that is an endpoint.
type Client struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`         // one a family at most; on the underlay, or behind the router
	Invented  bool         `json:"invented,omitzero"` // made up for an endpoint without a node; it has the address of Endpoint.Addr
}

// LoadBalancer is which node answers ARP, or neighbour solicitations, for a load balancer's address.
type LoadBalancer struct {
	Address     netip.Addr `json:"address"`
	AnnouncedBy string     `json:"announcedBy,omitzero"` // a node
}

// KubeProxy is how kube-proxy runs in this cluster: the KubeProxyConfiguration plus the Lab document's
// spec.kubeProxy. Zero values are kube-proxy's defaults unless noted otherwise.
type KubeProxy struct {
	Release            string          `json:"release,omitzero"` // one of Releases; "" means: from the nodes, else the newest
	Version            string          `json:"version,omitzero"` // the patch release that Release was read from, "v1.33.4"; "" where none was named
	Mode               string          `json:"mode,omitzero"`    // "nftables"; "" means iptables
	Backend            string          `json:"backend,omitzero"` // "iptables-legacy" (default) or "iptables-nft"
	HostnameOverride   string          `json:"hostnameOverride,omitzero"`
	Configured         bool            `json:"configured,omitzero"` // there is a KubeProxyConfiguration
	ClusterCIDRs       []netip.Prefix  `json:"clusterCIDRs,omitzero"`
	NodePortAddresses  []string        `json:"nodePortAddresses,omitzero"` // CIDRs, "primary", "localhost" or "all"
	DetectLocalMode    string          `json:"detectLocalMode,omitzero"`   // "" means ClusterCIDR
	BridgeInterface    string          `json:"bridgeInterface,omitzero"`   // detectLocal.bridgeInterface
	InterfacePrefix    string          `json:"interfacePrefix,omitzero"`   // detectLocal.interfaceNamePrefix
	MasqueradeAll      bool            `json:"masqueradeAll,omitzero"`
	MasqueradeBit      int32           `json:"masqueradeBit,omitzero"`      // -1: not set, kube-proxy's 14
	LocalhostNodePorts bool            `json:"localhostNodePorts,omitzero"` // default true
	BindAddress        netip.Addr      `json:"bindAddress,omitzero"`
	TCPBeLiberal       bool            `json:"tcpBeLiberal,omitzero"` // conntrack.tcpBeLiberal: no INVALID drop rule since 1.29
	FeatureGates       map[string]bool `json:"featureGates,omitzero"`
	StrictARP          bool            `json:"strictARP,omitzero"`  // ipvs.strictARP: a node answers ARP on no device for what kube-ipvs0 alone has
	SyncPeriod         time.Duration   `json:"syncPeriod,omitzero"` // iptables.syncPeriod, in nanoseconds; 0 where there is no configuration: kube-proxy's 30 s
}
