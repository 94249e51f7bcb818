package vm

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Spec names a kernel or an iptables: a Debian release ("bookworm"), or a version or the beginning of one ("6.1",
// "7.x", "6.12.117").
type Spec struct {
	Release string // a Debian release, "" for any
	Version string // the beginning of a version, "" for the release's own
}

// release is a Debian release that natlab knows how to ask for.
type release struct {
	name    string
	suites  []string // on the main mirror, besides the release itself
	secured bool     // has a NAME-security suite on the security mirror
	prefer  []string // kernel versions that are looked for here first
}

// releases lists the releases in the order in which a version is looked for.
func releases() []release {
	return []release{
		{name: "bookworm", suites: []string{"bookworm-backports"}, secured: true, prefer: []string{"6.1", "6.12"}},
		{name: "bullseye", secured: true, prefer: []string{"5.10"}},
		{name: "trixie", secured: true},
		{name: "sid", prefer: []string{"7"}},
	}
}

// Kernels are words that ParseSpec reads: each release's name, and the versions that are looked for there first, "7.x" for any of a 7.
func Kernels() (out []string) {
	for _, r := range releases() {
		out = append(out, r.name)
		for _, v := range r.prefer {
			if !strings.Contains(v, ".") {
				v += ".x"
			}
			out = append(out, v)
		}
	}
	return out
}

// Releases are the names of Debian's releases that natlab knows how to ask for.
func Releases() (out []string) {
	for _, r := range releases() {
		out = append(out, r.name)
	}
	return out
}

// ErrSpec is the class of a Spec that means nothing to natlab.
var ErrSpec = errors.New("not a Debian release or a version")

var versionPattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(\.x|[+~][a-z0-9.+~]*)?$`)

// ParseSpec reads a release's name, a version, or RELEASE/VERSION. "7.x" and "7" both mean any version 7.
func ParseSpec(s string) (Spec, error) {
	first, rest, both := strings.Cut(s, "/")
	for _, r := range releases() {
		if r.name == first {
			if both && !versionPattern.MatchString(rest) {
				return Spec{}, fmt.Errorf("kernel %q: %w after the slash", s, ErrSpec)
			}
			return Spec{Release: first, Version: strings.TrimSuffix(rest, ".x")}, nil
		}
	}
	if both || !versionPattern.MatchString(s) {
		return Spec{}, fmt.Errorf("kernel %q: %w; want bullseye, bookworm, trixie, sid, or a version such as 6.1, 6.12, 7.x", s, ErrSpec)
	}
	return Spec{Version: strings.TrimSuffix(s, ".x")}, nil
}

// String is what ParseSpec reads.
func (s Spec) String() string {
	switch {
	case s.Release == "":
		return s.Version
	case s.Version == "":
		return s.Release
	}
	return s.Release + "/" + s.Version
}

// candidates lists the releases in which a Spec is looked for, the likeliest first.
func (s Spec) candidates() []release {
	var first, later []release
	for _, r := range releases() {
		switch {
		case s.Release != "" && r.name != s.Release:
		case s.Release == "" && !r.prefers(s.Version):
			later = append(later, r)
		default:
			first = append(first, r)
		}
	}
	return append(first, later...)
}

func (r release) prefers(version string) bool {
	for _, p := range r.prefer {
		if version == p || strings.HasPrefix(version, p+".") {
			return true
		}
	}
	return false
}

// matches reports whether a version begins with the Spec's, on a boundary: 6.1 takes 6.1.0-56 and not 6.12.
func (s Spec) matches(version string) bool {
	rest, ok := strings.CutPrefix(version, s.Version)
	return ok && (s.Version == "" || rest == "" || rest[0] < '0' || rest[0] > '9')
}

var number = regexp.MustCompile(`[0-9]+`)

// versionLess compares the numbers in two versions from left to right; it serves kernels of one release, whose
// versions differ in numbers only.
func versionLess(a, b string) bool {
	x, y := number.FindAllString(a, -1), number.FindAllString(b, -1)
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i]) // the pattern matched digits
		n, _ := strconv.Atoi(y[i]) // the pattern matched digits
		if m != n {
			return m < n
		}
	}
	return len(x) < len(y)
}
