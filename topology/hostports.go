package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// HostPort is a port of a Pod's node that leads to one of its containers.
type HostPort struct {
	IP        netip.Addr `json:"ip,omitzero"` // of the node; invalid: any
	Port      uint16     `json:"port"`        // of the node
	Container uint16     `json:"container"`   // of the Pod
	Protocol  string     `json:"protocol"`    // "TCP", "UDP", "SCTP"
}

// hostPorts are those of a Pod's containers, and of the init containers that run beside them: the API server gives every port of a Pod
// on the host network one.
func (l *loader) hostPorts(o placed[corev1.Pod]) (out []HostPort) {
	p := o.v
	containers := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			h := HostPort{Protocol: cmp.Or(string(port.Protocol), string(corev1.ProtocolTCP))}
			field := fmt.Sprintf("container %q: port %d", short(c.Name), port.ContainerPort)
			host := port.HostPort
			if host == 0 && p.Spec.HostNetwork {
				host = port.ContainerPort
			}
			if host == 0 {
				continue
			}
			if host < 1 || host > 65535 || port.ContainerPort < 1 || port.ContainerPort > 65535 {
				l.fail(o.origin, field, "hostPort %d: want ports of 1 to 65535", host)
				continue
			}
			h.Port, h.Container = uint16(host), uint16(port.ContainerPort)
			if port.HostIP != "" {
				ip, err := parseAddr(port.HostIP)
				if err != nil {
					l.fail(o.origin, field, "hostIP: %v", err)
					continue
				}
				h.IP = ip
			}
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// hostPortServers are the sockets behind hostPorts: of each container's port one, whoever asks for it. Which addresses a Pod on the host
// network binds is not known: those of its node count.
func hostPortServers(c Cluster, p Pod) (out []Server) {
	for _, h := range p.HostPorts {
		s := Server{Name: p.Member(), Member: p.Member(), Proto: strings.ToLower(h.Protocol)}
		if p.HostNetwork {
			s.Member = p.Node
		}
		for _, a := range p.IPs {
			if c.Has(a) {
				s.Addr = netip.AddrPortFrom(a, h.Container)
				out = append(out, s)
			}
		}
	}
	return out
}
