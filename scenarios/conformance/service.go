package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlab/topology"
)

// service is a Service as a script has it: the words of its verbs, and the addresses that it got.
type service struct {
	name      string
	words     map[string]string
	ips       map[topology.Family]netip.Addr
	external  map[topology.Family]netip.Addr
	balancers map[string]netip.Addr // by node and family
	nodePorts map[string]uint16     // by "80/tcp"
	health    uint16
	loaded    []topology.Service // none where no kube-proxy serves it
}

// port is a port of a Service in a script: "80/tcp".
type port struct {
	number uint16
	proto  string // "tcp"
}

func (p port) String() string { return fmt.Sprintf("%d/%s", p.number, p.proto) }

// name is the port's in the objects.
func (p port) name() string { return fmt.Sprintf("p%d-%s", p.number, p.proto) }

// ports are those of "80/tcp,80/udp".
func ports(text string) (out []port, err error) {
	for word := range strings.SplitSeq(text, ",") {
		number, proto, _ := strings.Cut(word, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
			return nil, fmt.Errorf("port %q: want NUMBER/tcp, /udp or /sctp", word)
		}
		out = append(out, port{uint16(n), proto})
	}
	return out, nil
}

// serviceWords are the keys of the verb.
var serviceWords = []string{"type", "ports", "families", "pods", "target", "hints", "affinity", "etp", "itp", "ranges", "external", "lb", "distribution", "label", "nodeports", "cidr"}

// ports are the Service's own.
func (s *service) ports() ([]port, error) { return ports(s.word("ports", "80/tcp")) }

func (s *service) word(key, otherwise string) string {
	if v, ok := s.words[key]; ok && v != "none" {
		return v
	}
	return otherwise
}

// families are those of the Service, the first one first.
func (s *service) families(of []topology.Family) (out []topology.Family, err error) {
	switch words := s.word("families", "first"); words {
	case "first":
		return of[:1], nil
	case "all":
		return of, nil
	default:
		for w := range strings.SplitSeq(words, ",") {
			f := map[string]topology.Family{"ipv4": topology.IPv4, "ipv6": topology.IPv6}[w]
			if f.String() != w {
				return nil, fmt.Errorf("family %q: want ipv4 or ipv6", w)
			}
			if !slices.Contains(of, f) {
				return nil, lacks("the lab has no " + map[topology.Family]string{topology.IPv4: "IPv4", topology.IPv6: "IPv6"}[f])
			}
			out = append(out, f)
		}
		return out, nil
	}
}

// lacks is why a test cannot be run on a lab: the test is skipped.
type lacks string

func (l lacks) Error() string { return string(l) }

// endpoint is one of pods=: who, and in which condition.
type endpoint struct {
	who   actor
	state string // "", "unready", "terminating", "dead"
}

// part is what stands between semicolons of pods=: the endpoints of one EndpointSlice, and the one port that it has; "" for all.
type part struct {
	port string
	all  []endpoint
}

// endpoints are those of all EndpointSlices.
func (s *service) endpoints(c cast) (out []endpoint, err error) {
	parts, err := s.parts(c)
	for _, p := range parts {
		out = append(out, p.all...)
	}
	return out, err
}

// parts are the EndpointSlices.
func (s *service) parts(c cast) (out []part, err error) {
	for text := range strings.SplitSeq(s.word("pods", ""), ";") {
		var list part
		if port, rest, ok := strings.Cut(text, ">"); ok {
			list.port, text = port, rest
		}
		for word := range strings.SplitSeq(text, ",") {
			if word == "" {
				continue
			}
			name, state, _ := strings.Cut(word, ":")
			who, ok := c[name]
			if !ok || who.pod == "" {
				return nil, fmt.Errorf("pods=%s: there is no pod %q in the cast", s.words["pods"], name)
			}
			if !slices.Contains([]string{"", "unready", "terminating", "dead"}, state) {
				return nil, fmt.Errorf("pods=%s: %q: want unready, terminating or dead", s.words["pods"], state)
			}
			list.all = append(list.all, endpoint{who, state})
		}
		out = append(out, list)
	}
	return out, nil
}

type object = map[string]any

