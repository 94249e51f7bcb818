package topology

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The limits of RFC 1123 names, as Kubernetes has them.
const (
	maxLabel     = 63
	maxSubdomain = 253
	maxLabName   = 32 // so that a namespace's name stays a file name
)

// badLabel is what keeps s from being a DNS label (RFC 1123) of at most limit bytes; "" for nothing.
func badLabel(s string, limit int) string {
	switch {
	case s == "":
		return "is empty"
	case len(s) > limit:
		return fmt.Sprintf("is longer than %d characters", limit)
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Sprintf("%q begins or ends with a dash", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Sprintf("%q has %q in it: lower-case letters, digits and dashes only", short(s), r)
		}
	}
	return ""
}

// badSubdomain is what keeps s from being a DNS subdomain (labels with dots between them).
func badSubdomain(s string) string {
	if s == "" {
		return "is empty"
	}
	if len(s) > maxSubdomain {
		return fmt.Sprintf("is longer than %d characters", maxSubdomain)
	}
	for label := range strings.SplitSeq(s, ".") {
		if bad := badLabel(label, maxSubdomain); bad == "is empty" {
			return fmt.Sprintf("%q has an empty part between its dots", s)
		} else if bad != "" {
			return bad
		}
	}
	return ""
}

// badDevice is what keeps s from being a network device's name (dev_valid_name in the kernel), or the
// beginning of one; stricter in that it must not begin with a dash or hold what iptables-restore would split.
func badDevice(s string) string {
	if s == "" || len(s) > 15 {
		return fmt.Sprintf("%q is not a device name: 1 to 15 characters", short(s))
	}
	if s == "." || s == ".." || s[0] == '-' {
		return fmt.Sprintf("%q is not a device name", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.@", r) {
			return fmt.Sprintf("%q has %q in it: letters, digits, dash, underscore and dot only", s, r)
		}
	}
	return ""
}

// short keeps a hostile value from filling the screen.
func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// parseAddr reads an address as Kubernetes does (ParseIPSloppy): leading zeros in IPv4 are decimal, an
// IPv4-mapped IPv6 address is IPv4. There is no zone.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(unpad(s))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", short(s))
	}
	return a.Unmap(), nil
}

// unpad takes the leading zeros from the numbers of an IPv4 address.
func unpad(s string) string {
	if strings.Contains(s, ":") || !strings.Contains(s, "0") || len(s) > 40 {
		return s
	}
	parts := strings.Split(s, ".")
	for i, part := range parts {
		if n, err := strconv.ParseUint(part, 10, 8); err == nil {
			parts[i] = strconv.FormatUint(n, 10)
		}
	}
	return strings.Join(parts, ".")
}

// parsePrefix reads a CIDR as Kubernetes does, host bits kept.
func parsePrefix(s string) (netip.Prefix, error) {
	addr, bits, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(bits, 10, 8)
	a, aerr := netip.ParseAddr(unpad(addr))
	if !ok || err != nil || aerr != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is not an address range in CIDR form", short(s))
	}
	if a.Is4In6() && n >= 96 {
		a, n = a.Unmap(), n-96
	}
	p := netip.PrefixFrom(a, int(n))
	if !p.IsValid() || a.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not an address range in CIDR form", short(s))
	}
	return p, nil
}
