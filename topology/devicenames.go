package topology

import (
	"regexp"
)

// What devices of a name are by custom: the bridges of Docker, of CNI's bridge plugin, of kube-router, libvirt, LXD, Podman and Proxmox;
// tunnels that hand packets to one peer each; what systemd and the kernel call Ethernet, and the node's ends of pods.
var devicesByName = []struct {
	name *regexp.Regexp
	kind DeviceKind
}{
	{regexp.MustCompile(`^(docker\d+|docker_gwbridge|br-.+|x?v?m?br\d+|virbr\d+|(cni|cbr|podman|nerdctl|lxcbr|lxdbr|incusbr|cni-podman)\d+|kube-bridge|weave)$`), Bridge},
	{regexp.MustCompile(`^(wg|tun|utun|ppp|tailscale|gre|sit|vti|nebula)\d*$|^(kilo\d+|flannel-wg|flannel\.wg|wireguard\.cali)$`), PointToPoint},
	{regexp.MustCompile(`^(eth|en|em|bond|team|wl|ib)[a-zA-Z]*\d[\w.]*$|^(veth|cali|lxc|eni|azv|gke|vnet|tap)\w+$`), Veth},
}

// overlays are the tunnels of network plugins by name: flannel's, Calico's, Cilium's, Antrea's, and the kernel's own ipip.
var overlays = regexp.MustCompile(`^(tunl\d+|flannel[.-].+|vxlan.+|cilium_(vxlan|geneve)|gene?ve?\d*|antrea-tun0)$`)

// Tunnels reports whether a device hands packets on inside others, to hosts that have ways of their own: by its kind, else by what its name
// is by custom.
func (d Device) Tunnels() bool {
	switch d.Kind {
	case TunnelIPIP, TunnelVXLAN, PointToPoint:
		return true
	case Veth, Bridge, Loopback:
	}
	return d.KindFrom == KindOpen && overlays.MatchString(d.Name)
}

// deviceNamed is a device of which nothing is known but its name.
func deviceNamed(name string) Device {
	for _, by := range devicesByName {
		if by.name.MatchString(name) {
			return Device{Name: name, Kind: by.kind, KindFrom: KindByName}
		}
	}
	return Device{Name: name, Kind: Veth, KindFrom: KindOpen}
}
