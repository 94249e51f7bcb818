package kubeproxy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	nft "natlab/nat/nftables"
	"natlab/topology"
)

// nftShape is what one release of kube-proxy writes differently from another in nftables mode. All that differs is here as data,
// beside what Release and gates.txt have for both modes.
type nftShape struct {
	bases []nftBase
	jumps []nftJump

	// MarkChain: packets are marked for masquerading by a chain of its own, mark-for-masquerade (until 1.35). Since then the rule that
	// finds them marks them.
	MarkChain bool
	// MarkByPort: the rule that marks what asks a cluster IP from outside of the cluster names the port, too (until 1.33).
	MarkByPort bool
	// EndpointChains: each endpoint has a chain, which also finds a pod that asks itself (until 1.35). Since then endpoints are in
	// the Service's own rule, but for session affinity, and pods that ask themselves in the set hairpin-connections.
	EndpointChains bool
	// OneWithoutMap: a single endpoint stands in the rule without a map (since 1.37).
	OneWithoutMap bool
	// ByIndex: devices are matched by their index (iif), which nft looks up as it reads the rule: it refuses one that is not there,
	// and no device has a name for all that begin alike (kubernetes#134024, until 1.33.5; again in 1.34.0 and 1.34.1).
	ByIndex bool
	// CutsComments: a comment is cut to the 128 bytes that nft takes (since 1.37); before, nft refuses the whole transaction.
	CutsComments bool
	// LocalhostGate: the gate KubeProxyNFTablesLocalhostNodePorts is there (since 1.37).
	LocalhostGate bool
	// KeepsElements: a full sync reads the elements of sets and maps and writes what differs (since 1.33); before, it flushes them.
	KeepsElements bool
	// ZoneAlone: of the node's labels that of its zone alone makes it write everything (since 1.34); before, any.
	ZoneAlone bool
	// KeepsEndpoints: the first sync leaves chains of endpoints that are there as they are (1.33 to 1.35).
	KeepsEndpoints bool
}

// nftBase is a base chain.
type nftBase struct {
	name     string
	kind     nft.ChainType
	hook     string
	priority int
}

// nftJump is a rule of a base chain.
type nftJump struct {
	to, from string
	isNew    bool // for packets of new connections
}

// The priorities of base chains (linux/netfilter_ipv4.h: NF_IP_PRI_NAT_DST, NF_IP_PRI_FILTER, NF_IP_PRI_NAT_SRC).
const (
	beforeDNAT = -110
	atDNAT     = -100
	afterDNAT  = -90
	atFilter   = 0
	atSNAT     = 100
)

// oldBases and oldJumps are those until 1.33.5: the check for endpoints comes before DNAT, so that a node's own packets for the
// external address of a Service with externalTrafficPolicy Local are dropped where it has no endpoint (kubernetes#131765).
func oldBases() []nftBase {
	return []nftBase{
		{"filter-prerouting", nft.FilterChain, "prerouting", beforeDNAT},
		{"filter-input", nft.FilterChain, "input", beforeDNAT},
		{"filter-forward", nft.FilterChain, "forward", beforeDNAT},
		{"filter-output", nft.FilterChain, "output", beforeDNAT},
		{"filter-output-post-dnat", nft.FilterChain, "output", afterDNAT},
		{"nat-prerouting", nft.NATChain, "prerouting", atDNAT},
		{"nat-output", nft.NATChain, "output", atDNAT},
		{"nat-postrouting", nft.NATChain, "postrouting", atSNAT},
	}
}

func newBases() []nftBase {
	return []nftBase{
		{"filter-prerouting-pre-dnat", nft.FilterChain, "prerouting", beforeDNAT},
		{"filter-output-pre-dnat", nft.FilterChain, "output", beforeDNAT},
		{"filter-input", nft.FilterChain, "input", atFilter},
		{"filter-forward", nft.FilterChain, "forward", atFilter},
		{"filter-output", nft.FilterChain, "output", atFilter},
		{"nat-prerouting", nft.NATChain, "prerouting", atDNAT},
		{"nat-output", nft.NATChain, "output", atDNAT},
		{"nat-postrouting", nft.NATChain, "postrouting", atSNAT},
	}
}

// jumpsOf are the rules of base chains, given which of them check source ranges at PREROUTING and OUTPUT, and unused cluster IPs at
// OUTPUT.
func jumpsOf(ranges, ownRanges, unused string) []nftJump {
	return []nftJump{
		{nodePortEndpointsCheck, "filter-input", true},
		{serviceEndpointsCheck, "filter-input", true},
		{serviceEndpointsCheck, "filter-forward", true},
		{serviceEndpointsCheck, "filter-output", true},
		{firewallCheck, ranges, true},
		{firewallCheck, ownRanges, true},
		{servicesChain, "nat-output", false},
		{servicesChain, "nat-prerouting", false},
		{masqueradingChain, "nat-postrouting", false},
		{clusterIPsCheck, "filter-forward", true},
		{clusterIPsCheck, unused, true},
	}
}

// nftChange is what changed in nftables mode with a patch release.
type nftChange struct {
	minor, patch int
	change       func(*nftShape)
}

// nftChanges are all of them, the oldest first. Each was read in the source of the release before and of the one that has it.
func nftChanges() []nftChange {
	atFilterToo := func(s *nftShape) {
		s.bases, s.jumps = newBases(), jumpsOf("filter-prerouting-pre-dnat", "filter-output-pre-dnat", "filter-output")
	}
	return []nftChange{
		{31, 0, func(s *nftShape) {
			s.bases, s.jumps = oldBases(), jumpsOf("filter-prerouting", "filter-output", "filter-output-post-dnat")
			s.MarkChain, s.MarkByPort, s.EndpointChains, s.ByIndex = true, true, true, true
		}},
		{33, 0, func(s *nftShape) { s.KeepsElements, s.KeepsEndpoints = true, true }},
		{33, 6, func(s *nftShape) { atFilterToo(s); s.ByIndex = false }},
		{34, 0, func(s *nftShape) { atFilterToo(s); s.ByIndex, s.MarkByPort, s.ZoneAlone = true, false, true }},
		{34, 2, func(s *nftShape) { s.ByIndex = false }},
		{36, 0, func(s *nftShape) { s.MarkChain, s.EndpointChains, s.KeepsEndpoints = false, false, false }},
		{37, 0, func(s *nftShape) { s.OneWithoutMap, s.CutsComments, s.LocalhostGate = true, true, true }},
	}
}

// firstNFT is the oldest minor release whose nftables mode natlab knows: the first in which it is beta.
const firstNFT = 31

// nftShape finds what a patch release writes: version as "v1.33.4". Without one it is the newest of the minor release.
func (r *Release) nftShape(version string) (nftShape, error) {
	if r.minor < firstNFT {
		return nftShape{}, fmt.Errorf("release %q in nftables mode: %w: want v1.%d or newer; there it is alpha", r.Name, ErrRelease, firstNFT)
	}
	patch := math.MaxInt
	if _, text, named := strings.Cut(strings.TrimPrefix(topology.PatchOf(version), "v1."), "."); named {
		patch, _ = strconv.Atoi(text) // topology found it to be a number
	}
	var s nftShape
	for _, c := range nftChanges() {
		if c.minor < r.minor || c.minor == r.minor && c.patch <= patch {
			c.change(&s)
		}
	}
	return s, nil
}

// ErrRefused is the class of rules that nft refuses, with the whole transaction that they are in.
var ErrRefused = errors.New("nft refuses kube-proxy's transaction, and its table stays as it is")
