package kube

import (
	"cmp"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"natlab/topology"
)

// labelProxyName is the label by which kube-proxy's informers choose.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// ManagedBy is who wrote the EndpointSlices, as their label endpointslice.kubernetes.io/managed-by has it.
const ManagedBy = "natlab"

// Node is a node as kubelet and the controller manager would have written it.
func Node(n topology.Node) *corev1.Node {
	o := &corev1.Node{ObjectMeta: meta("", n.Name)}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	o.Labels = n.Labels
	for _, a := range n.Addresses {
		o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	for _, a := range n.ExternalIPs {
		o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: a.String()})
	}
	o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.Name})
	for _, p := range n.PodCIDRs {
		o.Spec.PodCIDRs = append(o.Spec.PodCIDRs, p.String())
	}
	if len(o.Spec.PodCIDRs) > 0 {
		o.Spec.PodCIDR = o.Spec.PodCIDRs[0]
	}
	o.Status.NodeInfo.KubeletVersion = n.KubeProxy // kubelet wrote its own version as kube-proxy's
	return o
}

// Pod is a pod as its node's kubelet would have written it while it runs.
func Pod(p topology.Pod) *corev1.Pod {
	o := &corev1.Pod{ObjectMeta: meta(p.Namespace, p.Name)}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	o.Spec.NodeName, o.Spec.HostNetwork = p.Node, p.HostNetwork
	o.Status.Phase = corev1.PodRunning
	for _, ip := range p.IPs {
		o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(p.IPs) > 0 {
		o.Status.PodIP = p.IPs[0].String()
	}
	return o
}

// Service is a Service with what kube-proxy reads of it.
func Service(s topology.Service) *corev1.Service {
	o := &corev1.Service{ObjectMeta: meta(s.Namespace, s.Name)}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	o.Annotations = s.Annotations
	if s.HeadlessLabel {
		o.Labels = map[string]string{corev1.IsHeadlessService: ""}
	}
	spec := &o.Spec
	spec.Type = map[topology.ServiceType]corev1.ServiceType{
		topology.ClusterIP: corev1.ServiceTypeClusterIP, topology.NodePort: corev1.ServiceTypeNodePort, topology.LoadBalancerType: corev1.ServiceTypeLoadBalancer,
	}[s.Type]
	for _, ip := range s.ClusterIPs {
		spec.ClusterIPs = append(spec.ClusterIPs, ip.String())
		spec.IPFamilies = append(spec.IPFamilies, corev1.IPFamily(addressType(ip)))
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	for _, ip := range s.ExternalIPs {
		spec.ExternalIPs = append(spec.ExternalIPs, ip.String())
	}
	for _, r := range s.SourceRanges {
		spec.LoadBalancerSourceRanges = append(spec.LoadBalancerSourceRanges, r.String())
	}
	for _, in := range s.Ingress {
		to := corev1.LoadBalancerIngress{IP: in.IP.String()}
		if in.IPMode != "" {
			to.IPMode = new(corev1.LoadBalancerIPMode(in.IPMode))
		}
		o.Status.LoadBalancer.Ingress = append(o.Status.LoadBalancer.Ingress, to)
	}
	policies(s, spec)
	for _, p := range s.Ports {
		spec.Ports = append(spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: corev1.Protocol(p.Protocol), Port: int32(p.Port), TargetPort: targetPort(p), NodePort: int32(p.NodePort)})
	}
	return o
}

// targetPort is the port that all endpoints have; 0 where they differ or there is none.
func targetPort(p topology.ServicePort) (port intstr.IntOrString) {
	for _, e := range p.Endpoints {
		if port.IntVal != 0 && port.IntVal != int32(e.Addr.Port()) {
			return intstr.IntOrString{}
		}
		port.IntVal = int32(e.Addr.Port())
	}
	return port
}

// policies are who serves whom.
func policies(s topology.Service, spec *corev1.ServiceSpec) {
	internal, external := corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyCluster
	if s.InternalPolicy == topology.PolicyLocal {
		internal = corev1.ServiceInternalTrafficPolicyLocal
	}
	if s.ExternalPolicy == topology.PolicyLocal {
		external = corev1.ServiceExternalTrafficPolicyLocal
	}
	spec.InternalTrafficPolicy, spec.ExternalTrafficPolicy = &internal, external
	spec.HealthCheckNodePort = int32(s.HealthCheckNodePort)
	spec.SessionAffinity = corev1.ServiceAffinityNone
	if s.AffinitySeconds > 0 {
		spec.SessionAffinity = corev1.ServiceAffinityClientIP
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(s.AffinitySeconds)}}
	}
	if s.TrafficDistribution != "" {
		spec.TrafficDistribution = new(s.TrafficDistribution)
	}
}

