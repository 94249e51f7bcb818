package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/topology"
)

// three are n1 with a second address, n2 and n3, with a pod on each and a second one on n1.
const three = `{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.26.10}, {type: InternalIP, address: 192.168.26.12}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.26.20}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n3}, spec: {podCIDR: 10.244.3.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.26.30}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p1}, spec: {nodeName: n1}, status: {phase: Running, podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p2}, spec: {nodeName: n1}, status: {phase: Running, podIP: 10.244.1.6, podIPs: [{ip: 10.244.1.6}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p3}, spec: {nodeName: n2}, status: {phase: Running, podIP: 10.244.2.7, podIPs: [{ip: 10.244.2.7}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: d, name: p4}, spec: {nodeName: n3}, status: {phase: Running, podIP: 10.244.3.8, podIPs: [{ip: 10.244.3.8}]}}
`

// scene is a cluster of three, and what is beside kube-proxy on its nodes.
type scene struct {
	config  string   // fields of the KubeProxyConfiguration
	objects []string // documents
	beside  string   // iptables-save's text
	release string
	edit    func(*topology.Cluster)
}

// web is a Service with endpoints at port 8080 of pods.
func web(spec string, pods ...string) []string {
	at := map[string]string{"p1": "10.244.1.5 n1", "p2": "10.244.1.6 n1", "p3": "10.244.2.7 n2", "p4": "10.244.3.8 n3"}
	ends := make([]string, len(pods))
	for i, p := range pods {
		ip, node, _ := strings.Cut(at[p], " ")
		ends[i] = fmt.Sprintf("{addresses: [%s], nodeName: %s, conditions: {ready: true}, targetRef: {kind: Pod, namespace: d, name: %s}}", ip, node, p)
	}
	return []string{
		"{apiVersion: v1, kind: Service, metadata: {namespace: d, name: web}, spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], " + spec + "}}",
		"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: d, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{name: h, protocol: TCP, port: 8080}], endpoints: [" + strings.Join(ends, ", ") + "]}",
	}
}

const (
	clusterIP = "ports: [{name: h, protocol: TCP, port: 80, targetPort: 8080}]"
	nodePort  = "type: NodePort, ports: [{name: h, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}]"
	localPort = "externalTrafficPolicy: Local, " + nodePort
	balancer  = "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31000, ports: [{name: h, protocol: TCP, port: 80, targetPort: 8080, nodePort: 30080}]}, status: {loadBalancer: {ingress: [{ip: 192.168.26.200}]}"
	ranged    = "loadBalancerSourceRanges: [203.0.113.0/24], " + balancer
	outer     = "externalIPs: [203.0.113.5], " + clusterIP
	sticky    = "sessionAffinity: ClientIP, " + clusterIP
	everyPort = `nodePortAddresses: [0.0.0.0/0]`
	gate      = `nodePortAddresses: [127.0.0.0/8], featureGates: {KubeProxyNFTablesLocalhostNodePorts: true}`
)

// filter is a filter table, of another agent.
func filter(input, forward string, rules ...string) string {
	return "*filter\n:INPUT " + input + " [0:0]\n:FORWARD " + forward + " [0:0]\n:OUTPUT ACCEPT [0:0]\n" + strings.Join(append(rules, "COMMIT\n"), "\n")
}

func (s scene) move(t *testing.T) *move {
	t.Helper()
	text := three + "---\n{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, clusterCIDR: 10.244.0.0/16, " + s.config + "}\n"
	for _, o := range s.objects {
		text += "---\n" + o + "\n"
	}
	c, _, err := topology.Load(topology.Source{Name: "scene.yaml", Reader: strings.NewReader(text)})
	require.NoError(t, err)
	if s.edit != nil {
		s.edit(&c)
	}
	o := Options{From: "iptables", To: "nftables", Release: s.release, Beside: Beside{}}
	if s.beside != "" {
		rs, err := iptables.ParseString(s.beside, nat.IPv4)
		require.NoError(t, err)
		o.Beside[""] = []iptables.Ruleset{rs}
	}
	m, err := newMove(c, o)
	require.NoError(t, err)
	return m
}

