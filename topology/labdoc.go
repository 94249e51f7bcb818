package topology

import (
	"encoding/json"
	"iter"
	"net/netip"
	"reflect"
	"regexp"
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
	NAT           string            `json:"nat"` // behaviour.Parse reads it
}

type labUnderlay struct {
	CIDR      string `json:"cidr"`    // one a family, with a comma between two, as kubeadm's podSubnet
	Gateway   string `json:"gateway"` // likewise
	Interface string `json:"interface"`
	MTU       int    `json:"mtu"`
}

type labPodNetwork struct {
	CIDR     string `json:"cidr"` // one a family, with a comma between two
	Overlay  string `json:"overlay"`
	Overlay6 string `json:"overlay6"` // of IPv6; else as overlay, which for ipip is none
}

type labNode struct {
	Name          string   `json:"name"`
	PodBlocks     []string `json:"podBlocks"`
	TunnelAddress string   `json:"tunnelAddress"` // one a family, with a comma between two
	IPTables      string   `json:"iptables"`      // the version that the node's console has
}

type labClient struct {
	Name    string `json:"name"`
	Address string `json:"address"` // one a family, with a comma between two
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

// The smallest MTU IPv4 allows a tunnel to work with, that of IPv6 (RFC 8200, 5), and the largest veth takes.
const minMTU, minMTU6, maxMTU = 576, 1280, 65535

// threeNumbers is how iptables counts its versions.
var threeNumbers = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

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
	l.c.NAT = doc.Spec.NAT
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
	for _, p := range l.labPrefixes("spec.underlay.cidr", u.CIDR) {
		if least, most := 8, p.Addr().BitLen()-3; p.Bits() < least || p.Bits() > most {
			l.fail(l.labAt, "spec.underlay.cidr", "%s: want a range of /%d to /%d", p, least, most)
			continue
		}
		l.c.Underlay.CIDRs = append(l.c.Underlay.CIDRs, p)
	}
	l.c.Underlay.Gateways = l.labAddrs("spec.underlay.gateway", u.Gateway)
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

// labAddrs reads addresses of the Lab document, one a family at most; an empty text has none.
func (l *loader) labAddrs(field, s string) (out []netip.Addr) {
	for one := range commaSeparated(s) {
		a, err := parseAddr(one)
		switch {
		case err != nil:
			l.fail(l.labAt, field, "%v", err)
		case FamilyOf(a).first(out).IsValid():
			l.fail(l.labAt, field, "%s is the second address of %s: want one a family at most", a, FamilyOf(a).title())
		default:
			out = append(out, a)
		}
	}
	return out
}

// labPrefixes reads networks of the Lab document, one a family at most; an empty text has none.
func (l *loader) labPrefixes(field, s string) (out []netip.Prefix) {
	for one := range commaSeparated(s) {
		p, err := parsePrefix(one)
		switch {
		case err != nil:
			l.fail(l.labAt, field, "%v", err)
		case p != p.Masked():
			l.fail(l.labAt, field, "%s has host bits set: write %s", p, p.Masked())
		case FamilyOf(p.Addr()).network(out).IsValid():
			l.fail(l.labAt, field, "%s is the second network of %s: want one a family at most", p, FamilyOf(p.Addr()).title())
		default:
			out = append(out, p)
		}
	}
	return out
}

// commaSeparated are the parts of a text between its commas; an empty text has none.
func commaSeparated(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if s == "" {
			return
		}
		for one := range strings.SplitSeq(s, ",") {
			if !yield(strings.TrimSpace(one)) {
				return
			}
		}
	}
}

func (l *loader) labPodNetwork(n labPodNetwork) {
	for _, p := range l.labPrefixes("spec.podNetwork.cidr", n.CIDR) {
		f := FamilyOf(p.Addr())
		l.c.PodNetwork.CIDRs = append(l.c.PodNetwork.CIDRs, p)
		l.podNetworkGiven[f], l.labPodCIDR[f] = true, true
	}
	if n.Overlay != "" {
		if err := l.c.PodNetwork.Overlay.UnmarshalText([]byte(n.Overlay)); err != nil {
			l.fail(l.labAt, "spec.podNetwork.overlay", "%v", err)
		}
		l.c.PodNetwork.Overlay6 = l.c.PodNetwork.Overlay
		l.overlayGiven = [2]bool{true, true}
	}
	if n.Overlay6 != "" {
		err := l.c.PodNetwork.Overlay6.UnmarshalText([]byte(n.Overlay6))
		switch l.overlayGiven[IPv6] = true; {
		case err != nil:
			l.fail(l.labAt, "spec.podNetwork.overlay6", "%v", err)
		case l.c.PodNetwork.Overlay6 == IPIP:
			l.fail(l.labAt, "spec.podNetwork.overlay6", "ipip carries IPv4 only: want vxlan or none")
		}
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
			case p != p.Masked():
				l.fail(l.labAt, at, "%s has host bits set: write %s", p, p.Masked())
			default:
				about.blocks = append(about.blocks, p)
			}
		}
		about.tunnels = l.labAddrs(field+".tunnelAddress", n.TunnelAddress)
		if about.iptables = n.IPTables; about.iptables != "" && !threeNumbers.MatchString(about.iptables) {
			l.fail(l.labAt, field+".iptables", "%q is no version of iptables: want one such as 1.4.21", short(n.IPTables))
		}
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
			l.fail(l.labAt, field+".address", "is empty: want the client's address")
		}
		l.c.Clients = append(l.c.Clients, Client{Name: c.Name, Addresses: l.labAddrs(field+".address", c.Address)})
	}
	l.labBalancers = len(spec.LoadBalancers)
	for i, b := range spec.LoadBalancers {
		field := index("spec.loadBalancers", i)
		if b.Address == "" {
			l.fail(l.labAt, field+".address", "is empty: want the load balancer's address")
		}
		if b.AnnouncedBy == "" {
			l.fail(l.labAt, field+".announcedBy", "is empty: want the name of a node")
		}
		balancer := LoadBalancer{AnnouncedBy: b.AnnouncedBy}
		if a, err := parseAddr(b.Address); err == nil {
			balancer.Address = a
		} else if b.Address != "" {
			l.fail(l.labAt, field+".address", "%v", err)
		}
		l.c.LoadBalancers = append(l.c.LoadBalancers, balancer)
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
