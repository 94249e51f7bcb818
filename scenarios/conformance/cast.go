package conformance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/topology"
)

// actor is one of the cast: a member of the lab with a name that is the same in every lab.
type actor struct {
	name   string // "pod0"
	member string // whose namespace it is: for a pod on the host network its node
	pod    string // "NAMESPACE/NAME"; "" where it is none
	node   string // that it is, or is on; "" outside
	addrs  []netip.Addr
}

// address is the actor's of a family; the zero Addr where it has none.
func (a actor) address(f topology.Family) netip.Addr {
	for _, addr := range a.addrs {
		if topology.FamilyOf(addr) == f {
			return addr
		}
	}
	return netip.Addr{}
}

// cast is a lab's actors by name.
type cast map[string]actor

// podsOfNode is how many pods of a node have a part.
const podsOfNode = 2

// castOf gives the parts of a cluster out: the nodes with the most pods come first, so that most tests find whom they need.
func castOf(c topology.Cluster) cast {
	var behindPorts []topology.Pod
	pods, hosts := map[string][]topology.Pod{}, map[string][]topology.Pod{}
	for _, p := range c.Pods {
		switch {
		case len(p.IPs) == 0:
		case len(p.HostPorts) > 0 && !p.HostNetwork:
			behindPorts = append(behindPorts, p)
		case p.HostNetwork:
			hosts[p.Node] = append(hosts[p.Node], p)
		default:
			pods[p.Node] = append(pods[p.Node], p)
		}
	}
	nodes := slices.Clone(c.Nodes)
	slices.SortStableFunc(nodes, func(a, b topology.Node) int {
		return cmp.Compare(min(podsOfNode, len(pods[b.Name])), min(podsOfNode, len(pods[a.Name])))
	})
	out := cast{}
	for i, n := range nodes {
		out.add(actor{name: fmt.Sprint("node", i), member: n.Name, node: n.Name, addrs: n.Addresses})
		for j, p := range pods[n.Name][:min(podsOfNode, len(pods[n.Name]))] {
			out.add(actor{name: fmt.Sprint("pod", podsOfNode*i+j), member: p.Member(), pod: p.Member(), node: n.Name, addrs: p.IPs})
		}
		if h := hosts[n.Name]; len(h) > 0 {
			out.add(actor{name: fmt.Sprint("host", i), member: n.Name, pod: h[0].Member(), node: n.Name, addrs: n.Addresses})
		}
	}
	for i, part := range samePort {
		for _, p := range behindPorts {
			if node, ok := c.Node(p.Node); ok && p.Node == nodes[0].Name && part.is(p, node) {
				name := fmt.Sprint("ports", i+1)
				out.add(actor{name: name, member: p.Member(), pod: p.Member(), node: p.Node, addrs: p.IPs})
			}
		}
	}
	for _, cl := range c.Clients {
		name := "far"
		if slices.ContainsFunc(cl.Addresses, func(a netip.Addr) bool {
			return slices.ContainsFunc(c.Underlay.CIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
		}) {
			name = "client"
		}
		if _, taken := out[name]; !taken && !cl.Invented {
			out.add(actor{name: name, member: cl.Name, addrs: cl.Addresses})
		}
	}
	return out
}

// samePort are the parts of three pods of node0 that have one hostPort, and differ in hostIP or protocol.
var samePort = []portPart{{"127.0.0.1", "TCP"}, {"node", "TCP"}, {"node", "UDP"}}

// portPart is one of them: at 127.0.0.1 or at the node's address.
type portPart struct{ at, protocol string }

// hostPort is that of the parts, and containerPort where it leads.
const (
	hostPort      = 54323
	containerPort = 8080
)

func (part portPart) is(p topology.Pod, n topology.Node) bool {
	return slices.ContainsFunc(p.HostPorts, func(h topology.HostPort) bool {
		at := h.IP == n.IPv4()
		if part.at != "node" {
			at = h.IP.String() == part.at
		}
		return at && h.Port == hostPort && h.Container == containerPort && h.Protocol == part.protocol
	})
}

func (c cast) add(a actor) { c[a.name] = a }

// missing tells whom of the needed a lab does not have; "" for nobody.
func (c cast) missing(needs []string) string {
	var out []string
	for _, n := range needs {
		if _, ok := c[n]; ok {
			continue
		}
		what := map[bool]string{true: "a client on the nodes' network", false: "a client behind the router"}[n == "client"]
		var i int
		switch {
		case scan(n, "pod", &i):
			what = fmt.Sprintf("a pod number %d on one of %d nodes", i%podsOfNode+1, i/podsOfNode+1)
		case scan(n, "node", &i):
			what = fmt.Sprintf("%d nodes", i+1)
		case scan(n, "ports", &i):
			what = fmt.Sprintf("a pod on node0 with hostPort %d of %s, hostIP %s, for port %d", hostPort, samePort[i-1].protocol, samePort[i-1].at, containerPort)
		case scan(n, "host", &i):
			what = fmt.Sprintf("a pod on the host network of node%d", i)
		}
		out = append(out, n+" ("+what+")")
	}
	if len(out) == 0 {
		return ""
	}
	return "the lab has no " + strings.Join(out, ", no ")
}

func scan(name, kind string, i *int) bool {
	rest, ok := strings.CutPrefix(name, kind)
	if !ok {
		return false
	}
	n, err := fmt.Sscan(rest, i)
	return n == 1 && err == nil
}

// byPod finds an actor by its pod.
func (c cast) byPod(pod string) (actor, bool) {
	for _, a := range c {
		if a.pod == pod && pod != "" {
			return a, true
		}
	}
	return actor{}, false
}

// env is what scripts know of the cast.
func (c cast) env(families []topology.Family) map[string]string {
	out := map[string]string{}
	for name, a := range c {
		out[name] = a.member
		for i, f := range families {
			addr := a.address(f)
			if !addr.IsValid() {
				continue
			}
			if i == 0 {
				out[name+"_ip"] = bracketed(addr)
			}
			out[name+map[topology.Family]string{topology.IPv4: "_ip4", topology.IPv6: "_ip6"}[f]] = bracketed(addr)
		}
	}
	return out
}

// bracketed is an address in front of ":PORT".
func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
