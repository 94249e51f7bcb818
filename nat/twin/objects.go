package twin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat/bundle"
	"natlab/topology"
)

// Objects are a cluster's objects as far as the nodes' dumps alone tell of them, as topology.Load reads them: the nodes by the address of their default
// route's device, and a pod for each host that a route of its own, or a bridge's port, leads to. There are no Services: rules do not tell what they were
// meant for.
func Objects(nodes []*bundle.Node) (string, error) {
	var b strings.Builder
	write := func(v any) error {
		text, err := json.Marshal(v)
		fmt.Fprintf(&b, "%s\n---\n", text)
		return err
	}
	errs := []error{write(map[string]any{
		"apiVersion": "natlab/v1alpha1", "kind": "Lab", "metadata": map[string]any{"name": "twin"},
		"spec": map[string]any{"podNetwork": map[string]any{"overlay": "none"}},
	})}
	for _, n := range nodes {
		address, ok := addressOf(n)
		if !ok {
			return "", fmt.Errorf("bundle of %q: no address of it is by the device of a default route: give the cluster's objects, too (-f)", n.Name)
		}
		errs = append(errs, write(map[string]any{
			"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": n.Name},
			"status": map[string]any{"addresses": []any{map[string]any{"type": "InternalIP", "address": address.String()}}},
		}))
		for _, a := range podsOf(n, address) {
			errs = append(errs, write(map[string]any{
				"apiVersion": "v1", "kind": "Pod",
				"metadata": map[string]any{"namespace": "dumped", "name": "pod-" + strings.ReplaceAll(a.String(), ".", "-")},
				"spec":     map[string]any{"nodeName": n.Name, "containers": []any{}},
				"status":   map[string]any{"phase": "Running", "podIP": a.String()},
			}))
		}
	}
	return b.String(), errors.Join(errs...)
}

// addressOf is the first IPv4 address of the device that a node's default route leads by.
func addressOf(n *bundle.Node) (netip.Addr, bool) {
	for _, r := range n.Namespace.Routes {
		if r.Dst.Bits() != 0 || !r.Dst.Addr().Is4() || r.Table != "" || r.Type != topology.Unicast {
			continue
		}
		for _, a := range n.Namespace.Addresses {
			if a.Device == r.Device && a.Prefix.Addr().Is4() {
				return a.Prefix.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// podsOf are the IPv4 hosts that a node's own devices lead to, sorted: by a route to the host alone without a next hop, or by a bridge's port.
func podsOf(n *bundle.Node, own netip.Addr) (out []netip.Addr) {
	kind := func(device string) (d topology.Device) {
		for _, o := range n.Namespace.Devices {
			if o.Name == device {
				d = o
			}
		}
		return d
	}
	add := func(a netip.Addr) {
		local := slices.ContainsFunc(n.Namespace.Addresses, func(o topology.Address) bool { return o.Prefix.Addr() == a })
		if a.Is4() && a != own && !local && !a.IsLinkLocalUnicast() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, r := range n.Namespace.Routes {
		if r.Type == topology.Unicast && r.Dst.IsSingleIP() && !r.Via.IsValid() && kind(r.Device).Kind == topology.Veth && podLike(r.Device) {
			add(r.Dst.Addr())
		}
	}
	for _, d := range n.Namespace.Devices {
		for _, a := range d.Behind {
			if podLike(d.Name) {
				add(a)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