// objects are the Service and its EndpointSlices as kubectl has them.
func (t *stage) objects(s *service) ([]object, error) {
	families, err := s.families(t.families)
	if err != nil {
		return nil, err
	}
	list, err := s.ports()
	if err != nil {
		return nil, err
	}
	kind := s.word("type", "ClusterIP")
	spec := object{"type": kind, "sessionAffinity": "None", "selector": object{"app": s.name}}
	meta := object{"namespace": t.namespace, "name": s.name, "labels": object{}}
	if label := s.word("label", ""); label != "" {
		meta["labels"] = object{label: "natlab"}
	}
	svc := object{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
	switch kind {
	case "ExternalName":
		return []object{svc}, nil // its name is DNS's business
	case "Headless":
		spec["type"], spec["clusterIP"] = "ClusterIP", "None"
	default:
		if err := t.addresses(s, svc, families); err != nil {
			return nil, err
		}
	}
	var specPorts []object
	for i, p := range list {
		one := object{"name": p.name(), "protocol": strings.ToUpper(p.proto), "port": p.number, "targetPort": t.targetOf(s, i)}
		if kind != "ClusterIP" && kind != "Headless" && s.word("nodeports", "yes") == "yes" {
			one["nodePort"] = t.nodePort(s, p)
		}
		specPorts = append(specPorts, one)
	}
	spec["ports"] = specPorts
	if err := t.policies(s, spec); err != nil {
		return nil, err
	}
	slicesOf, err := t.slices(s, list, families)
	return append([]object{svc}, slicesOf...), err
}

// addresses gives a Service those of its families, once.
func (t *stage) addresses(s *service, svc object, families []topology.Family) error {
	spec, _ := svc["spec"].(object)
	var ips, external, ingress []any
	for _, f := range families {
		if !s.ips[f].IsValid() {
			ip, err := t.clusterIP(s, f)
			if err != nil {
				return err
			}
			s.ips[f] = ip
		}
		ips = append(ips, s.ips[f].String())
		if s.word("external", "") != "" {
			if !s.external[f].IsValid() {
				ip, err := t.world.clusterIP(t.world.serviceRange(f)) // an address that nobody has, and that clients send to a node
				if err != nil {
					return err
				}
				s.external[f] = ip
			}
			external = append(external, s.external[f].String())
		}
		if n := s.word("lb", ""); n != "" && s.word("type", "") == "LoadBalancer" {
			a, err := t.balancer(s, n, f)
			if err != nil {
				return err
			}
			ingress = append(ingress, object{"ip": a.String()})
		}
	}
	spec["clusterIP"], spec["clusterIPs"], spec["externalIPs"] = ips[0], ips, external
	svc["status"] = object{"loadBalancer": object{"ingress": ingress}}
	return nil
}

// clusterIP is an address of the cluster's range, or of that which the script names.
func (t *stage) clusterIP(s *service, f topology.Family) (netip.Addr, error) {
	for text := range strings.SplitSeq(s.word("cidr", ""), ",") {
		if p, err := netip.ParsePrefix(text); err == nil && topology.FamilyOf(p.Addr()) == f {
			return t.world.clusterIP(p)
		}
	}
	return t.world.clusterIP(t.world.serviceRange(f))
}

func (t *stage) balancer(s *service, n string, f topology.Family) (netip.Addr, error) {
	node, ok := t.cast["node"+n]
	if !ok {
		return netip.Addr{}, fmt.Errorf("lb=%s: there is no node%s in the cast", n, n)
	}
	key := n + f.String()
	if a, ok := s.balancers[key]; ok {
		return a, nil
	}
	a, ok := t.world.balancer(node.member, f)
	if !ok {
		return a, lacks(fmt.Sprintf("the lab has no load balancer's address of %s that node%s (%s) announces and no Service has", f, n, node.member))
	}
	s.balancers[key] = a
	t.balancers = append(t.balancers, a)
	return a, nil
}

// targetOf is the port of the pods behind the i-th port.
func (t *stage) targetOf(s *service, i int) int {
	further, _ := strconv.Atoi(s.word("target", "0")) // service checked it
	return int(t.target) + further + i
}

func (t *stage) nodePort(s *service, p port) uint16 {
	key := p.String()
	if s.nodePorts[key] == 0 {
		for other, n := range s.nodePorts { // one number for all protocols of a port
			if strings.HasPrefix(other, fmt.Sprintf("%d/", p.number)) {
				s.nodePorts[key] = n
				return n
			}
		}
		s.nodePorts[key] = t.world.nodePort()
	}
	return s.nodePorts[key]
}

// policies fills in what decides who is answered by whom.
func (t *stage) policies(s *service, spec object) error {
	if a := s.word("affinity", ""); a != "" {
		n, err := strconv.Atoi(a)
		if err != nil {
			return fmt.Errorf("affinity=%s: want seconds", a)
		}
		spec["sessionAffinity"] = "ClientIP"
		spec["sessionAffinityConfig"] = object{"clientIP": object{"timeoutSeconds": n}}
	}
	spec["internalTrafficPolicy"] = s.word("itp", "Cluster")
	if k := s.word("type", "ClusterIP"); k == "NodePort" || k == "LoadBalancer" || s.word("external", "") != "" {
		spec["externalTrafficPolicy"] = s.word("etp", "Cluster")
		if s.word("etp", "") == "Local" && k == "LoadBalancer" {
			if s.health == 0 {
				s.health = t.world.nodePort()
			}
			spec["healthCheckNodePort"] = s.health
		}
	}
	if d := s.word("distribution", ""); d != "" {
		spec["trafficDistribution"] = d
	}
	var ranges []string
	for r := range strings.SplitSeq(s.word("ranges", ""), ",") {
		who, ok := t.cast[r]
		switch {
		case r == "":
		case !ok:
			ranges = append(ranges, r)
		default:
			for _, a := range who.addrs {
				ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
	}
	if ranges != nil {
		spec["loadBalancerSourceRanges"] = ranges
	}
	return nil
}

// slices are the EndpointSlices: one a family for each part between the slashes.
func (t *stage) slices(s *service, list []port, families []topology.Family) (out []object, err error) {
	parts, err := s.parts(t.cast)
	if err != nil {
		return nil, err
	}
	further, _ := strconv.Atoi(s.word("target", "0")) // service checked it
	if err := t.zoned(s); err != nil {
		return nil, err
	}
	for i, part := range parts {
		for _, f := range families {
			var portsOf, endpoints []object
			for j, p := range list {
				if part.port != "" && part.port != p.String() {
					continue
				}
				portsOf = append(portsOf, object{"name": p.name(), "protocol": strings.ToUpper(p.proto), "port": t.targetOf(s, j) + i*further})
			}
			for _, e := range part.all {
				if a := e.who.address(f); a.IsValid() {
					endpoints = append(endpoints, t.endpoint(s, e, a))
				}
			}
			out = append(out, object{
				"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": map[topology.Family]string{topology.IPv4: "IPv4", topology.IPv6: "IPv6"}[f],
				"metadata": object{"namespace": t.namespace, "name": fmt.Sprintf("%s-%d-%s", s.name, i, f), "labels": object{"kubernetes.io/service-name": s.name}},
				"ports":    portsOf, "endpoints": endpoints,
			})
		}
	}
	return out, nil
}

// zoned holds the lab's zones against what the tests of hints are written for: node0 and node1 in one, node2 in another.
func (t *stage) zoned(s *service) error {
	var zones []string
	for i := range 3 {
		n, _ := t.world.base.Node(t.cast[fmt.Sprint("node", i)].member)
		zones = append(zones, n.Labels[labelZone])
	}
	if s.word("hints", "") != "" && (zones[0] == "" || zones[0] != zones[1] || zones[2] == "" || zones[2] == zones[0]) {
		return lacks(fmt.Sprintf("the zones of node0, node1 and node2 are %q: want two nodes in one zone and the third in another", zones))
	}
	return nil
}

const labelZone = "topology.kubernetes.io/zone"

func (t *stage) endpoint(s *service, e endpoint, a netip.Addr) object {
	namespace, name, _ := strings.Cut(e.who.pod, "/")
	out := object{
		"addresses": []string{a.String()}, "nodeName": e.who.node, "targetRef": object{"kind": "Pod", "namespace": namespace, "name": name},
		"conditions": object{"ready": e.state == "", "serving": e.state == "" || e.state == "terminating", "terminating": e.state == "terminating" || e.state == "dead"},
	}
	node, _ := t.world.base.Node(e.who.node)
	zone := node.Labels[labelZone]
	if zone != "" {
		out["zone"] = zone
	}
	switch s.word("hints", "") {
	case "zone":
		out["hints"] = object{"forZones": []object{{"name": zone}}}
	case "node":
		out["hints"] = object{"forZones": []object{{"name": zone}}, "forNodes": []object{{"name": e.who.node}}}
	}
	return out
}

// load reads the objects as a lab's input, so that they mean what kubectl's mean.
func load(objects []object) ([]topology.Service, error) {
	var text bytes.Buffer
	for _, o := range objects {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		text.WriteString("---\n")
		text.Write(append(b, '\n'))
	}
	c, _, err := topology.LoadForRules(topology.Source{Name: "script", Reader: &text})
	return c.Services, err
}

// change takes the words of a verb in, and what follows from them to the lab.
func (t *stage) change(name string, words map[string]string) error {
	s := t.services[name]
	if s == nil {
		s = &service{
			name: name, words: map[string]string{}, ips: map[topology.Family]netip.Addr{}, external: map[topology.Family]netip.Addr{},
			balancers: map[string]netip.Addr{}, nodePorts: map[string]uint16{},
		}
		t.services[name] = s
	}
	if n := words["target"]; n != "" {
		if _, err := strconv.ParseUint(n, 10, 4); err != nil {
			return errors.New("target=" + n + ": want 0 to 15")
		}
	}
	maps.Copy(s.words, words)
	objects, err := t.objects(s)
	if err != nil {
		return err
	}
	if s.loaded, err = load(objects); err != nil {
		return err
	}
	return t.apply()
}
