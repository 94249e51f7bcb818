package scenarios

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"natlab/lab/proxy"
	"natlab/topology"
)

//go:embed kubeproxy/*.txtar
var ofKubeProxy embed.FS

// OfKubeProxy returns the scenarios that need a real kube-proxy in each node, by name: those of its releases' bugs, and of what it does beside its rules.
func OfKubeProxy() ([]Scenario, error) { return read(ofKubeProxy, "kubeproxy") }

func read(from embed.FS, dir string) ([]Scenario, error) {
	entries, err := from.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []Scenario
	for _, e := range entries {
		text, err := from.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		s, err := Parse(strings.TrimSuffix(e.Name(), ".txtar"), text)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Everywhere is the Affected of a scenario that is about every kube-proxy: it is run in both variants, or Fixed alone where it is about no bug. " since v1.31.0"
// may stand behind it.
const Everywhere = "every release"

// patch is a patch release in order: v1.32.2 is {32, 2}.
type patch struct{ minor, number int }

// span is the patch releases from one to another, both with them.
type span struct{ first, last patch }

var (
	spanRule = regexp.MustCompile(`^(?:(\S+) to )?(\S+)$`)
	// versionRule is the beginning of a version: what is built between releases counts as the one that it was made for.
	versionRule = regexp.MustCompile(`^v1\.(\d{1,3})\.(\d{1,5})`)
)

func parsePatch(version string) (patch, bool) {
	m := versionRule.FindStringSubmatch(version)
	if m == nil {
		return patch{}, false
	}
	minor, err := strconv.Atoi(m[1])
	if err != nil {
		return patch{}, false
	}
	number, err := strconv.Atoi(m[2])
	return patch{minor, number}, err == nil
}

func (p patch) before(o patch) bool {
	return p.minor < o.minor || p.minor == o.minor && p.number < o.number
}

// affected is what a page has of releases: those with the bug, or all since one.
type affected struct {
	spans []span
	since patch
}

// parseAffected reads "v1.32.0 to v1.32.2, v1.33.0" and "every release since v1.31.0".
func parseAffected(text string) (out affected, err error) {
	if rest, every := strings.CutPrefix(text, Everywhere); every || text == "" {
		version, since := strings.CutPrefix(rest, " since ")
		if !since && rest == "" {
			return affected{}, nil
		}
		p, ok := parsePatch(version)
		if !since || !ok {
			return affected{}, fmt.Errorf("kube-proxy: %q: want %s, or %s since v1.31.0", text, Everywhere, Everywhere)
		}
		return affected{since: p}, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		m := spanRule.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return affected{}, fmt.Errorf("kube-proxy: %q: want v1.32.0 to v1.32.2, v1.33.0, or %s", part, Everywhere)
		}
		if m[1] == "" {
			m[1] = m[2]
		}
		first, ok := parsePatch(m[1])
		last, also := parsePatch(m[2])
		if !ok || !also || last.before(first) {
			return affected{}, fmt.Errorf("kube-proxy: %q: want a patch release to a later one, as in v1.32.0 to v1.32.2", part)
		}
		if len(out.spans) > 0 && !out.spans[len(out.spans)-1].last.before(first) {
			return affected{}, fmt.Errorf("kube-proxy: %q: want the older releases first", part)
		}
		out.spans = append(out.spans, span{first, last})
	}
	out.since = out.spans[0].first
	return out, nil
}

// On are the variants in which a scenario is run on a real kube-proxy of a version: an affected one shows the bug, any later one does not, and on one from before the
// bug it is not run. Of a version that is no release nothing is known, and it counts as the newest.
func (s Scenario) On(version string) []Variant {
	a, err := parseAffected(s.Affected)
	p, known := parsePatch(version)
	switch {
	case err != nil || known && p.before(a.since):
		return nil
	case len(a.spans) == 0:
		return s.variants()
	}
	for _, within := range a.spans {
		if known && !p.before(within.first) && !within.last.before(p) {
			return []Variant{Buggy}
		}
	}
	return []Variant{Fixed}
}

// released notes in a cluster's documents whose rules they get: a lab is made of them as of that release's.
func (o objects) released(p proxy.Program) (objects, error) {
	release := topology.PatchOf(p.Version)
	if _, err := topology.ParseRelease(release); err != nil {
		return o, nil //nolint:nilerr // of a kube-proxy that natlab does not know the documents' own release is predicted
	}
	return o.merge(objects{{"kind": "Lab", "spec": map[string]any{"kubeProxy": map[string]any{"release": release}}}})
}
