package kube

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"natlab/topology"
)

// Endpoints is a Service's endpoints in the one object that EndpointSlices took the place of, and that people still ask for: a subset of ports for
// each set of addresses, those that are ready apart from those that are not.
func Endpoints(s topology.Service) *corev1.Endpoints { //nolint:staticcheck // kubectl get endpoints lists these
	o := &corev1.Endpoints{ObjectMeta: meta(s.Namespace, s.Name)} //nolint:staticcheck // as above
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}
	for _, p := range s.Ports {
		byNumber := map[uint16]*corev1.EndpointSubset{} //nolint:staticcheck // as above
		var numbers []uint16
		for _, e := range p.Endpoints {
			n := e.Addr.Port()
			if byNumber[n] == nil {
				byNumber[n] = &corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: p.Name, Port: int32(n), Protocol: corev1.Protocol(p.Protocol)}}} //nolint:staticcheck // as above
				numbers = append(numbers, n)
			}
			a := corev1.EndpointAddress{IP: cmp.Or(e.Written, e.Addr.Addr().String())}
			if e.Node != "" {
				a.NodeName = new(e.Node)
			}
			if to := &byNumber[n].NotReadyAddresses; !e.Ready {
				*to = append(*to, a)
				continue
			}
			byNumber[n].Addresses = append(byNumber[n].Addresses, a)
		}
		for _, n := range numbers {
			addSubset(&o.Subsets, *byNumber[n])
		}
	}
	return o
}

// addSubset adds the port to the subset that has the same addresses, or else a subset.
func addSubset(all *[]corev1.EndpointSubset, one corev1.EndpointSubset) { //nolint:staticcheck // as above
	same := func(a, b corev1.EndpointAddress) bool { return a.IP == b.IP }
	for i, s := range *all {
		if slices.EqualFunc(s.Addresses, one.Addresses, same) && slices.EqualFunc(s.NotReadyAddresses, one.NotReadyAddresses, same) {
			(*all)[i].Ports = append(s.Ports, one.Ports...)
			return
		}
	}
	*all = append(*all, one)
}