// sliceKey is what the endpoints of one EndpointSlice share.
type sliceKey struct {
	port, slice int // index in Service.Ports, and Endpoint.Slice
	number      uint16
	address     discoveryv1.AddressType
	otherProxy  bool
}

// EndpointSlices are a Service's EndpointSlices: one for each of its ports, family and port number, and each one apart that stood apart
// in the input, where an address stands twice (ServicePort.Listed).
func EndpointSlices(s topology.Service) []*discoveryv1.EndpointSlice {
	var order []sliceKey
	of := map[sliceKey]*discoveryv1.EndpointSlice{}
	for i, p := range s.Ports {
		all := p.Endpoints
		if p.Listed != nil {
			all = p.Listed
		}
		for _, e := range all {
			key := sliceKey{port: i, slice: e.Slice, number: e.Addr.Port(), address: addressType(e.Addr.Addr()), otherProxy: e.OtherProxy}
			o, has := of[key]
			if !has {
				o = emptySlice(s, p, key)
				of[key] = o
				order = append(order, key)
			}
			o.Endpoints = append(o.Endpoints, endpointOf(e))
		}
	}
	out := make([]*discoveryv1.EndpointSlice, len(order))
	for i, key := range order {
		out[i] = of[key]
	}
	return out
}

// emptySlice is the EndpointSlice of a key. Its name tells the key, so that the same endpoints are the same object after a change of others.
func emptySlice(s topology.Service, p topology.ServicePort, key sliceKey) *discoveryv1.EndpointSlice {
	name := fmt.Sprintf("%s-%d-%d-%d-%s", s.Name, key.port, key.slice, key.number, map[discoveryv1.AddressType]string{
		discoveryv1.AddressTypeIPv4: "4", discoveryv1.AddressTypeIPv6: "6",
	}[key.address])
	labels := map[string]string{discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: ManagedBy}
	if key.otherProxy {
		labels[labelProxyName] = "other"
		name += "-other"
	}
	o := &discoveryv1.EndpointSlice{ObjectMeta: meta(s.Namespace, name), AddressType: key.address}
	o.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
	o.Labels = labels
	o.Ports = []discoveryv1.EndpointPort{{Name: new(p.Name), Protocol: new(corev1.Protocol(p.Protocol)), Port: new(int32(key.number))}}
	return o
}

func endpointOf(e topology.Endpoint) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{
		Addresses:  []string{cmp.Or(e.Written, e.Addr.Addr().String())},
		Conditions: discoveryv1.EndpointConditions{Ready: new(e.Ready), Serving: new(e.Serving), Terminating: new(e.Terminating)},
	}
	if e.Node != "" {
		out.NodeName = new(e.Node)
	}
	if e.Zone != "" {
		out.Zone = new(e.Zone)
	}
	if len(e.ZoneHints)+len(e.NodeHints) > 0 {
		out.Hints = &discoveryv1.EndpointHints{}
		for _, z := range e.ZoneHints {
			out.Hints.ForZones = append(out.Hints.ForZones, discoveryv1.ForZone{Name: z})
		}
		for _, n := range e.NodeHints {
			out.Hints.ForNodes = append(out.Hints.ForNodes, discoveryv1.ForNode{Name: n})
		}
	}
	return out
}

func addressType(ip netip.Addr) discoveryv1.AddressType {
	if ip.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
