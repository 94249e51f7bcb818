package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// serviceCIDR is what natlab needs of a ServiceCIDR of networking.k8s.io: v1, or v1beta1 of which it is a copy.
type serviceCIDR struct {
	Spec struct {
		CIDRs []string `json:"cidrs"`
	} `json:"spec"`
}

// translateServiceCIDRs gathers the ranges that cluster IPs are allocated from (ServiceCIDR, networking.k8s.io).
func (l *loader) translateServiceCIDRs() {
	for i := range l.ranges {
		o := &l.ranges[i]
		for j, s := range o.v.Spec.CIDRs {
			p, err := parsePrefix(s)
			if err != nil {
				l.fail(o.origin, index("spec.cidrs", j), "%v", err)
				continue
			}
			l.c.ServiceCIDRs = append(l.c.ServiceCIDRs, p.Masked())
		}
	}
	slices.SortFunc(l.c.ServiceCIDRs, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	l.c.ServiceCIDRs = slices.Compact(l.c.ServiceCIDRs)
}
