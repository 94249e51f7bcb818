package topology

import (
	"fmt"
	"regexp"
	"strconv"
)

// The minor versions of the oldest and the newest kube-proxy whose rules natlab writes.
const oldestMinor, newestMinor = 25, 37

// Releases are the kube-proxy releases whose rules natlab writes, oldest first: "v1.25" to "v1.37". What each of them
// does is in nat/kubeproxy.
func Releases() []string {
	var out []string
	for minor := oldestMinor; minor <= newestMinor; minor++ {
		out = append(out, releaseName(minor))
	}
	return out
}

func releaseName(minor int) string { return "v1." + strconv.Itoa(minor) }

// version is a Kubernetes version as nodes report it: a patch release and a distribution's own addition may follow.
var version = regexp.MustCompile(`^v?1\.(\d{1,3})(\.\d{1,5})?(?:[-+].*)?$`)

// minorOf is the minor version of a Kubernetes version; ok is false where s is none.
func minorOf(s string) (minor int, ok bool) {
	m := version.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	minor, err := strconv.Atoi(m[1])
	return minor, err == nil
}

// PatchOf is the patch release in a Kubernetes version: "v1.33.4" of "1.33.4+k3s1"; "" where it names none.
func PatchOf(s string) string {
	m := version.FindStringSubmatch(s)
	if m == nil || m[2] == "" {
		return ""
	}
	return "v1." + m[1] + m[2]
}

// ParseRelease finds the release that a version belongs to: "v1.28", "1.28", "v1.28.15" and "v1.28.15+k3s1" are all
// "v1.28". A patch release writes the rules of its minor release. The error names which releases there are.
func ParseRelease(s string) (string, error) {
	minor, ok := minorOf(s)
	if !ok || minor < oldestMinor || minor > newestMinor {
		return "", fmt.Errorf("want %s to %s, or a patch release of one", releaseName(oldestMinor), releaseName(newestMinor))
	}
	return releaseName(minor), nil
}

// SinceRelease reports whether kube-proxy is of v1.MINOR or later; of one that is not told it is the newest.
func (k KubeProxy) SinceRelease(minor int) bool {
	is, known := minorOf(k.Release)
	return !known || is >= minor
}

// passOver takes back what the configuration sets in fields that the lab's kube-proxy does not know: it starts all the
// same, and its nodes' sysctls are as if the field were not there.
func (l *loader) passOver() {
	kp := &l.c.KubeProxy
	minor, _ := minorOf(kp.Release)
	for _, f := range []struct {
		since int
		name  string
		set   bool
		undo  func()
	}{
		{26, "iptables.localhostNodePorts", !kp.LocalhostNodePorts, func() { kp.LocalhostNodePorts = true }},
		{29, "conntrack.tcpBeLiberal", kp.TCPBeLiberal, func() { kp.TCPBeLiberal = false }},
	} {
		if f.set && minor < f.since {
			f.undo()
			l.warn(l.configAt, "kube-proxy %s does not know %s, and passes it over", kp.Release, f.name)
		}
	}
}
