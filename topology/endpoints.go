package topology

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// slicesByService groups the EndpointSlices that a kube-proxy reads by the Service they belong to.
func (l *loader) slicesByService() map[string][]placed[discoveryv1.EndpointSlice] {
	out := map[string][]placed[discoveryv1.EndpointSlice]{}
	for _, o := range l.slices {
		service := o.v.Labels[discoveryv1.LabelServiceName]
		if service == "" {
			l.warn(o.origin, "it has no label %s: kube-proxy passes it over", discoveryv1.LabelServiceName)
			continue
		}
		if _, headless := o.v.Labels[labelHeadless]; headless {
			continue
		}
		ns := cmp.Or(o.v.Namespace, corev1.NamespaceDefault)
		out[ns+"/"+service] = append(out[ns+"/"+service], o)
	}
	return out
}

// endpoints gives each port of s the endpoints its slices have for it, in the order of their text, as
// kube-proxy sorts them. Of an address that stands twice the last one counts that is not terminating, as in
// kube-proxy since 1.36; Listed has all, for the releases before.
func (l *loader) endpoints(s *Service, list []placed[discoveryv1.EndpointSlice]) {
	for i := range s.Ports {
		port := &s.Ports[i]
		var listed []Endpoint
		for j := range list {
			listed = append(listed, sliceEndpoints(&list[j], port, j)...)
		}
		found := map[netip.AddrPort]Endpoint{}
		for _, e := range listed {
			if _, there := found[e.Addr]; !there || !e.Terminating {
				found[e.Addr] = e
			}
		}
		for _, e := range found {
			e.Slice = 0
			port.Endpoints = append(port.Endpoints, e)
		}
		slices.SortFunc(port.Endpoints, func(a, b Endpoint) int { return cmp.Compare(a.Addr.String(), b.Addr.String()) })
		if len(found) < len(listed) {
			port.Listed = listed
			l.warnOfChance(s, port)
		}
	}
}

// warnOfChance names the addresses that stand in two slices, and not the same way: kube-proxy has no order among
// slices, so that either may count.
func (l *loader) warnOfChance(s *Service, port *ServicePort) {
	first, told := map[netip.AddrPort]Endpoint{}, map[netip.AddrPort]bool{}
	for _, e := range port.Listed {
		before, there := first[e.Addr]
		if !there {
			first[e.Addr] = e
			continue
		}
		if before.Slice == e.Slice || told[e.Addr] || before.alike(e) {
			continue
		}
		told[e.Addr] = true
		who := "kube-proxy"
		if before.Terminating != e.Terminating {
			who += " before v1.36"
		}
		l.warn(l.at["Service "+s.Namespace+"/"+s.Name], "%s stands in two EndpointSlices that differ: %s may take either; natlab reads them in the order of the input", e.Addr, who)
	}
}

// alike reports whether kube-proxy would do the same with either of two endpoints of one address.
func (e Endpoint) alike(other Endpoint) bool {
	other.Slice, other.Pod = e.Slice, e.Pod
	return reflect.DeepEqual(e, other)
}

// sliceEndpoints lists what one slice, the n-th, has for a port. A slice's port without a number is passed over
// (EndpointSliceCache); one without a name has the empty one, which the API server gives it (SetDefaults_EndpointPort).
func sliceEndpoints(o *placed[discoveryv1.EndpointSlice], port *ServicePort, n int) []Endpoint {
	var out []Endpoint
	_, others := o.v.Labels[labelProxyName]
	for _, p := range o.v.Ports {
		protocol := cmp.Or(string(deref(p.Protocol)), "TCP")
		if deref(p.Name) != port.Name || protocol != port.Protocol || deref(p.Port) < 1 || *p.Port > maxPort {
			continue
		}
		for _, e := range o.v.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			ip, err := parseAddr(e.Addresses[0])
			if err != nil || !rightFamily(o.v.AddressType, ip) {
				continue // checkSlice reports it, once
			}
			next := endpoint(netip.AddrPortFrom(ip, uint16(*p.Port)), e)
			next.OtherProxy, next.Slice = others, n
			out = append(out, next)
		}
	}
	return out
}

// endpoint translates one endpoint; a condition that is not there is the one its API doc gives.
func endpoint(at netip.AddrPort, e discoveryv1.Endpoint) Endpoint {
	yes := func(b *bool) bool { return b == nil || *b }
	out := Endpoint{
		Addr:        at,
		Node:        deref(e.NodeName),
		Zone:        deref(e.Zone),
		Ready:       yes(e.Conditions.Ready),
		Serving:     yes(e.Conditions.Serving),
		Terminating: deref(e.Conditions.Terminating),
	}
	if written := e.Addresses[0]; written != at.Addr().String() {
		out.Written = written
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.Pod = e.TargetRef.Namespace + "/" + e.TargetRef.Name
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.ZoneHints = append(out.ZoneHints, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			out.NodeHints = append(out.NodeHints, n.Name)
		}
		slices.Sort(out.ZoneHints)
		slices.Sort(out.NodeHints)
	}
	return out
}

func rightFamily(t discoveryv1.AddressType, ip netip.Addr) bool {
	return (t == discoveryv1.AddressTypeIPv4 && ip.Is4()) || (t == discoveryv1.AddressTypeIPv6 && ip.Is6())
}