func (m *move) reported(t *testing.T) Report {
	t.Helper()
	r, err := m.report(0)
	require.NoError(t, err)
	return r
}

// has reports whether a class is among the findings.
func (r Report) has(class string) bool {
	return slices.ContainsFunc(r.Classes, func(f Finding) bool { return f.Class == class })
}

// documentedOnly wants a class of every difference.
func documentedOnly(t *testing.T, r Report) {
	t.Helper()
	for _, d := range r.Differences {
		require.NotEmpty(t, d.Class, "%s\nfrom %v\nto   %v", d.Question, d.From, d.To)
	}
}

// Each class shows in one cluster and not in another, and nothing else is found there that is not documented.
func TestClasses(t *testing.T) {
	t.Parallel()
	ownAddress := func(c *topology.Cluster) {
		c.Nodes[0].Addresses = append(c.Nodes[0].Addresses, c.Services[0].ClusterIPs[0])
	}
	process := []string{
		"{apiVersion: v1, kind: Service, metadata: {namespace: d, name: process}, spec: {clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11], ports: [{name: h, protocol: TCP, port: 81, targetPort: 30080}]}}",
		"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: d, name: process-1, labels: {kubernetes.io/service-name: process}}, addressType: IPv4, ports: [{name: h, protocol: TCP, port: 30080}], endpoints: [{addresses: [192.168.26.12], nodeName: n1}]}",
	}
	ranges := append(web(clusterIP, "p1"), "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}}")
	hostPort := "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 9999 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.244.1.5:%d\nCOMMIT\n"
	tested := map[string]bool{}
	for _, row := range []struct {
		class       string
		shows, does scene // does: it does not
	}{
		{"node-port-address", scene{objects: web(nodePort, "p1")}, scene{objects: web(nodePort, "p1"), config: everyPort}},
		{"node-port-of-a-process", scene{objects: append(web(nodePort, "p1"), process...)}, scene{objects: append(web(nodePort, "p1"), process...), config: everyPort}},
		{"node-port-localhost", scene{objects: web(nodePort, "p1")}, scene{objects: web(nodePort, "p1"), config: "iptables: {localhostNodePorts: false}"}},
		{"node-port-localhost-gate", scene{objects: web(nodePort, "p1"), config: gate}, scene{objects: web(nodePort, "p1"), config: everyPort}},
		{"cluster-ip-other-port", scene{objects: web(clusterIP, "p1")}, scene{}},
		{"cluster-ip-ping", scene{objects: web(clusterIP, "p1")}, scene{}},
		{"cluster-ip-unallocated", scene{objects: ranges}, scene{objects: web(clusterIP, "p1")}},
		{"no-endpoints-from-node", scene{objects: web(outer)}, scene{objects: web(outer, "p1")}},
		{"health-check-address", scene{objects: web(balancer, "p1")}, scene{objects: web(balancer, "p1"), config: everyPort}},
		{"cluster-ip-of-the-node", scene{objects: web(clusterIP), edit: ownAddress}, scene{objects: web(clusterIP, "p1")}},
		{"forward-policy", scene{objects: web(nodePort, "p3"), beside: filter("ACCEPT", "DROP")}, scene{objects: web(nodePort, "p3"), beside: filter("ACCEPT", "ACCEPT")}},
		{"forward-rule", scene{objects: web(nodePort, "p3"), beside: filter("ACCEPT", "ACCEPT", "-A FORWARD -d 10.244.2.7/32 -j DROP")}, scene{objects: web(nodePort, "p3"), beside: filter("ACCEPT", "ACCEPT", "-A FORWARD -d 10.244.2.9/32 -j DROP")}},
		{"input-policy", scene{objects: web(balancer, "p1"), config: everyPort, beside: filter("DROP", "ACCEPT", "-A INPUT ! -p tcp -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 30080 -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")}, scene{objects: web(balancer, "p1"), config: everyPort}},
		{"invalid-segment", scene{objects: web(clusterIP, "p3")}, scene{objects: web(clusterIP, "p3"), config: "conntrack: {tcpBeLiberal: true}"}},
		{"affinity-memory", scene{objects: web(sticky, "p1", "p3")}, scene{objects: web(sticky, "p1")}},
		{"hairpin-of-another-dnat", scene{objects: web(clusterIP, "p1"), beside: fmt.Sprintf(hostPort, 8080)}, scene{objects: web(clusterIP, "p1"), beside: fmt.Sprintf(hostPort, 8081)}},
		{"load-balancer-local-from-node", scene{objects: web(balancer, "p3"), release: "v1.33.0"}, scene{objects: web(balancer, "p3"), release: "v1.33.13"}},
		{"source-ranges-without-endpoints", scene{objects: web(ranged)}, scene{objects: web(ranged, "p1")}},
		{"hairpin-by-another-node", scene{objects: web(localPort, "p1", "p3")}, scene{objects: web(localPort, "p1", "p3"), release: "v1.35.4"}},
		{"answer-by-another-way", scene{objects: web(localPort, "p1", "p3")}, scene{objects: web(nodePort, "p1", "p3")}},
	} {
		tested[row.class] = true
		t.Run(row.class, func(t *testing.T) {
			t.Parallel()
			shows, does := row.shows.move(t).reported(t), row.does.move(t).reported(t)
			documentedOnly(t, shows)
			documentedOnly(t, does)
			require.True(t, shows.has(row.class), "it does not show: %v", shows.Classes)
			require.False(t, does.has(row.class), "it shows where it should not")
		})
	}
	for _, c := range classes {
		require.True(t, tested[c.name], "class %s has no row", c.name)
	}
}

