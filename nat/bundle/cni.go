package bundle

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/diagnosis"
	"natlab/topology"
	"natlab/topology/dump"
)

// cniNetwork is a network of CNI as its file in /etc/cni/net.d has it, as far as it counts here: a list, or one plugin alone.
type cniNetwork struct {
	Name    string       `json:"name"`
	Plugins []*cniPlugin `json:"plugins"`
	cniPlugin
}

// cniPlugin is macvlan or ipvlan with the device that it is on top of.
type cniPlugin struct {
	Type   string `json:"type"`
	Master string `json:"master"`
	IPAM   struct {
		cniRange
		Ranges    [][]cniRange `json:"ranges"`
		Addresses []struct {
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"ipam"`
}

// cniRange is a range of addresses: of host-local's, or of whereabouts'.
type cniRange struct {
	Subnet string `json:"subnet"`
	Range  string `json:"range"`
	Start  string `json:"rangeStart"`
	End    string `json:"rangeEnd"`
}

// upon doubts packets to pods of macvlan and ipvlan: the device below hands frames over by their hardware address before any rule of the node, and
// carries nothing between such a pod and the node itself (macvlan_handle_frame, macvlan_queue_xmit, ipvlan_handle_frame).
func (n *Node) upon(b dump.Bundle) error {
	for _, s := range b.Sections {
		if !strings.HasPrefix(s.Name, "cat /etc/cni/net.d/") || !s.OK() {
			continue
		}
		var network cniNetwork
		if err := json.Unmarshal([]byte(s.Text), &network); err != nil {
			n.note("section %q: not read: %v", s.Name, err)
			continue
		}
		for _, p := range append(network.Plugins, &network.cniPlugin) {
			if p == nil || p.Type != "macvlan" && p.Type != "ipvlan" {
				continue
			}
			if p.Master == "" {
				p.Master = n.defaultDevice()
			}
			for _, of := range n.podsOf(p) {
				n.doubts(diagnosis.Doubt{
					What: fmt.Sprintf("whether it is a pod of CNI's network %s, %s on top of %s: what %s carries for one meets no rule of the node, and the node itself reaches none of its own", network.Name, p.Type, p.Master, p.Master),
					Of:   of, Pods: true,
				})
			}
		}
	}
	return nil
}

// defaultDevice is the device of the default route, which is the plugins' master where none is named.
func (n *Node) defaultDevice() string {
	for _, r := range n.Namespace.Routes {
		if r.Dst.Bits() == 0 && r.Dst.Addr().Is4() && r.Table == "" {
			return r.Device
		}
	}
	return ""
}

// podsOf are the networks that a plugin's pods have addresses of: those of the device below where it is not told.
func (n *Node) podsOf(p *cniPlugin) (out []netip.Prefix) {
	all := []cniRange{p.IPAM.cniRange}
	for _, set := range p.IPAM.Ranges {
		all = append(all, set...)
	}
	for _, a := range p.IPAM.Addresses {
		all = append(all, cniRange{Subnet: a.Address})
	}
	for _, r := range all {
		if of, ok := r.prefix(); ok {
			out = append(out, of)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, a := range n.Namespace.Addresses {
		if a.Device == p.Master && !a.Prefix.IsSingleIP() {
			out = append(out, a.Prefix.Masked())
		}
	}
	return out
}

// prefix is the smallest network that holds a range; ok is false where there is none in it.
func (r cniRange) prefix() (_ netip.Prefix, ok bool) {
	text := r.Subnet
	if text == "" {
		_, text, _ = strings.Cut("-"+r.Range, "-") // whereabouts takes FIRST-LAST/LENGTH, too
		if i := strings.LastIndex(text, "-"); i >= 0 {
			text = text[i+1:]
		}
	}
	p, err := topology.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	first, err := netip.ParseAddr(r.Start)
	last, err2 := netip.ParseAddr(r.End)
	if err != nil || err2 != nil || nat.FamilyOf(first) != nat.FamilyOf(last) {
		return p.Masked(), true
	}
	for bits := first.BitLen(); bits >= 0; bits-- {
		if of := netip.PrefixFrom(first, bits).Masked(); of.Contains(last) {
			return of, true
		}
	}
	return p.Masked(), true
}

// vlans takes it that a bridge with VLAN filtering carries packets between its ports as any other does where all of them, and the bridge itself, are
// in one VLAN, untagged (br_allowed_ingress, br_allowed_egress).
func (n *Node) vlans(b dump.Bundle) error {
	s, ok := b.Section("bridge vlan show")
	if !ok || !s.OK() {
		return nil
	}
	words := map[string][]string{} // of each port
	port := ""
	for line := range strings.Lines(s.Text) {
		if strings.HasPrefix(line, "port") || strings.TrimSpace(line) == "" {
			continue
		}
		w := strings.Fields(line)
		if strings.TrimLeft(line, " \t") == line {
			port, w = w[0], w[1:]
		}
		words[port] = append(words[port], strings.Join(w, " "))
	}
	for i := range n.Namespace.Devices {
		bridge := &n.Namespace.Devices[i]
		first, one := words[bridge.Name], true
		for _, d := range n.Namespace.Devices {
			if d.Master == bridge.Name && (len(words[d.Name]) != 1 || len(first) != 1 || words[d.Name][0] != first[0]) {
				one = false
			}
		}
		if one && len(first) == 1 && strings.HasSuffix(first[0], "PVID Egress Untagged") {
			bridge.Filters = false
		}
	}
	return nil
}
