package diagnosis

import "strings"

// owners are whose chains begin how, the longest beginning of several first. Sources: the agents' own documentation and code.
var owners = []struct{ prefix, owner string }{
	{"KUBE-ROUTER-", "kube-router"},
	{"KUBE-POD-FW-", "kube-router"},
	{"KUBE-NWPLCY-", "kube-router"},
	{"KUBE-DST-", "kube-router"},
	{"KUBE-SRC-", "kube-router"},
	{"KUBE-KUBELET-CANARY", "kubelet"},
	{"KUBE-IPVS-", "kube-proxy"},
	{"KUBE-", "kube-proxy"},
	{"cali-", "Calico"},
	{"califw-", "Calico"},
	{"FLANNEL-", "flannel"},
	{"WEAVE-", "Weave Net"},
	{"WEAVE", "Weave Net"},
	{"CILIUM_", "Cilium"},
	{"OLD_CILIUM_", "Cilium"},
	{"ANTREA-", "Antrea"},
	{"OVN-KUBE-", "OVN-Kubernetes"},
	{"AWS-SNAT-CHAIN-", "AWS VPC CNI"},
	{"AWS-CONNMARK-CHAIN-", "AWS VPC CNI"},
	{"AWS-", "AWS VPC CNI"},
	{"IP-MASQ", "ip-masq-agent"},
	{"DOCKER", "Docker"},
	{"NETAVARK", "Podman (Netavark)"},
	{"nv_", "Podman (Netavark)"},
	{"CNI-HOSTPORT-", "CNI portmap"},
	{"CNI-DN-", "CNI portmap"},
	{"CNI-SN-", "CNI portmap"},
	{"CNI-ISOLATION-", "CNI (Podman, nerdctl)"},
	{"CNI-FORWARD", "CNI firewall"},
	{"CNI-ADMIN", "CNI firewall"},
	{"CNI-", "CNI"},
	{"ts-", "Tailscale"},
	{"ISTIO_", "Istio"},
	{"PROXY_INIT_", "Linkerd"},
	{"ufw-", "ufw"},
	{"ufw6-", "ufw"},
	{"LIBVIRT_", "libvirt"},
	{"f2b-", "fail2ban"},
	{"fail2ban-", "fail2ban"},
	{"FWDI_", "firewalld"},
	{"FWDO_", "firewalld"},
	{"IN_", "firewalld"},
	{"FORWARD_IN_ZONES", "firewalld"},
	{"FORWARD_OUT_ZONES", "firewalld"},
	{"FORWARD_direct", "firewalld"},
	{"INPUT_ZONES", "firewalld"},
	{"INPUT_direct", "firewalld"},
	{"OUTPUT_direct", "firewalld"},
	{"PRE_", "firewalld"},
	{"POST_", "firewalld"},
	{"PREROUTING_ZONES", "firewalld"},
	{"PREROUTING_direct", "firewalld"},
	{"POSTROUTING_ZONES", "firewalld"},
	{"POSTROUTING_direct", "firewalld"},
	{"CROWDSEC", "CrowdSec"},
	{"sshguard", "sshguard"},
	{"MINIUPNPD", "miniupnpd"},
	{"LXC", "LXC"},
}

// besideRules are agents that decide about packets elsewhere than in rules, and what that leaves open.
var besideRules = map[string]string{
	"Antrea":         "what Antrea's flows in Open vSwitch do with the packet, of which the rules tell nothing",
	"Cilium":         "what Cilium's eBPF programs do with the packet, of which the rules tell nothing",
	"OVN-Kubernetes": "what OVN-Kubernetes' flows in Open vSwitch do with the packet, of which the rules tell nothing",
	"Calico eBPF":    "what Calico's eBPF programs do with the packet, of which the rules tell nothing",
	"Kube-OVN":       "what Kube-OVN's flows in Open vSwitch do with the packet, of which the rules tell nothing",
}

// besideDevices are the devices of such agents, by what their names begin with.
var besideDevices = []struct{ prefix, owner string }{
	{"cilium_", "Cilium"},
	{"lxc_health", "Cilium"},
	{"antrea-", "Antrea"},
	{"ovn-k8s-mp", "OVN-Kubernetes"},
	{"ovn0", "Kube-OVN"},
	{"bpfin.cali", "Calico eBPF"},
	{"bpfout.cali", "Calico eBPF"},
}

// tableOwners are whose tables of nf_tables have which name.
var tableOwners = map[string]string{
	"calico": "Calico", "cni_hostport": "CNI portmap", "docker-bridges": "Docker", "f2b-table": "fail2ban", "firewalld": "firewalld",
	"flannel-ipv4": "flannel", "flannel-ipv6": "flannel", "fw4": "OpenWrt (firewall4)", "incus": "Incus", "kube-proxy": "kube-proxy",
	"libvirt_network": "libvirt", "lxd": "LXD", "netavark": "Podman (Netavark)",
}

// Owner is whose a chain is, by its name; "" for a built-in chain and one that natlab does not know.
func Owner(chain string) string {
	for _, o := range owners {
		if strings.HasPrefix(chain, o.prefix) {
			return o.owner
		}
	}
	return ""
}

// ruleOwner is whose a rule is: its table's, where nf_tables has one of its agent's own; its chain's, or in a chain of many that of the chain that it
// leads to or the agent that its comment names.
func ruleOwner(table, chain, target, text string) string {
	if _, name, native := strings.Cut(table, " "); native && tableOwners[name] != "" {
		return tableOwners[name]
	}
	if o := Owner(chain); o != "" {
		return o
	}
	if o := Owner(target); o != "" {
		return o
	}
	for _, named := range []struct{ part, owner string }{
		{`--comment "cali:`, "Calico"},
		{"--comment cali:", "Calico"},
		{"flanneld masq", "flannel"},
		{"flanneld forward", "flannel"},
		{"AWS, ", "AWS VPC CNI"},
		{"kubernetes service portals", "kube-proxy"},
		{"generated for LXD network", "LXD"},
		{"generated for Incus network", "Incus"},
	} {
		if strings.Contains(text, named.part) {
			return named.owner
		}
	}
	switch {
	case strings.Contains(text, "-o docker0") || strings.Contains(text, "-i docker0"), strings.Contains(text, "-o br-") || strings.Contains(text, "-i br-"):
		return "Docker"
	case strings.Contains(text, "virbr"):
		return "libvirt"
	}
	return ""
}
