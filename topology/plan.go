package topology

import "net/netip"

// Plan is the cluster as namespaces, devices, addresses and routes: everything that Up has to make, in the order
// in which it can be made, and everything an emulator has to know of the wiring. The same Cluster gives the same
// Plan to the byte.
//
// What the kernel makes by itself is not in it: 127.0.0.1/8 and ::1 on lo, and the connected route and the local one of
// each address.
//
//	client outside      node vms100                       node vms105
//	     |eth0         ens32|  |tunl0  cali..|           ens32|  |tunl0  cali..|
//	     |                  |  +-- ipip -----|----------------|--+             |
//	 ====+==================+=== br0 in the namespace "underlay" ===+===       |
//	                        |                    |                          eth0|
//	                     router 192.168.26.2   ...                        pod velero/minio
type Plan struct {
	Lab        string      `json:"lab"`
	Overlay    Overlay     `json:"overlay"`    // of IPv4
	Families   []Family    `json:"families"`   // the primary one first
	Namespaces []Namespace `json:"namespaces"` // underlay, router, nodes, pods, clients
}

// Kind is what a namespace stands for.
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
	Name       string      `json:"name"`   // as `ip netns` lists it: LAB.MEMBER, with "/" of a pod's member name as "."
	Member     string      `json:"member"` // a node's name, "NAMESPACE/POD", a client's name, "router", "underlay"
	Kind       Kind        `json:"kind"`
	Node       string      `json:"node,omitzero"` // for a pod its node, for a node itself
	Devices    []Device    `json:"devices,omitzero"`
	Addresses  []Address   `json:"addresses,omitzero"`
	Routes     []Route     `json:"routes,omitzero"`
	Neighbours []Neighbour `json:"neighbours,omitzero"` // static and proxy entries
	Sysctls    []Sysctl    `json:"sysctls,omitzero"`    // sorted by key

	// Rules are a node's rules of routing as it is; a Plan has none but the kernel's own.
	Rules []RoutingRule `json:"-"`
	// Unruled are routes of a node in words whose tables no rule of routing leads to as far as it is told, where none is.
	Unruled []Route `json:"-"`
	// Others are the routes with several next hops of a node in words once more, by each but the first of them: Routes have that one.
	Others []Route `json:"-"`
	// Dumped: it is as a node's own programs printed it. Its addresses bring no routes, its Rules are all that there are, and what a kernel
	// cannot make of it is passed over and noted.
	Dumped bool `json:"-"`
}

// Title names a namespace in an error: "node vms105", "pod velero/minio-b6d98746c-m7rzc", "router".
func (n Namespace) Title() string {
	switch n.Kind {
	case KindNode, KindPod, KindClient:
		return n.Kind.String() + " " + n.Member
	case KindUnderlay, KindRouter:
	}
	return n.Member
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
	PointToPoint // WireGuard, TUN, PPP and others whose packets have no Ethernet header and go to one peer each; no Plan has any
)

// KindSource is what tells of which kind a device is.
type KindSource uint8

// What can tell. The zero one is a Plan, or the kernel.
const (
	KindTold   KindSource = iota
	KindByName            // nothing but what devices of this name are by custom
	KindOpen              // nothing: Device.Kind is that of any other device
)

// Switch is a setting that may be not known.
type Switch uint8

// The positions.
const (
	SwitchOpen Switch = iota // not known
	SwitchOff
	SwitchOn
)

