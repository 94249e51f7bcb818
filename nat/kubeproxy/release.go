package kubeproxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"natlab/topology"
)

// Release is what one release of kube-proxy does differently from another. All that differs is here, and in gates.txt
// for feature gates, as data: no other place asks which release it is. A patch release writes what its minor release
// writes.
type Release struct {
	Name  string // "v1.25"
	minor int    // 25

	// NodePortsNeedAddress: without a node address of the family in nodePortAddresses, node ports have no rules at all
	// (until 1.26).
	NodePortsNeedAddress bool
	// LocalhostNodePorts: iptables.localhostNodePorts is read; false keeps 127.0.0.0/8 out of KUBE-NODEPORTS (since 1.26).
	LocalhostNodePorts bool
	// NoIPv6Loopback: [::1]:nodePort is kept out of KUBE-NODEPORTS (since 1.26).
	NoIPv6Loopback bool
	// KubeletFirewall: it keeps a copy of kubelet's KUBE-FIREWALL chain with the rule against martian packets for
	// 127.0.0.0/8 (kubernetes#116471, since 1.27).
	KubeletFirewall bool
	// FirewallNote: KUBE-FW ends in a rule without a target that names who drops the rest (since 1.27).
	FirewallNote bool
	// TopologyMode: hints are asked for by the annotation service.kubernetes.io/topology-mode too, and by any value but
	// Disabled (since 1.27); before, by topology-aware-hints: Auto alone.
	TopologyMode bool
	// DeletesXLB: KUBE-XLB- chains, which releases before 1.24 wrote, are deleted too (until 1.27).
	DeletesXLB bool
	// NodeIP is how the node's own address is found, for loadBalancerSourceRanges and "primary".
	NodeIP NodeIPMode
	// ChecksFamilies: it exits where the node's podCIDRs are all of another family than its address (since 1.28).
	ChecksFamilies bool
	// LiberalConntrack: no rule against INVALID packets where nf_conntrack_tcp_be_liberal is set (since 1.29).
	LiberalConntrack bool
	// ExternalIPsHavePolicy: externalTrafficPolicy counts for a ClusterIP Service with externalIPs (since 1.29).
	ExternalIPsHavePolicy bool
	// IngressHasMode: a load balancer's address with ipMode Proxy gets no rules, by the gate LoadBalancerIPMode (since 1.29).
	IngressHasMode bool
	// ClusterCIDRAlways: it exits for a wrong clusterCIDR in every detectLocalMode (until 1.30), else in ClusterCIDR only.
	ClusterCIDRAlways bool
	// Accounting: rules that drop INVALID packets, and that take localhost node ports, count in nfacct objects (since 1.31).
	Accounting bool
	// WrittenAddresses: endpoints are named, sorted and told apart by their addresses as the EndpointSlices spell them
	// (until 1.30).
	WrittenAddresses bool
	// SortedSlices: the endpoints of a slice are read in the order of their addresses (until 1.30), else as they stand.
	SortedSlices bool
	// Keywords are the words that nodePortAddresses may have beside CIDRs.
	Keywords KeywordMode
	// ZeroLength is what a CIDR of prefix length 0 in nodePortAddresses means, other than 0.0.0.0/0 and ::/0 as they are
	// written here: those mean all addresses everywhere.
	ZeroLength ZeroLengthMode
	// ZeroRangeIsNone: a loadBalancerSourceRanges entry of prefix length 0 means no source ranges (since 1.34).
	ZeroRangeIsNone bool
	// LastRunningCounts: of an address that stands twice the last that is not terminating counts (kubernetes#135593, since
	// 1.36); before, the first stays unless a later one is of this node (kubernetes#135266).
	LastRunningCounts bool
	// LabelsOfBoth: Services with the label service.kubernetes.io/headless are passed over, and EndpointSlices with
	// service.kubernetes.io/service-proxy-name (until 1.35); since then each label counts for the other kind only.
	LabelsOfBoth bool
}

