package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"natlab/topology"
)

// health is what a kube-proxy answers at one of its sockets.
type health struct {
	cluster func() topology.Cluster
	at      topology.Server
}

// Health answers at one of topology.ProxyServers what a kube-proxy does there (pkg/proxy/healthcheck): a stand-in for one, where natlab writes
// the rules. It answers for the cluster as it is at the moment.
func Health(at topology.Server, cluster func() topology.Cluster) http.Handler {
	return health{cluster, at}
}

// The releases since which kube-proxy tells more: of itself beside a Service, and of the node, /livez and a weight
// for load balancers, and of each family's proxier.
const (
	tellsOfItself   = 27
	tellsOfNode     = 28
	tellsOfFamilies = 33
)

func (h health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.cluster()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if h.at.Addr.Port() == topology.HealthzPort {
		h.itself(w, r, c)
		return
	}
	for _, s := range c.Services {
		if s.ChecksHealth() && s.HealthCheckNodePort == h.at.Addr.Port() {
			h.service(w, s, c.KubeProxy)
			return
		}
	}
}

// itself tells that kube-proxy is well: natlab's wrote its rules.
func (h health) itself(w http.ResponseWriter, r *http.Request, c topology.Cluster) {
	p, ofNode := c.KubeProxy, r.URL.Path == "/healthz"
	if r.URL.Path != "/livez" && !ofNode || !ofNode && !p.SinceRelease(tellsOfNode) {
		http.NotFound(w, r)
		return
	}
	now := time.Now()
	if p.SinceRelease(tellsOfFamilies) {
		out := wellness{LastUpdated: now, CurrentTime: now, Healthy: true, Status: map[string]familyWellness{}}
		if ofNode {
			out.NodeEligible = new(true)
		}
		for _, f := range c.Families() {
			out.Status[map[topology.Family]string{topology.IPv4: "IPv4", topology.IPv6: "IPv6"}[f]] = familyWellness{now, true}
		}
		text, _ := json.Marshal(out) // times and flags alone
		_, _ = w.Write(text)         // a client that went away needs no answer
		return
	}
	node := ""
	if ofNode && p.SinceRelease(tellsOfNode) {
		node = `, "nodeEligible": true`
	}
	_, _ = fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %q%s}`, now, now, node) // as above
}

// wellness is what a kube-proxy since 1.33 tells of itself, in the order of its ProxyHealth.
type wellness struct {
	LastUpdated  time.Time                 `json:"lastUpdated"`
	CurrentTime  time.Time                 `json:"currentTime"`
	NodeEligible *bool                     `json:"nodeEligible,omitempty"`
	Healthy      bool                      `json:"healthy"`
	Status       map[string]familyWellness `json:"status,omitempty"`
}

type familyWellness struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// service tells how many ready endpoints a Service has on the node.
func (h health) service(w http.ResponseWriter, s topology.Service, p topology.KubeProxy) {
	count, itself := s.LocalEndpoints(h.at.Member, topology.FamilyOf(h.at.Addr.Addr())), ""
	if p.SinceRelease(tellsOfNode) {
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(count))
	}
	if p.SinceRelease(tellsOfItself) {
		itself = ",\n\t\"serviceProxyHealthy\": true"
	}
	if count == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = fmt.Fprintf(w, "{\n\t\"service\": {\n\t\t\"namespace\": %q,\n\t\t\"name\": %q\n\t},\n\t\"localEndpoints\": %d%s\n}", s.Namespace, s.Name, count, itself)
}
