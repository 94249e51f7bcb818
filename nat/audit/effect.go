package audit

import (
	"strings"

	"natlab/nat/iptables"
)

const remedyResync = "restart kube-proxy on the node, which writes all its rules anew; if they differ again, find out who changes them"

// effects is, by chain, what the loss of a rule does. The first that fits is taken.
var effects = []struct {
	table, chain string // chain is a prefix
	target       string // the name of the rule's target; "" is any
	why, issue   string
}{
	{"nat", "KUBE-MARK-MASQ", "", "nothing is marked for masquerade: the pod answers the client directly, and the client drops an answer from an address it did not ask", "kubernetes#32415"},
	{"nat", "KUBE-POSTROUTING", "RETURN", "packets without the mark are masqueraded too: servers see the node's address instead of the client's", "calico#741"},
	{"nat", "KUBE-POSTROUTING", "MARK", "the mark stays on the packet; a tunnel's outer packet is masqueraded once more, and old kernels leave a bad checksum: 63 s of delay", "kubernetes#92035"},
	{"nat", "KUBE-POSTROUTING", "MASQUERADE", "marked packets keep their source: the pod answers the client directly, and the client drops an answer from an address it did not ask", "kubernetes#20391"},
	{"nat", "POSTROUTING", "", "KUBE-POSTROUTING is not called: nothing is masqueraded", "kubernetes#20391"},
	{"nat", "PREROUTING", "", "KUBE-SERVICES is not called for packets from pods and clients: no Service address is translated", "kubernetes#81517"},
	{"nat", "OUTPUT", "", "KUBE-SERVICES is not called for the node's own packets: no Service address is translated for them", "kubernetes#81517"},
	{"nat", "KUBE-SERVICES", "KUBE-NODEPORTS", "node ports are not served", "kubernetes#111682"},
	{"nat", "KUBE-SERVICES", "", "the Service's address is not translated: packets leave by the default route", "kubernetes#112604"},
	{"nat", "KUBE-NODEPORTS", "", "the node port is not served on this node", "kubernetes#111682"},
	{"nat", "KUBE-EXT-", "", "packets from outside do not reach the Service, or are not masqueraded as they must be", "kubernetes#108526"},
	{"nat", "KUBE-FW-", "", "the load balancer's address is not served as its source ranges say", "kubernetes#109575"},
	{"nat", "KUBE-SEP-", "KUBE-MARK-MASQ", "the pod cannot reach itself through its Service: its own packet comes back to it from its own address", "kubernetes#20475"},
	{"nat", "KUBE-SEP-", "", "the endpoint's packets are not translated: they go on to the Service's own address and are lost", "kubernetes#114537"},
	{"nat", "KUBE-SVC-", "KUBE-MARK-MASQ", "what comes from outside of the pods is not masqueraded: its answers do not come back through this node", "kubernetes#44916"},
	{"nat", "KUBE-SVC-", "", "an endpoint is never chosen, or more often than its share", "kubernetes#121362"},
	{"nat", "KUBE-SVL-", "", "a local endpoint is never chosen, or more often than its share", "kubernetes#121362"},
	{"filter", "KUBE-FORWARD", "DROP", "packets that connection tracking calls INVALID reach the client untranslated: it resets the connection", "kubernetes#74839"},
	{"filter", "KUBE-FORWARD", "ACCEPT", "where the policy of FORWARD is DROP, packets of Services are dropped", "kubernetes#40182"},
	{"filter", "KUBE-FIREWALL", "", "hosts of the node's network reach services that listen on 127.0.0.1 only", "kubernetes#92315"},
	{"filter", "KUBE-PROXY-FIREWALL", "", "clients outside of loadBalancerSourceRanges are let in", "kubernetes#109826"},
	{"filter", "KUBE-NODEPORTS", "", "the load balancer's health check may be refused by a firewall", "kubernetes#97225"},
	{"filter", "KUBE-SERVICES", "", "clients of a Service without endpoints wait for a timeout instead of being refused at once", "kubernetes#31435"},
	{"filter", "KUBE-EXTERNAL-SERVICES", "", "clients of a Service without endpoints wait for a timeout, or reach the node itself", "kubernetes#97360"},
	{"filter", "", "", "kube-proxy's chain is not called: what it refuses or lets through is not", "kubernetes#81517"},
}

// effect is what the loss of a rule does to packets, and the issue that tells of it.
func effect(p place, r iptables.Rule) (why, issue string) {
	name := ""
	if r.Target != nil {
		name = r.Target.Name()
	}
	for _, e := range effects {
		if e.table == p.table && strings.HasPrefix(p.chain, e.chain) && (e.target == "" || e.target == name) {
			return e.why, e.issue
		}
	}
	return "packets are not treated as kube-proxy would have them", "kubernetes#112604"
}