// A rule of nftables mode that somebody changed is no difference that is documented.
func TestBreaks(t *testing.T) {
	t.Parallel()
	s := scene{objects: web(nodePort, "p1", "p3")}
	chain := func(t *testing.T, table *nftables.Table, begins, within string) *nftables.Chain {
		t.Helper()
		i := slices.IndexFunc(table.Chains, func(c nftables.Chain) bool {
			return strings.HasPrefix(c.Name, begins) && strings.Contains(c.Name, within)
		})
		require.GreaterOrEqual(t, i, 0, "no chain %s", begins)
		return &table.Chains[i]
	}
	flush := func(begins, within string) func(*testing.T, *nftables.Table) {
		return func(t *testing.T, table *nftables.Table) { t.Helper(); chain(t, table, begins, within).Rules = nil }
	}
	for _, row := range []struct {
		name  string
		spoil func(*testing.T, *nftables.Table)
	}{
		{"nothing", nil},
		{"the Service's element is gone", func(t *testing.T, table *nftables.Table) {
			t.Helper()
			i := slices.IndexFunc(table.Sets, func(s nftables.Set) bool { return s.Name == "service-ips" })
			require.Len(t, table.Sets[i].Elements, 1)
			table.Sets[i].Elements = nil
		}},
		{"the node port's element is gone", func(_ *testing.T, table *nftables.Table) {
			i := slices.IndexFunc(table.Sets, func(s nftables.Set) bool { return s.Name == "service-nodeports" })
			table.Sets[i].Elements = nil
		}},
		{"nobody masquerades", flush("masquerading", "")},
		{"the Service's chain is empty", flush("service-", "/")},
		{"the chain for clients outside is empty", flush("external-", "/")},
		{"nothing leads from output", flush("nat-output", "")},
		{"nothing leads from prerouting", flush("nat-prerouting", "")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := s.move(t)
			if row.spoil != nil {
				rs := m.to.setups[nat.IPv4].NFTOf["n1"]
				row.spoil(t, &rs.Tables[0])
				require.NoError(t, m.to.wire())
			}
			r := m.reported(t)
			require.Equal(t, row.spoil != nil, r.Undocumented() > 0, "%v", r.Classes)
			if row.spoil != nil {
				require.Empty(t, r.Classes[0].Class, "what is not documented comes first")
				require.Empty(t, r.Differences[0].Class)
			}
		})
	}
}
