package topology

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The labels and annotations of a Service that kube-proxy looks at.
const (
	labelProxyName     = "service.kubernetes.io/service-proxy-name"
	labelHeadless      = corev1.IsHeadlessService
	annotationTopology = "service.kubernetes.io/topology-mode"
	annotationHints    = "service.kubernetes.io/topology-aware-hints"
	defaultAffinity    = 10800 // DefaultClientIPServiceAffinitySeconds
	maxAffinity        = 86400 // MaxClientIPServiceAffinitySeconds
	maxPort            = 65535
)

func (l *loader) translateServices() {
	slicesOf := l.slicesByService()
	for i := range l.services {
		o := &l.services[i]
		if o.v.Namespace == "" {
			o.v.Namespace = corev1.NamespaceDefault
		}
		if bad := badLabel(o.v.Namespace, maxLabel); bad != "" {
			l.fail(o.origin, "metadata.namespace", "%s", bad)
			continue
		}
		if bad := badLabel(o.v.Name, maxLabel); bad != "" {
			l.fail(o.origin, "metadata.name", "%s", bad)
			continue
		}
		s, ok := l.service(o)
		if !ok {
			continue
		}
		key := s.Namespace + "/" + s.Name
		list, described := slicesOf[key]
		for j := range list {
			l.checkSlice(&list[j])
		}
		if !described {
			list = l.slicesFor(*o.v, s)
		}
		l.endpoints(&s, list)
		l.c.Services = append(l.c.Services, s)
	}
}

// service translates one Service and reports whether any kube-proxy proxies it: not a headless one, not an
// ExternalName, not one of another proxy (ShouldSkipService, and the selectors of kube-proxy's informers).
func (l *loader) service(o *placed[corev1.Service]) (Service, bool) {
	spec := &o.v.Spec
	_, others := o.v.Labels[labelProxyName]
	_, headless := o.v.Labels[labelHeadless]
	if others || spec.Type == corev1.ServiceTypeExternalName || spec.ClusterIP == corev1.ClusterIPNone {
		return Service{}, false
	}
	before := len(l.errs)
	s := Service{
		Namespace:           o.v.Namespace,
		Name:                o.v.Name,
		ClusterIPs:          l.clusterIPs(o),
		TrafficDistribution: deref(spec.TrafficDistribution),
		HeadlessLabel:       headless,
	}
	if len(s.ClusterIPs) == 0 {
		if l.forRules {
			l.warn(o.origin, "it has no clusterIP: kube-proxy passes it over")
		} else if len(l.errs) == before {
			l.fail(o.origin, "spec.clusterIP", "is empty: write the address that the API server would choose, or None for a headless Service")
		}
		return Service{}, false
	}
	if len(spec.Ports) == 0 {
		l.fail(o.origin, "spec.ports", "is empty: a Service needs a port (is the document cut off?)")
		return Service{}, false
	}
	l.serviceTypes(o, &s)
	l.serviceAddresses(o, &s)
	if n := spec.HealthCheckNodePort; n < 0 || n > maxPort {
		l.fail(o.origin, "spec.healthCheckNodePort", "%d is not a port", n)
	} else {
		s.HealthCheckNodePort = uint16(n)
	}
	for _, key := range []string{annotationTopology, annotationHints} {
		if v, ok := o.v.Annotations[key]; ok {
			if s.Annotations == nil {
				s.Annotations, s.TopologyMode = map[string]string{}, v
			}
			s.Annotations[key] = v
		}
	}
	l.servicePorts(o, &s)
	return s, true
}

// clusterIPs is one address a family. Where clusterIPs is missing, as in YAML by hand, clusterIP stands for it.
func (l *loader) clusterIPs(o *placed[corev1.Service]) []netip.Addr {
	list, field := o.v.Spec.ClusterIPs, "spec.clusterIPs"
	if len(list) == 0 {
		list, field = []string{o.v.Spec.ClusterIP}, "spec.clusterIP"
	}
	var out []netip.Addr
	for i, s := range list {
		if s == "" || s == corev1.ClusterIPNone {
			continue
		}
		at := field
		if field == "spec.clusterIPs" {
			at = index(field, i)
		}
		ip, err := parseAddr(s)
		if err != nil {
			l.fail(o.origin, at, "%v", err)
			continue
		}
		if slices.ContainsFunc(out, func(a netip.Addr) bool { return a.Is4() == ip.Is4() }) {
			l.fail(o.origin, at, "%s: there is an address of that family already", ip)
			continue
		}
		out = append(out, ip)
	}
	return out
}

