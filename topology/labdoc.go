package topology

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"
)

// labAPIVersion is the Lab document's.
const labAPIVersion = "natlab/v1alpha1"

// labDocument is the natlab/v1alpha1 Lab document: what a lab needs and Kubernetes objects leave out. All of
// it is optional, and unlike in Kubernetes objects an unknown field is an error.
type labDocument struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   labMetadata `json:"metadata"`
	Spec       labSpec     `json:"spec"`
}

type labMetadata struct {
	Name string `json:"name"`
}

type labSpec struct {
	Underlay      labUnderlay       `json:"underlay"`
	PodNetwork    labPodNetwork     `json:"podNetwork"`
	Nodes         []labNode         `json:"nodes"`
	Clients       []labClient       `json:"clients"`
	LoadBalancers []labLoadBalancer `json:"loadBalancers"`
	KubeProxy     labKubeProxy      `json:"kubeProxy"`
}

type labUnderlay struct {
	CIDR      string `json:"cidr"`
	Gateway   string `json:"gateway"`
	Interface string `json:"interface"`
	MTU       int    `json:"mtu"`
}

type labPodNetwork struct {
	CIDR    string `json:"cidr"`
	Overlay string `json:"overlay"`
}

type labNode struct {
	Name          string   `json:"name"`
	PodBlocks     []string `json:"podBlocks"`
	TunnelAddress string   `json:"tunnelAddress"`
}

type labClient struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

type labLoadBalancer struct {
	Address     string `json:"address"`
	AnnouncedBy string `json:"announcedBy"`
}

type labKubeProxy struct {
	Release string `json:"release"`
	Backend string `json:"backend"`
}

// The backends: which of the kernel's two implementations of iptables holds the rules.
const (
	BackendLegacy = "iptables-legacy"
	BackendNFT    = "iptables-nft"
)

// The smallest MTU IPv4 allows a tunnel to work with, and the largest veth takes.
const minMTU, maxMTU = 576, 65535

// lab reads the Lab document into the cluster; nodeDocs gets the parts of it that belong to nodes.
func (l *loader) lab(o object) {
	l.labAt = o.origin
	var doc labDocument
	strict, err := kjson.UnmarshalStrict(o.raw, &doc)
	if err != nil {
		if terr := json.Unmarshal(o.raw, &doc); terr != nil {
			err = typeProblem(terr) // its words are better
		}
		l.fail(o.origin, "", "%v", err)
		return
	}
	for _, s := range strict {
		l.unknownField(s)
	}
	if bad := badLabel(doc.Metadata.Name, maxLabName); bad != "" && doc.Metadata.Name != "" {
		l.fail(o.origin, "metadata.name", "%s", bad)
	}
	l.c.Name = doc.Metadata.Name
	l.labUnderlay(doc.Spec.Underlay)
	l.labPodNetwork(doc.Spec.PodNetwork)
	l.labNodes(doc.Spec.Nodes)
	l.labOutside(doc.Spec)
	l.labKubeProxy(doc.Spec.KubeProxy)
}

// unknownField turns one of the strict decoder's errors (`unknown field "spec.underlay.gatewy"`) into the field
// and what could stand there instead.
func (l *loader) unknownField(err error) {
	path, ok := strings.CutPrefix(err.Error(), `unknown field "`)
	if !ok {
		l.fail(l.labAt, "", "%v", err)
		return
	}
	path = strings.TrimSuffix(path, `"`)
	t := reflect.TypeFor[labDocument]()
	parents, _ := strings.CutSuffix(path, path[strings.LastIndex(path, ".")+1:])
	for name := range strings.SplitSeq(strings.Trim(parents, "."), ".") {
		name, _, _ = strings.Cut(name, "[")
		for f := range t.Fields() {
			if f.Tag.Get("json") == name {
				if t = f.Type; t.Kind() == reflect.Slice {
					t = t.Elem()
				}
				break
			}
		}
	}
	var known []string
	for f := range t.Fields() {
		known = append(known, f.Tag.Get("json"))
	}
	slices.Sort(known)
	l.fail(l.labAt, path, "unknown field: want %s", oneOf(known))
}

func (l *loader) labUnderlay(u labUnderlay) {
	if u.CIDR != "" {
		p, err := parsePrefix(u.CIDR)
		switch {
		case err != nil:
			l.fail(l.labAt, "spec.underlay.cidr", "%v", err)
		case !p.Addr().Is4():
			l.fail(l.labAt, "spec.underlay.cidr", "%s is not IPv4: the lab's network is", p)
		case p != p.Masked():
			l.fail(l.labAt, "spec.underlay.cidr", "%s has host bits set: write %s", p, p.Masked())
		case p.Bits() < 8 || p.Bits() > 29:
			l.fail(l.labAt, "spec.underlay.cidr", "%s: want a range of /8 to /29", p)
		default:
			l.c.Underlay.CIDR = p
		}
	}
	l.c.Underlay.Gateway = l.labAddr("spec.underlay.gateway", u.Gateway)
	if u.Interface != "" {
		if bad := badDevice(u.Interface); bad != "" {
			l.fail(l.labAt, "spec.underlay.interface", "%s", bad)
		} else if slices.Contains(takenDevices(), u.Interface) || strings.HasPrefix(u.Interface, "cali") {
			l.fail(l.labAt, "spec.underlay.interface", "%q is the name of another device of the node", u.Interface)
		}
		l.c.Underlay.Interface = u.Interface
	}
	if u.MTU != 0 && (u.MTU < minMTU || u.MTU > maxMTU) {
		l.fail(l.labAt, "spec.underlay.mtu", "%d: want %d to %d", u.MTU, minMTU, maxMTU)
	}
	l.c.Underlay.MTU = u.MTU
}

