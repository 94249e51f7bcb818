package nat

import (
	"fmt"
	"regexp"
	"strconv"
)

// Kernel is a version of Linux. Releases differ in what their conntrack and NAT do; the zero Kernel is the newest that natlab
// knows.
type Kernel struct{ Major, Minor int }

var releasePattern = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})([^0-9].*)?$`)

// ParseKernel reads a version, such as "6.12", or a kernel's own release, as uname -r prints it. What follows the first two
// numbers does not count.
func ParseKernel(release string) (Kernel, error) {
	m := releasePattern.FindStringSubmatch(release)
	if m == nil {
		return Kernel{}, fmt.Errorf("kernel %q: want a version such as 5.10 or 6.12.48", release)
	}
	major, _ := strconv.Atoi(m[1]) // the pattern matched digits
	minor, _ := strconv.Atoi(m[2]) // the pattern matched digits
	return Kernel{major, minor}, nil
}

// Before reports whether the kernel is older than a version.
func (k Kernel) Before(major, minor int) bool {
	return k != Kernel{} && (k.Major < major || k.Major == major && k.Minor < minor)
}

// String is what ParseKernel reads; "" for the zero Kernel.
func (k Kernel) String() string {
	if k == (Kernel{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d", k.Major, k.Minor)
}
