package topology

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

func (l *loader) translateNodes() {
	for _, o := range l.nodes {
		if bad := badSubdomain(o.v.Name); bad != "" {
			l.fail(o.origin, "metadata.name", "%s", bad)
			continue
		}
		n := Node{
			Name:      o.v.Name,
			Labels:    o.v.Labels,
			KubeProxy: o.v.Status.NodeInfo.KubeProxyVersion, //nolint:staticcheck // SA1019: old nodes still have it here
		}
		n.Addresses, n.ExternalIPs = l.nodeAddresses(o)
		if n.KubeProxy == "" {
			n.KubeProxy = o.v.Status.NodeInfo.KubeletVersion
		}
		cidrs := o.v.Spec.PodCIDRs
		if len(cidrs) == 0 && o.v.Spec.PodCIDR != "" {
			cidrs = []string{o.v.Spec.PodCIDR}
		}
		for i, s := range cidrs {
			p, err := parsePrefix(s)
			if err != nil {
				l.fail(o.origin, index("spec.podCIDRs", i), "%v", err)
				continue
			}
			n.PodCIDRs = append(n.PodCIDRs, p.Masked())
		}
		add := l.labOf[n.Name]
		n.PodBlocks, n.TunnelAddresses = slices.Clone(add.blocks), slices.Clone(add.tunnels)
		n.IPTables = add.iptables
		l.calico(o, &n)
		l.c.Nodes = append(l.c.Nodes, n)
	}
}

// nodeAddresses is a node's InternalIP addresses and its ExternalIP ones, which stand for the former where there are
// none: the order in which kube-proxy looks for its own address (GetNodeHostIPs).
func (l *loader) nodeAddresses(o placed[corev1.Node]) (addresses, external []netip.Addr) {
	of := func(kind corev1.NodeAddressType) []netip.Addr {
		var out []netip.Addr
		for i, a := range o.v.Status.Addresses {
			if a.Type != kind {
				continue
			}
			ip, err := parseAddr(a.Address)
			if err != nil {
				l.fail(o.origin, index("status.addresses", i), "%v", err)
			} else if !slices.Contains(out, ip) {
				out = append(out, ip)
			}
		}
		return out
	}
	addresses, external = of(corev1.NodeInternalIP), of(corev1.NodeExternalIP)
	if len(addresses) == 0 {
		return external, nil
	}
	return addresses, external
}

// calico reads what Calico writes on a node: the address of its tunnel device, and by it the overlay.
func (l *loader) calico(o placed[corev1.Node], n *Node) {
	for _, is := range []struct {
		family  Family
		overlay Overlay
		key     string
	}{{IPv4, IPIP, "IPv4IPIPTunnelAddr"}, {IPv4, VXLAN, "IPv4VXLANTunnelAddr"}, {IPv6, VXLAN, "IPv6VXLANTunnelAddr"}} {
		a, err := parseAddr(o.v.Annotations["projectcalico.org/"+is.key])
		if err != nil || FamilyOf(a) != is.family {
			continue
		}
		if !l.overlayGiven[is.family] {
			*l.overlay(is.family), l.overlayGiven[is.family] = is.overlay, true
		}
		if !n.Tunnel(is.family).IsValid() && l.c.PodNetwork.Of(is.family) == is.overlay {
			n.TunnelAddresses = append(n.TunnelAddresses, a)
		}
	}
}

// ready reports whether the node's Ready condition holds; a node without one is taken to be ready.
func ready(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

// chooseRelease settles whose rules the nodes get: the Lab document's release, else that of the oldest node, or the
// nearest to it that natlab knows, else the newest.
func (l *loader) chooseRelease() {
	if l.c.KubeProxy.Release != "" {
		return
	}
	oldest, seen := -1, ""
	for _, n := range l.c.Nodes {
		if minor, ok := minorOf(n.KubeProxy); ok && (oldest < 0 || minor < oldest) {
			oldest, seen = minor, n.KubeProxy
		}
	}
	if oldest < 0 {
		l.c.KubeProxy.Release = releaseName(newestMinor)
		return
	}
	chosen := min(max(oldest, oldestMinor), newestMinor)
	l.c.KubeProxy.Release = releaseName(chosen)
	if chosen == oldest {
		l.c.KubeProxy.Version = PatchOf(seen)
	} else {
		l.warn(origin{}, "the nodes run %s: natlab writes the rules of kube-proxy %s", short(seen), releaseName(chosen))
	}
}

// translatePods keeps the pods that have a node and an address and have not ended: the ones that are there to
// be talked to. The addresses of an ended pod may belong to another by now.
func (l *loader) translatePods() {
	for i := range l.pods {
		o := l.pods[i]
		p := l.pods[i].v
		if p.Namespace == "" {
			p.Namespace = corev1.NamespaceDefault
		}
		if bad := badLabel(p.Namespace, maxLabel); bad != "" {
			l.fail(o.origin, "metadata.namespace", "%s", bad)
			continue
		}
		if bad := badSubdomain(p.Name); bad != "" {
			l.fail(o.origin, "metadata.name", "%s", bad)
			continue
		}
		if p.Spec.NodeName != "" {
			if bad := badSubdomain(p.Spec.NodeName); bad != "" {
				l.fail(o.origin, "spec.nodeName", "%s", bad)
				continue
			}
		}
		ips := l.podAddresses(o)
		if len(ips) == 0 || p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		l.c.Pods = append(l.c.Pods, Pod{
			Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, IPs: ips, HostNetwork: p.Spec.HostNetwork, HostPorts: l.hostPorts(o),
		})
	}
}

func (l *loader) podAddresses(o placed[corev1.Pod]) []netip.Addr {
	var out []netip.Addr
	add := func(field, s string) {
		if s == "" {
			return
		}
		ip, err := parseAddr(s)
		if err != nil {
			l.fail(o.origin, field, "%v", err)
		} else if !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	for i, ip := range o.v.Status.PodIPs {
		add(index("status.podIPs", i)+".ip", ip.IP)
	}
	if len(o.v.Status.PodIPs) == 0 {
		add("status.podIP", o.v.Status.PodIP)
	}
	return out
}
