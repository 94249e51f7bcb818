package kube

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"natlab/topology"
)

// Object is any object of a Cluster.
type Object interface {
	metav1.Object
	runtime.Object
}

// Resource is a kind of objects that is listed.
type Resource struct {
	Name       string   // "services", as kubectl api-resources has it
	Short      []string // what else it is called
	Kind       string   // "Service"
	Namespaced bool

	columns string // of its table; those behind the bar are of -o wide
	list    func(topology.Cluster) []Object
	row     func(Object, Width) []any
}

// Width is how much of an object a row has.
type Width uint8

// The widths.
const (
	Narrow Width = iota
	Wide         // -o wide
)

// What a cell holds where there is nothing, and where a Cluster does not hold it, in kubectl's words.
const (
	none    = "<none>"
	unknown = "<unknown>"
)

// Resources are all that can be listed.
func Resources() []Resource {
	return []Resource{
		{"nodes", []string{"node", "no"}, "Node", false, "Name Status Roles Age Version | Internal-IP External-IP OS-Image Kernel-Version Container-Runtime", nodes, nodeRow},
		{"pods", []string{"pod", "po"}, "Pod", true, "Name Ready Status Restarts Age | IP Node Nominated-Node Readiness-Gates", pods, podRow},
		{"services", []string{"service", "svc"}, "Service", true, "Name Type Cluster-IP External-IP Port(s) Age | Selector", services, serviceRow},
		{"endpoints", []string{"endpoint", "ep"}, "Endpoints", true, "Name Endpoints Age |", endpoints, endpointsRow},
	}
}

// Find is the resource of a name, be it a short one.
func Find(name string) (Resource, bool) {
	name = strings.ToLower(name)
	for _, r := range Resources() {
		if r.Name == name || slices.Contains(r.Short, name) {
			return r, true
		}
	}
	return Resource{}, false
}

// Objects are a cluster's objects of the resource, sorted by namespace and name.
func (r Resource) Objects(c topology.Cluster) []Object {
	all := r.list(c)
	slices.SortStableFunc(all, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all
}

// Table is a row for each object, in kubectl's columns.
func (r Resource) Table(all []Object, w Width) *metav1.Table {
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"}}
	narrow, wide, _ := strings.Cut(r.columns, "|")
	for priority, names := range []string{narrow, wide} {
		for name := range strings.FieldsSeq(names) {
			c := metav1.TableColumnDefinition{Name: columnName(name), Type: "string", Priority: int32(priority)}
			if name == "Name" {
				c.Format = "name" // printers put the type in front of these
			}
			t.ColumnDefinitions = append(t.ColumnDefinitions, c)
		}
	}
	for _, o := range all {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: r.row(o, w), Object: runtime.RawExtension{Object: o}})
	}
	return t
}

// columnName is a column's heading: two of them are of two words.
func columnName(name string) string {
	switch name {
	case "Nominated-Node", "Readiness-Gates":
		return strings.ReplaceAll(name, "-", " ")
	}
	return name
}

func nodes(c topology.Cluster) []Object     { return objects(c.Nodes, Node) }
func pods(c topology.Cluster) []Object      { return objects(c.Pods, Pod) }
func services(c topology.Cluster) []Object  { return objects(c.Services, Service) }
func endpoints(c topology.Cluster) []Object { return objects(c.Services, Endpoints) }

// objects are what of makes of each.
func objects[T any, O Object](list []T, of func(T) O) (out []Object) {
	for _, one := range list {
		out = append(out, of(one))
	}
	return out
}

const rolePrefix = "node-role.kubernetes.io/"

func nodeRow(o Object, _ Width) []any {
	n := o.(*corev1.Node)
	var roles []string
	for _, label := range slices.Sorted(maps.Keys(n.Labels)) {
		if role, ok := strings.CutPrefix(label, rolePrefix); ok && role != "" {
			roles = append(roles, role)
		}
	}
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	return []any{
		n.Name, status, cmp.Or(strings.Join(roles, ","), none), unknown, n.Status.NodeInfo.KubeletVersion,
		addressOf(n, corev1.NodeInternalIP), addressOf(n, corev1.NodeExternalIP), unknown, unknown, unknown,
	}
}

// addressOf is a node's first address of a type.
func addressOf(n *corev1.Node, of corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == of {
			return a.Address
		}
	}
	return none
}

func podRow(o Object, _ Width) []any {
	p := o.(*corev1.Pod)
	return []any{p.Name, unknown, string(p.Status.Phase), unknown, unknown, cmp.Or(p.Status.PodIP, none), cmp.Or(p.Spec.NodeName, none), none, unknown}
}

func serviceRow(o Object, w Width) []any {
	s := o.(*corev1.Service)
	var ports []string
	for _, p := range s.Spec.Ports {
		text := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			text = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
		ports = append(ports, text)
	}
	return []any{s.Name, string(s.Spec.Type), cmp.Or(s.Spec.ClusterIP, none), externalIP(s, w), cmp.Or(strings.Join(ports, ","), none), unknown, unknown}
}

// ingressWidth is how much of a load balancer's addresses a narrow table has.
const ingressWidth = 16

func externalIP(s *corev1.Service, w Width) string {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return cmp.Or(strings.Join(s.Spec.ExternalIPs, ","), none)
	}
	var all []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		all = append(all, in.IP)
	}
	text := strings.Join(all, ",")
	if w == Narrow && len(text) > ingressWidth {
		text = text[:ingressWidth-3] + "..."
	}
	if len(s.Spec.ExternalIPs) > 0 {
		text = strings.Join(append(slices.DeleteFunc([]string{text}, func(t string) bool { return t == "" }), s.Spec.ExternalIPs...), ",")
	}
	return cmp.Or(text, "<pending>")
}

// maxEndpoints is how many addresses a row has.
const maxEndpoints = 3

func endpointsRow(o Object, _ Width) []any {
	var all []string
	for _, s := range o.(*corev1.Endpoints).Subsets { //nolint:staticcheck // kubectl get endpoints lists these
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, hostPort(a.IP, p.Port))
			}
		}
	}
	text := strings.Join(all[:min(len(all), maxEndpoints)], ",")
	if more := len(all) - maxEndpoints; more > 0 {
		text += fmt.Sprintf(" + %d more...", more)
	}
	return []any{o.GetName(), cmp.Or(text, none), unknown}
}

func hostPort(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		return fmt.Sprintf("[%s]:%d", ip, port)
	}
	return fmt.Sprintf("%s:%d", ip, port)
}
