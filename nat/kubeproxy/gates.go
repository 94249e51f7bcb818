package kubeproxy

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// gates are the feature gates that change kube-proxy's rules, as they are set.
type gates struct {
	terminating    bool // terminating endpoints serve where no others do
	internalPolicy bool // internalTrafficPolicy counts
	zoneHints      bool // hints for zones are read
	distribution   bool // they are followed whatever the Service's annotations
	nodeHints      bool // hints for nodes are followed
	ipMode         bool // an ingress with ipMode Proxy gets no rules
	externalIPs    bool // externalIPs get rules
	partialSync    bool // a sync writes the chains of those Services only that changed
}

func (r *Release) gates(set map[string]bool) gates {
	on := func(name string) bool { return r.enabled(name, set) }
	return gates{
		terminating:    on("ProxyTerminatingEndpoints"),
		internalPolicy: on("ServiceInternalTrafficPolicy"),
		zoneHints:      on("TopologyAwareHints"),
		distribution:   on("ServiceTrafficDistribution"),
		nodeHints:      on("PreferSameTrafficDistribution"),
		ipMode:         on("LoadBalancerIPMode"),
		externalIPs:    on("AllowServiceExternalIPs"),
		partialSync:    on("MinimizeIPTablesRestore"),
	}
}

// gateTable has a line for each feature gate that a kube-proxy knows, which are those of all of Kubernetes: its name, and for each minor release in which
// something about it changed the number, a letter and the gate's default. The letters: a alpha, b beta, g general
// (can be set), d deprecated (can be set), l locked to its default, x gone. A gate that is gone, or not there yet, cannot be
// set; what it stood for is as its last default has it, or its first.
//
//go:embed gates.txt
var gateTable string

// needTable has a line for each feature gate that depends on another: its name, the other's, and the first and last minor
// release in which kube-proxy exits where the one is on and the other off.
//
//go:embed gateneeds.txt
var needTable string

// gateState is what a gate is in one release.
type gateState struct {
	kind byte // one of the table's letters, 0 where no release knows the gate
	on   bool
}

// settable reports whether a configuration may name the gate.
func (s gateState) settable() bool { return strings.IndexByte("abgdl", s.kind) >= 0 }

// gate is the state of a feature gate in the release.
func (r *Release) gate(name string) gateState {
	_, line, ok := strings.Cut(gateTable, "\n"+name+" ")
	if !ok {
		return gateState{}
	}
	line, _, _ = strings.Cut(line, "\n")
	var state gateState
	for i, word := range strings.Fields(line) {
		next := gateState{word[len(word)-2], word[len(word)-1] == '+'}
		if since, _ := strconv.Atoi(word[:len(word)-2]); since > r.minor { // the table's test reads every number
			if i == 0 {
				state = gateState{'x', next.on}
			}
			break
		}
		state = next
	}
	return state
}

// enabled reports whether a gate is on: as the configuration sets it, or all gates of its kind, or by its default.
func (r *Release) enabled(name string, set map[string]bool) bool {
	state := r.gate(name)
	all := map[byte]string{'a': "AllAlpha", 'b': "AllBeta"}[state.kind]
	for _, key := range []string{name, all} {
		if on, ok := set[key]; ok && state.settable() {
			return on
		}
	}
	return state.on
}

// checkGates refuses the gates that the release exits on: those that it does not know, those that are locked, and those
// that are on without another that they depend on.
func (r *Release) checkGates(set map[string]bool) error {
	const remedy = "leave it out of featureGates"
	for _, name := range slices.Sorted(maps.Keys(set)) {
		state := r.gate(name)
		switch {
		case !state.settable():
			return exits(r, "unrecognized feature gate: %s", name).remedy(remedy)
		case state.kind == 'l' && set[name] != state.on:
			return exits(r, "cannot set feature gate %s to %t, feature is locked to %t", name, set[name], state.on).remedy(remedy)
		}
	}
	if len(set) == 0 {
		return nil
	}
	for line := range strings.Lines(needTable) {
		name, needed, first, last := parseNeed(line)
		if r.minor >= first && r.minor <= last && r.enabled(name, set) && !r.enabled(needed, set) {
			return exits(r, "%s is enabled, but depends on features that are disabled: [%s]", name, needed).remedy("set both in featureGates, or neither")
		}
	}
	return nil
}

// parseNeed reads a line of needTable: "NAME NEEDED FIRST-LAST".
func parseNeed(line string) (name, needed string, first, last int) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return "", "", 0, -1
	}
	from, to, _ := strings.Cut(words[2], "-")
	first, _ = strconv.Atoi(from) // the table's test reads every number
	last, _ = strconv.Atoi(to)
	return words[0], words[1], first, last
}

// exitError is that kube-proxy does not start with a configuration.
type exitError struct{ release, why, what string }

// exits is why a release exits, in its own words.
func exits(r *Release, format string, args ...any) *exitError {
	return &exitError{release: r.Name, why: fmt.Sprintf(format, args...)}
}

// remedy adds what to do about it.
func (e *exitError) remedy(what string) error {
	e.what = what
	return e
}

func (e *exitError) Error() string {
	return fmt.Sprintf("kube-proxy %s exits: %s (%s)", e.release, e.why, e.what)
}

// Is makes the error one of ErrExits.
func (e *exitError) Is(target error) bool { return target == ErrExits }
