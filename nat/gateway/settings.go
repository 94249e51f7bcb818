package gateway

import (
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// settings are a namespace's sysctls of routing that are not of one device, as a fresh namespace has them where a Plan is silent.
type settings struct {
	forwarding6  bool            // net/ipv6/conf/all/forwarding: IPv6 has one switch for all
	ignoreEcho   bool            // icmp_echo_ignore_all, icmp/echo_ignore_all: a ping is not answered
	ignoreGroups bool            // icmp_echo_ignore_broadcasts, icmp/echo_ignore_multicast: one for many is not
	byInbound    bool            // icmp_errors_use_inbound_ifaddr: an error comes from the device that the packet came in by
	bridgeCalls  topology.Switch // net.bridge.bridge-nf-call-iptables: what bridges carry meets the IP tables
	reflectMark  bool            // fwmark_reflect: an answer has the mark of what it answers
	ttl          uint8
}

// deviceSettings are a device's.
type deviceSettings struct {
	forwarding   bool   // ip_forward sets all devices', and those to come
	localnet     bool   // route_localnet, on for all devices or for this one (IN_DEV_ORCONF), as are the next four
	acceptLocal  bool   // accept_local
	srcValidMark bool   // src_valid_mark: the way back to a source is that of the packet's mark
	proxyARP     bool   // proxy_arp
	redirects    bool   // send_redirects
	bcForwarding bool   // bc_forwarding, on for all devices and for this one
	rpFilter     string // rp_filter: the larger one of all devices' and this one's
}

// Sysctls are the settings of routing that decide what a Gateway does; of conf/*/ones * is all, default or a device. Besides
// them those of conntrack count.
func Sysctls(f nat.Family) []string {
	if f == nat.IPv6 {
		return []string{"net/ipv6/conf/all/forwarding", "net/ipv6/icmp/echo_ignore_all", "net/ipv6/icmp/echo_ignore_multicast", "net/ipv6/fwmark_reflect"}
	}
	return []string{
		"net/ipv4/ip_forward", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/route_localnet", "net/ipv4/conf/*/accept_local", "net/ipv4/conf/*/src_valid_mark",
		"net/ipv4/conf/*/proxy_arp", "net/ipv4/conf/*/send_redirects", "net/ipv4/conf/*/bc_forwarding", "net/ipv4/conf/*/rp_filter",
		"net/ipv4/icmp_echo_ignore_all", "net/ipv4/icmp_echo_ignore_broadcasts", "net/ipv4/icmp_errors_use_inbound_ifaddr", "net/ipv4/fwmark_reflect",
		"net/ipv4/ip_default_ttl",
	}
}

// bridged are the switches that send a bridge's packets through the IP tables.
var bridged = map[nat.Family]string{nat.IPv4: "net/bridge/bridge-nf-call-iptables", nat.IPv6: "net/bridge/bridge-nf-call-ip6tables"}

// settle reads the sysctls, in the order in which they are made.
func (h *host) settle(list []topology.Sysctl) {
	h.settings = settings{ttl: 64, ignoreGroups: h.family == nat.IPv4}
	conf := map[string]string{} // below net/ipv4/conf
	for _, s := range list {
		key, device := strings.CutPrefix(s.Key, "net/ipv4/conf/")
		switch {
		case s.Key == "net/ipv4/ip_forward" || key == "all/forwarding" && device:
			conf["default/forwarding"] = s.Value
			for _, d := range h.devices {
				conf[d.Name+"/forwarding"] = s.Value
			}
		case device:
			conf[key] = s.Value
		case s.Key == bridged[h.family]:
			if h.settings.bridgeCalls = topology.SwitchOn; s.Value == "0" {
				h.settings.bridgeCalls = topology.SwitchOff
			}
		default:
			h.settings.read(h.family, s)
		}
	}
	for _, d := range h.devices {
		d.settings = settingsOf(conf, d.Name)
	}
}

// read takes over a sysctl that is not of one device.
func (s *settings) read(f nat.Family, sysctl topology.Sysctl) {
	key, ok := strings.CutPrefix(sysctl.Key, map[nat.Family]string{nat.IPv4: "net/ipv4/", nat.IPv6: "net/ipv6/"}[f])
	if !ok {
		return
	}
	on := sysctl.Value != "0"
	switch key {
	case "conf/all/forwarding":
		s.forwarding6 = on
	case "icmp_echo_ignore_all", "icmp/echo_ignore_all":
		s.ignoreEcho = on
	case "icmp_echo_ignore_broadcasts", "icmp/echo_ignore_multicast":
		s.ignoreGroups = on
	case "icmp_errors_use_inbound_ifaddr":
		s.byInbound = on
	case "fwmark_reflect":
		s.reflectMark = on
	case "ip_default_ttl":
		if n, err := strconv.ParseUint(sysctl.Value, 10, 8); err == nil {
			s.ttl = uint8(n)
		}
	}
}

// settingsOf are those of a device, which began with those of "default", but loopback was there before.
func settingsOf(conf map[string]string, dev string) deviceSettings {
	own := func(key, fallback string) string {
		if v, ok := conf[dev+"/"+key]; ok {
			return v
		}
		if v, ok := conf["default/"+key]; ok && dev != "lo" {
			return v
		}
		return fallback
	}
	all := func(key, fallback string) string {
		if v, ok := conf["all/"+key]; ok {
			return v
		}
		return fallback
	}
	either := func(key, fallback string) bool { return all(key, fallback) != "0" || own(key, fallback) != "0" }
	return deviceSettings{
		forwarding: own("forwarding", "0") != "0", localnet: either("route_localnet", "0"), acceptLocal: either("accept_local", "0"), srcValidMark: either("src_valid_mark", "0"),
		proxyARP: either("proxy_arp", "0"), redirects: either("send_redirects", "1"),
		bcForwarding: all("bc_forwarding", "0") != "0" && own("bc_forwarding", "0") != "0",
		rpFilter:     max(all("rp_filter", "0"), own("rp_filter", "0")),
	}
}

// forwards reports whether the namespace is a router of IPv6.
func (h *host) forwards6() bool { return h.settings.forwarding6 }