// serviceTypes reads the fields that are words.
func (l *loader) serviceTypes(o *placed[corev1.Service], s *Service) {
	spec := &o.v.Spec
	enum := func(field, value string, names []string, def string) uint8 {
		if value == "" {
			value = def
		}
		n, err := number(names, strings.TrimPrefix(field, "spec."), value)
		if err != nil {
			l.fail(o.origin, field, "%q is not known: want %s", short(value), oneOf(names))
		}
		return n
	}
	s.Type = ServiceType(enum("spec.type", string(spec.Type), serviceTypeNames, "ClusterIP"))
	s.ExternalPolicy = TrafficPolicy(enum("spec.externalTrafficPolicy", string(spec.ExternalTrafficPolicy), trafficPolicyNames, "Cluster"))
	s.InternalPolicy = TrafficPolicy(enum("spec.internalTrafficPolicy", string(deref(spec.InternalTrafficPolicy)), trafficPolicyNames, "Cluster"))
	switch spec.SessionAffinity {
	case "", corev1.ServiceAffinityNone:
	case corev1.ServiceAffinityClientIP:
		s.AffinitySeconds = defaultAffinity
		if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			s.AffinitySeconds = *c.ClientIP.TimeoutSeconds
		}
		if s.AffinitySeconds < 1 || s.AffinitySeconds > maxAffinity {
			l.fail(o.origin, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", "%d: want 1 to %d", s.AffinitySeconds, maxAffinity)
		}
	default:
		l.fail(o.origin, "spec.sessionAffinity", "%q is not known: want None or ClientIP", short(string(spec.SessionAffinity)))
	}
}

// serviceAddresses reads the addresses a Service is reached by from outside. What is no address or range at all
// kube-proxy passes over with a line in its log, so for the rules it is a warning; a lab refuses it.
func (l *loader) serviceAddresses(o *placed[corev1.Service], s *Service) {
	soft := func(field string, err error) {
		if l.forRules {
			l.warn(o.origin, "%s: %v: kube-proxy passes it over", field, err)
		} else {
			l.fail(o.origin, field, "%v", err)
		}
	}
	for i, text := range o.v.Spec.ExternalIPs {
		if strings.TrimSpace(text) == "" {
			continue
		}
		ip, err := parseAddr(text)
		if err != nil {
			soft(index("spec.externalIPs", i), err)
			continue
		}
		s.ExternalIPs = append(s.ExternalIPs, ip)
	}
	for i, text := range o.v.Spec.LoadBalancerSourceRanges {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := parsePrefix(text)
		if err != nil {
			soft(index("spec.loadBalancerSourceRanges", i), err)
			continue
		}
		s.SourceRanges = append(s.SourceRanges, p.Masked())
	}
	for i, in := range o.v.Status.LoadBalancer.Ingress {
		if in.IP == "" {
			continue
		}
		ip, err := parseAddr(in.IP)
		if err != nil {
			soft(index("status.loadBalancer.ingress", i)+".ip", err)
			continue
		}
		mode := string(deref(in.IPMode))
		if mode != "" && mode != "VIP" && mode != "Proxy" {
			l.fail(o.origin, index("status.loadBalancer.ingress", i)+".ipMode", "%q is not known: want VIP or Proxy", short(mode))
		}
		s.Ingress = append(s.Ingress, Ingress{IP: ip, IPMode: mode})
	}
}

func (l *loader) servicePorts(o *placed[corev1.Service], s *Service) {
	seen := map[[2]string]bool{}
	for i, p := range o.v.Spec.Ports {
		field := index("spec.ports", i)
		if p.Name != "" {
			if bad := badLabel(p.Name, maxLabel); bad != "" {
				l.fail(o.origin, field+".name", "%s", bad)
				continue
			}
			field = `port "` + p.Name + `"`
		}
		protocol := string(p.Protocol)
		if protocol == "" {
			protocol = "TCP"
		}
		switch {
		case protocol != "TCP" && protocol != "UDP" && protocol != "SCTP":
			l.fail(o.origin, field, "protocol %q is not known: want TCP, UDP or SCTP", short(protocol))
		case p.Port < 1 || p.Port > maxPort:
			l.fail(o.origin, field, "port %d: want 1 to %d (is the document cut off?)", p.Port, maxPort)
		case p.NodePort < 0 || p.NodePort > maxPort:
			l.fail(o.origin, field, "nodePort %d: want 1 to %d", p.NodePort, maxPort)
		case seen[[2]string{p.Name, protocol}]:
			l.fail(o.origin, field, "there are two ports of that name: give each its own")
		default:
			seen[[2]string{p.Name, protocol}] = true
			s.Ports = append(s.Ports, ServicePort{Name: p.Name, Protocol: protocol, Port: uint16(p.Port), NodePort: uint16(p.NodePort)})
		}
	}
}

// deref is the value p points to, or the zero one.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
