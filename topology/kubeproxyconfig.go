package topology

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// proxyConfig is what natlab needs of a kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration. The type of
// k8s.io/kube-proxy itself is not used: it drags in component-base, and each release has fields of its own.
type proxyConfig struct {
	Mode              string          `json:"mode"`
	HostnameOverride  string          `json:"hostnameOverride"`
	BindAddress       string          `json:"bindAddress"`
	ClusterCIDR       string          `json:"clusterCIDR"`
	NodePortAddresses []string        `json:"nodePortAddresses"`
	DetectLocalMode   string          `json:"detectLocalMode"`
	FeatureGates      map[string]bool `json:"featureGates"`
	DetectLocal       struct {
		BridgeInterface     string `json:"bridgeInterface"`
		InterfaceNamePrefix string `json:"interfaceNamePrefix"`
	} `json:"detectLocal"`
	IPTables struct {
		modeConfig

		LocalhostNodePorts *bool `json:"localhostNodePorts"`
	} `json:"iptables"`
	NFTables modeConfig `json:"nftables"`
	IPVS     struct {
		modeConfig

		Scheduler string `json:"scheduler"`
		StrictARP bool   `json:"strictARP"`
	} `json:"ipvs"`
	Conntrack struct {
		TCPBeLiberal bool `json:"tcpBeLiberal"`
	} `json:"conntrack"`
}

// modeConfig is what both modes have, each in a section of its own. kube-proxy reads that of the mode it runs in.
type modeConfig struct {
	MasqueradeBit *int32 `json:"masqueradeBit"`
	MasqueradeAll bool   `json:"masqueradeAll"`
	SyncPeriod    string `json:"syncPeriod"`
	MinSyncPeriod string `json:"minSyncPeriod"`
}

// The modes of kube-proxy. Without one in its configuration kube-proxy runs in iptables mode, until 1.39. What it writes in ipvs mode natlab does not
// know: a real kube-proxy has to run in it.
const (
	ModeIPTables = "iptables"
	ModeNFTables = "nftables"
	ModeIPVS     = "ipvs"
)

func detectLocalModes() []string {
	return []string{"ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"}
}

// configMap takes a kube-proxy configuration out of the ConfigMap in which kubeadm keeps it, where the input has no
// other, and reports whether it did.
func (l *loader) configMap(o object) bool {
	var m struct {
		Data map[string]string `json:"data"`
	}
	if l.configAt.doc != 0 || json.Unmarshal(o.raw, &m) != nil {
		return false
	}
	text, ok := m.Data["config.conf"]
	if !ok {
		return false
	}
	o.object += ": config.conf"
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		l.fail(o.origin, "", "not valid YAML: %v", err)
		return true
	}
	o.raw, l.configAt = raw, o.origin
	l.kubeProxyConfig(o)
	return true
}

// kubeProxyConfig reads the configuration of every node's kube-proxy.
func (l *loader) kubeProxyConfig(o object) {
	var cfg proxyConfig
	if err := json.Unmarshal(o.raw, &cfg); err != nil {
		l.fail(o.origin, "", "%v", typeProblem(err))
		return
	}
	bad := func(field, format string, args ...any) { l.fail(o.origin, field, format, args...) }
	kp := &l.c.KubeProxy
	name, section := ModeIPTables, cfg.IPTables.modeConfig
	switch cfg.Mode {
	case "", ModeIPTables:
	case ModeNFTables:
		kp.Mode, name, section = ModeNFTables, ModeNFTables, cfg.NFTables
	case ModeIPVS: // it masquerades as iptables mode is told to (pkg/proxy/ipvs: NewProxier)
		kp.Mode, section.SyncPeriod, section.MinSyncPeriod = ModeIPVS, cfg.IPVS.SyncPeriod, cfg.IPVS.MinSyncPeriod
		kp.StrictARP = cfg.IPVS.StrictARP
		if s := cfg.IPVS.Scheduler; s != "" && s != "rr" {
			bad("ipvs.scheduler", "%q: natlab proves what the scheduler rr does, kube-proxy's own; set that", short(s))
		}
	default:
		bad("mode", "%q: kube-proxy's modes are iptables, nftables and ipvs", short(cfg.Mode))
	}
	if kp.HostnameOverride = strings.ToLower(strings.TrimSpace(cfg.HostnameOverride)); kp.HostnameOverride != "" {
		if what := badSubdomain(kp.HostnameOverride); what != "" {
			bad("hostnameOverride", "%s", what)
		}
	}
	if cfg.BindAddress != "" {
		a, err := parseAddr(cfg.BindAddress)
		if err != nil {
			bad("bindAddress", "%v", err)
		}
		kp.BindAddress = a
	}
	l.detectLocal(o.origin, cfg)
	l.nodePortAddresses(o.origin, cfg.NodePortAddresses)
	if bit := section.MasqueradeBit; bit != nil {
		if *bit < 0 || *bit > 31 {
			bad(name+".masqueradeBit", "%d: want 0 to 31", *bit)
		}
		kp.MasqueradeBit = *bit
	}
	if on := cfg.IPTables.LocalhostNodePorts; on != nil {
		kp.LocalhostNodePorts = *on
	}
	l.syncPeriod(o.origin, name, section)
	kp.MasqueradeAll = section.MasqueradeAll
	kp.TCPBeLiberal = cfg.Conntrack.TCPBeLiberal
	kp.FeatureGates = cfg.FeatureGates
}

