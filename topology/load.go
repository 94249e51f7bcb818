package topology

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Load reads everything a lab is made from: Kubernetes objects as `kubectl get -o yaml` or `-o json` prints
// them (Node, Pod, Service, EndpointSlice or Endpoints, also in a List), a KubeProxyConfiguration (also in kubeadm's ConfigMap)
// and a Lab document, in any order and over any number of sources. What the sources leave out is derived, see the derive.go of this
// package. The Cluster is complete and consistent, or the error names what is not; other kinds are named in the
// warnings, once each. The error is an *Error or Errors, and the Cluster is then the zero one.
func Load(srcs ...Source) (Cluster, []Warning, error) {
	l := newLoader()
	l.collect(srcs)
	l.translate()
	if len(l.errs) == 0 {
		l.complete()
	}
	if len(l.errs) == 0 {
		l.validate()
	}
	return l.result()
}

// LoadForRules reads the same input as Load for those who only want kube-proxy's rules: a Cluster need not
// be consistent or even have a network; endpoints may sit on nodes that are not described. It has no pods
// made up, no underlay derived and Endpoint.Pod empty.
func LoadForRules(srcs ...Source) (Cluster, []Warning, error) {
	l := newLoader()
	l.forRules = true
	l.collect(srcs)
	l.translate()
	return l.result()
}

// placed is a decoded object and where it came from.
type placed[T any] struct {
	origin
	v *T
}

// nodeAddition is what the Lab document has of one node.
type nodeAddition struct {
	field    string
	blocks   []netip.Prefix
	tunnels  []netip.Addr
	iptables string
}

// loader is one Load under way.
type loader struct {
	problems
	c                           Cluster
	forRules                    bool
	labBalancers                int                     // how many of Cluster.LoadBalancers the Lab document has
	families                    []Family                // of the lab, the primary one first
	podNetworkGiven, labPodCIDR [2]bool                 // by family: by anybody; by the Lab document
	overlayGiven                [2]bool                 // by family: by the Lab document, or by what Calico writes on the nodes
	flat                        [2]bool                 // by family: pods have addresses of the nodes' own network
	labAt                       origin                  // the Lab document; zero where there is none
	configAt                    origin                  // the KubeProxyConfiguration
	labOf                       map[string]nodeAddition // by node name
	outsideEndpoints            []Client                // made up by placeEndpoints; after all others in Cluster.Clients
	at                          map[string]origin       // by "Kind namespace/name", as origin.object has it

	nodes    []placed[corev1.Node]
	pods     []placed[corev1.Pod]
	services []placed[corev1.Service]
	slices   []placed[discoveryv1.EndpointSlice]
	legacy   []placed[endpointsObject]
	ranges   []placed[serviceCIDR]
}

func newLoader() *loader {
	l := &loader{labOf: map[string]nodeAddition{}, at: map[string]origin{}}
	l.c.KubeProxy = KubeProxy{MasqueradeBit: -1, LocalhostNodePorts: true}
	return l
}

func (l *loader) result() (Cluster, []Warning, error) {
	if err := l.errs.err(); err != nil {
		return Cluster{}, l.warns, err
	}
	return l.c, l.warns, nil
}

// collect decodes the objects natlab needs, each as it is read, and counts the others. A ConfigMap waits: a KubeProxyConfiguration of its own goes
// before the one that is in it.
func (l *loader) collect(srcs []Source) {
	passed := map[string]int{}
	first := map[string]origin{}
	take := func(o object) {
		if l.decode(o) {
			return
		}
		kind := o.kind + " (" + o.apiVersion + ")"
		if passed[kind]++; passed[kind] == 1 {
			first[kind] = o.origin
		}
	}
	var waiting []object
	l.read(srcs, func(o object) {
		if o.kind == "ConfigMap" {
			waiting = append(waiting, o)
		} else {
			take(o)
		}
	})
	for _, o := range waiting {
		take(o)
	}
	if l.seen == 0 && len(l.errs) == 0 {
		l.fail(origin{}, "", "the input has no Kubernetes object in it")
	}
	for _, kind := range sortedKeys(passed) {
		n := strconv.Itoa(passed[kind]) + " objects"
		if passed[kind] == 1 {
			n = "1 object"
		}
		o := first[kind]
		o.object, o.item = "", 0
		l.warn(o, "passed over %s of kind %s, which natlab does not need", n, short(kind))
	}
}

// decode takes an object of a kind natlab needs, and reports whether it is one.
func (l *loader) decode(o object) bool {
	switch o.apiVersion + " " + o.kind {
	case labAPIVersion + " Lab":
		if l.once(o, &l.labAt) {
			l.lab(o)
		}
	case "kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration":
		if l.once(o, &l.configAt) {
			l.kubeProxyConfig(o)
		}
	case "v1 Node":
		take(l, o, &l.nodes)
	case "v1 Pod":
		take(l, o, &l.pods)
	case "v1 Service":
		take(l, o, &l.services)
	case "discovery.k8s.io/v1 EndpointSlice", "discovery.k8s.io/v1beta1 EndpointSlice":
		take(l, o, &l.slices)
	case "networking.k8s.io/v1 ServiceCIDR", "networking.k8s.io/v1beta1 ServiceCIDR":
		take(l, o, &l.ranges)
	case "v1 Endpoints":
		take(l, o, &l.legacy)
	case "v1 ConfigMap":
		return strings.HasSuffix(o.object, "/kube-proxy") && l.configMap(o)
	default:
		if strings.HasPrefix(o.apiVersion, "natlab/") {
			l.fail(o.origin, "", "%s %s is not known: want %s Lab", o.apiVersion, o.kind, labAPIVersion)
			return true
		}
		return false
	}
	return true
}

// once sees to it that there is one document of a kind.
func (l *loader) once(o object, at *origin) bool {
	if at.doc != 0 {
		l.fail(o.origin, "", "there is one already, in %s: document %d", at.file, at.doc)
		return false
	}
	*at = o.origin
	return true
}

// take decodes a Kubernetes object; fields natlab does not know are passed over.
func take[T any](l *loader, o object, into *[]placed[T]) {
	p := placed[T]{o.origin, new(T)}
	if err := json.Unmarshal(o.raw, p.v); err != nil {
		l.fail(o.origin, "", "%v", typeProblem(err))
		return
	}
	if strings.HasSuffix(o.object, "/") || !strings.Contains(o.object, " ") {
		l.fail(o.origin, "metadata.name", "is empty (is the document cut off?)")
		return
	}
	if first, twice := l.at[o.object]; twice {
		l.fail(o.origin, "", "there is one of that name already, in %s", first.place())
		return
	}
	l.at[o.object] = o.origin
	*into = append(*into, p)
}

// place is the origin without its object.
func (o origin) place() string {
	s := fmt.Sprintf("%s: document %d", o.file, o.doc)
	if o.item > 0 {
		s += fmt.Sprintf(", item %d", o.item)
	}
	return s
}

// translate turns the decoded objects into the Cluster's values, sorted by name.
func (l *loader) translate() {
	l.translateNodes()
	l.chooseRelease()
	if !l.forRules { // whose release may yet be another
		l.passOver()
	}
	l.translatePods()
	l.translateServiceCIDRs()
	l.allocate()
	l.translateServices()
	slices.SortFunc(l.c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	sortPods(l.c.Pods)
	slices.SortFunc(l.c.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if l.c.Name == "" {
		l.c.Name = "lab"
	}
	if l.c.KubeProxy.Backend == "" {
		l.c.KubeProxy.Backend = BackendLegacy
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// index is "spec.ports[2]".
func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func sortPods(pods []Pod) {
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
