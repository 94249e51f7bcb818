package kubeproxy

import (
	"errors"
	"fmt"
	"strings"
)

// Release is what one release of kube-proxy does differently from another. Everything that differs is here, as data.
type Release struct {
	Name string // "v1.25"

	// KubeletFirewall: it keeps a copy of kubelet's KUBE-FIREWALL chain with the rule against martian packets for
	// 127.0.0.0/8 (kubernetes#116471, since 1.27), and knows localhostNodePorts.
	KubeletFirewall bool
	// FirewallNote: KUBE-FW ends in a rule without a target that says who drops the rest (since 1.26).
	FirewallNote bool
	// Accounting: rules that drop INVALID packets, and that take localhost node ports, count in nfacct objects (since 1.32).
	Accounting bool
	// LiberalConntrack: no rule against INVALID packets where nf_conntrack_tcp_be_liberal is set (since 1.29).
	LiberalConntrack bool
	// ZeroRangeIsNone: a loadBalancerSourceRanges entry of prefix length 0 means no source ranges.
	ZeroRangeIsNone bool
	// ExternalIPsHavePolicy: externalTrafficPolicy counts for a ClusterIP Service with externalIPs.
	ExternalIPsHavePolicy bool
	// NodePortsNeedAddress: without a node address of the family in nodePortAddresses, node ports have no rules at all.
	NodePortsNeedAddress bool
	// NoIPv6Loopback: [::1]:nodePort is kept out of KUBE-NODEPORTS.
	NoIPv6Loopback bool
	// WrittenAddresses: endpoints are named and sorted by their addresses as the EndpointSlices spell them (until 1.30).
	WrittenAddresses bool
	// Terminating is the default of the gate ProxyTerminatingEndpoints; GateTerminating is whether there is one.
	Terminating, GateTerminating bool
	// Hints is how topology hints are asked for.
	Hints HintsMode
	// NodeIP is how the node's own address is found for loadBalancerSourceRanges.
	NodeIP NodeIPMode
	// ProxyIngress: an ingress with ipMode Proxy gets no rules (since 1.29).
	ProxyIngress bool
	// AddressKeywords: nodePortAddresses may be "primary", "localhost" and "all", and every CIDR of prefix length 0 means
	// all addresses; else 0.0.0.0/0 and ::/0 do.
	AddressKeywords bool
	// LabelsOfBoth: Services with the label service.kubernetes.io/headless are passed over, and EndpointSlices with
	// service.kubernetes.io/service-proxy-name; else each label counts for the other kind only.
	LabelsOfBoth bool
	// GateInternalPolicy: internalTrafficPolicy can be turned off (ServiceInternalTrafficPolicy, until 1.25).
	GateInternalPolicy bool
	// GateExternalIPs: externalIPs can be turned off (AllowServiceExternalIPs, since 1.36).
	GateExternalIPs bool
}

// HintsMode is how a release decides to follow the endpoints' topology hints.
type HintsMode uint8

// The modes.
const (
	HintsByOldAnnotation HintsMode = iota // service.kubernetes.io/topology-aware-hints: Auto
	HintsByAnnotation                     // that, or service.kubernetes.io/topology-mode, with any value but Disabled
	HintsAlways                           // whatever the Service says, where every endpoint has hints; node hints first
)

// NodeIPMode is how a release finds a node's address of a family.
type NodeIPMode uint8

// The modes.
const (
	NodeIPBindOnly   NodeIPMode = iota // --bind-address and nothing else
	NodeIPOneFamily                    // --bind-address, else the Node's first address; the other family has none
	NodeIPEachFamily                   // the Node's address of each family; --bind-address before it
)

// ErrRelease is the class of a release that natlab does not know.
var ErrRelease = errors.New("not a release of kube-proxy that natlab knows")

// Releases lists the releases, the oldest first.
func Releases() []Release {
	return []Release{
		{
			Name: "v1.25", GateTerminating: true, NodePortsNeedAddress: true, WrittenAddresses: true, LabelsOfBoth: true,
			GateInternalPolicy: true,
		},
		{
			Name: "v1.28", KubeletFirewall: true, FirewallNote: true, Terminating: true, NoIPv6Loopback: true,
			WrittenAddresses: true, LabelsOfBoth: true, Hints: HintsByAnnotation, NodeIP: NodeIPOneFamily,
		},
		{
			Name: "v1.37", KubeletFirewall: true, FirewallNote: true, Terminating: true, NoIPv6Loopback: true, Accounting: true,
			LiberalConntrack: true, ZeroRangeIsNone: true, ExternalIPsHavePolicy: true, Hints: HintsAlways, NodeIP: NodeIPEachFamily,
			ProxyIngress: true, AddressKeywords: true, GateExternalIPs: true,
		},
	}
}

// ParseRelease finds the release that a version belongs to: "v1.28", "1.28.15" and "v1.28.15" are one. "" is the newest.
func ParseRelease(version string) (Release, error) {
	all := Releases()
	if version == "" {
		return all[len(all)-1], nil
	}
	want := "v" + strings.TrimPrefix(version, "v")
	for _, r := range all {
		if want == r.Name || strings.HasPrefix(want, r.Name+".") {
			return r, nil
		}
	}
	return Release{}, fmt.Errorf("release %q: %w: say v1.25, v1.28 or v1.37", version, ErrRelease)
}