// kube-proxy's own periods, where the configuration has none.
const syncPeriod, minSyncPeriod = 30 * time.Second, time.Second

// syncPeriod reads how often kube-proxy cleans up. It exits where that is less often than it may write rules at all.
func (l *loader) syncPeriod(o origin, name string, section modeConfig) {
	read := func(field, text string, otherwise time.Duration) time.Duration {
		if text == "" {
			return otherwise
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			l.fail(o, field, "%q is not a duration such as 30s", short(text))
		}
		if d <= 0 {
			return otherwise
		}
		return d
	}
	period := read(name+".syncPeriod", section.SyncPeriod, syncPeriod)
	if least := read(name+".minSyncPeriod", section.MinSyncPeriod, minSyncPeriod); least > period {
		l.fail(o, name+".syncPeriod", "%v is shorter than %s.minSyncPeriod, %v: kube-proxy exits", period, name, least)
	}
	l.c.KubeProxy.SyncPeriod = period
}

// detectLocal reads how kube-proxy tells a packet from a local pod.
func (l *loader) detectLocal(o origin, cfg proxyConfig) {
	kp := &l.c.KubeProxy
	kp.Configured = true
	if cfg.ClusterCIDR != "" {
		for s := range strings.SplitSeq(cfg.ClusterCIDR, ",") {
			p, err := parsePrefix(strings.TrimSpace(s))
			if err != nil {
				l.fail(o, "clusterCIDR", "%v", err)
				continue
			}
			kp.ClusterCIDRs = append(kp.ClusterCIDRs, p.Masked())
		}
	}
	if kp.DetectLocalMode = cfg.DetectLocalMode; kp.DetectLocalMode != "" && !slices.Contains(detectLocalModes(), kp.DetectLocalMode) {
		l.fail(o, "detectLocalMode", "%q is not known: want %s", short(kp.DetectLocalMode), oneOf(detectLocalModes()))
	}
	if kp.BridgeInterface = cfg.DetectLocal.BridgeInterface; kp.BridgeInterface != "" || kp.DetectLocalMode == "BridgeInterface" {
		if what := badDevice(kp.BridgeInterface); what != "" {
			l.fail(o, "detectLocal.bridgeInterface", "%s", what)
		}
	}
	if kp.InterfacePrefix = cfg.DetectLocal.InterfaceNamePrefix; kp.InterfacePrefix != "" || kp.DetectLocalMode == "InterfaceNamePrefix" {
		if what := badDevice(kp.InterfacePrefix); what != "" {
			l.fail(o, "detectLocal.interfaceNamePrefix", "%s", what)
		}
	}
}

func (l *loader) nodePortAddresses(o origin, list []string) {
	for i, s := range list {
		if s == "primary" || s == "localhost" || s == "all" {
			if slices.Contains(list[:i], s) {
				l.fail(o, index("nodePortAddresses", i), "%q stands there twice", s)
			}
			l.c.KubeProxy.NodePortAddresses = append(l.c.KubeProxy.NodePortAddresses, s)
			continue
		}
		p, err := parsePrefix(s)
		if err != nil {
			l.fail(o, index("nodePortAddresses", i), `%v, nor "primary", "localhost" or "all"`, err)
			continue
		}
		text := p.String()
		if q, err := netip.ParsePrefix(s); err == nil && q.Bits() == 0 {
			text = s // old releases know ::/0 by this spelling only
		}
		l.c.KubeProxy.NodePortAddresses = append(l.c.KubeProxy.NodePortAddresses, text)
	}
}

// BindsOnAllNodes reports whether each node has the addresses of Services as its own, and answers ARP for them on the underlay, whoever announces them: kube-proxy
// in ipvs mode binds them to kube-ipvs0 (pkg/proxy/ipvs: proxier.go), and the kernel answers for any address that it has on any device, but with ipvs.strictARP
// (arp_ignore). In IPv6 it answers for a device's own alone (ndisc_recv_ns).
func (k KubeProxy) BindsOnAllNodes(a netip.Addr) bool {
	return k.Mode == ModeIPVS && !k.StrictARP && a.Is4()
}

// routesLocalnet reports whether kube-proxy sets net.ipv4.conf.all.route_localnet at its start, so that a node
// port answers on 127.0.0.1: localhostNodePorts, and node port addresses that contain a loopback address. In nftables and
// in ipvs mode node ports are not served there.
func (k KubeProxy) routesLocalnet() bool {
	if !k.LocalhostNodePorts || k.Mode == ModeNFTables || k.Mode == ModeIPVS {
		return false
	}
	only := false // some IPv4 addresses, so not all of them
	for _, s := range k.NodePortAddresses {
		if s == "localhost" || s == "all" {
			return true
		}
		p, err := netip.ParsePrefix(s)
		if err == nil && p.Addr().Is4() && (p.Addr().IsLoopback() || p.Contains(netip.AddrFrom4([4]byte{127}))) {
			return true
		}
		only = only || s == "primary" || err == nil && p.Addr().Is4()
	}
	return !only
}
