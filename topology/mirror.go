package topology

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// What the mirroring controller leaves out: Endpoints with the label, those that are a lock of leader election, and of a subset more
// addresses than this.
const (
	labelSkipMirror   = "endpointslice.kubernetes.io/skip-mirror"
	leaderAnnotation  = "control-plane.alpha.kubernetes.io/leader"
	mirroredAddresses = 1000
)

// endpointsObject is what EndpointSlices took the place of, and what people still write and post.
type endpointsObject = corev1.Endpoints //nolint:staticcheck // deprecated since Kubernetes 1.33, and read by its mirroring controller

// slicesFor are the EndpointSlices of a Service that the input has none of: the mirror of its Endpoints where it has no selector, else
// what its Pods make, or where the input has no such Pod its Endpoints again, which are their controller's.
func (l *loader) slicesFor(svc corev1.Service, s Service) []placed[discoveryv1.EndpointSlice] {
	at := slices.IndexFunc(l.legacy, func(e placed[endpointsObject]) bool {
		return cmp.Or(e.v.Namespace, corev1.NamespaceDefault) == s.Namespace && e.v.Name == s.Name
	})
	if len(svc.Spec.Selector) > 0 {
		if list := l.deriveSlices(svc, s); len(list) > 0 || at < 0 {
			return list
		}
		return l.mirror(l.legacy[at])
	}
	if at < 0 || l.legacy[at].v.Labels[labelSkipMirror] == "true" || l.legacy[at].v.Annotations[leaderAnnotation] != "" {
		return nil
	}
	return l.mirror(l.legacy[at])
}

// mirror is what Kubernetes' EndpointSlice mirroring controller makes of an Endpoints object: for each subset a slice a family,
// with those of its addresses that are ready first.
func (l *loader) mirror(o placed[endpointsObject]) (out []placed[discoveryv1.EndpointSlice]) {
	for _, subset := range o.v.Subsets {
		of := map[discoveryv1.AddressType]*placed[discoveryv1.EndpointSlice]{}
		for _, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			of[kind] = &placed[discoveryv1.EndpointSlice]{o.origin, &discoveryv1.EndpointSlice{}}
			of[kind].v.AddressType, of[kind].v.Ports = kind, mirrorPorts(subset.Ports)
		}
		n := 0
		for i, list := range [][]corev1.EndpointAddress{subset.Addresses, subset.NotReadyAddresses} {
			for _, a := range list {
				kind := discoveryv1.AddressTypeIPv4
				if ip, err := parseAddr(a.IP); err == nil && ip.Is6() {
					kind = discoveryv1.AddressTypeIPv6
				}
				if n++; n > mirroredAddresses {
					continue
				}
				ready := i == 0
				of[kind].v.Endpoints = append(of[kind].v.Endpoints, discoveryv1.Endpoint{
					Addresses: []string{a.IP}, NodeName: a.NodeName, TargetRef: a.TargetRef, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				})
			}
		}
		for _, kind := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			if len(of[kind].v.Endpoints) > 0 {
				l.checkSlice(of[kind])
				out = append(out, *of[kind])
			}
		}
	}
	return out
}

func mirrorPorts(ports []corev1.EndpointPort) (out []discoveryv1.EndpointPort) {
	for i := range ports {
		p := &ports[i]
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &protocol, Port: &p.Port})
	}
	return out
}