// checkSlice reports what is wrong with a slice, once for each fault and not once for each port.
func (l *loader) checkSlice(o *placed[discoveryv1.EndpointSlice]) {
	switch o.v.AddressType {
	case discoveryv1.AddressTypeFQDN:
		return
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		l.fail(o.origin, "addressType", "%q is not known: want IPv4, IPv6 or FQDN (is the document cut off?)", short(string(o.v.AddressType)))
		return
	}
	for i, p := range o.v.Ports {
		if n := deref(p.Port); n < 0 || n > maxPort {
			l.fail(o.origin, index("ports", i), "port %d: want 1 to %d", n, maxPort)
		}
	}
	for i, e := range o.v.Endpoints {
		field := index("endpoints", i)
		if len(e.Addresses) > 0 {
			ip, err := parseAddr(e.Addresses[0])
			if err != nil {
				l.fail(o.origin, field+".addresses[0]", "%v", err)
			} else if !rightFamily(o.v.AddressType, ip) {
				l.fail(o.origin, field+".addresses[0]", "%s is not an %s address, as the slice's addressType requires", ip, o.v.AddressType)
			}
		}
		if name := deref(e.NodeName); name != "" {
			if bad := badSubdomain(name); bad != "" {
				l.fail(o.origin, field+".nodeName", "%s", bad)
			}
		}
		if r := e.TargetRef; r != nil && r.Kind == "Pod" {
			if bad := cmp.Or(badLabel(r.Namespace, maxLabel), badSubdomain(r.Name)); bad != "" {
				l.fail(o.origin, field+".targetRef", "%s", bad)
			}
		}
	}
}

// deriveSlices is what Kubernetes' EndpointSlice controller makes of a Service and its Pods: a slice for each
// family and set of port numbers (a named targetPort may mean another number in another Pod).
func (l *loader) deriveSlices(svc corev1.Service, s Service) []placed[discoveryv1.EndpointSlice] {
	var out []placed[discoveryv1.EndpointSlice]
	for _, ip := range s.ClusterIPs {
		kind := discoveryv1.AddressTypeIPv4
		if ip.Is6() {
			kind = discoveryv1.AddressTypeIPv6
		}
		for i := range l.pods {
			pod := &l.pods[i]
			e, ok := l.podEndpoint(svc, *pod.v, kind)
			if !ok {
				continue
			}
			ports := podPorts(svc, *pod.v)
			at := slices.IndexFunc(out, func(o placed[discoveryv1.EndpointSlice]) bool {
				return o.v.AddressType == kind && reflect.DeepEqual(o.v.Ports, ports)
			})
			if at < 0 {
				at = len(out)
				slice := placed[discoveryv1.EndpointSlice]{pod.origin, &discoveryv1.EndpointSlice{}}
				slice.v.AddressType, slice.v.Ports = kind, ports
				out = append(out, slice)
			}
			out[at].v.Endpoints = append(out[at].v.Endpoints, e)
		}
	}
	return out
}

// podEndpoint is the endpoint a Pod is for a Service, if it is one: selected, not ended, with an address.
func (l *loader) podEndpoint(svc corev1.Service, pod corev1.Pod, kind discoveryv1.AddressType) (discoveryv1.Endpoint, bool) {
	if pod.Namespace != svc.Namespace || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return discoveryv1.Endpoint{}, false
	}
	for key, value := range svc.Spec.Selector {
		if got, ok := pod.Labels[key]; !ok || got != value {
			return discoveryv1.Endpoint{}, false
		}
	}
	ips := pod.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if a, err := parseAddr(ip.IP); err != nil || !rightFamily(kind, a) {
			continue
		}
		serving, terminating := podReady(pod), pod.DeletionTimestamp != nil
		ready := svc.Spec.PublishNotReadyAddresses || (serving && !terminating)
		e := discoveryv1.Endpoint{
			Addresses:  []string{ip.IP},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name},
		}
		if pod.Spec.NodeName != "" {
			e.NodeName = &pod.Spec.NodeName
		}
		if zone, ok := l.zone(pod.Spec.NodeName); ok {
			e.Zone = &zone
		}
		return e, true
	}
	return discoveryv1.Endpoint{}, false
}

// podReady reports whether a Pod's Ready condition holds. A Pod without one, as in YAML by hand, is ready when
// it runs, or tells nothing at all of how it is.
func podReady(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == ""
}

func (l *loader) zone(node string) (string, bool) {
	for _, n := range l.c.Nodes {
		if n.Name == node {
			zone, ok := n.Labels[corev1.LabelTopologyZone]
			return zone, ok
		}
	}
	return "", false
}

// podPorts is the numbers a Service's ports have in one Pod; a port whose targetPort the Pod does not name is
// not there (FindPort).
func podPorts(svc corev1.Service, pod corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		protocol := cmp.Or(p.Protocol, corev1.ProtocolTCP)
		n := p.TargetPort.IntVal
		if p.TargetPort.StrVal != "" {
			n = namedPort(pod, p.TargetPort.StrVal, protocol)
			if n == 0 {
				continue
			}
		} else if n == 0 {
			n = p.Port
		}
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &protocol, Port: &n})
	}
	return out
}

// namedPort finds a container port by name; sidecars (init containers that stay) count too.
func namedPort(pod corev1.Pod, name string, protocol corev1.Protocol) int32 {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if deref(c.RestartPolicy) == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == name && cmp.Or(p.Protocol, corev1.ProtocolTCP) == protocol {
				return p.ContainerPort
			}
		}
	}
	return 0
}
