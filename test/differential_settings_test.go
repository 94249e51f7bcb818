package test

import (
	"strings"

	"natlab/nat"
	"natlab/topology"
)

// drawnDevices are the devices of the node whose settings are drawn.
var drawnDevices = []string{"in0", "out0", "pod0"}

// settings draws the node's sysctls, in the order in which they are made: mostly those that a node has. All are drawn every time,
// since the kernel keeps those of the rule set before.
func (d drawn) settings() (list []topology.Sysctl) {
	set := func(key string, values ...string) {
		list = append(list, topology.Sysctl{Key: key, Value: pick(d, values)})
	}
	set("net/netfilter/nf_conntrack_tcp_be_liberal", "0", "0", "0", "1")
	set("net/netfilter/nf_conntrack_tcp_loose", "1", "1", "1", "0")
	set("net/netfilter/nf_conntrack_checksum", "1", "1", "1", "0")
	for name, longer := range longerThanARound {
		set("net/netfilter/nf_conntrack_sctp_timeout_"+name, longer)
	}
	if !d.kernel.Has(nat.DCCPForgotten) {
		set("net/netfilter/nf_conntrack_dccp_loose", "1", "1", "0")
		for _, name := range []string{"closereq", "closing"} {
			set("net/netfilter/nf_conntrack_dccp_timeout_"+name, "60")
		}
	}
	if d.family == nat.IPv6 {
		set(forwarding6, "1", "1", "1", "1", "1", "0")
		set("net/ipv6/icmp/echo_ignore_all", "0", "0", "0", "0", "0", "1")
		set("net/ipv6/fwmark_reflect", "0", "0", "0", "1")
		return list
	}
	return append(list, d.settings4()...)
}

// longerThanARound are timeouts of SCTP that would end within a round.
var longerThanARound = map[string]string{
	"cookie_wait": "30", "cookie_echoed": "30", "shutdown_sent": "60", "shutdown_recd": "60", "shutdown_ack_sent": "60",
}

// settings4 are those of IPv4 alone.
func (d drawn) settings4() (list []topology.Sysctl) {
	set := func(key string, values ...string) {
		list = append(list, topology.Sysctl{Key: "net/ipv4/" + key, Value: pick(d, values)})
	}
	set("ip_forward", "1", "1", "1", "1", "1", "0")
	forwards := list[0].Value
	set("icmp_echo_ignore_all", "0", "0", "0", "0", "0", "1")
	set("icmp_echo_ignore_broadcasts", "1", "1", "0")
	set("icmp_errors_use_inbound_ifaddr", "0", "0", "0", "1")
	set("fwmark_reflect", "0", "0", "0", "1")
	set("ip_default_ttl", "64", "64", "64", "33")
	for _, dev := range append([]string{"all"}, drawnDevices...) {
		set("conf/"+dev+"/rp_filter", "0", "0", "0", "0", "0", "0", "0", "1", "2")
		set("conf/"+dev+"/route_localnet", "0", "0", "0", "0", "0", "0", "0", "1")
		set("conf/"+dev+"/accept_local", "0", "0", "0", "0", "0", "0", "0", "1")
		set("conf/"+dev+"/send_redirects", "0") // a redirect is not modelled
		if dev != "all" {
			set("conf/"+dev+"/bc_forwarding", "0", "0", "0", "1")
			set("conf/"+dev+"/forwarding", forwards, forwards, forwards, forwards, forwards, forwards, forwards, "0")
			continue
		}
		set("conf/all/bc_forwarding", "0", "1")
	}
	return list
}

// plainSettings are all that settings draws, as a router of the test has them.
func plainSettings(f nat.Family) (list []topology.Sysctl) {
	on := map[string]bool{"tcp_loose": true, "checksum": true, "icmp_echo_ignore_broadcasts": true}
	for _, s := range (drawn{family: f}).settings() {
		name := strings.TrimPrefix(strings.TrimPrefix(s.Key, "net/ipv4/"), "net/netfilter/nf_conntrack_")
		switch {
		case strings.HasSuffix(s.Key, "forwarding") && !strings.HasSuffix(s.Key, "bc_forwarding"), strings.HasSuffix(s.Key, "ip_forward"), on[name]:
			s.Value = "1"
		case name == "ip_default_ttl":
			s.Value = "64"
		case !strings.Contains(s.Key, "sctp"):
			s.Value = "0"
		}
		list = append(list, s)
	}
	return list
}

// unusual are those settings that a node hardly has.
func unusual(list []topology.Sysctl) (out []string) {
	for _, s := range list {
		switch {
		case strings.Contains(s.Key, "sctp"), strings.Contains(s.Key, "dccp_timeout"), strings.HasSuffix(s.Key, "orward") && s.Value == "1", strings.HasSuffix(s.Key, "forwarding") && !strings.HasSuffix(s.Key, "bc_forwarding") && s.Value == "1":
		case strings.HasSuffix(s.Key, "checksum") && s.Value == "1", strings.HasSuffix(s.Key, "ignore_broadcasts") && s.Value == "1", s.Value == "0" && strings.HasSuffix(s.Key, "bc_forwarding"):
		case s.Value == "64", s.Value == "0" && !strings.HasSuffix(s.Key, "orwarding"), strings.HasSuffix(s.Key, "loose") && s.Value == "1":
		default:
			out = append(out, strings.TrimPrefix(strings.TrimPrefix(s.String(), "net/ipv4/"), "net/netfilter/nf_conntrack_"))
		}
	}
	return out
}
