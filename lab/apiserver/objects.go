package apiserver

import (
	"cmp"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"natlab/topology"
	"natlab/topology/kube"
)

// metaOf is an object's name, with a UID that is always the same for it.
func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name)}
}

// serviceCIDRObject is the ServiceCIDR that the API server makes of its own flag.
func serviceCIDRObject(all []netip.Prefix) *networkingv1.ServiceCIDR {
	o := &networkingv1.ServiceCIDR{ObjectMeta: metaOf("", "kubernetes")}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"}
	for _, p := range all {
		o.Spec.CIDRs = append(o.Spec.CIDRs, p.String())
	}
	return o
}

// objectsOf are all objects of a cluster that kube-proxy reads, those of natlab's own for its barriers among them, one a family.
func objectsOf(c topology.Cluster, barriers map[topology.Family]barrier) map[resource][]object {
	out := map[resource][]object{Services: {barrierService()}}
	for _, f := range c.Families() {
		out[EndpointSlices] = append(out[EndpointSlices], barrierSlice(f, barriers[f]))
	}
	for _, n := range c.Nodes {
		out[Nodes] = append(out[Nodes], kube.Node(n))
	}
	if len(c.ServiceCIDRs) > 0 {
		out[ServiceCIDRs] = append(out[ServiceCIDRs], serviceCIDRObject(c.ServiceCIDRs))
	}
	for _, s := range c.Services {
		out[Services] = append(out[Services], kube.Service(s))
		for _, o := range kube.EndpointSlices(s) {
			out[EndpointSlices] = append(out[EndpointSlices], o)
		}
	}
	for _, all := range out {
		for _, o := range all {
			o.SetUID(types.UID(keyOf(o)))
		}
		slices.SortStableFunc(all, func(a, b object) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	}
	return out
}