// Device is a network device in a namespace.
type Device struct {
	Name   string     `json:"name"`
	Kind   DeviceKind `json:"kind"`
	MTU    int        `json:"mtu,omitzero"`    // bytes; 0 leaves the kernel's
	MAC    string     `json:"mac,omitzero"`    // "" leaves it to the kernel
	Down   bool       `json:"down,omitzero"`   // of a device as it is: it is not up, or it is gone; a Plan's are up
	Master string     `json:"master,omitzero"` // the bridge it is a port of, in the same namespace
	// Peer is a veth's other end.
	Peer Peer `json:"peer,omitzero"`
	// KindFrom and what follows are of a device as it is. A Plan tells nothing of them.
	KindFrom KindSource `json:"-"`
	Hairpin  Switch     `json:"-"` // of a bridge's port: what came in by it may leave by it
	// Behind are hosts that a bridge's port leads to, as far as it is told.
	Behind []netip.Addr `json:"-"`
	Calls  Switch       `json:"-"` // of a bridge: nf_call_iptables, which counts where br_netfilter is there
	Calls6 Switch       `json:"-"` // nf_call_ip6tables
	// Upon: of a macvlan or ipvlan: the device that it is on top of.
	Upon string `json:"-"`
	// Bears is a hardware address that it hears besides its own and those of the node's other devices: of a macvlan or macvtap on top of it, whose other
	// end is a pod or a virtual machine.
	Bears string `json:"-"`
	// Met are hosts that have told the node their hardware address there, none of them one that the device bears.
	Met []netip.Addr `json:"-"`
	// Filters: of a bridge: vlan_filtering is on, and which VLANs its ports are in is not known.
	Filters bool `json:"-"`
	Create  bool `json:"create,omitzero"` // for a veth: this end makes the pair
	// VNI, Port, Parent and Local are a VXLAN device's.
	VNI    int        `json:"vni,omitzero"`
	Port   uint16     `json:"port,omitzero"`
	Parent string     `json:"parent,omitzero"`
	Local  netip.Addr `json:"local,omitzero"` // also a tunl0's outer source address
}

// Peer names a device in another namespace.
type Peer struct {
	Namespace string `json:"namespace"` // Namespace.Name
	Device    string `json:"device"`
}

// Address is an address on a device.
type Address struct {
	Device string       `json:"device"`
	Prefix netip.Prefix `json:"prefix"` // the address with its prefix length, host bits kept
	Scope  Scope        `json:"scope,omitzero"`
	// NoRoute: no route to the address's network comes with it (noprefixroute). A Plan's addresses have one.
	NoRoute bool `json:"-"`
	// Deprecated: its preferred lifetime is over, and it is no source of IPv6 where there is another. None of a Plan is.
	Deprecated bool `json:"-"`
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
	Unicast     RouteType = iota
	Blackhole             // thrown away in silence
	Unreachable           // answered: the host cannot be reached, in IPv6 that there is no route
	Prohibit              // answered: administratively prohibited
	Throw                 // as if the table had no route
)

// Route is an entry of a table of routes; a Plan's are of the main one.
type Route struct {
	Type     RouteType    `json:"type"`
	Dst      netip.Prefix `json:"dst,omitzero"` // 0.0.0.0/0 for the default route
	Via      netip.Addr   `json:"via,omitzero"` // invalid: directly on the device
	Device   string       `json:"device,omitzero"`
	Src      netip.Addr   `json:"src,omitzero"` // invalid: left to the kernel
	Scope    Scope        `json:"scope,omitzero"`
	Protocol string       `json:"protocol,omitzero"` // "bird", "kernel", "boot", "static"; "" is boot, as ip(8) has it
	Onlink   bool         `json:"onlink,omitzero"`
	Table    string       `json:"-"` // "" is main
}

// Neighbour is a static ARP or FDB entry, or a proxy one.
type Neighbour struct {
	Device string     `json:"device"`
	IP     netip.Addr `json:"ip,omitzero"` // invalid for an FDB entry without one
	MAC    string     `json:"mac,omitzero"`
	Proxy  bool       `json:"proxy,omitzero"` // answer ARP or neighbour solicitations for IP on this device (ip neigh add proxy)
	FDB    bool       `json:"fdb,omitzero"`   // a bridge-table entry of a VXLAN device: MAC is reached at Remote
	Remote netip.Addr `json:"remote,omitzero"`
}

// Sysctl is a setting under /proc/sys of the namespace. One without a Device has to be made before the
// namespace's devices, which take their own from "default" as they appear; one with a Device after it.
type Sysctl struct {
	Device string `json:"device,omitzero"` // whose setting it is
	Key    string `json:"key"`             // "net/ipv4/ip_forward": with slashes, since device names may have dots
	Value  string `json:"value"`
}
