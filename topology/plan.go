package topology

import "net/netip"

// Plan is the cluster as namespaces, devices, addresses and routes: everything that Up has to make, in the order
// in which it can be made, and everything an emulator has to know of the wiring. The same Cluster gives the same
// Plan to the byte.
//
//	client outside      node vms100                       node vms105
//	     |eth0         ens32|  |tunl0  cali..|           ens32|  |tunl0  cali..|
//	     |                  |  +-- ipip -----|----------------|--+             |
//	 ====+==================+=== br0 in the namespace "underlay" ===+===       |
//	                        |                    |                          eth0|
//	                     router 192.168.26.2   ...                        pod velero/minio
type Plan struct {
	Lab        string
	Overlay    Overlay
	Namespaces []Namespace
}

// Kind says what a namespace stands for.
type Kind uint8

// The kinds of namespace.
const (
	KindUnderlay Kind = iota // the switch: one bridge, no addresses
	KindRouter               // the nodes' default gateway
	KindNode
	KindPod
	KindClient
)

// Namespace is one network namespace with all that belongs into it.
type Namespace struct {
	Name       string // as `ip netns` lists it: LAB.MEMBER, with "/" of a pod's member name as "."
	Member     string // a node's name, "NAMESPACE/POD", a client's name, "router", "underlay"
	Kind       Kind
	Node       string // for a pod: its node
	Devices    []Device
	Addresses  []Address
	Routes     []Route
	Neighbours []Neighbour // static and proxy entries
	Sysctls    []Sysctl    // sorted by key
}

// DeviceKind is the rtnetlink kind of a device.
type DeviceKind uint8

// The kinds of device. A veth pair is in the Plan once at each end; the end whose Create is true makes both.
const (
	Loopback DeviceKind = iota
	Veth
	Bridge
	TunnelIPIP // tunl0: the kernel's ipip device, or a TUN device served by the userspace tunnel
	TunnelVXLAN
)

// Device is a network device in a namespace.
type Device struct {
	Name   string
	Kind   DeviceKind
	MTU    int    // bytes; 0 leaves the kernel's
	MAC    string // "" leaves it to the kernel
	Master string // the bridge it is a port of, in the same namespace
	// Peer is a veth's other end.
	Peer   Peer
	Create bool // for a veth: this end makes the pair
	// VNI, Port, Parent and Local are a VXLAN device's.
	VNI    int
	Port   uint16
	Parent string
	Local  netip.Addr // also a tunl0's outer source address
}

// Peer names a device in another namespace.
type Peer struct {
	Namespace string // Namespace.Name
	Device    string
}

// Address is an address on a device.
type Address struct {
	Device string
	Prefix netip.Prefix // the address with its prefix length, host bits kept
	Scope  Scope
}

// Scope is rtnetlink's address or route scope.
type Scope uint8

// The scopes natlab uses.
const (
	ScopeGlobal Scope = iota
	ScopeLink
	ScopeHost
)

// RouteType is rtnetlink's route type.
type RouteType uint8

// The route types natlab uses.
const (
	Unicast RouteType = iota
	Blackhole
)

// Route is an entry of the main table.
type Route struct {
	Type     RouteType
	Dst      netip.Prefix // 0.0.0.0/0 for the default route
	Via      netip.Addr   // invalid: directly on the device
	Device   string
	Src      netip.Addr // invalid: left to the kernel
	Scope    Scope
	Protocol string // "bird", "kernel", "boot", "static"; "" is boot, as ip(8) has it
	Onlink   bool
}

// Neighbour is a static ARP or FDB entry, or a proxy one.
type Neighbour struct {
	Device string
	IP     netip.Addr // invalid for an FDB entry without one
	MAC    string
	Proxy  bool // answer ARP for IP on this device (ip neigh add proxy)
	FDB    bool // a bridge-table entry of a VXLAN device: MAC is reached at Remote
	Remote netip.Addr
}

// Sysctl is a setting under /proc/sys of the namespace.
type Sysctl struct {
	Key   string // "net/ipv4/ip_forward": with slashes, since device names may have dots
	Value string
}
