package service

import (
	"fmt"
	"strconv"
	"strings"

	"natlab/topology"
)

// release is what a Kubernetes release means by the fields of the objects, where releases differ. It is read from the API's
// own documentation and the KEPs that changed it, and shares nothing with nat/kubeproxy, which is held against it.
type release struct {
	minor int // 25 for v1.25

	terminating    bool // KEP-1669: where no endpoint is ready, one that still serves while its pod terminates does
	internalPolicy bool // KEP-2086: internalTrafficPolicy
	zoneHints      bool // KEP-2433: hints.forZones
	anyHints       bool // KEP-4444: they need no annotation of the Service
	nodeHints      bool // KEP-3015: hints.forNodes
	ipMode         bool // KEP-1860: ipMode Proxy leaves a load balancer's address to the load balancer
	externalIPs    bool // the gate AllowServiceExternalIPs
}

// gate is a feature gate: from which minor release it is of which stage. While it is alpha it is off by itself, later on.
type gate struct {
	name                         string
	alpha, beta, general, locked int
}

const never = 1 << 30

// newRelease reads a release's name and the gates that a configuration sets. "" is the newest.
func newRelease(kp topology.KubeProxy) (release, error) {
	all := topology.Releases()
	name := all[len(all)-1]
	if kp.Release != "" {
		var err error
		if name, err = topology.ParseRelease(kp.Release); err != nil {
			return release{}, fmt.Errorf("release %q: %w", kp.Release, err)
		}
	}
	minor, err := strconv.Atoi(strings.TrimPrefix(name, "v1."))
	if err != nil {
		return release{}, fmt.Errorf("release %q: %w", name, err)
	}
	r := release{minor: minor}
	for _, f := range []struct {
		gate
		to *bool
	}{
		{gate{"ProxyTerminatingEndpoints", 22, 26, 28, 28}, &r.terminating},
		{gate{"ServiceInternalTrafficPolicy", 21, 22, 26, 26}, &r.internalPolicy},
		{gate{"TopologyAwareHints", 21, 24, 33, 33}, &r.zoneHints},
		{gate{"ServiceTrafficDistribution", 30, 31, 33, 33}, &r.anyHints},
		{gate{"PreferSameTrafficDistribution", 33, 34, 35, 35}, &r.nodeHints},
		{gate{"LoadBalancerIPMode", 29, 30, 32, 32}, &r.ipMode},
		{gate{"AllowServiceExternalIPs", 0, 0, 36, never}, &r.externalIPs},
	} {
		*f.to = f.enabled(minor, kp.FeatureGates)
	}
	return r, nil
}

// enabled reports whether a gate is on: as it is set, as all of its stage are, or by itself.
func (g gate) enabled(minor int, set map[string]bool) bool {
	on, all := minor >= g.beta, ""
	switch {
	case minor < g.alpha || minor >= g.locked:
		return on
	case minor < g.beta:
		all = "AllAlpha"
	case minor < g.general:
		all = "AllBeta"
	}
	for _, name := range []string{g.name, all} {
		if given, ok := set[name]; ok && g.alpha > 0 || ok && minor >= g.general {
			return given
		}
	}
	return on
}

// localhost reports whether iptables.localhostNodePorts is read, and a node port is never served at [::1].
func (r release) localhost() bool { return r.minor >= 26 }

// externalPolicyOfAll reports whether externalTrafficPolicy counts for the external IPs of a ClusterIP Service too
// (kubernetes#119150).
func (r release) externalPolicyOfAll() bool { return r.minor >= 29 }

// ownLabels reports whether each of the labels service-proxy-name and headless counts for the kind of object that it is
// documented for only.
func (r release) ownLabels() bool { return r.minor >= 36 }

// anyMode reports whether the annotation topology-mode is read, and every value but Disabled asks for hints.
func (r release) anyMode() bool { return r.minor >= 27 }