// NodeIPMode is how a release finds a node's address of a family.
type NodeIPMode uint8

// The modes.
const (
	NodeIPBindOnly   NodeIPMode = iota // --bind-address and nothing else (until 1.27)
	NodeIPOneFamily                    // --bind-address, else the Node's first address; the other family has none (1.28)
	NodeIPEachFamily                   // the Node's address of each family; --bind-address before it (since 1.29)
)

// KeywordMode is which words stand for addresses in nodePortAddresses.
type KeywordMode uint8

// The modes.
const (
	NoKeywords   KeywordMode = iota // until 1.30
	PrimaryAlone                    // "primary", and nothing beside it (since 1.31)
	AllKeywords                     // "primary", "localhost" and "all", also beside CIDRs (since 1.37)
)

// ZeroLengthMode is what a CIDR such as 10.0.0.0/0 means.
type ZeroLengthMode uint8

// The modes.
const (
	ZeroLengthContains ZeroLengthMode = iota // each address that the node has, by itself
	ZeroLengthNothing                        // none: it is passed over (1.27)
	ZeroLengthAll                            // all addresses, as 0.0.0.0/0 does (since 1.34)
)

// changes are what changed in kube-proxy's rules, by the minor release that has it first. The oldest release is what
// stands before it. Each was read in the source of the release before and of the one that has it.
func changes() map[int]func(*Release) {
	return map[int]func(*Release){
		25: func(r *Release) {
			r.NodePortsNeedAddress, r.WrittenAddresses, r.SortedSlices = true, true, true
			r.LabelsOfBoth, r.ClusterCIDRAlways, r.DeletesXLB = true, true, true
		},
		26: func(r *Release) { r.LocalhostNodePorts, r.NoIPv6Loopback = true, true },
		27: func(r *Release) {
			r.NodePortsNeedAddress = false
			r.KubeletFirewall, r.FirewallNote, r.TopologyMode, r.ZeroLength = true, true, true, ZeroLengthNothing
		},
		28: func(r *Release) {
			r.NodeIP, r.ChecksFamilies, r.DeletesXLB, r.ZeroLength = NodeIPOneFamily, true, false, ZeroLengthContains
		},
		29: func(r *Release) {
			r.NodeIP = NodeIPEachFamily
			r.LiberalConntrack, r.ExternalIPsHavePolicy, r.IngressHasMode = true, true, true
		},
		31: func(r *Release) {
			r.WrittenAddresses, r.SortedSlices, r.ClusterCIDRAlways = false, false, false
			r.Accounting, r.Keywords = true, PrimaryAlone
		},
		34: func(r *Release) { r.ZeroLength, r.ZeroRangeIsNone = ZeroLengthAll, true },
		36: func(r *Release) { r.LastRunningCounts, r.LabelsOfBoth = true, false },
		37: func(r *Release) { r.Keywords = AllKeywords },
	}
}

// ErrRelease is the class of a release that natlab does not know.
var ErrRelease = errors.New("not a release of kube-proxy that natlab knows")

// Releases lists the releases, the oldest first.
func Releases() []Release {
	var out []Release
	var r Release
	by := changes()
	for _, name := range topology.Releases() {
		r.Name, r.minor = name, minorOf(name)
		if change := by[r.minor]; change != nil {
			change(&r)
		}
		out = append(out, r)
	}
	return out
}

// minorOf is the number in a release's name.
func minorOf(name string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "v1.")) // topology made the name
	return n
}

// ParseRelease finds the release that a version belongs to: "v1.28", "1.28.15" and "v1.28.15" are one. "" is the newest.
func ParseRelease(version string) (Release, error) {
	all := Releases()
	if version == "" {
		return all[len(all)-1], nil
	}
	name, err := topology.ParseRelease(version)
	if err != nil {
		return Release{}, fmt.Errorf("release %q: %w: %w", version, ErrRelease, err)
	}
	return all[minorOf(name)-all[0].minor], nil
}
