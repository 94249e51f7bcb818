package xt

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a release of the iptables program.
type Version [3]int

// The bounds of what the rows describe. Before Oldest the output is spaced otherwise.
var (
	Oldest = Version{1, 4, 18}
	Newest = Version{1, 8, 11}
)

// Versions are the releases at which what the program shows of a kernel's rules changes.
func Versions() []Version {
	return []Version{{1, 4, 21}, {1, 6, 0}, {1, 6, 1}, {1, 6, 2}, {1, 8, 0}, {1, 8, 1}, {1, 8, 2}, {1, 8, 7}, {1, 8, 8}, {1, 8, 9}, {1, 8, 10}, {1, 8, 11}}
}

// ParseVersion reads "1.4.21", with or without a leading "v".
func ParseVersion(s string) (Version, error) {
	var v Version
	parts := strings.Split(strings.TrimPrefix(s, "v"), ".")
	bad := fmt.Errorf("iptables version %q: want one from %s to %s, such as 1.4.21", s, Oldest, Newest)
	if len(parts) != 3 {
		return Version{}, bad
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return Version{}, bad
		}
		v[i] = int(n)
	}
	if v.Before(Oldest) || Newest.Before(v) {
		return Version{}, bad
	}
	return v, nil
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Before reports whether v is older than o.
func (v Version) Before(o Version) bool {
	for i := range v {
		if v[i] != o[i] {
			return v[i] < o[i]
		}
	}
	return false
}