// labAddr reads an IPv4 address of the Lab document; an empty one gives the zero Addr.
func (l *loader) labAddr(field, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := parseAddr(s)
	if err != nil {
		l.fail(l.labAt, field, "%v", err)
		return netip.Addr{}
	}
	if !a.Is4() {
		l.fail(l.labAt, field, "%s is not IPv4: the lab's network is", a)
		return netip.Addr{}
	}
	return a
}

func (l *loader) labPodNetwork(n labPodNetwork) {
	if n.CIDR != "" {
		p, err := parsePrefix(n.CIDR)
		switch {
		case err != nil:
			l.fail(l.labAt, "spec.podNetwork.cidr", "%v", err)
		case !p.Addr().Is4():
			l.fail(l.labAt, "spec.podNetwork.cidr", "%s is not IPv4: the lab's network is", p)
		case p != p.Masked():
			l.fail(l.labAt, "spec.podNetwork.cidr", "%s has host bits set: write %s", p, p.Masked())
		default:
			l.c.PodNetwork.CIDR, l.podNetworkGiven, l.labPodCIDR = p, true, true
		}
	}
	if l.overlayGiven = n.Overlay != ""; !l.overlayGiven {
		return
	}
	if err := l.c.PodNetwork.Overlay.UnmarshalText([]byte(n.Overlay)); err != nil {
		l.fail(l.labAt, "spec.podNetwork.overlay", "%v", err)
	}
}

func (l *loader) labNodes(nodes []labNode) {
	for i, n := range nodes {
		field := index("spec.nodes", i)
		if bad := badSubdomain(n.Name); bad != "" {
			l.fail(l.labAt, field+".name", "%s", bad)
			continue
		}
		if _, twice := l.labOf[n.Name]; twice {
			l.fail(l.labAt, field+".name", "%s is here twice", n.Name)
			continue
		}
		var about nodeAddition
		about.field = field
		for j, s := range n.PodBlocks {
			p, err := parsePrefix(s)
			switch at := index(field+".podBlocks", j); {
			case err != nil:
				l.fail(l.labAt, at, "%v", err)
			case !p.Addr().Is4():
				l.fail(l.labAt, at, "%s is not IPv4: the lab's network is", p)
			case p != p.Masked():
				l.fail(l.labAt, at, "%s has host bits set: write %s", p, p.Masked())
			default:
				about.blocks = append(about.blocks, p)
			}
		}
		about.tunnel = l.labAddr(field+".tunnelAddress", n.TunnelAddress)
		l.labOf[n.Name] = about
	}
}

// labOutside reads the clients and who announces which load balancer's address.
func (l *loader) labOutside(spec labSpec) {
	if spec.Clients != nil {
		l.c.Clients = []Client{}
	}
	for i, c := range spec.Clients {
		field := index("spec.clients", i)
		if bad := badLabel(c.Name, maxLabel); bad != "" {
			l.fail(l.labAt, field+".name", "%s", bad)
		}
		if c.Address == "" {
			l.fail(l.labAt, field+".address", "is empty: want the client's IPv4 address")
		}
		l.c.Clients = append(l.c.Clients, Client{Name: c.Name, Address: l.labAddr(field+".address", c.Address)})
	}
	l.labBalancers = len(spec.LoadBalancers)
	for i, b := range spec.LoadBalancers {
		field := index("spec.loadBalancers", i)
		if b.Address == "" {
			l.fail(l.labAt, field+".address", "is empty: want the load balancer's IPv4 address")
		}
		if b.AnnouncedBy == "" {
			l.fail(l.labAt, field+".announcedBy", "is empty: want the name of a node")
		}
		l.c.LoadBalancers = append(l.c.LoadBalancers, LoadBalancer{Address: l.labAddr(field+".address", b.Address), AnnouncedBy: b.AnnouncedBy})
	}
}

func (l *loader) labKubeProxy(k labKubeProxy) {
	if k.Release != "" {
		release, err := ParseRelease(k.Release)
		if err != nil {
			l.fail(l.labAt, "spec.kubeProxy.release", "%q is not known: %v", short(k.Release), err)
		}
		l.c.KubeProxy.Release, l.c.KubeProxy.Version = release, PatchOf(k.Release)
	}
	if backends := []string{BackendLegacy, BackendNFT}; k.Backend != "" && !slices.Contains(backends, k.Backend) {
		l.fail(l.labAt, "spec.kubeProxy.backend", "%q is not known: want %s", short(k.Backend), oneOf(backends))
	}
	l.c.KubeProxy.Backend = k.Backend
}
